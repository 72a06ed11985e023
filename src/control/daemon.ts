import { chmodSync, lstatSync, rmSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { ConntrackOptions } from '../dataplane/commands.ts';
import type { buildApi } from './api.ts';
import type { VersionInfo } from './api-schema.ts';
import { Deck } from './deck.ts';
import { conflict, DeckError, invalid } from './error.ts';
import { Leases } from './leases.ts';
import { type DaemonLock, takeLock } from './lock.ts';
import type { Log } from './log.ts';
import { ensureFolder, type RuntimePaths, removeFolder } from './paths.ts';
import { DEFAULT_GRACE } from './sandbox.ts';
import { endRecorded, StateFile } from './state-file.ts';
import type { UplinkSpec } from './uplink-spec.ts';
import { packageVersion } from './version.ts';

/** Milliseconds that a daemon started by `run` waits for its first sandbox, and after its last one. */
const FIRST_SANDBOX = 10_000;
const NEXT_SANDBOX = 50;

export interface DaemonOptions {
  paths: RuntimePaths;
  log: Log;
  /** End with the last endpoint: what `tapdeck run` starts for itself. */
  untilEmpty?: boolean;
  /** How connections are tracked. */
  conntrack?: ConntrackOptions;
  /** Ways out, the default first. */
  uplinks?: readonly UplinkSpec[];
  /** Whether endpoints of network `bridge` reach the loopback of the host. */
  hostLoopback?: boolean;
  /** Makes the deck; tests put one on a fake data plane there. */
  openDeck?: typeof Deck.open;
}

/** A deck behind a socket. There is one daemon at a socket; what a killed one left behind, the next cleans up. */
export class Daemon {
  readonly paths: RuntimePaths;
  /** What had to be cleaned up at the start, for people. */
  readonly notices: readonly string[];
  /** Settles when the daemon has ended, for whatever reason: true unless its data plane failed. */
  readonly ended: Promise<boolean>;
  readonly #lock: DaemonLock;
  readonly #state: StateFile;
  readonly #deck: Deck;
  readonly #leases: Leases;
  readonly #app: FastifyInstance;
  readonly #log: Log;
  readonly #untilEmpty: boolean;
  readonly #startedAt = new Date().toISOString();
  #end!: (well: boolean) => void;
  #emptyTimer: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | null = null;
  #well = true;

  /** Throws a `DeckError` when another daemon is at the socket, and when the socket cannot be made. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const { paths, log } = options;
    ensureFolder(paths);
    const lock = lockAt(paths);
    let deck: Deck | undefined;
    try {
      const state = new StateFile(paths.state);
      const notices = await cleanUp(lock, state);
      for (const notice of notices) log.warn(notice);
      await freeSocket(paths.socket);
      lock.sign();
      // Loaded now, and beside the start of the deck's thread: of several daemons that start at once all but one
      // end before they come here.
      const loading = import('./api.ts');
      const { conntrack, uplinks, hostLoopback, openDeck = Deck.open } = options;
      deck = await openDeck({
        log: (level, message) => log[level](message),
        ...(conntrack && { conntrack }),
        ...(uplinks && { uplinks }),
        ...(hostLoopback && { hostLoopback }),
      });
      const daemon = new Daemon(options, lock, state, deck, notices, (await loading).buildApi);
      await daemon.#listen();
      return daemon;
    } catch (error) {
      await deck?.close();
      lock.release();
      removeFolder(paths);
      throw error;
    }
  }

  private constructor(
    options: DaemonOptions,
    lock: DaemonLock,
    state: StateFile,
    deck: Deck,
    notices: string[],
    build: typeof buildApi,
  ) {
    this.paths = options.paths;
    this.notices = notices;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#lock = lock;
    this.#state = state;
    this.#deck = deck;
    this.#log = options.log;
    this.#untilEmpty = options.untilEmpty ?? false;
    this.#leases = new Leases(deck, state);
    this.#leases.onClosed = () => this.#watchEmpty(NEXT_SANDBOX);
    this.#app = build({
      deck,
      leases: this.#leases,
      version: () => this.version(),
      ending: () => this.#untilEmpty && this.#isEmpty(),
      onDefect: (error, request) => this.#log.error(`${request} failed: ${error.stack ?? error.message}`),
    });
    deck.events.on('attach', ({ name, network, ipv4, ipv6 }) => {
      this.#log.info(`attached ${name} to ${network} as ${[ipv4, ipv6].filter(Boolean).join(' and ')}`);
    });
    deck.events.on('detach', ({ name }) => {
      this.#log.info(`detached ${name}`);
      this.#watchEmpty(NEXT_SANDBOX);
    });
    deck.events.on('end', () => {
      // A daemon whose sandboxes have no network is worse than none: whoever supervises it starts another.
      this.#well = false;
      void this.stop('the data plane has failed');
    });
    deck.events.on('gone', ({ name }) => {
      this.#log.info(`detached ${name}: its namespace or interface is gone`);
      this.#watchEmpty(NEXT_SANDBOX);
    });
  }

  version(): VersionInfo {
    return {
      version: packageVersion(),
      pid: process.pid,
      startedAt: this.#startedAt,
      untilEmpty: this.#untilEmpty,
      uplinks: this.#deck.uplinks().map(({ spec }) => spec),
      notices: [...this.notices],
    };
  }

  /** Ends the sandboxes, detaches everything and removes the socket. May be called again. */
  stop(why: string): Promise<void> {
    this.#stopping ??= this.#stop(why);
    return this.#stopping;
  }

  async #listen(): Promise<void> {
    // The socket must never be open to others, not even between its making and chmod.
    const umask = process.umask(0o077);
    try {
      await (await import('./api.ts')).listenAt(this.#app, this.paths.socket);
    } catch (error) {
      throw invalid(
        `cannot listen at ${this.paths.socket}: ${(error as Error).message}; choose another place with --host unix:///PATH`,
      );
    } finally {
      process.umask(umask);
    }
    chmodSync(this.paths.socket, 0o600);
    this.#watchEmpty(FIRST_SANDBOX);
  }

  async #stop(why: string): Promise<void> {
    clearTimeout(this.#emptyTimer);
    this.#log.info(`ending: ${why}`);
    // Who comes now finds no daemon, rather than one that refuses.
    remove(this.paths.socket);
    await this.#leases.closeAll();
    await this.#deck.close();
    await this.#app.close();
    this.#state.remove();
    // An embedded daemon's, this one's or that of one that was killed.
    remove(this.paths.log);
    this.#lock.release();
    removeFolder(this.paths);
    this.#log.info('ended');
    this.#end(this.#well);
  }

  #isEmpty(): boolean {
    return this.#leases.size === 0 && this.#deck.endpoints().length === 0;
  }

  #watchEmpty(wait: number): void {
    if (!this.#untilEmpty || this.#stopping || !this.#isEmpty()) return;
    clearTimeout(this.#emptyTimer);
    this.#emptyTimer = setTimeout(() => {
      if (this.#isEmpty()) void this.stop('the last sandbox has gone');
    }, wait);
  }
}

