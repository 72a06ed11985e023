import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** Why a program did not do what was asked of it: its command line and the end of what it said. */
export class CommandError extends Error {}

// Those that run now, so that an interrupted bench leaves none behind.
const running = new Set<ChildProcess>();

/** Starts a program; its standard output and error are pipes. */
export function start(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  running.add(child);
  child.once('close', () => running.delete(child));
  child.once('error', () => running.delete(child));
  return child;
}

/**
 * Runs a program to its end and returns its standard output.
 * @throws CommandError when it cannot be started, ends with another code than 0, or takes longer than `limit` ms
 */
export function run(argv: readonly string[], limit = 30_000): Promise<string> {
  return finish(start(argv), argv, limit);
}

/** The standard output of a program that was started, once it has ended; see {@link run}. */
export function finish(child: ChildProcess, argv: readonly string[], limit = 30_000): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    let complaint = '';
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new CommandError(`${argv.join(' ')}: not finished after ${limit / 1000} s`));
    }, limit);
    child.stdout?.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      complaint += chunk;
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new CommandError(`${argv.join(' ')}: ${error.message}`));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(output);
      else {
        const said = (complaint || output).trim().slice(-500);
        reject(new CommandError(`${argv.join(' ')}: ${signal ?? `exit code ${code}`}${said && `: ${said}`}`));
      }
    });
  });
}

/**
 * Waits until a program that was started has printed `text`, and returns all that it has printed by then.
 * @throws CommandError when it ends before, or does not say so within `limit` ms
 */
export function awaitOutput(child: ChildProcess, text: string, limit = 10_000): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const listen = (chunk: unknown) => {
      said += chunk;
      if (said.includes(text)) settle();
    };
    const fail = () => settle(`ended before it said '${text}'`);
    const timer = setTimeout(() => settle(`did not say '${text}' within ${limit / 1000} s`), limit);
    const settle = (failure?: string) => {
      clearTimeout(timer);
      child.stdout?.off('data', listen);
      child.stderr?.off('data', listen);
      child.off('close', fail);
      child.off('error', fail);
      if (failure === undefined) resolve(said);
      else
        reject(
          new CommandError(
            `${child.spawnargs.join(' ')}: ${failure}${said && `: ${said.trim().slice(-500)}`}`,
          ),
        );
    };
    child.stdout?.on('data', listen);
    child.stderr?.on('data', listen);
    child.once('close', fail);
    child.once('error', fail);
  });
}

/**
 * Waits for what a program that was started does without a word; its output must not be read by others.
 * @throws CommandError when it ends before, or has not done it within ten seconds
 */
export async function until(done: () => boolean, what: string, child: ChildProcess): Promise<void> {
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      said = `${said}${chunk}`.slice(-500);
    });
  }
  const end = performance.now() + 10_000;
  while (!done()) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > end) {
      throw new CommandError(`waited in vain for ${what}${said && `: ${said.trim()}`}`);
    }
    await sleep(10);
  }
}

/** Ends a program: SIGTERM, and SIGKILL when it has not gone after three seconds. */
export function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 3000);
    child.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    // Nobody may be reading any more; a full pipe must not keep it from ending.
    child.stdout?.resume();
    child.stderr?.resume();
    child.kill('SIGTERM');
  });
}

/** Ends everything that is still running, what was started last first: a container engine ends its containers by others. */
export async function stopAll(): Promise<void> {
  for (const child of [...running].reverse()) await stop(child);
}
