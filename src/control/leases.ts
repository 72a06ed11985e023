import type { ServerResponse } from 'node:http';
import type { OpenSandboxBody, SandboxEvent } from './api-schema.ts';
import type { Deck } from './deck.ts';
import type { Endpoint } from './endpoint.ts';
import { conflict, unavailable } from './error.ts';
import { NetnsHold } from './netns-hold.ts';
import { findProcess } from './process.ts';
import { DEFAULT_GRACE } from './sandbox.ts';
import type { StateFile } from './state-file.ts';

/** Milliseconds that a client has between saying so and bringing its sandbox. */
const EXPECTATION = 10_000;

interface Lease {
  readonly id: string;
  readonly endpoint: Endpoint;
  readonly hold: NetnsHold;
  readonly stream: ServerResponse;
  /** Set from the moment on that it is being closed. */
  closing: Promise<void> | null;
}

/**
 * The sandboxes that clients of the daemon hold, each by a connection that stays open. When the connection
 * ends, however it ends, the sandbox does: its processes, its endpoint, its entry in the state file.
 */
export class Leases {
  readonly #deck: Deck;
  readonly #state: StateFile;
  readonly #leases = new Map<string, Lease>();
  /** Sandboxes that clients said they would bring. */
  readonly #expected = new Map<string, NodeJS.Timeout>();
  #opening = 0;
  #ended = false;
  /** Called when a sandbox has been closed, also one that never got as far as being held. */
  onClosed: () => void = () => {};

  constructor(deck: Deck, state: StateFile) {
    this.#deck = deck;
    this.#state = state;
    deck.events.on('detach', (endpoint) => this.#tell(endpoint, { event: 'detached' }));
    deck.events.on('gone', (endpoint) => this.#tell(endpoint, { event: 'gone' }));
  }

  get size(): number {
    return this.#leases.size + this.#opening + this.#expected.size;
  }

  /** A client is about to bring a sandbox: a reason to stay, for a while. Throws a `DeckError` when it is too late. */
  expect(id: string): void {
    if (this.#ended) throw unavailable('the daemon is ending; try again');
    this.#unexpect(id);
    this.#expected.set(
      id,
      setTimeout(() => void this.close(id), EXPECTATION),
    );
  }

  /** Attaches a sandbox and begins to hold it. Throws a `DeckError`, and has then not written to the stream. */
  async open({ id, ...options }: OpenSandboxBody, stream: ServerResponse): Promise<void> {
    const first = findProcess(options.pid);
    if (!first) throw unavailable(`process ${options.pid} has ended already; run it again`);
    if (this.#leases.has(id)) throw conflict(`sandbox ${id} is held already`);
    this.#opening++;
    this.#unexpect(id);
    // Held before anything is attached: what the hold is for must not be missed.
    let hold: NetnsHold | undefined;
    let endpoint: Endpoint;
    try {
      hold = new NetnsHold(options.pid);
      endpoint = await this.#deck.attach(options);
    } catch (error) {
      hold?.release();
      throw error;
    } finally {
      this.#opening--;
    }
    const lease: Lease = { id, endpoint, hold, stream, closing: null };
    this.#leases.set(id, lease);
    this.#state.add({ ...first, id, name: endpoint.name, netns: hold.netns });
    if (stream.destroyed || this.#ended) {
      await this.#close(lease);
      return;
    }
    stream.on('close', () => void this.#close(lease));
    // Nothing may happen for days.
    stream.setTimeout(0);
    stream.writeHead(200, { 'content-type': 'application/x-ndjson' });
    write(stream, { event: 'attached', endpoint });
  }

  /** Ends a sandbox that its client is done with; one that is not there any more is no error. */
  async close(id: string): Promise<void> {
    this.#unexpect(id);
    const lease = this.#leases.get(id);
    if (lease) await this.#close(lease);
    else this.onClosed();
  }

  /** Ends all sandboxes, those that are being opened too. */
  async closeAll(): Promise<void> {
    this.#ended = true;
    for (const id of this.#expected.keys()) this.#unexpect(id);
    const leases = Array.from(this.#leases.values());
    for (const { stream } of leases) write(stream, { event: 'closing' });
    await Promise.all(leases.map((lease) => this.#close(lease)));
  }

  #unexpect(id: string): void {
    clearTimeout(this.#expected.get(id));
    this.#expected.delete(id);
  }

  #close(lease: Lease): Promise<void> {
    lease.closing ??= (async () => {
      const { id, endpoint, hold, stream } = lease;
      // The processes first: they may have something to say to somebody before they end.
      await hold.endProcesses(DEFAULT_GRACE);
      // Somebody may have detached it before.
      await this.#deck.detach(endpoint.containerId).catch(() => {});
      hold.release();
      stream.end();
      this.#leases.delete(id);
      this.#state.delete(id);
      this.onClosed();
    })();
    return lease.closing;
  }

  #tell(endpoint: Endpoint, event: SandboxEvent): void {
    for (const lease of this.#leases.values()) {
      if (lease.endpoint.id === endpoint.id && !lease.closing) write(lease.stream, event);
    }
  }
}

function write(stream: ServerResponse, event: SandboxEvent): void {
  if (!stream.destroyed && !stream.writableEnded) stream.write(`${JSON.stringify(event)}\n`);
}