function lockAt({ lock, socket }: RuntimePaths): DaemonLock {
  try {
    return takeLock(lock, socket);
  } catch (error) {
    if (error instanceof DeckError) throw error;
    throw new DeckError(
      'permission',
      `cannot make ${lock}: ${(error as NodeJS.ErrnoException).code}; choose another place with --host unix:///PATH`,
    );
  }
}

/** Ends what a daemon that was killed left running, and says so. */
async function cleanUp(lock: DaemonLock, state: StateFile): Promise<string[]> {
  const { predecessor } = lock;
  const sandboxes = state.read();
  state.remove();
  if (predecessor === 0) return [];
  const counts = await Promise.all(sandboxes.map((sandbox) => endRecorded(sandbox, DEFAULT_GRACE)));
  const ended = sandboxes.filter((_, i) => counts[i]! > 0).map(({ name }) => name);
  const sandboxesEnded = ended.length > 0 ? `; ended its sandboxes ${ended.join(', ')}` : '';
  return [`cleaned up after a daemon that did not exit cleanly (pid ${predecessor})${sandboxesEnded}`];
}

/** Removes a socket that nobody listens at any more. Throws a `DeckError` when the place is taken by something else. */
async function freeSocket(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw conflict(
        `${path} exists and is not a socket; remove it, or choose another place with --host unix:///PATH`,
      );
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const answered = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
  if (answered) {
    throw conflict(
      `another program listens at ${path}; stop it, or choose another place with --host unix:///PATH`,
    );
  }
  unlinkSync(path);
}

function remove(path: string): void {
  rmSync(path, { force: true });
}
