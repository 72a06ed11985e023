import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DaemonClient, SandboxConnection } from '../../control/client.ts';
import type { Project, ProjectNetwork } from '../../control/compose/project.ts';
import { conflict, DeckError, notFound, unavailable } from '../../control/error.ts';
import { DaemonLock } from '../../control/lock.ts';
import type { NetworkInfo } from '../../control/network.ts';
import { ensureFolder, type RuntimePaths } from '../../control/paths.ts';
import { bootId, findProcess } from '../../control/process.ts';
import { parseUplinkSpec } from '../../control/uplink-spec.ts';
import { awaitEnd, type DaemonWish, type ReachedDaemon, reachDaemon } from '../embedded.ts';
import { takeUpAgain } from '../next-daemon.ts';
import { EXIT_DONE, EXIT_FAILED, say } from '../output.ts';
import { removeFolderOf, removeRoot } from './down.ts';
import {
  digestOf,
  type LabPaths,
  type LabState,
  labPaths,
  logPath,
  makeLabFolder,
  readLab,
  writeLab,
} from './lab-files.ts';
import { LabService, type LostSandbox } from './lab-service.ts';

/** Milliseconds between two times that a lab says it is there: a daemon stays ten seconds for who says so. */
const HEARTBEAT = 4000;
/** Sandboxes that are made at one time. */
const MOST_AT_ONCE = 6;

/** What the supervisor is to do: sent to it over the channel between it and the command that starts it. */
export interface Assignment {
  project: Project;
  /** By which the daemon knows the lab. */
  id: string;
  /** As `formatUplinkSpec` writes them. */
  uplinks?: string[];
}

/** What it answers. After the last two it says nothing more. */
export type SupervisorMessage =
  | { kind: 'progress'; what: 'Network' | 'Container'; name: string; state: string }
  | { kind: 'up' }
  | { kind: 'failed'; code: DeckError['code']; message: string; detail: readonly string[] };

/**
 * The process that holds a lab from `up` to `down`: its services are the children of this process, and none outlives it.
 * Answers the exit code when the lab is down.
 */
export async function supervise(paths: RuntimePaths, host: string | undefined): Promise<number> {
  const tell = (message: SupervisorMessage) =>
    new Promise<void>((resolve) => {
      // Whoever started us may have gone; that is no reason to fail.
      if (process.connected) process.send!(message, () => resolve());
      else resolve();
    });
  const { project, id, uplinks } = await new Promise<Assignment>((resolve) =>
    process.once('message', resolve),
  );
  const wish: DaemonWish = uplinks ? { uplinks: uplinks.map(parseUplinkSpec) } : {};
  let supervisor: Supervisor | undefined;
  let wanted = true;
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        wanted = false;
        supervisor?.giveUp();
        resolve();
      });
    }
  });
  try {
    supervisor = Supervisor.begin(paths, host, project, id, wish, (what, name, state) =>
      tell({ kind: 'progress', what, name, state }),
    );
    if (!wanted) supervisor.giveUp();
    await supervisor.up();
    await tell({ kind: 'up' });
    if (process.connected) process.disconnect();
    await Promise.race([ended, supervisor.lost]);
    await supervisor.down();
    return EXIT_DONE;
  } catch (error) {
    await supervisor?.down().catch((failure: Error) => say(failure.message));
    const { message } = error as Error;
    const { code, detail } = error instanceof DeckError ? error : unavailable(message);
    await tell(
      wanted
        ? { kind: 'failed', code, message, detail }
        : { kind: 'failed', code, message: 'the lab was ended while it came up', detail: [] },
    );
    if (process.connected) process.disconnect();
    return EXIT_FAILED;
  }
}

type Report = (what: 'Network' | 'Container', name: string, state: string) => void;

class Supervisor {
  /** Settles when there is no daemon any more, nor will be one. */
  readonly lost: Promise<void>;
  readonly #paths: RuntimePaths;
  readonly #host: string | undefined;
  readonly #wish: DaemonWish;
  readonly #project: Project;
  readonly #report: Report;
  readonly #files: LabPaths;
  readonly #lock: DaemonLock;
  readonly #state: LabState;
  readonly #id: string;
  readonly #networks = new Map<string, NetworkInfo>();
  readonly #services = new Map<string, LabService>();
  readonly #givenUp = new AbortController();
  #daemon: ReachedDaemon | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #unwritten = false;
  #lose!: () => void;
  #down: Promise<void> | null = null;

