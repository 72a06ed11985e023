import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { reachDaemon } from '../../cli/embedded.ts';
import type { VersionInfo } from '../../control/api-schema.ts';
import { DaemonClient, type LineStream } from '../../control/client.ts';
import type { AttachOptions, Endpoint } from '../../control/endpoint.ts';
import { DeckError, unavailable } from '../../control/error.ts';
import type { EventView } from '../../control/event-log.ts';
import type { CreateNetworkOptions } from '../../control/network.ts';
import { type RuntimePaths, runtimePaths } from '../../control/paths.ts';
import { newSandboxId } from '../../control/sandbox.ts';
import { ANSWER_TIMEOUT, outerUid } from '../daemon.ts';
import { ensureNetwork } from '../ensure-network.ts';
import type { Target } from './options.ts';

/** Milliseconds between two looks for the next daemon. */
const LOOK = 200;
/** How often a daemon may be ending, or its network removed, just when we want it. */
const ATTEMPTS = 5;

/** What a namespace is to have on the switch. */
export interface LinkOptions {
  target: Target;
  ifname: string;
  /** Made unless there is one of its name. */
  network: CreateNetworkOptions;
  /** The address that callers believe to be its own, which it gets besides; none by default. */
  guest?: string | undefined;
  /** Whether it gets addresses and routes from us; else somebody gives it those that callers expect, beside its own. */
  configure: boolean;
  mtu: number;
  mac?: string | undefined;
  ipv6: boolean;
  /** Whether the gateway leads to the host's loopback. */
  hostLoopback: boolean;
  /** By default one that the daemon chooses. */
  name?: string | undefined;
  publish?: readonly string[];
}

/** What became of a link. */
export type LinkEnd = 'closed' | 'gone';

