import { chmodSync, chownSync, lstatSync, mkdirSync, rmSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { ConntrackOptions } from '../dataplane/commands.ts';
import type { VersionInfo } from './api-schema.ts';
import { Deck } from './deck.ts';
import type { DockerPlugin } from './docker/plugin.ts';
import { conflict, DeckError, invalid } from './error.ts';
import { EventLog } from './event-log.ts';
import { findGroup } from './group.ts';
import type { SubnetPool } from './ipam.ts';
import { Leases } from './leases.ts';
import { DaemonLock, takeEnded, takeLock } from './lock.ts';
import type { Log } from './log.ts';
import { openIn, type RuntimePaths, removeFolder } from './paths.ts';
import { type Pruned, pruneDeck } from './prune.ts';
import { type Restored, restoreDeck, savedBridge } from './restore.ts';
import type { SavedState } from './saved-state.ts';
import { StateFile } from './state-file.ts';
import { StateKeeper } from './state-keeper.ts';
import type { TapStore } from './tap-store.ts';
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
  /** A new file to which all is written that enters the data plane, from the beginning. */
  record?: string;
  /** How connections are tracked. */
  conntrack?: ConntrackOptions;
  /** Ways out, the default first. */
  uplinks?: readonly UplinkSpec[];
  /** Whether endpoints of network `bridge` reach the loopback of the host. */
  hostLoopback?: boolean;
  /** Where networks that ask for no subnet get theirs. */
  addressPools?: readonly SubnetPool[];
  /** A group whose members may use the socket, and with it do whatever the daemon may; only its user by default. */
  group?: string;
  /** Where Docker finds its plugin `tapdeck`; there is none by default. */
  dockerPlugin?: string;
  /** Descriptors of sockets at which somebody listens for us, at `paths.socket` and `dockerPlugin`: they are not ours to remove. */
  passed?: { api?: number; docker?: number };
  /** Where TAPs are kept while no daemon runs. */
  store?: TapStore;
  /** Makes the deck; tests put one on a fake data plane there. */
  openDeck?: typeof Deck.open;
}

/** What is there before the daemon is. */
interface DaemonParts {
  lock: DaemonLock;
  /** Of the state, where it has a place of its own. */
  stateLock: DaemonLock | null;
  file: StateFile;
  deck: Deck;
  notices: string[];
  restored: Restored;
  /** Of `DaemonOptions.group`. */
  gid: number | null;
  api: typeof import('./api.ts');
}

/**
 * A deck behind a socket. There is one daemon at a socket. What it is to have is on disk, so that the next one goes on
 * where it stopped or was killed: see `restoreDeck`.
 */
export class Daemon {
  readonly paths: RuntimePaths;
  /** What had to be cleaned up at the start, for people. */
  readonly notices: readonly string[];
  /** Settles when the daemon has ended, for whatever reason: true unless its data plane failed. */
  readonly ended: Promise<boolean>;
  readonly #lock: DaemonLock;
  readonly #stateLock: DaemonLock | null;
  readonly #file: StateFile;
  readonly #keeper: StateKeeper;
  readonly #deck: Deck;
  readonly #leases: Leases;
  readonly #api: typeof import('./api.ts');
  readonly #app: FastifyInstance;
  readonly #log: Log;
  readonly #group: number | null;
  readonly #untilEmpty: boolean;
  readonly #passed: { api?: number; docker?: number };
  readonly #store: TapStore | undefined;
  #docker: DockerPlugin | null = null;
  readonly #startedAt = new Date().toISOString();
  #end!: (well: boolean) => void;
  #emptyTimer: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | null = null;
  #well = true;

