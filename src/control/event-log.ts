import type { DeckEvents } from './deck-events.ts';
import type { Endpoint } from './endpoint.ts';
import { specOf } from './published-entry.ts';

/** Events that are remembered for who asks later. */
const REMEMBERED = 1000;

/** What happened in a deck, as it is shown to people and programs: an event of `docker events`, and in its words. */
export interface EventView {
  /** RFC 3339. */
  readonly time: string;
  readonly type: 'container' | 'network' | 'port' | 'rule';
  /**
   * Of a container `create`, `rename` and `destroy`; of a network the first and the last, and `connect` and `disconnect` of
   * a container; of the ports of a container `change`; of a rule `add` and `remove`.
   */
  readonly action: 'create' | 'rename' | 'destroy' | 'connect' | 'disconnect' | 'change' | 'add' | 'remove';
  /** Of the container, the network or, where one is connected to the other, the endpoint; or the rule's number. */
  readonly id: string;
  /** Of the container or network; a rule's comment. */
  readonly name: string;
  /** What else is worth knowing, all of it text. */
  readonly attributes: Readonly<Record<string, string>>;
}

type Listener = (event: EventView) => void;

/** Tells what happens in a deck, and what happened lately. */
export class EventLog {
  readonly #clock: () => Date;
  readonly #past: EventView[] = [];
  readonly #listeners = new Set<Listener>();
  /** What each container has published, as text. */
  readonly #ports = new Map<string, string>();

  constructor(events: DeckEvents, clock = () => new Date()) {
    this.#clock = clock;
    events.on('container', ({ action, container: { id, name }, before }) => {
      if (action === 'settle') return;
      if (before !== undefined) {
        const ports = this.#ports.get(before);
        this.#ports.delete(before);
        if (ports !== undefined) this.#ports.set(name, ports);
        this.#note('container', 'rename', id, name, { oldName: before });
        return;
      }
      this.#ports.delete(name);
      this.#note('container', action === 'create' ? 'create' : 'destroy', id, name, {});
    });
    events.on('network', ({ action, network: { id, name, driver } }) =>
      this.#note('network', action === 'create' ? 'create' : 'destroy', id, name, { type: driver }),
    );
    events.on('attach', (endpoint) =>
      this.#note('network', 'connect', endpoint.id, endpoint.network, connection(endpoint)),
    );
    events.on('detach', (endpoint) =>
      this.#note('network', 'disconnect', endpoint.id, endpoint.network, connection(endpoint)),
    );
    events.on('gone', (endpoint) =>
      this.#note('network', 'disconnect', endpoint.id, endpoint.network, {
        ...connection(endpoint),
        reason: 'gone',
      }),
    );
    events.on('publish', ({ container, ports }) => {
      const text = ports.map(specOf).join(' ');
      // Told again when another endpoint becomes the one that they lead to.
      if (text === (this.#ports.get(container) ?? '')) return;
      this.#ports.set(container, text);
      this.#note('port', 'change', container, container, { ports: text });
    });
    events.on('rules', ({ action, rule: { id, comment, createdAt: _, ...rest } }) =>
      this.#note('rule', action, String(id), comment ?? '', textsOf(rest)),
    );
  }

  /**
   * Tells `listener` what happens from now on, until the answered function is called.
   * @param since also what happened from then on, as far as it is remembered
   */
  watch(listener: Listener, since?: Date): () => void {
    if (since) for (const event of this.#past) if (new Date(event.time) >= since) listener(event);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #note(
    type: EventView['type'],
    action: EventView['action'],
    id: string,
    name: string,
    attributes: EventView['attributes'],
  ): void {
    const event = { time: this.#clock().toISOString(), type, action, id, name, attributes };
    this.#past.push(event);
    if (this.#past.length > REMEMBERED) this.#past.shift();
    for (const listener of this.#listeners) listener(event);
  }
}

function textsOf(fields: object): EventView['attributes'] {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)]));
}

function connection({ container, ifname, mac, ipv4, ipv6 }: Endpoint): EventView['attributes'] {
  return { container, ifname, mac, ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) };
}
