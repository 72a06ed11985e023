import type { FlowDirection, FlowEntry, FlowEvent } from '../dataplane/commands.ts';
import { matchesFlow } from '../dataplane/flows.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { type FlowQuery, parseFlowQuery, protocolName } from './flow-filter.ts';

/** One direction of a connection, with the name of the network or uplink by which its packets come in. */
export interface FlowDirectionView extends Omit<FlowDirection, 'network'> {
  network: string;
}

/** One connection, as it is shown to people and programs: what `conntrack -L` knows of it. */
export interface FlowView
  extends Omit<FlowEntry, 'protocol' | 'original' | 'reply' | 'remaining' | 'publish'> {
  /** `tcp`, `udp`, `icmp`, `icmpv6`, ...; `unknown` where conntrack has no name. */
  protocol: string;
  protocolNumber: number;
  original: FlowDirectionView;
  reply: FlowDirectionView;
  /** Seconds until it is forgotten if nothing comes. */
  remaining: number;
  /** Name of the endpoint whose published port let it in; null if none did. */
  published: string | null;
}

/** A part of the connections, and where the next part begins; null when this was the last. */
export interface FlowPageView {
  flows: FlowView[];
  next: number | null;
}

/** A line of the stream of events. */
export type FlowEventView =
  | { event: FlowEvent['event']; flow: FlowView }
  /** More happened than could be told: so many events are missing here, whatever they were about. */
  | { event: 'LOST'; count: number };

/** How numbers of the data plane are called. */
export interface FlowNames {
  networkName(network: number): string;
  networkNumber(nameOrId: string): number;
  /** The endpoint that published it. */
  publisher(publish: number): string | null;
}

type FlowListener = (event: FlowEventView) => void;

/** The connection table as the deck shows it. */
export class Flows {
  readonly #plane: DataPlane;
  readonly #names: FlowNames;
  readonly #watchers = new Set<{ event(event: FlowEvent): void; lost(count: number): void }>();

  constructor(plane: DataPlane, names: FlowNames) {
    this.#plane = plane;
    this.#names = names;
    plane.onFlow((event) => {
      for (const watcher of this.#watchers) watcher.event(event);
    });
    plane.onFlowsLost((count) => {
      for (const watcher of this.#watchers) watcher.lost(count);
    });
  }

  async list(query: FlowQuery): Promise<FlowView[]> {
    const all: FlowView[][] = [];
    for (let page = await this.page(query, 0); ; page = await this.page(query, page.next)) {
      all.push(page.flows);
      if (page.next === null) return all.flat();
    }
  }

  /** A part of the connections; see `DataPlane.flows`. */
  async page(query: FlowQuery, from: number): Promise<FlowPageView> {
    const { flows, next } = await this.#plane.flows(this.#filter(query), from);
    return { flows: flows.map((flow) => this.#view(flow)), next };
  }

  /** Forgets connections; answers how many. */
  close(query: FlowQuery): Promise<number> {
    return this.#plane.closeFlows(this.#filter(query));
  }

  /**
   * Tells `listener` what happens to connections until the answered function is called. The data plane reports only while
   * somebody listens.
   */
  async watch(query: FlowQuery, listener: FlowListener): Promise<() => Promise<void>> {
    const filter = this.#filter(query);
    const watcher = {
      event: ({ event, flow }: FlowEvent) => {
        if (matchesFlow(flow, filter)) listener({ event, flow: this.#view(flow) });
      },
      lost: (count: number) => listener({ event: 'LOST', count }),
    };
    const stop = async () => {
      // Commands are applied in order: who begins to watch meanwhile comes after this.
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) await this.#plane.watchFlows(false);
    };
    this.#watchers.add(watcher);
    if (this.#watchers.size > 1) return stop;
    try {
      await this.#plane.watchFlows(true);
      return stop;
    } catch (error) {
      this.#watchers.delete(watcher);
      throw error;
    }
  }

  #filter(query: FlowQuery) {
    return parseFlowQuery(query, (nameOrId) => this.#names.networkNumber(nameOrId));
  }

  #view(entry: FlowEntry): FlowView {
    return viewFlow(entry, this.#names);
  }
}

export function viewFlow(
  { protocol, original, reply, remaining, publish, ...flow }: FlowEntry,
  names: Pick<FlowNames, 'networkName' | 'publisher'>,
): FlowView {
  return {
    ...flow,
    protocol: protocolName(protocol),
    protocolNumber: protocol,
    original: { ...original, network: names.networkName(original.network) },
    reply: { ...reply, network: names.networkName(reply.network) },
    remaining: Math.max(0, Math.floor(remaining / 1000)),
    published: publish < 0 ? null : names.publisher(publish),
  };
}
