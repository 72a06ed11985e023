import type { FastifyInstance } from 'fastify';
import { expect } from 'vitest';
import { buildApi } from '../../src/control/api.ts';
import { DaemonAbsent } from '../../src/control/client.ts';
import type { Deck } from '../../src/control/deck.ts';
import { DeckError } from '../../src/control/error.ts';
import { EventLog } from '../../src/control/event-log.ts';
import { Leases } from '../../src/control/leases.ts';
import type { Daemon, Reach } from '../../src/integrations/daemon.ts';
import { FakeDataPlane } from '../control/fake-data-plane.ts';
import { fakeDeck } from '../control/fake-deck.ts';

/** The daemon's API on a deck without a kernel, for what container engines start. */
export class Bed {
  readonly plane: FakeDataPlane;
  readonly deck: Deck;
  /** The hosts that were asked for, undefined for that of the user. */
  readonly asked: (string | undefined)[] = [];
  /** Whether nobody listens. */
  absent = false;
  readonly #app: FastifyInstance;

  /** With networks `front`, 10.1.0.0/24, `back`, 10.2.0.0/24 and internal, and `both`, which has IPv6 too. */
  static async make(): Promise<Bed> {
    const plane = new FakeDataPlane();
    const identify = (target: { path: string } | { pid: number }) => {
      const name = 'path' in target ? target.path : `pid ${target.pid}`;
      if (GONE.has(name)) throw new DeckError('not-found', `there is no network namespace at "${name}"`);
      return `identity of ${name}`;
    };
    const deck = await fakeDeck(plane, identify, { uplinks: ['socket'] });
    await deck.createNetwork({ name: 'front', subnet: '10.1.0.0/24' });
    await deck.createNetwork({ name: 'back', subnet: '10.2.0.0/24', internal: true });
    await deck.createNetwork({ name: 'both', subnet: '10.3.0.0/24', ipv6Subnet: 'fd03::/64' });
    return new Bed(plane, deck);
  }

  private constructor(plane: FakeDataPlane, deck: Deck) {
    this.plane = plane;
    this.deck = deck;
    this.#app = buildApi({
      deck,
      leases: new Leases(deck),
      events: new EventLog(deck.events),
      prune: async () => ({ networks: [], containers: [], sandboxes: [], files: [] }),
      version: () => {
        throw new Error('not asked');
      },
      ending: () => false,
      saved: async () => {},
      onDefect: (error) => {
        throw error;
      },
    });
  }

  readonly reach: Reach = (host) => {
    this.asked.push(host);
    if (this.absent) {
      const absent = async () => {
        throw new DaemonAbsent('/run/tapdeck/tapdeck.sock');
      };
      return { get: absent, post: absent, delete: absent } as Daemon;
    }
    return {
      get: (path) => this.#call('GET', path),
      post: (path, body) => this.#call('POST', path, body),
      delete: (path) => this.#call('DELETE', path),
    };
  };

  /** Every container as `NAME NETWORK/IFNAME=ADDRESS... PORTS`. */
  get containers(): string[] {
    return this.deck.containers().map(({ name, endpoints, ports }) => {
      const where = endpoints.map(({ network, ifname, ipv4 }) => `${network}/${ifname}=${ipv4}`);
      return [name, ...where, ...ports.map(({ hostPort, port }) => `${hostPort}:${port}`)].join(' ');
    });
  }

  /** How many things there are that somebody could leave behind. */
  get count() {
    const { plane, deck } = this;
    return {
      containers: deck.containers().length,
      taps: Array.from(plane.ports.values()).filter(({ tap }) => tap !== null).length,
      published: plane.publishes.size,
      members: deck.networks().flatMap(({ endpoints }) => endpoints).length,
    };
  }

  async close(): Promise<void> {
    await this.#app.close();
    await this.deck.close();
    expect(this.count).toEqual({ containers: 0, taps: 0, published: 0, members: 0 });
  }

  async #call<T>(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object): Promise<T> {
    const response = await this.#app.inject({ method, url, ...(payload && { payload }) });
    const body = response.json();
    if (response.statusCode < 300) return body;
    throw new DeckError(body.code === 'internal' ? 'unavailable' : body.code, body.message);
  }
}

/** Namespaces that have ended. */
export const GONE = new Set<string>();
