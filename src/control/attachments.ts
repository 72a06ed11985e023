import { parseInet } from '../device/inet.ts';
import { findInterface } from '../device/interface.ts';
import type { Container } from './container.ts';
import type { Deck } from './deck.ts';
import type { AttachOptions, Endpoint } from './endpoint.ts';
import { netnsOf } from './endpoint-wishes.ts';
import { conflict, DeckError, notFound, unavailable } from './error.ts';
import { newId } from './id.ts';
import { DEFAULT_NETWORK } from './name.ts';
import type { NamespaceTarget } from './namespace.ts';
import type { NetworkInfo } from './network.ts';
import { parsePublishSpec } from './publish-spec.ts';
import { specOf } from './published-entry.ts';

/** One endpoint under an id that its maker has chosen, and what container runtimes ask about it. */
export interface Attachment {
  readonly endpoint: Endpoint;
  readonly network: NetworkInfo;
  /** Whether it is the container's way out: its default routes lead by it. */
  readonly leadsOut: boolean;
  /** What is not any more as it was made, a sentence for each; nothing where nobody may look. */
  readonly faults: readonly string[];
}

/** What one is to be: further networks are attachments of their own. */
export type AttachmentOptions = Omit<AttachOptions, 'networks'>;

/** Digits of the id by which a name that is taken is told apart. */
const SHORT_ID = 8;

/**
 * Endpoints for container runtimes (CNI, OCI hooks, netavark), which connect one network after the other, are started anew for
 * every call and remember nothing: an endpoint has an id that follows from what the runtime says, so that the next call finds it.
 *
 * A container is made with its first attachment and goes with its last endpoint. Removing is idempotent. Runtimes ask for a
 * container's ports with each of its networks, in any order: they are published with the first that leads out, and once.
 */
export class Attachments {
  readonly #deck: Deck;
  readonly #find: typeof findInterface;
  /**
   * What is asked of an id is done in order: who removes may have given up waiting for what he has asked for before. So is what
   * is asked of a namespace, which containerd connects to all of its networks at once.
   */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(deck: Deck, find: typeof findInterface = findInterface) {
    this.#deck = deck;
    this.#find = find;
  }

  /** Throws a `DeckError` when there is none of this id. */
  get(id: string): Attachment {
    const endpoint = this.#endpoint(id);
    if (!endpoint) throw notFound(`there is no attachment ${id}`);
    return this.#describe(endpoint);
  }

