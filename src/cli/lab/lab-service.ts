import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonClient, SandboxConnection } from '../../control/client.ts';
import type { Project, ProjectService, ServiceNetwork } from '../../control/compose/project.ts';
import type { Container } from '../../control/container.ts';
import type { AttachOptions, ConnectOptions, Endpoint } from '../../control/endpoint.ts';
import { DeckError, invalid, unavailable } from '../../control/error.ts';
import { hostsText, ownEntries } from '../../control/hosts-file.ts';
import type { NetworkInfo } from '../../control/network.ts';
import type { PublishedPort } from '../../control/published.ts';
import { formatResolvConf } from '../../control/resolv-conf.ts';
import { newSandboxId, Sandbox, type SandboxOptions } from '../../control/sandbox.ts';
import { rewriteResolvConf } from '../../control/sandbox-files.ts';
import { findExecutable } from '../executable.ts';
import { watchHealth } from './health.ts';
import type { ServiceState } from './lab-files.ts';
import { LogFile } from './log-file.ts';

/** Milliseconds before a service is begun again: doubled each time, and from the start when it ran for long. */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 60_000;
const LONG_RUN = 10_000;

export interface ServiceParts {
  project: Project;
  client: DaemonClient;
  /** The network of this key in the file, as the deck has it. */
  network(key: string): NetworkInfo;
  /** The process of a service that runs. */
  pidOf(service: string): number | null;
  /** What it began with. */
  resolvConfOf(service: string): string | undefined;
  /** Path of its log file. */
  log: string;
  /** Folders that it must not see: that of the daemon's socket. */
  hidden: readonly string[];
  /** Told when `state` has changed. */
  changed(): void;
  /** Waits for the next daemon when this one has gone; answers null when the service ended first. */
  takeUpAgain(lost: LostSandbox): Promise<SandboxConnection | null>;
}

/** A sandbox whose daemon has gone without a word. */
export interface LostSandbox {
  id: string;
  pid: number;
  options: AttachOptions;
  endpoint: Endpoint;
  over(): boolean;
}

/** One service of a lab: its sandbox, and the next one when that has ended and it is to be begun again. */
export class LabService {
  readonly state: ServiceState;
  readonly wish: ProjectService;
  readonly #parts: ServiceParts;
  readonly #log: LogFile;
  readonly #stopping = new AbortController();
  /** What runs at this time, from its making to its last trace. */
  #run: Run | undefined;
  /** Settles when what is being made is there, or is not. */
  #beginning: Promise<unknown> = Promise.resolve();
  /** Settles when nothing of it runs and nothing will. */
  #ended: Promise<void> = Promise.resolve();
  #changes: (() => void)[] = [];
  /** What its last healthcheck said that failed. */
  #checked: readonly string[] = [];

  constructor(wish: ProjectService, parts: ServiceParts) {
    this.wish = wish;
    this.#parts = parts;
    this.#log = new LogFile(parts.log);
    this.state = {
      service: wish.key,
      container: wish.container,
      state: 'created',
      health: null,
      exitCode: null,
      pid: null,
      sandbox: null,
      startedAt: null,
      endedAt: null,
      restarts: 0,
      networks: [],
      ports: [],
    };
  }

  /** What its /etc/resolv.conf was to say when it began. */
  get resolvConf(): string | undefined {
    return this.#run?.resolvConf;
  }

  /** Begins it; settles when its command runs. Throws a `DeckError`, and has then left nothing. */
  async start(): Promise<void> {
    const run = await this.#begin();
    this.#ended = this.#goOn(run);
  }