  /** Throws a `DeckError` when the lab has a supervisor already. */
  static begin(
    paths: RuntimePaths,
    host: string | undefined,
    project: Project,
    id: string,
    wish: DaemonWish,
    report: Report,
  ): Supervisor {
    ensureFolder(paths);
    const files = labPaths(paths, project.name);
    makeLabFolder(files);
    const lock = DaemonLock.take(files.lock);
    if (lock instanceof DaemonLock) {
      lock.sign();
      return new Supervisor(paths, host, project, id, wish, report, files, lock);
    }
    throw conflict(`lab ${project.name} is being brought up or down by another process (pid ${lock.heldBy})`);
  }

  private constructor(
    paths: RuntimePaths,
    host: string | undefined,
    project: Project,
    id: string,
    wish: DaemonWish,
    report: Report,
    files: LabPaths,
    lock: DaemonLock,
  ) {
    this.#paths = paths;
    this.#host = host;
    this.#wish = wish;
    this.#project = project;
    this.#id = id;
    this.#report = report;
    this.#files = files;
    this.#lock = lock;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
    // Of a lab whose supervisor was killed: its networks may still be there.
    const left = readLab(files)?.networks ?? [];
    this.#state = {
      project: project.name,
      file: project.file,
      digest: digestOf(project),
      id: this.#id,
      state: 'starting',
      supervisor: findProcess(process.pid)!,
      boot: bootId(),
      networks: left,
      services: [],
    };
  }

  /** Brings everything up. Throws a `DeckError`; `down` must follow. */
  async up(): Promise<void> {
    writeLab(this.#files, this.#state);
    this.#daemon = await reachDaemon(this.#paths, this.#host, this.#id, this.#wish);
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT);
    const { networks, services } = this.#project;
    // First those that must be there: before anything is made.
    for (const network of [...networks.filter(isExternal), ...networks.filter((one) => !isExternal(one))]) {
      this.#checkGivenUp();
      await this.#makeNetwork(network);
    }
    for (const wish of services) {
      const log = logPath(this.#files, wish.key);
      rmSync(log, { force: true });
      this.#services.set(
        wish.key,
        new LabService(wish, {
          project: this.#project,
          client: this.#client,
          network: (key) => this.#networks.get(key)!,
          pidOf: (key) => this.#services.get(key)!.state.pid,
          resolvConfOf: (key) => this.#services.get(key)!.resolvConf,
          log,
          hidden: [dirname(this.#paths.socket)],
          changed: () => this.#write(),
          takeUpAgain: (lost) => this.#takeUpAgain(lost),
        }),
      );
    }
    this.#state.services = Array.from(this.#services.values(), ({ state }) => state);
    this.#write();
    await this.#startAll();
    this.#checkGivenUp();
    this.#state.state = 'up';
    this.#write();
  }

  /** Makes `up` fail. */
  giveUp(): void {
    this.#givenUp.abort();
  }

  /** Takes everything down that is there, in whichever state. May be called again. */
  down(): Promise<void> {
    this.#down ??= this.#takeDown();
    return this.#down;
  }

  get #client(): DaemonClient {
    return this.#daemon!.client;
  }

  async #makeNetwork({ key, name, options, place }: ProjectNetwork): Promise<void> {
    const client = this.#client;
    const path = `/v1/networks/${encodeURIComponent(name)}`;
    if (!options) {
      const found = await client.get<NetworkInfo>(path).catch((error: unknown) => {
        if (!(error instanceof DeckError && error.code === 'not-found')) throw error;
        throw notFound(
          `${place}: networks.${key}: there is no network ${name}, and it is external; make it with "tapdeck network create ${name}"`,
        );
      });
      this.#networks.set(key, found);
      return;
    }
    // Noted before it is there: what is noted and not there is no harm.
    const isLeft = this.#state.networks.includes(name);
    if (!isLeft) this.#state.networks.push(name);
    this.#write();
    try {
      if (isLeft) await this.#removeNetwork(name);
      this.#networks.set(key, await client.post<NetworkInfo>('/v1/networks', options));
    } catch (error) {
      this.#state.networks = this.#state.networks.filter((one) => one !== name);
      throw error;
    }
    this.#report('Network', name, 'created');
  }

  /** One that is not there is no error. */
  async #removeNetwork(name: string): Promise<void> {
    try {
      await this.#client.delete(`/v1/networks/${encodeURIComponent(name)}`);
    } catch (error) {
      if (!(error instanceof DeckError && error.code === 'not-found')) throw error;
    }
    this.#state.networks = this.#state.networks.filter((one) => one !== name);
  }

  /** Begins each service as soon as those are there that it depends on, and waits until all are healthy that can be. */
  async #startAll(): Promise<void> {
    const failed = new AbortController();
    let atOnce = 0;
    const waiting: (() => void)[] = [];
    const start = async (service: LabService): Promise<void> => {
      const { dependsOn, container } = service.wish;
      await Promise.all(
        dependsOn.map(({ service: other, condition }) => this.#services.get(other)!.reach(condition)),
      );
      while (atOnce >= MOST_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
      if (failed.signal.aborted) return;
      this.#checkGivenUp();
      atOnce++;
      try {
        await service.start();
        this.#report('Container', container, 'started');
      } finally {
        atOnce--;
        waiting.shift()?.();
      }
      if (this.#isToBeHealthy(service)) await service.reach('service_healthy');
    };
    const all = Array.from(this.#services.values(), (service) =>
      start(service).catch((error: unknown) => {
        failed.abort();
        throw error;
      }),
    );
    const givenUp = new Promise<never>((_, reject) => {
      this.#givenUp.signal.addEventListener('abort', () =>
        reject(new DeckError('unavailable', 'the lab was ended while it came up')),
      );
    });
    givenUp.catch(() => {});
    await Promise.race([Promise.all(all), givenUp]);
  }

  /** One that another waits for to end may do so before anybody has asked how it is. */
  #isToBeHealthy({ wish: { key, healthcheck } }: LabService): boolean {
    const isJob = this.#project.services.some(({ dependsOn }) =>
      dependsOn.some(
        ({ service, condition }) => service === key && condition === 'service_completed_successfully',
      ),
    );
    return healthcheck !== null && !isJob;
  }

  #checkGivenUp(): void {
    if (this.#givenUp.signal.aborted)
      throw new DeckError('unavailable', 'the lab was ended while it came up');
  }

  async #takeDown(): Promise<void> {
    this.giveUp();
    this.#state.state = 'ending';
    this.#write();
    // Who depends on another ends before it.
    const stopped = new Map<string, Promise<void>>();
    const stop = (key: string): Promise<void> => {
      const known = stopped.get(key);
      if (known) return known;
      const service = this.#services.get(key)!;
      const dependents = Array.from(this.#services.values())
        .filter(({ wish }) => wish.dependsOn.some((one) => one.service === key))
        .map(({ wish }) => wish.key);
      const done = (async () => {
        await Promise.all(dependents.map(stop));
        await service.stop();
        if (service.state.startedAt) this.#report('Container', service.wish.container, 'removed');
      })();
      stopped.set(key, done);
      return done;
    };
    await Promise.all(Array.from(this.#services.keys(), stop));
    await this.#leaveDaemon();
    removeFolderOf(this.#files, this.#lock);
    removeRoot(this.#paths, this.#files);
  }

  /** Removes the networks, and tells the daemon that it need not stay for us. */
  async #leaveDaemon(): Promise<void> {
    clearInterval(this.#heartbeat);
    if (!this.#daemon) return;
    try {
      for (const name of this.#state.networks.slice().reverse()) {
        await this.#removeNetwork(name).then(
          () => this.#report('Network', name, 'removed'),
          (error: DeckError) => {
            if (error.code === 'unavailable') throw error;
            say(error.message);
          },
        );
      }
      const { ending } = await this.#client.closeSandbox(this.#id);
      if (ending) await awaitEnd(this.#paths, this.#daemon, this.#id);
    } catch (error) {
      // A daemon that has gone has taken the networks along.
      if (!(error instanceof DeckError)) throw error;
      say(error.message);
    }
  }

  async #beat(): Promise<void> {
    if (this.#unwritten) this.#write();
    try {
      await this.#client.expectSandbox(this.#id);
    } catch {
      // The sandboxes find out what has become of it.
    }
  }

  async #takeUpAgain(lost: LostSandbox): Promise<SandboxConnection | null> {
    try {
      const found = await takeUpAgain({
        ...lost,
        paths: this.#paths,
        host: this.#host,
        wish: this.#wish,
        daemon: this.#daemon!,
      });
      if (found) this.#daemon = found.daemon;
      return found?.connection ?? null;
    } catch (error) {
      this.#lose();
      throw error;
    }
  }

  /** What cannot be written now is so with the next heartbeat: a full disk must not end what runs. */
  #write(): void {
    try {
      writeLab(this.#files, this.#state);
      this.#unwritten = false;
    } catch (error) {
      if (!this.#unwritten) say(`cannot write down how the lab is: ${(error as Error).message}`);
      this.#unwritten = true;
    }
  }
}

function isExternal({ options }: ProjectNetwork): boolean {
  return options === null;
}
