import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { DaemonAbsent, type SandboxConnection } from '../control/client.ts';
import type { AttachOptions, Endpoint } from '../control/endpoint.ts';
import { DeckError, notFound, unavailable } from '../control/error.ts';
import { hostsText, ownEntries } from '../control/hosts-file.ts';
import { DEFAULT_NETWORK, HOST_NETWORK, isName } from '../control/name.ts';
import type { ResolverWishes } from '../control/name-service.ts';
import type { RuntimePaths } from '../control/paths.ts';
import { newSandboxId, Sandbox } from '../control/sandbox.ts';
import { rewriteResolvConf } from '../control/sandbox-files.ts';
import { awaitEnd, type DaemonWish, type ReachedDaemon, reachDaemon } from './embedded.ts';
import { type EndpointFlags, endpointOptions, firstNetwork } from './endpoint-options.ts';
import { findExecutable } from './executable.ts';
import { takeUpAgain } from './next-daemon.ts';
import { EXIT_DECK_FAILED, EXIT_NO_COMMAND, EXIT_NOT_EXECUTABLE, report, say } from './output.ts';
import { notePorts } from './publish.ts';
import { type ResolverFlags, resolverOptions } from './resolver-options.ts';
import { checkOnHost, runOnHost } from './run-on-host.ts';
import { Signals } from './signals.ts';
import { type UplinkFlags, uplinkOptions } from './uplink-options.ts';

/** How often the daemon may be ending just when we want it. */
const ATTEMPTS = 5;

export interface RunFlags extends EndpointFlags, UplinkFlags, ResolverFlags {}

/** What the sandbox and its container are to be. */
export type RunOptions = AttachOptions & { resolver?: ResolverWishes };

/** Runs a command in a sandbox on the switch; answers its exit code, or 125 when it never began. */
export async function run(
  paths: RuntimePaths,
  host: string | undefined,
  command: readonly string[],
  flags: RunFlags,
): Promise<number> {
  let options: RunOptions;
  let wish: DaemonWish;
  try {
    // What is wrong in itself is said before anything begins.
    const resolver = resolverOptions(flags);
    options = {
      name: proposeName(command[0]!),
      ...endpointOptions(flags),
      ...(resolver && { resolver }),
    };
    const uplinks = uplinkOptions(flags);
    const { hostLoopback = false } = flags;
    const network = firstNetwork(flags) ?? DEFAULT_NETWORK;
    if (network === HOST_NETWORK) checkOnHost(options);
    wish = { ...(uplinks && { uplinks }), ...(hostLoopback && { hostLoopback: network }) };
  } catch (error) {
    report(error);
    return EXIT_DECK_FAILED;
  }
  const unfit = checkCommand(command[0]!);
  if (unfit !== null) return unfit;
  const signals = new Signals();
  if (options.network === HOST_NETWORK) {
    try {
      return await runOnHost(paths.socket, command, options, signals);
    } catch (error) {
      report(error);
      return EXIT_DECK_FAILED;
    } finally {
      signals.stop();
    }
  }
  const attempt = new Attempt(paths, host, wish);
  try {
    return await attempt.run(command, options, signals);
  } catch (error) {
    report(error);
    return EXIT_DECK_FAILED;
  } finally {
    await attempt.cleanUp();
    signals.stop();
  }
}

/** Says what the shell would say that is to execute the command; answers the exit code of that, null when there is nothing to say. */
function checkCommand(program: string): number | null {
  const found = findExecutable(program, process.cwd(), process.env['PATH']);
  if (found === 'found') return null;
  if (found === 'missing') {
    report(notFound(`there is no program ${program}; install it, or give its path`));
    return EXIT_NO_COMMAND;
  }
  report(new DeckError('permission', `${program} cannot be executed; make it executable`));
  return EXIT_NOT_EXECUTABLE;
}

/** `ping-3f2a`: the command, and something to tell it from others. */
function proposeName(program: string): string {
  const name = basename(program).slice(0, 48);
  return `${isName(name) ? name : 'sandbox'}-${randomBytes(2).toString('hex')}`;
}

/** One sandbox from its making to its end, and what has to be cleaned up wherever it stops. */
class Attempt {
  readonly #paths: RuntimePaths;
  readonly #host: string | undefined;
  readonly #wish: DaemonWish;
  readonly #id = newSandboxId();
  #daemon: ReachedDaemon | undefined;
  #sandbox: Sandbox | undefined;
  #connection: SandboxConnection | undefined;

  constructor(paths: RuntimePaths, host: string | undefined, wish: DaemonWish) {
    this.#paths = paths;
    this.#host = host;
    this.#wish = wish;
  }