  /** Settles when the service is as another one needs it. Throws a `DeckError` when it will not be. */
  async reach(
    condition: 'service_started' | 'service_healthy' | 'service_completed_successfully',
  ): Promise<void> {
    const { key } = this.wish;
    for (;;) {
      const { state, health, exitCode, restarts } = this.state;
      if (condition === 'service_started' && state !== 'created') return;
      if (condition === 'service_completed_successfully' && state === 'exited' && exitCode === 0) return;
      if (condition === 'service_healthy' && health === 'healthy') return;
      if (state === 'exited') throw this.#failure(`has ended with ${exitCode}`);
      if (health === 'unhealthy') throw this.#failure('is unhealthy');
      // A run that ends before it was healthy is as good as a check that fails.
      const most = this.wish.healthcheck?.retries ?? Infinity;
      if (condition === 'service_healthy' && restarts >= most)
        throw this.#failure(`ends again and again before it is healthy, the last time with ${exitCode}`);
      if (this.#stopping.signal.aborted) throw unavailable(`service ${key} is being ended`);
      await new Promise<void>((next) => this.#changes.push(next));
    }
  }

  /** Ends it, and waits until the daemon has removed every trace. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#tell({});
    // Taken apart when it is whole: of a part nobody would know what belongs to it.
    await this.#beginning;
    await this.#run?.close(this.wish.stopGrace);
    await this.#ended;
    this.#log.close();
  }

  /** Says why nobody need wait for it any longer, with what it and its healthcheck said last: its log goes with the lab. */
  #failure(what: string): DeckError {
    const { key } = this.wish;
    const said = (who: string, lines: readonly string[]) => lines.map((line) => `${who}  | ${line}`);
    const detail = [...said(`${key} healthcheck`, this.#checked), ...said(key, this.#log.last)];
    const silent = detail.length === 0 ? ', and has said nothing' : '; it said last:';
    return new DeckError('unavailable', `service ${key} ${what}${silent}`, { detail });
  }

  #begin(): Promise<Run> {
    const run = this.#beginRun();
    this.#beginning = run.catch(() => {});
    return run;
  }

  async #beginRun(): Promise<Run> {
    const run = new Run(this.wish, this.#parts, this.#log);
    this.#run = run;
    try {
      if (this.#stopping.signal.aborted) throw unavailable(`service ${this.wish.key} is being ended`);
      const { endpoints, ports } = await run.begin();
      this.#tell({
        state: 'running',
        health: this.wish.healthcheck ? 'starting' : null,
        pid: run.pid,
        sandbox: run.sandbox.id,
        startedAt: new Date().toISOString(),
        networks: endpoints.map(({ network: name, ipv4, ipv6 }) => ({ name, ipv4, ipv6 })),
        ports,
      });
      return run;
    } catch (error) {
      await run.close(0);
      throw error;
    }
  }

  /** Watches it to its end, and to that of each that comes after it. */
  async #goOn(first: Run): Promise<void> {
    const { restart, healthcheck, environment } = this.wish;
    let wait = FIRST_WAIT;
    for (let run: Run | undefined = first; run; ) {
      const begun = performance.now();
      const over = new AbortController();
      const health =
        healthcheck &&
        watchHealth(
          healthcheck,
          run.sandbox,
          serviceEnvironment(environment),
          (health, said) => {
            this.#checked = said;
            this.#tell({ health });
          },
          over.signal,
        );
      const exitCode = await run.ended;
      over.abort();
      await health;
      await run.close(this.wish.stopGrace);
      const again =
        !this.#stopping.signal.aborted &&
        this.state.restarts < restart.most &&
        (restart.when === 'always' || (restart.when === 'on-failure' && exitCode !== 0));
      this.#tell({
        state: again ? 'restarting' : 'exited',
        exitCode,
        health: null,
        pid: null,
        sandbox: null,
        endedAt: new Date().toISOString(),
        networks: [],
        ports: [],
      });
      if (!again) return;
      if (performance.now() - begun > LONG_RUN) wait = FIRST_WAIT;
      await sleep(wait, undefined, { signal: this.#stopping.signal }).catch(() => {});
      wait = Math.min(LONGEST_WAIT, wait * 2);
      this.state.restarts++;
      run = await this.#begin().catch((error: Error) => {
        process.stderr.write(`${this.wish.key} cannot be begun again: ${error.message}\n`);
        this.#tell({ state: 'exited' });
        return undefined;
      });
    }
  }

  #tell(changes: Partial<ServiceState>): void {
    Object.assign(this.state, changes);
    this.#parts.changed();
    for (const next of this.#changes.splice(0)) next();
  }
}

interface Connected {
  endpoints: readonly Endpoint[];
  ports: PublishedPort[];
}