/**
 * A network namespace on the switch of the user's daemon, for as long as it is wanted; the daemon is started when there is none,
 * and followed by the next one when it ends.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #paths: RuntimePaths;
  /** For the daemon that we start, where it would not find the place by itself. */
  readonly #host: string | undefined;
  /** Tells the daemon of our coming. */
  readonly #id = newSandboxId();
  #client: DaemonClient;
  #version: VersionInfo | undefined;
  #endpoint: Endpoint | undefined;
  #events: LineStream<EventView> | undefined;
  #closing = false;
  /** What is published, for the next daemon. */
  published: () => readonly string[] = () => this.#options.publish ?? [];

  /** Connects the namespace. Throws a `DeckError`. */
  static async open(options: LinkOptions, env: NodeJS.ProcessEnv): Promise<Link> {
    const link = new Link(options, env);
    await link.#inTime(link.#connect(options.configure, {}));
    return link;
  }

  private constructor(options: LinkOptions, env: NodeJS.ProcessEnv) {
    this.#options = options;
    const own = process.getuid!();
    // Podman starts us as root of a user namespace, in which the place of the daemon is still the user's.
    const uid = outerUid(own, readFileSync('/proc/self/uid_map', 'utf8'));
    this.#paths = runtimePaths(undefined, env, uid);
    this.#host = uid === own || env['TAPDECK_HOST'] ? undefined : `unix://${this.#paths.socket}`;
    this.#client = new DaemonClient(this.#paths.socket);
  }

  get endpoint(): Endpoint {
    return this.#endpoint!;
  }

  async publish(spec: string): Promise<void> {
    await this.#inTime(this.#client.post(this.#ports, { publish: [spec] }));
  }

  async unpublish(spec: string): Promise<void> {
    await this.#inTime(this.#client.delete(`${this.#ports}?${new URLSearchParams({ spec })}`));
  }

  /** Follows what becomes of the namespace, and of the daemon, whose successor it is connected to. */
  async follow(): Promise<LinkEnd> {
    while (!this.#closing) {
      for await (const { type, action, id } of this.#events!.lines) {
        if (type !== 'container' || action !== 'destroy' || id !== this.endpoint.containerId) continue;
        if (await this.#goesOn()) return 'gone';
        // The daemon ends, and takes away what it has; the next one is to have it.
        break;
      }
      this.#events!.destroy();
      if (!this.#closing && !(await this.#connectAgain())) return 'gone';
    }
    return 'closed';
  }

  /** Whether the daemon is the one that it was: one that ends does not listen any more. */
  async #goesOn(): Promise<boolean> {
    try {
      const { pid, startedAt } = await this.#inTime(this.#client.version());
      return pid === this.#version!.pid && startedAt === this.#version!.startedAt;
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      return false;
    }
  }

  /** Takes the namespace off the switch. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#events?.destroy();
    try {
      if (this.#endpoint) await this.#inTime(this.#forget(this.#endpoint));
    } catch (error) {
      // Gone with the daemon; or it does it when it goes on.
      if (!(error instanceof DeckError)) throw error;
    }
  }

  async #forget({ containerId }: Endpoint): Promise<void> {
    try {
      await this.#client.delete(`/v1/endpoints/${containerId}`);
    } catch (error) {
      if (!(error instanceof DeckError && error.code === 'not-found')) throw error;
    }
  }

  /** Whoever has started us waits for us: a daemon that does not answer is like none. */
  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const seconds = ANSWER_TIMEOUT / 1000;
        reject(
          unavailable(
            `the daemon at ${this.#paths.socket} has not answered within ${seconds} s; see its log`,
          ),
        );
      }, ANSWER_TIMEOUT);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  get #ports(): string {
    return `/v1/endpoints/${this.endpoint.containerId}/ports`;
  }

  async #connect(configure: boolean, was: Partial<AttachOptions>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const { client, version } = await reachDaemon(this.#paths, this.#host, this.#id);
      this.#client = client;
      this.#version = version;
      try {
        this.#events = await client.stream<EventView>('/v1/events');
        // What the next daemon has made again is as it was made, without what its caller has added.
        if (this.#endpoint) await this.#forget(this.#endpoint);
        const { network } = await ensureNetwork(client, this.#options.network);
        this.#endpoint = await client.post<Endpoint>('/v1/endpoints', {
          ...this.#attachOptions(version, configure),
          ...was,
          network: network.name,
        });
        return;
      } catch (error) {
        this.#events?.destroy();
        const again =
          error instanceof DeckError && (error.code === 'unavailable' || error.code === 'not-found');
        if (!again || attempt === ATTEMPTS) throw error;
      } finally {
        await client.closeSandbox(this.#id).catch(() => {});
      }
    }
  }

  #attachOptions(version: VersionInfo, configure: boolean): AttachOptions {
    const { target, ifname, guest, mtu, mac, ipv6, hostLoopback, name } = this.#options;
    const publish = this.published();
    return {
      ...placeOf(target),
      ifname,
      mtu,
      ipv6,
      ...(!configure && { takeOver: true }),
      ...(configure && guest !== undefined && { localAddresses: [guest] }),
      ...(mac !== undefined && { mac }),
      ...(name !== undefined && { name }),
      // By an uplink of packets nothing leads to the host's loopback.
      ...(hostLoopback && version.uplinks[0]?.startsWith('socket') && { hostAtGateway: true }),
      ...(publish.length > 0 && { publish: [...publish] }),
    };
  }

  /**
   * At the next daemon: one that somebody starts, or, in place of one that was there for its containers alone, one that we start.
   * Answers false when the namespace has gone meanwhile.
   */
  async #connectAgain(): Promise<boolean> {
    const { name, ipv4, ipv6, mac } = this.endpoint;
    while (!this.#closing) {
      await sleep(LOOK);
      if (!isThere(this.#options.target)) return false;
      try {
        if (!this.#version!.untilEmpty) await this.#client.version();
        await this.#connect(true, {
          name,
          mac,
          ...(ipv4 !== null && { ip: ipv4 }),
          ...(ipv6 !== null && { ip6: ipv6 }),
        });
        return true;
      } catch (error) {
        if (!(error instanceof DeckError)) throw error;
      }
    }
    return true;
  }
}

/** Whether there is a file of the namespace, or a process in it. */
function isThere(target: Target): boolean {
  return existsSync('pid' in target ? `/proc/${target.pid}/ns/net` : target.netns);
}

/** The namespace as the daemon finds it, which may see other mounts than we do. */
function placeOf(target: Target): { netns: string } | { pid: number } {
  if ('pid' in target) return target;
  const { netns } = target;
  const path = netns.startsWith('/') ? netns : `${process.cwd()}/${netns}`;
  return { netns: path.startsWith('/proc/') ? path : `/proc/${process.pid}/root${path}` };
}