  /** Throws a `DeckError` when another daemon is at the socket, and when the socket cannot be made. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const { paths, log, untilEmpty = false, group, passed = {}, store } = options;
    const gid = group === undefined ? null : findGroup(group);
    const lock = await lockAt(paths);
    let stateLock: DaemonLock | null = null;
    let deck: Deck | undefined;
    try {
      const { predecessor } = lock;
      if (!untilEmpty) stateLock = await lockStateOf(paths);
      const file = new StateFile(untilEmpty ? paths.recovery : paths.state);
      const saved = await file.read();
      const abandoned = untilEmpty ? null : await readAbandoned(paths);
      if (passed.api === undefined) await freeSocket(paths.socket);
      lock.sign();
      // Loaded now, and beside the start of the deck's thread: of several daemons that start at once all but one
      // end before they come here.
      const loading = import('./api.ts');
      const { conntrack, uplinks, hostLoopback, addressPools, openDeck = Deck.open } = options;
      const bridge = savedBridge(saved);
      deck = await openDeck({
        log: (level, message) => log[level](message),
        ...(conntrack && { conntrack }),
        ...(uplinks && { uplinks }),
        // The one who starts a daemon in place of one that was killed does not know what all its sandboxes wished.
        ...(addressPools && { addressPools }),
        ...((hostLoopback || (untilEmpty && bridge?.options.hostLoopback)) && { hostLoopback: true }),
        ...(bridge && { bridge }),
        ...(store && { store }),
      });
      if (options.record !== undefined) await recordTo(options.record, deck, log);
      const restored = await restoreAll(deck, [saved, abandoned], log);
      await store?.dropLeft();
      const notices = [
        ...(file.damage === null ? [] : [file.damage]),
        ...(predecessor === 0 ? [] : [cleanedUp(predecessor, restored)]),
      ];
      for (const notice of notices) log.warn(notice);
      const daemon = new Daemon(options, {
        lock,
        stateLock,
        file,
        deck,
        notices,
        restored,
        gid,
        api: await loading,
      });
      if (options.dockerPlugin !== undefined) await daemon.#listenForDocker(options.dockerPlugin);
      try {
        await daemon.#listen();
      } catch (error) {
        await daemon.#app.close();
        await daemon.#docker?.close();
        throw error;
      }
      return daemon;
    } catch (error) {
      // For the next one, which may succeed.
      store?.close();
      await deck?.close();
      stateLock?.release();
      lock.release();
      removeFolder(paths);
      throw error;
    }
  }

  private constructor(options: DaemonOptions, parts: DaemonParts) {
    const { lock, stateLock, file, deck, notices, restored, gid, api } = parts;
    this.paths = options.paths;
    this.notices = notices;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#lock = lock;
    this.#stateLock = stateLock;
    this.#file = file;
    this.#deck = deck;
    this.#log = options.log;
    this.#group = gid;
    this.#untilEmpty = options.untilEmpty ?? false;
    this.#passed = options.passed ?? {};
    this.#store = options.store;
    const leases = new Leases(deck);
    this.#leases = leases;
    leases.onClosed = () => this.#watchEmpty(NEXT_SANDBOX);
    const keeper = new StateKeeper({
      deck,
      leases,
      file,
      unrestored: restored.unrestored,
      onFailure: ({ message }) =>
        this.#log.error(
          `cannot write the state file ${file.path}: ${message}; what is made now is lost with this daemon`,
        ),
    });
    this.#keeper = keeper;
    leases.saved = () => keeper.saved();
    for (const sandbox of restored.waiting) leases.restore(sandbox);
    keeper.touch();
    this.#api = api;
    this.#app = api.buildApi({
      deck,
      leases,
      events: new EventLog(deck.events),
      prune: () => this.#prune(),
      version: () => this.version(),
      ending: () => this.#untilEmpty && this.#isEmpty(),
      saved: () => keeper.saved(),
      onDefect: (error, request) => this.#log.error(`${request} failed: ${error.stack ?? error.message}`),
    });
    deck.events.on('attach', ({ name, network, ipv4, ipv6 }) => {
      this.#log.info(`attached ${name} to ${network} as ${[ipv4, ipv6].filter(Boolean).join(' and ')}`);
    });
    deck.events.on('detach', ({ name, network }) => {
      this.#log.info(`detached ${name} from ${network}`);
      this.#watchEmpty(NEXT_SANDBOX);
    });
    deck.events.on('end', () => {
      // A daemon whose sandboxes have no network is worse than none: whoever supervises it starts another.
      this.#well = false;
      keeper.abandon();
      void this.stop('the data plane has failed');
    });
    deck.events.on('gone', ({ name, network }) => {
      this.#log.info(`detached ${name} from ${network}: its namespace or interface is gone`);
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

  /** Settles when the data plane answers. */
  async alive(): Promise<void> {
    await this.#deck.drops();
  }

  /** Ends the sandboxes, detaches everything and removes the socket. May be called again. */
  stop(why: string): Promise<void> {
    this.#stopping ??= this.#stop(why);
    return this.#stopping;
  }

  #prune(): Promise<Pruned> {
    this.#keeper.forget();
    return pruneDeck(this.#deck, this.paths);
  }

  async #listen(): Promise<void> {
    const { api } = this.#passed;
    // The socket must never be open to others, not even between its making and chmod.
    const umask = process.umask(0o077);
    try {
      if (api === undefined) await this.#api.listenAt(this.#app, this.paths.socket);
      else await this.#api.listenOn(this.#app, api);
    } catch (error) {
      throw invalid(
        `cannot listen at ${this.paths.socket}: ${(error as Error).message}; choose another place with --host unix:///PATH`,
      );
    } finally {
      process.umask(umask);
    }
    if (this.#group !== null) this.#openTo(this.#group);
    // Who may use a socket that was passed on is its maker's to say.
    else if (api === undefined) chmodSync(this.paths.socket, 0o600);
    // What an embedded daemon left that was killed is now in our own state.
    if (!this.#untilEmpty) void this.#keeper.saved().then(() => remove(this.paths.recovery));
    this.#watchEmpty(FIRST_SANDBOX);
  }

  async #listenForDocker(socket: string): Promise<void> {
    const passed = this.#passed.docker;
    if (passed === undefined) await freeSocket(socket, '--docker-plugin=PATH');
    const { DockerPlugin } = await import('./docker/plugin.ts');
    const plugin = new DockerPlugin({
      deck: this.#deck,
      saved: () => this.#keeper.saved(),
      log: (level, message) => this.#log[level](message),
    });
    await plugin.listen(socket, passed);
    this.#docker = plugin;
    this.#log.info(`Docker finds network driver tapdeck at ${socket}`);
  }

