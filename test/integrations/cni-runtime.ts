import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineHost } from './engine-host.ts';

/** A network configuration list (CNI specification, "Network configuration"). */
export interface Conflist {
  cniVersion: string;
  name: string;
  plugins: readonly Readonly<Record<string, unknown>>[];
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of plugins, read field by field
type Result = any;

/** What a plugin has refused. */
export class PluginError extends Error {
  readonly code: number;

  constructor({ code, msg }: { code: number; msg: string }) {
    super(msg);
    this.code = code;
  }
}

/**
 * A container runtime as far as CNI goes: runs the plugins of a list as the specification says, and remembers results. Stands in
 * for cnitool, which Debian does not have.
 */
export class CniRuntime {
  readonly #host: EngineHost;
  readonly #folders: readonly string[];
  readonly #results = new Map<string, Result>();

  /** @param folders CNI_PATH */
  constructor(host: EngineHost, folders: readonly string[]) {
    this.#host = host;
    this.#folders = folders;
  }

  /** Adds a container, which is called as its namespace, to a network: all plugins in order, each with the last one's result. */
  async add(list: Conflist, netns: string, ifname = 'eth0', runtimeConfig: object = {}): Promise<Result> {
    let prevResult: Result;
    for (const plugin of list.plugins) {
      prevResult = await this.#call('ADD', list, plugin, { netns, ifname, prevResult, runtimeConfig });
    }
    this.#results.set(`${list.name} ${netns} ${ifname}`, prevResult);
    return prevResult;
  }

  async check(list: Conflist, netns: string, ifname = 'eth0'): Promise<void> {
    const prevResult = this.#results.get(`${list.name} ${netns} ${ifname}`);
    for (const plugin of list.plugins) await this.#call('CHECK', list, plugin, { netns, ifname, prevResult });
  }

  /** The last plugin first. */
  async remove(list: Conflist, netns: string, ifname = 'eth0'): Promise<void> {
    const prevResult = this.#results.get(`${list.name} ${netns} ${ifname}`);
    for (const plugin of [...list.plugins].reverse()) {
      await this.#call('DEL', list, plugin, { netns, ifname, prevResult });
    }
    this.#results.delete(`${list.name} ${netns} ${ifname}`);
  }

  async collect(list: Conflist, valid: readonly { containerID: string; ifname: string }[]): Promise<void> {
    for (const plugin of list.plugins) {
      await this.#call('GC', list, { ...plugin, 'cni.dev/valid-attachments': valid }, {});
    }
  }

  async status(list: Conflist): Promise<void> {
    for (const plugin of list.plugins) await this.#call('STATUS', list, plugin, {});
  }

  async #call(
    command: string,
    { cniVersion, name }: Conflist,
    { capabilities, ...plugin }: Conflist['plugins'][number],
    {
      netns,
      ifname,
      prevResult,
      runtimeConfig,
    }: Partial<Record<'netns' | 'ifname', string>> & {
      prevResult?: Result;
      runtimeConfig?: object;
    },
  ): Promise<Result> {
    // Only what the plugin says that it can do is told.
    const declared = Object.keys((capabilities ?? {}) as object);
    const wishes = Object.entries(runtimeConfig ?? {}).filter(([key]) => declared.includes(key));
    const configuration = {
      ...plugin,
      cniVersion,
      name,
      ...(wishes.length > 0 && { runtimeConfig: Object.fromEntries(wishes) }),
      ...(prevResult !== undefined && { prevResult }),
    };
    const env = [
      `CNI_COMMAND=${command}`,
      `CNI_PATH=${this.#folders.join(':')}`,
      ...(netns === undefined ? [] : [`CNI_CONTAINERID=${netns}`, `CNI_NETNS=/run/netns/${netns}`]),
      ...(ifname === undefined ? [] : [`CNI_IFNAME=${ifname}`]),
    ];
    const running = this.#host.spawn(
      'env',
      '-i',
      `PATH=${process.env['PATH']}`,
      ...env,
      this.#find(String(plugin['type'])),
    );
    running.child.stdin!.end(JSON.stringify(configuration));
    const { code, out, err } = await running.ended;
    if (err !== '') throw new Error(`${plugin['type']} said on stderr: ${err}`);
    const said = out === '' ? undefined : JSON.parse(out);
    if (code !== 0) throw new PluginError(said);
    return said;
  }

  #find(type: string): string {
    for (const folder of this.#folders) {
      try {
        readFileSync(join(folder, type));
        return join(folder, type);
      } catch {
        // In the next one, then.
      }
    }
    throw new Error(`no plugin ${type} in ${this.#folders.join(', ')}`);
  }
}