  /**
   * Connects a network namespace to a network. A name that somebody has already gets a part of the id behind it.
   * @param given whether whoever asked is still there to take the answer; what nobody knows of is not kept
   */
  attach(id: string, options: AttachmentOptions, given: () => boolean): Promise<Attachment> {
    return this.#inTurn(id, async () => {
      const there = this.#endpoint(id);
      if (there) {
        throw conflict(
          `container ${there.container} has interface ${there.ifname} in network ${there.network} already; remove it first`,
        );
      }
      const endpoint = await this.#inTurn(placeOf(options), () => this.#connect(id, options));
      if (!given()) {
        await this.#leave(endpoint);
        throw unavailable('whoever asked for it has not waited');
      }
      return this.get(id);
    });
  }

  /** Answers whether there was anything to remove. */
  detach(id: string): Promise<boolean> {
    return this.#inTurn(id, async () => {
      const endpoint = this.#endpoint(id);
      if (!endpoint) return false;
      await this.#leave(endpoint);
      return true;
    });
  }

  async #connect(id: string, options: AttachmentOptions): Promise<Endpoint> {
    const {
      network = DEFAULT_NETWORK,
      netns,
      pid,
      name,
      hostname,
      labels,
      publish = [],
      ...wishes
    } = options;
    const container = this.#deck
      .containers()
      .find((one) => (netns === undefined ? one.pid !== null && one.pid === pid : one.netns === netns));
    if (!container) {
      const free = name === undefined || !this.#isTaken(name) ? name : `${name}-${id.slice(-SHORT_ID)}`;
      const { name: _taken, publish: _ports, ...others } = options;
      const ports = this.#deck.network(network).internal ? [] : publish;
      return this.#deck.attach(
        { ...others, ...(free !== undefined && { name: free }), publish: ports },
        { id: newId(), createdAt: new Date().toISOString(), endpointId: id },
      );
    }
    const endpoint = await this.#deck.connect(network, container.id, wishes, { endpointId: id });
    try {
      const isInternal = this.#deck.network(network).internal;
      const missing = isInternal ? [] : publish.filter((spec) => !isPublished(spec, container));
      if (missing.length > 0) await this.#deck.publish(container.id, missing);
    } catch (error) {
      await this.#drop(endpoint);
      throw error;
    }
    return endpoint;
  }

  #leave(endpoint: Endpoint): Promise<void> {
    return this.#inTurn(placeOf(endpoint), () => this.#drop(endpoint));
  }

  async #drop({ containerId, network }: Endpoint): Promise<void> {
    try {
      if (this.#deck.container(containerId).endpoints.length > 1) {
        await this.#deck.disconnect(network, containerId);
      } else {
        await this.#deck.detach(containerId);
      }
    } catch (error) {
      // Its namespace ended meanwhile.
      if (!(error instanceof DeckError && error.code === 'not-found')) throw error;
    }
  }

  #isTaken(name: string): boolean {
    return this.#deck.containers().some((container) => container.name === name);
  }

  #endpoint(id: string): Endpoint | undefined {
    return this.#deck.endpoints().find((endpoint) => endpoint.id === id);
  }

  #describe(endpoint: Endpoint): Attachment {
    const network = this.#deck.network(endpoint.network);
    const leadsOut = !network.internal && this.#deck.endpoint(endpoint.containerId).id === endpoint.id;
    return { endpoint, network, leadsOut, faults: this.#faults(endpoint, network) };
  }

  #faults({ netns, pid, ifname, mac, ipv4, ipv6 }: Endpoint, network: NetworkInfo): string[] {
    const target: NamespaceTarget = netns !== null ? { path: netns } : { pid: pid! };
    let found: ReturnType<typeof findInterface>;
    try {
      found = this.#find(netnsOf(target), ifname);
    } catch {
      // An ordinary user's daemon is not let into the namespaces that it has made interfaces in.
      return [];
    }
    if (!found) return [`interface ${ifname} is missing`];
    const faults: string[] = [];
    if (!found.up) faults.push(`interface ${ifname} is down`);
    if (found.mac !== mac) faults.push(`interface ${ifname} has MAC ${found.mac} in place of ${mac}`);
    const has = found.addresses.map(canonical);
    for (const [address, pool] of [
      [ipv4, network.ipv4],
      [ipv6, network.ipv6],
    ] as const) {
      if (address === null || !pool) continue;
      const wanted = `${address}${pool.subnet.slice(pool.subnet.indexOf('/'))}`;
      if (!has.includes(canonical(wanted))) faults.push(`interface ${ifname} has lost address ${wanted}`);
    }
    return faults;
  }

  #inTurn<T>(what: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(what) ?? Promise.resolve()).then(work, work);
    this.#turns.set(what, mine);
    const forget = () => {
      if (this.#turns.get(what) === mine) this.#turns.delete(what);
    };
    mine.then(forget, forget);
    return mine;
  }
}

/** What is told from all ids: they have no slash and no space. */
function placeOf({ netns, pid }: Partial<Pick<Endpoint, 'netns' | 'pid'>>): string {
  return netns ?? `process ${pid}`;
}

/** The same for all spellings of an address. */
function canonical(address: string): string {
  const { bytes, prefix } = parseInet(address);
  return `${bytes.join('.')}/${prefix}`;
}

/** Whether a container has this port published already. */
function isPublished(spec: string, { ports }: Container): boolean {
  const { protocol, hostPorts, ports: inside, family } = parsePublishSpec(spec);
  return ports.some((port) => {
    const there = parsePublishSpec(specOf(port));
    return (
      there.protocol === protocol &&
      there.ports.first === inside.first &&
      there.ports.last === inside.last &&
      (hostPorts === null ||
        (there.hostPorts!.first === hostPorts.first && there.hostPorts!.last === hostPorts.last)) &&
      (family === null || there.family === family)
    );
  });
}