  /** Lets a group in. */
  #openTo(group: number): void {
    const { socket, folder, own } = this.paths;
    try {
      chownSync(socket, -1, group);
      if (own) chownSync(folder, -1, group);
    } catch (error) {
      // chown(2): who is not root may give a file only to a group that he is in.
      throw new DeckError(
        'permission',
        `cannot give ${socket} to group ${group}: ${(error as NodeJS.ErrnoException).code}; be a member of it, or root`,
      );
    }
    chmodSync(socket, 0o660);
    if (own) chmodSync(folder, 0o710);
  }

  async #stop(why: string): Promise<void> {
    clearTimeout(this.#emptyTimer);
    this.#log.info(`ending: ${why}`);
    // Who comes now finds no daemon, rather than one that refuses; or waits for the next one, where somebody listens for us.
    if (this.#passed.api === undefined) remove(this.paths.socket);
    else this.#app.server.close();
    await this.#docker?.close();
    await this.#leases.closeAll();
    // What is connected now is to be so again.
    await this.#keeper.end();
    this.#store?.close();
    await this.#deck.close();
    await this.#app.close();
    if (this.#untilEmpty) this.#file.remove();
    // An embedded daemon's, this one's or that of one that was killed.
    remove(this.paths.log);
    this.#stateLock?.release();
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

async function lockAt(paths: RuntimePaths): Promise<DaemonLock> {
  const { lock, socket } = paths;
  try {
    return await openIn(paths, () => takeLock(lock, socket));
  } catch (error) {
    if (error instanceof DeckError) throw error;
    throw new DeckError(
      'permission',
      `cannot make ${lock}: ${(error as NodeJS.ErrnoException).code}; choose another place with --host unix:///PATH`,
    );
  }
}

/**
 * Two daemons of one user are at two sockets when they were started with different ideas of where the user's own place is,
 * and would have one state. Null where the state is beside the socket, or has no place at all.
 */
async function lockStateOf({ state, folder }: RuntimePaths): Promise<DaemonLock | null> {
  const place = dirname(state);
  if (place === folder) return null;
  try {
    mkdirSync(place, { recursive: true, mode: 0o700 });
  } catch {
    // It will be said when something is to be written.
    return null;
  }
  const lock = await takeEnded(`${state}.lock`);
  if (lock instanceof DaemonLock) {
    lock.sign();
    return lock;
  }
  throw conflict(
    `another daemon (pid ${lock.heldBy}) has the state file ${state}; stop it first, or start this one elsewhere with --host unix:///PATH`,
  );
}

/** What a daemon that ends with its last endpoint has left that was killed: another one of its kind would go on with it. */
async function readAbandoned({ recovery }: RuntimePaths): Promise<SavedState | null> {
  const file = new StateFile(recovery);
  // One that makes no sense is of no use to anybody.
  return file.read().catch(() => null);
}

/** Makes the networks and containers of all states again. */
async function restoreAll(deck: Deck, states: readonly (SavedState | null)[], log: Log): Promise<Restored> {
  const all: Restored = { waiting: [], ended: [], unrestored: { networks: [], containers: [] } };
  for (const state of states) {
    if (!state) continue;
    const one = await restoreDeck(state, { deck, log: (level, message) => log[level](message) });
    all.waiting.push(...one.waiting);
    all.ended.push(...one.ended);
    all.unrestored.networks.push(...one.unrestored.networks);
    all.unrestored.containers.push(...one.unrestored.containers);
  }
  return all;
}

function cleanedUp(predecessor: number, { ended }: Restored): string {
  const sandboxesEnded = ended.length > 0 ? `; ended its sandboxes ${ended.join(', ')}` : '';
  return `cleaned up after a daemon that did not exit cleanly (pid ${predecessor})${sandboxesEnded}`;
}

/** Removes a socket that nobody listens at any more. Throws a `DeckError` when the place is taken by something else. */
async function freeSocket(path: string, option = '--host unix:///PATH'): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw conflict(`${path} exists and is not a socket; remove it, or choose another place with ${option}`);
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
    throw conflict(`another program listens at ${path}; stop it, or choose another place with ${option}`);
  }
  unlinkSync(path);
}

function remove(path: string): void {
  rmSync(path, { force: true });
}

/** Writes all that happens from now on to a file, until the daemon ends. */
async function recordTo(path: string, deck: Deck, log: Log): Promise<void> {
  const { closed } = await deck.recordings.toFile(path);
  log.info(`recording to ${path}`);
  void closed.then((problem) => {
    if (problem) log.error(problem.message);
  });
}