/** One sandbox of a service, from its making to its last trace. */
class Run {
  resolvConf: string | undefined;
  readonly #wish: ProjectService;
  readonly #parts: ServiceParts;
  readonly #log: LogFile;
  readonly #id = newSandboxId();
  #sandbox: Sandbox | undefined;
  #connection: SandboxConnection | undefined;
  #closing: Promise<void> | null = null;
  #logs: Promise<unknown> = Promise.resolve();
  #over = false;

  constructor(wish: ProjectService, parts: ServiceParts, log: LogFile) {
    this.#wish = wish;
    this.#parts = parts;
    this.#log = log;
  }

  get sandbox(): Sandbox {
    return this.#sandbox!;
  }

  get pid(): number {
    return this.sandbox.pid;
  }

  /** The exit code, when the command has ended. */
  get ended(): Promise<number> {
    return this.sandbox.ended.then(({ exitCode }) => exitCode);
  }

  async begin(): Promise<Connected> {
    const { command, hostname, environment, cwd } = this.#wish;
    const sandbox = await Sandbox.start({
      command,
      id: this.#id,
      network: this.#network(),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: serviceEnvironment(environment),
      hostname,
      cwd,
      ...mounts(this.#wish, this.#parts.hidden),
    });
    this.#sandbox = sandbox;
    void sandbox.ended.then(() => {
      this.#over = true;
    });
    this.#logs = Promise.all([
      this.#log.take(sandbox.stdout!, 'stdout'),
      this.#log.take(sandbox.stderr!, 'stderr'),
    ]);
    const { endpoints, ports } = await this.#connect(sandbox);
    const hosts = this.#hosts(endpoints);
    const resolvConf = this.#resolvConf();
    this.resolvConf = resolvConf;
    sandbox.go({ ...(hosts !== undefined && { hosts }), ...(resolvConf !== undefined && { resolvConf }) });
    return { endpoints, ports };
  }

  /** Ends what runs, and waits until the daemon has removed every trace of it. May be called again. */
  close(grace: number): Promise<void> {
    this.#closing ??= this.#close(grace);
    return this.#closing;
  }

  async #close(grace: number): Promise<void> {
    await this.#sandbox?.close(grace);
    // What is in the pipes is there until it is read.
    await this.#logs;
    try {
      if (this.#connection) await this.#parts.client.closeSandbox(this.#id);
    } catch (error) {
      // A daemon that has gone has nothing left of it.
      if (!(error instanceof DeckError)) throw error;
    } finally {
      this.#connection?.destroy();
    }
  }

  /** Connects it to its networks, in their order, and publishes its ports. */
  async #connect(sandbox: Sandbox): Promise<Connected> {
    const { container, hostname, labels, networks, networkMode, publish } = this.#wish;
    // The deck knows only what has a network namespace of its own.
    if (networkMode !== null && networkMode !== 'none') return { endpoints: [], ports: [] };
    const [first, ...others] = networks.map((one) => ({
      network: this.#parts.network(one.network).name,
      ...this.#place(one),
    }));
    const options: AttachOptions = {
      name: container,
      hostname,
      labels,
      ...(first ?? { network: 'none' }),
      ...(others.length > 0 && { networks: others }),
      ...(publish.length > 0 && { publish }),
    };
    const { client } = this.#parts;
    const { dns: servers, dnsSearch: search, dnsOptions } = this.#wish;
    const wishes = { ...options, resolver: { servers, search, options: dnsOptions } };
    const connection = await client.openSandbox({ ...wishes, id: this.#id, pid: sandbox.pid });
    this.#connection = connection;
    void this.#watch(connection, sandbox, wishes);
    if (!first) return { endpoints: [], ports: [] };
    const { endpoints } = await client.get<Container>(`/v1/containers/${encodeURIComponent(container)}`);
    return { endpoints, ports: endpoints.flatMap((endpoint) => endpoint.ports) };
  }

  #place({ aliases, ip, ip6, mac, ifname, gatewayPriority }: ServiceNetwork): ConnectOptions {
    const { key, links, allowSpoof } = this.#wish;
    const { services } = this.#parts.project;
    return {
      aliases: Array.from(new Set([key, ...aliases])),
      links: links.map(
        ({ service, alias }) => `${services.find((one) => one.key === service)!.container}:${alias}`,
      ),
      gatewayPriority,
      ...(allowSpoof && { allowSpoof }),
      ...(ip !== undefined && { ip }),
      ...(ip6 !== undefined && { ip6 }),
      ...(mac !== undefined && { mac }),
      ...(ifname !== undefined && { ifname }),
    };
  }

  /** Follows what the daemon tells; a daemon that has gone without a word is followed by another. */
  async #watch(connection: SandboxConnection, sandbox: Sandbox, options: AttachOptions): Promise<void> {
    for await (const change of connection.events) {
      if (change.event === 'names') rewriteResolvConf(sandbox.pid, change.resolvConf);
      // The daemon ends the sandbox, and says nothing more.
      if (change.event === 'closing') return;
    }
    if (this.#closing || this.#over) return;
    const { endpoint } = connection;
    const over = () => this.#over || this.#closing !== null;
    try {
      const next = await this.#parts.takeUpAgain({ id: this.#id, pid: sandbox.pid, options, endpoint, over });
      if (!next) return;
      this.#connection = next;
      if (this.#closing) next.destroy();
      else void this.#watch(next, sandbox, options);
    } catch (error) {
      process.stderr.write(`${this.#wish.key}: ${(error as Error).message}\n`);
      void this.close(0);
    }
  }

  /** Whose network namespace it is in. */
  #network(): SandboxOptions['network'] {
    const mode = this.#wish.networkMode;
    if (mode === 'host') return 'host';
    if (mode === null || mode === 'none') return 'own';
    const pid = this.#parts.pidOf(mode.service);
    if (pid === null)
      throw unavailable(`service ${mode.service}, whose network ${this.#wish.key} is to share, does not run`);
    return { pid };
  }

  /** What is in its /etc/hosts; the host's own in the host's network. */
  #hosts(endpoints: readonly Endpoint[]): string | undefined {
    const { hostname, extraHosts, networkMode } = this.#wish;
    if (networkMode === 'host' && extraHosts.length === 0) return undefined;
    const [short = hostname] = hostname.split('.');
    return hostsText([
      ...ownEntries(endpoints, Array.from(new Set([hostname, short]))),
      ...extraHosts.map(({ name, address }) => ({ address, names: [name] })),
    ]);
  }

  /** What is in its /etc/resolv.conf: what the daemon says, the same as another service has, or the host's own. */
  #resolvConf(): string | undefined {
    const { dns, dnsSearch, dnsOptions, networkMode } = this.#wish;
    if (this.#connection) return this.#connection.resolvConf;
    if (dns.length > 0) {
      return formatResolvConf({ nameservers: dns, search: dnsSearch, options: dnsOptions });
    }
    return typeof networkMode === 'object' && networkMode
      ? this.#parts.resolvConfOf(networkMode.service)
      : undefined;
  }
}

function mounts({ files }: ProjectService, hidden: readonly string[]) {
  const { readOnly, privateTmp, tmpfs, write } = files;
  return {
    readOnly,
    tmpfs: [...(privateTmp ? ['/tmp', '/var/tmp', '/dev/shm'] : []), ...tmpfs, ...hidden],
    writable: write,
  };
}

/** What a service has of our own environment, so that programs find what they need. */
const PASSED_ON = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TERM'];

function serviceEnvironment(environment: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const own = PASSED_ON.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  return { ...Object.fromEntries(own), ...environment };
}

/** Refuses early what `exec` would find out when everything else is made. Throws a `DeckError`. */
export function checkProgram({ key, command, cwd, environment }: ProjectService): void {
  const [program] = command as [string];
  if (!existsSync(cwd)) throw invalid(`service ${key}: there is no folder ${cwd} to run in`);
  const found = findExecutable(program, cwd, environment['PATH'] ?? process.env['PATH']);
  if (found === 'found') return;
  throw invalid(
    found === 'not executable'
      ? `service ${key}: ${program} cannot be executed; make it executable`
      : `service ${key}: there is no program ${program}; install it, or change the command`,
  );
}
