import { closeSync } from 'node:fs';
import type { OpenTap } from '../device/tap.ts';
import { adoptTun } from '../device/tun.ts';
import type { PassedDescriptor } from './passed-descriptors.ts';
import type { ServiceManager } from './service-manager.ts';

/** What endpoints are called: 64 hexadecimal digits. */
const ID = /^[0-9a-f]{64}$/;

/**
 * The TAPs of endpoints, which a service manager keeps open for us (systemd: `FileDescriptorStoreMax=`): interfaces outlive a daemon
 * that is killed or started anew, with all that was set up in them, and the next daemon has them by the endpoint's id.
 */
export class TapStore {
  readonly #manager: ServiceManager;
  /** TAPs of the last daemon that nobody has taken yet, by the endpoint's id. */
  readonly #left = new Map<string, number>();
  /** Endpoints whose TAPs the manager has. */
  readonly #kept = new Set<string>();
  #closed = false;

  /** @param passed what the manager had of ours; what is no TAP of an endpoint is left alone */
  constructor(manager: ServiceManager, passed: readonly PassedDescriptor[]) {
    this.#manager = manager;
    for (const { fd, name } of passed) {
      if (!ID.test(name)) continue;
      this.#kept.add(name);
      this.#left.set(name, fd);
    }
  }

  /** The TAP that an endpoint had with the last daemon, the caller's from now on; undefined when its interface is no more. */
  take(endpoint: string): Pick<OpenTap, 'fd' | 'ifname'> | undefined {
    const fd = this.#left.get(endpoint);
    if (fd === undefined) return undefined;
    this.#left.delete(endpoint);
    try {
      return { fd, ifname: adoptTun(fd) };
    } catch {
      closeSync(fd);
      this.#kept.delete(endpoint);
      return undefined;
    }
  }

  /** Has the TAP of an endpoint kept. Settles when it is, or the manager does not take it. */
  async keep(endpoint: string, fd: number): Promise<void> {
    if (this.#kept.has(endpoint)) return;
    this.#kept.add(endpoint);
    await this.#manager.store(endpoint, fd);
  }

  /** An endpoint has gone. Settles when its TAP is open in this process at most. */
  async drop(endpoint: string): Promise<void> {
    if (this.#closed || !this.#kept.delete(endpoint)) return;
    await this.#manager.unstore([endpoint]);
  }

  /** Gives up the TAPs that nobody has taken: their containers are not to be had again. */
  async dropLeft(): Promise<void> {
    if (this.#left.size === 0) return;
    const endpoints = Array.from(this.#left.keys());
    for (const fd of this.#left.values()) closeSync(fd);
    for (const endpoint of endpoints) this.#kept.delete(endpoint);
    this.#left.clear();
    await this.#manager.unstore(endpoints);
  }

  /** What is kept now is the next daemon's. */
  close(): void {
    this.#closed = true;
  }
}
