import type { ServerResponse } from 'node:http';
import type { OpenSandboxBody, SandboxEvent } from './api-schema.ts';
import type { Deck } from './deck.ts';
import type { Endpoint } from './endpoint.ts';
import { conflict, unavailable } from './error.ts';
import type { ResolverWishes } from './name-service.ts';
import { NetnsHold } from './netns-hold.ts';
import { findProcess, type ProcessId } from './process.ts';
import { DEFAULT_GRACE } from './sandbox.ts';
import type { SavedSandbox } from './saved-state.ts';

/** Milliseconds that a client has between saying so and bringing its sandbox. */
const EXPECTATION = 10_000;
/** Milliseconds that a sandbox of a daemon that was killed waits for its client, which looks for a daemon every so often. */
const ORPHANHOOD = 30_000;

interface Lease {
  readonly id: string;
  /** The command's. */
  readonly process: ProcessId;
  readonly endpoint: Endpoint;
  readonly hold: NetnsHold;
  /** What its resolv.conf is to say in place of what it says by itself. */
  resolver: ResolverWishes;
  /** null as long as its client has not found this daemon. */
  stream: ServerResponse | null;
  /** Ends it if its client does not come. */
  timer: NodeJS.Timeout | undefined;
  /** Set from the moment on that it is being closed. */
  closing: Promise<void> | null;
}

/**
 * The sandboxes that clients of the daemon hold, each by a connection that stays open. When the connection
 * ends, however it ends, the sandbox does: its processes, its container, its entry in the state file.
 */
export class Leases {
  readonly #deck: Deck;
  readonly #leases = new Map<string, Lease>();
  /** Sandboxes that clients said they would bring. */
  readonly #expected = new Map<string, NodeJS.Timeout>();
  /** Those that are being attached, by id. */
  readonly #opening = new Set<string>();
  #ended = false;
  /** Called when a sandbox has been closed, also one that never got as far as being held. */
  onClosed: () => void = () => {};
  /** Called when `save` has another answer. */
  onChanged: () => void = () => {};
  /** Waits until what was changed is on the disk. */
  saved: () => Promise<void> = () => Promise.resolve();

  constructor(deck: Deck) {
    this.#deck = deck;
    deck.events.on('detach', (endpoint) => this.#tell(endpoint, { event: 'detached' }));
    deck.events.on('gone', (endpoint) => this.#tell(endpoint, { event: 'gone' }));
    for (const event of ['attach', 'detach', 'gone'] as const) {
      deck.events.on(event, (endpoint: Endpoint) => this.#tellNames(endpoint));
    }
  }

  get size(): number {
    return this.#leases.size + this.#opening.size + this.#expected.size;
  }

  /** As the next daemon needs to know them. */
  save(): SavedSandbox[] {
    return Array.from(this.#leases.values(), ({ id, process, hold, endpoint }) => ({
      id,
      ...process,
      netns: hold.netns,
      container: endpoint.containerId,
      name: endpoint.name,
    }));
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

  /** Holds a sandbox of a daemon that was killed, whose container is connected again, until its client comes for it. */
  restore({ id, pid, startTime, container }: SavedSandbox): void {
    const endpoint = this.#deck.endpoints().find(({ containerId }) => containerId === container);
    if (!endpoint) return;
    const hold = new NetnsHold(pid);
    const process = { pid, startTime };
    const lease: Lease = {
      id,
      process,
      endpoint,
      hold,
      resolver: {},
      stream: null,
      timer: undefined,
      closing: null,
    };
    lease.timer = setTimeout(() => void this.#close(lease), ORPHANHOOD);
    this.#leases.set(id, lease);
    this.onChanged();
  }

  /**
   * Attaches a sandbox and begins to hold it; one that was restored is there already. Throws a `DeckError`, and has then not
   * written to the stream.
   */
  async open({ id, resolver = {}, ...options }: OpenSandboxBody, stream: ServerResponse): Promise<void> {
    const known = this.#leases.get(id);
    if (this.#opening.has(id) || known?.stream || known?.closing)
      throw conflict(`sandbox ${id} is held already`);
    const lease = known ?? (await this.#begin(id, options, stream));
    this.#unexpect(id);
    clearTimeout(lease.timer);
    lease.stream = stream;
    lease.resolver = resolver;
    await this.saved();
    if (stream.destroyed || this.#ended) {
      await this.#close(lease);
      return;
    }
    stream.on('close', () => void this.#close(lease));
    // Nothing may happen for days.
    stream.setTimeout(0);
    stream.writeHead(200, { 'content-type': 'application/x-ndjson' });
    write(stream, {
      event: 'attached',
      endpoint: this.#endpoint(lease),
      resolvConf: this.#resolvConf(lease),
    });
  }

  async #begin(
    id: string,
    options: Omit<OpenSandboxBody, 'id' | 'resolver'>,
    stream: ServerResponse,
  ): Promise<Lease> {
    const process = findProcess(options.pid);
    if (!process) throw unavailable(`process ${options.pid} has ended already; run it again`);
    this.#opening.add(id);
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
      this.#opening.delete(id);
    }
    const lease: Lease = {
      id,
      process,
      endpoint,
      hold,
      resolver: {},
      stream,
      timer: undefined,
      closing: null,
    };
    this.#leases.set(id, lease);
    this.onChanged();
    return lease;
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

  /** As it is now; it may have published ports since. */
  #endpoint({ endpoint }: Lease): Endpoint {
    return this.#deck.endpoints().find(({ id }) => id === endpoint.id) ?? endpoint;
  }

  #close(lease: Lease): Promise<void> {
    lease.closing ??= (async () => {
      const { id, endpoint, hold, timer } = lease;
      clearTimeout(timer);
      // The processes first: they may have something to say to somebody before they end.
      await hold.endProcesses(DEFAULT_GRACE);
      // Somebody may have detached it before.
      await this.#deck.detach(endpoint.containerId).catch(() => {});
      hold.release();
      lease.stream?.end();
      this.#leases.delete(id);
      this.onChanged();
      this.onClosed();
    })();
    return lease.closing;
  }

  #resolvConf({ endpoint, resolver }: Lease): string {
    return this.#deck.resolvConf(endpoint.containerId, resolver);
  }

  /** A network of a container came or went. */
  #tellNames({ containerId }: Endpoint): void {
    for (const lease of this.#leases.values()) {
      if (lease.endpoint.containerId !== containerId || lease.closing) continue;
      // Not by a container that is going itself.
      if (!this.#deck.containers().some(({ id }) => id === containerId)) continue;
      write(lease.stream, { event: 'names', resolvConf: this.#resolvConf(lease) });
    }
  }

  #tell(endpoint: Endpoint, event: SandboxEvent): void {
    for (const lease of this.#leases.values()) {
      if (lease.endpoint.id === endpoint.id && !lease.closing) write(lease.stream, event);
    }
  }
}

function write(stream: ServerResponse | null, event: SandboxEvent): void {
  if (stream && !stream.destroyed && !stream.writableEnded) stream.write(`${JSON.stringify(event)}\n`);
}
