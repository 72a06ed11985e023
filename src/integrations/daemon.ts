import { readFileSync } from 'node:fs';
import { DaemonClient } from '../control/client.ts';
import { runtimePaths } from '../control/paths.ts';

/** Milliseconds for an answer: an interface takes 20 of them, and a busy machine is given time. */
export const ANSWER_TIMEOUT = 20_000;

/** What is needed of the daemon's API. Methods throw a `DeckError`. */
export type Daemon = Pick<DaemonClient, 'get' | 'post' | 'delete'>;

/** Reaches the daemon of a host, `unix:///PATH`; of the user on whose behalf we run when left out. Throws a `DeckError`. */
export type Reach = (host?: string) => Daemon;

/** The daemon itself, which is given a bounded time for each answer. */
export function reachDaemon(env: NodeJS.ProcessEnv): Reach {
  return (host) => {
    const uid = outerUid(process.getuid!(), readFileSync('/proc/self/uid_map', 'utf8'));
    return new DaemonClient(runtimePaths(host, env, uid).socket, ANSWER_TIMEOUT);
  };
}

/**
 * Who we are outside of the user namespace that a rootless container engine runs us in, and where the daemon runs: root in
 * there is the user out here.
 * @param map /proc/self/uid_map, lines of "first inside, first outside, how many" (user_namespaces(7))
 */
export function outerUid(uid: number, map: string): number {
  for (const line of map.trim().split('\n')) {
    const [inside = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
    if (uid >= inside && uid < inside + count) return outside + uid - inside;
  }
  return uid;
}