  async run(command: readonly string[], options: RunOptions, signals: Signals): Promise<number> {
    const [daemon, made] = await Promise.allSettled([
      reachDaemon(this.#paths, this.#host, this.#id, this.#wish),
      Sandbox.start({
        command,
        id: this.#id,
        hostname: options.hostname ?? options.name!,
        // Root of a user namespace would look for a daemon of root's.
        env: { ...process.env, TAPDECK_HOST: `unix://${this.#paths.socket}` },
      }),
    ]);
    if (daemon.status === 'fulfilled') this.#daemon = daemon.value;
    if (made.status === 'fulfilled') this.#sandbox = made.value;
    if (daemon.status === 'rejected') throw daemon.reason;
    if (made.status === 'rejected') throw made.reason;
    const sandbox = made.value;
    const connection = await this.#open(sandbox, options);
    if (signals.first) return 128 + constants.signals[signals.first];

    notePorts(connection.endpoint, options.publish);
    signals.passTo(sandbox);
    const { endpoint, resolvConf } = connection;
    sandbox.go({ hosts: hostsText(ownEntries([endpoint], [endpoint.name])), resolvConf });
    let ended = false;
    void sandbox.ended.then(() => {
      ended = true;
    });
    for (let current: SandboxConnection | null = connection; current; ) {
      const end = await Promise.race([sandbox.ended, watch(current, sandbox.pid)]);
      if (typeof end === 'object') return end.exitCode;
      if (end === 'daemon gone, and the network before') throw goneWith(endpoint);
      current = await this.#takeUpAgain(sandbox, options, current.endpoint, () => ended);
    }
    return (await sandbox.ended).exitCode;
  }

  /** Ends what runs, and waits until the daemon has removed every trace of it. */
  async cleanUp(): Promise<void> {
    await this.#sandbox?.close();
    if (!this.#daemon) return;
    try {
      const { ending } = await this.#daemon.client.closeSandbox(this.#id);
      if (ending) await awaitEnd(this.#paths, this.#daemon, this.#id);
    } catch (error) {
      if (error instanceof DaemonAbsent) await awaitEnd(this.#paths, this.#daemon, this.#id);
      else if (!(error instanceof DeckError)) throw error;
    } finally {
      this.#connection?.destroy();
    }
  }

  /** Finds the next daemon; null when the command ended first. */
  async #takeUpAgain(
    { pid }: Sandbox,
    options: RunOptions,
    endpoint: Endpoint,
    over: () => boolean,
  ): Promise<SandboxConnection | null> {
    const found = await takeUpAgain({
      paths: this.#paths,
      host: this.#host,
      id: this.#id,
      wish: this.#wish,
      daemon: this.#daemon!,
      pid,
      options,
      endpoint,
      over,
    });
    if (!found) return null;
    this.#daemon = found.daemon;
    this.#connection = found.connection;
    return found.connection;
  }

  async #open(sandbox: Sandbox, options: RunOptions): Promise<SandboxConnection> {
    for (let attempt = 1; ; attempt++) {
      const { client } = this.#daemon!;
      try {
        this.#connection = await client.openSandbox({ ...options, id: this.#id, pid: sandbox.pid });
        return this.#connection;
      } catch (error) {
        const absent = await client.version().then(
          () => false,
          (error) => error instanceof DaemonAbsent,
        );
        if (!absent || attempt === ATTEMPTS) throw error;
        this.#daemon = await reachDaemon(this.#paths, this.#host, this.#id, this.#wish);
      }
    }
  }
}

/** Tells what happens to the sandbox; settles when the daemon has gone without a word. */
async function watch(
  { events, endpoint }: SandboxConnection,
  pid: number,
): Promise<'daemon gone' | 'daemon gone, and the network before'> {
  let connected = true;
  for await (const change of events) {
    if (change.event === 'names') {
      rewriteResolvConf(pid, change.resolvConf);
      continue;
    }
    const { event } = change;
    if (event === 'closing') {
      say('the daemon is ending, and this sandbox with it');
      // It ends our command, whose exit code is the answer.
      return new Promise(() => {});
    }
    if (event === 'detached') say(`${endpoint.name} was detached; the command runs on without this network`);
    if (event === 'gone')
      say(`interface ${endpoint.ifname} has gone; the command runs on without this network`);
    connected = false;
  }
  return connected ? 'daemon gone' : 'daemon gone, and the network before';
}

function goneWith({ name }: Endpoint): DeckError {
  return unavailable(`the daemon has gone, and the network of ${name} before it; run it again`);
}
