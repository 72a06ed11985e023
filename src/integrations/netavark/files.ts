import { launcher } from '../launcher.ts';

/** Name of the driver, and so of the plugin's file. */
export const NETAVARK_DRIVER = 'tapdeck';
/** The first of the folders in which Podman looks for plugins of netavark (containers.conf(5), `netavark_plugin_dirs`). */
export const NETAVARK_FOLDER = '/usr/local/lib/netavark';

/** Content of the plugin's file, which has mode 0755. */
export function netavarkPlugin(): string {
  return launcher('netavark');
}
