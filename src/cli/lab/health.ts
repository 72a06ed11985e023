import { setTimeout as sleep } from 'node:timers/promises';
import type { Healthcheck } from '../../control/compose/project.ts';
import type { Sandbox } from '../../control/sandbox.ts';

/**
 * Asks a service again and again how it is, as Docker does, until the signal.
 * @param tell told when that changes
 */
export async function watchHealth(
  check: Healthcheck,
  sandbox: Sandbox,
  env: NodeJS.ProcessEnv,
  tell: (health: 'healthy' | 'unhealthy') => void,
  signal: AbortSignal,
): Promise<void> {
  const begin = performance.now();
  let failures = 0;
  let known: 'healthy' | 'unhealthy' | undefined;
  const say = (health: 'healthy' | 'unhealthy') => {
    if (health !== known) tell(health);
    known = health;
  };
  while (!signal.aborted) {
    const isWell = await ask(check, sandbox, env, signal);
    const isStarting = known === undefined && performance.now() - begin < check.startPeriod;
    if (isWell) {
      failures = 0;
      say('healthy');
    } else if (!isStarting && ++failures >= check.retries) say('unhealthy');
    const wait = isStarting && !isWell ? check.startInterval : check.interval;
    await sleep(wait, undefined, { signal }).catch(() => {});
  }
}

async function ask(
  { command, timeout }: Healthcheck,
  sandbox: Sandbox,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<boolean> {
  const late = AbortSignal.timeout(timeout);
  const child = sandbox.exec(command, {
    stdio: 'ignore',
    env,
    signal: AbortSignal.any([signal, late]),
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve) => {
    // Also when it is aborted; its end follows, unless it could not be started.
    child.on('error', () => resolve(false));
    child.on('close', (code) => resolve(code === 0));
  });
}
