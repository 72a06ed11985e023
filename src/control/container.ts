import type { DefaultRoute, RouteTarget } from '../device/default-route.ts';
import { formatAddress } from './address.ts';
import type { Endpoint, LastingWishes } from './endpoint.ts';
import type { NamespaceTarget } from './namespace.ts';
import type { NetworkRecord } from './network.ts';
import type { PublishedPort } from './published.ts';

/** One network namespace under a name, with an endpoint in each network that it is connected to. */
export interface Container {
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  /** The namespace as it was given: a path, or null when it was given by a process. */
  readonly netns: string | null;
  readonly pid: number | null;
  /** The oldest first. */
  readonly endpoints: readonly Endpoint[];
  readonly labels: Readonly<Record<string, string>>;
  readonly hostname: string | null;
  /** What is published of it at this time. */
  readonly ports: readonly PublishedPort[];
  /** RFC 3339. */
  readonly createdAt: string;
}

/** What the deck knows of an endpoint beyond what it shows. */
export interface EndpointRecord {
  endpoint: Endpoint;
  readonly container: ContainerRecord;
  readonly network: NetworkRecord;
  readonly ipv4: bigint | null;
  readonly ipv6: bigint | null;
  /** Those of its options that can be seen nowhere else. */
  readonly wishes: LastingWishes;
  /**
   * Takes the name that a handed-over interface has got in the container, as long as that is not known; null for all others.
   * Throws a `DeckError` when it is in use.
   */
  settle: ((ifname: string) => string) | null;
  /** Gives back everything that was reserved for it. */
  readonly release: () => void;
  /** Its interface has gone by itself, and the number of its port may be another's. */
  vanished: boolean;
  /** Set from the moment on that it is being removed. */
  leaving: Promise<void> | null;
}

type Fields = Pick<
  ContainerRecord,
  'id' | 'name' | 'target' | 'namespace' | 'labels' | 'hostname' | 'createdAt'
>;

/** One container of the deck. */
export class ContainerRecord {
  readonly id: string;
  name: string;
  readonly target: NamespaceTarget;
  /** Identity of its namespace; of one that does not exist yet, its path. */
  namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly hostname: string | null;
  readonly createdAt: string;
  /** By the network's name, the oldest first. */
  readonly endpoints = new Map<string, EndpointRecord>();
  /** Set from the moment on that it is being removed. */
  leaving: Promise<void> | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ id, name, target, namespace, labels, hostname, createdAt }: Fields) {
    this.id = id;
    this.name = name;
    this.target = target;
    this.namespace = namespace;
    this.labels = labels;
    this.hostname = hostname;
    this.createdAt = createdAt;
  }

  get netns(): string | null {
    return 'path' in this.target ? this.target.path : null;
  }

  get pid(): number | null {
    return 'pid' in this.target ? this.target.pid : null;
  }

  /** Whether interfaces were handed over for it of which it is not known what has become. */
  get isUnsettled(): boolean {
    return Array.from(this.endpoints.values()).some(({ settle }) => settle !== null);
  }

  /** Whether it is in the host's namespace, where nothing is ours to change. */
  get isHost(): boolean {
    return Array.from(this.endpoints.values()).some(({ network }) => network.driver === 'host');
  }

  /** The endpoint by which packets leave for everywhere else, and on which ports are published; null without one. */
  get wayOut(): EndpointRecord | null {
    return firstWayOut(Array.from(this.endpoints.values()));
  }

  /** The default routes that its namespace is to have: by the first endpoints that lead out with the IP version. */
  get routes(): Pick<RouteTarget, 'gateway4' | 'gateway6'> {
    const endpoints = Array.from(this.endpoints.values());
    const by = (family: 4 | 6): DefaultRoute | null => {
      const first = firstWayOut(endpoints.filter((one) => (family === 4 ? one.ipv4 : one.ipv6) !== null));
      const pool = family === 4 ? first?.network.ipv4 : first?.network.ipv6;
      return first && pool
        ? { ifname: first.endpoint.ifname, gateway: formatAddress(family, pool.gateway) }
        : null;
    };
    return { gateway4: by(4), gateway6: by(6) };
  }

  /** Runs `work` when all that was asked of this container before is done: connects and disconnects do not mix. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** @param ports what is published of it */
  describe(ports: readonly PublishedPort[]): Container {
    const { id, name, netns, pid, labels, hostname, createdAt } = this;
    const endpoints = Array.from(this.endpoints.values(), ({ endpoint }) => endpoint);
    return Object.freeze({ id, name, netns, pid, endpoints, labels, hostname, ports, createdAt });
  }
}

/** What is asked of an endpoint to know whether it leads out. */
interface Candidate {
  readonly network: NetworkRecord;
  readonly endpoint: Pick<Endpoint, 'gatewayPriority'>;
}

/**
 * Of several endpoints that by which packets leave, as Docker chooses it: the highest gateway priority, then the first
 * network by name. An internal network leads nowhere.
 */
export function firstWayOut<T extends Candidate>(endpoints: readonly T[]): T | null {
  return (
    endpoints
      .filter(({ network }) => !network.way.internal)
      .sort(
        (one, other) =>
          other.endpoint.gatewayPriority - one.endpoint.gatewayPriority ||
          (one.network.name < other.network.name ? -1 : 1),
      )[0] ?? null
  );
}
