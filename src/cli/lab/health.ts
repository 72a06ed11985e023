import { setTimeout as sleep } from 'node:timers/promises';
import type { Healthcheck } from '../../control/compose/project.ts';
import { afterRunning } from '../../control/patience.ts';
import type { Sandbox } from '../../control/sandbox.ts';
import { lastLines } from './log-file.ts';

/** Characters of what a check says that are kept, as Docker does. */
const MOST_SAID = 4096;
/** Milliseconds for what is still in the pipes of a check that has ended: what it left behind may hold them open. */
const READING = 100;

/**
 * Asks a service again and again how it is, as Docker does, until the signal.
 * @param tell told when that changes, and what the check said that failed
 */
export async function watchHealth(
  check: Healthcheck,
  sandbox: Sandbox,
  env: NodeJS.ProcessEnv,
  tell: (health: 'healthy' | 'unhealthy', said: readonly string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const begin = performance.now();
  let failures = 0;
  let known: 'healthy' | 'unhealthy' | undefined;
  const say = (health: 'healthy' | 'unhealthy', said: readonly string[]) => {
    if (health !== known) tell(health, said);
    known = health;
  };
  while (!signal.aborted) {
    const { isWell, said } = await ask(check, sandbox, env, signal);
    const isStarting = known === undefined && performance.now() - begin < check.startPeriod;
    if (isWell) {
      failures = 0;
      say('healthy', []);
    } else if (!isStarting && ++failures >= check.retries) say('unhealthy', said);
    const wait = isStarting && !isWell ? check.startInterval : check.interval;
    await sleep(wait, undefined, { signal }).catch(() => {});
  }
}

interface Answer {
  isWell: boolean;
  /** The last lines of it. */
  said: readonly string[];
}

async function ask(
  { command, timeout }: Healthcheck,
  sandbox: Sandbox,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Answer> {
  const late = AbortSignal.timeout(timeout);
  const child = sandbox.exec(command, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
    signal: AbortSignal.any([signal, late]),
    killSignal: 'SIGKILL',
  });
  let text = '';
  const streams = [child.stdout!, child.stderr!];
  for (const stream of streams) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-MOST_SAID);
    });
  }
  const isWell = await new Promise<boolean>((resolve) => {
    let read = () => {};
    child.on('error', (error) => {
      // Also when it is aborted; its end follows, unless it could not be started.
      if (child.pid !== undefined) return;
      text = error.message;
      resolve(false);
    });
    child.on('exit', () => {
      read = afterRunning(READING, () => {
        for (const stream of streams) stream.destroy();
      });
    });
    child.on('close', (code) => {
      read();
      resolve(code === 0);
    });
  });
  const said = lastLines(
    text
      .trimEnd()
      .split('\n')
      .filter((line) => line !== ''),
  );
  return { isWell, said: late.aborted ? [...said, `no answer in ${timeout} ms`] : said };
}
