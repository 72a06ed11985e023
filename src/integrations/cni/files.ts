import { launcher } from '../launcher.ts';

/** `type` of the plugin, and so the name of its file. */
export const CNI_TYPE = 'tapdeck';

/** Where runtimes look for plugins: the CNI project's folder and Debian's. */
export const CNI_PLUGIN_FOLDERS = ['/opt/cni/bin', '/usr/lib/cni'] as const;
/** Where they look for network configurations. */
export const CNI_CONFIGURATION_FOLDER = '/etc/cni/net.d';

/** Content of the plugin's file, which has mode 0755. */
export function cniPlugin(): string {
  return launcher('cni');
}

export interface ConflistOptions {
  /** What runtimes call the network. */
  name: string;
  /** What the deck calls it; `name` when left out. */
  network?: string;
  /** Where the daemon is, `unix:///PATH`, if not where it is looked for. */
  host?: string;
}

/** Content of a network configuration, `NAME.conflist`. 1.0.0 is what Podman 4 and containerd 1.6 take already. */
export function cniConflist({ name, network, host }: ConflistOptions): string {
  const plugin = {
    type: CNI_TYPE,
    ...(network !== undefined && { network }),
    ...(host !== undefined && { host }),
    capabilities: { portMappings: true, ips: true, mac: true, aliases: true },
  };
  return `${JSON.stringify({ cniVersion: '1.0.0', name, plugins: [plugin] }, null, 2)}\n`;
}
