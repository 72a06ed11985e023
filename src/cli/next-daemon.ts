import { setTimeout as sleep } from 'node:timers/promises';
import { DaemonAbsent, DaemonClient, type SandboxConnection } from '../control/client.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { DeckError, unavailable } from '../control/error.ts';
import type { RuntimePaths } from '../control/paths.ts';
import { specOf } from '../control/published-entry.ts';
import { parseUplinkSpec } from '../control/uplink-spec.ts';
import { type DaemonWish, type ReachedDaemon, reachDaemon } from './embedded.ts';
import { say } from './output.ts';
import type { RunOptions } from './run.ts';

/** Milliseconds that a sandbox waits for the next daemon when its own was killed. */
const PATIENCE = 30_000;
/** Milliseconds between two looks. */
const LOOK = 100;

/** A sandbox whose daemon has gone without a word. */
export interface Bereaved {
  paths: RuntimePaths;
  host: string | undefined;
  /** Value of `TAPDECK_SANDBOX` in it. */
  id: string;
  pid: number;
  /** The daemon that it had. */
  daemon: ReachedDaemon;
  wish: DaemonWish;
  /** As it was asked for. */
  options: RunOptions;
  /** As it was. */
  endpoint: Endpoint;
  /** Whether its command has ended, so that nothing is to be done any more. */
  over(): boolean;
}

/**
 * Takes a sandbox up again at the next daemon, with the addresses and ports that it had: at one that somebody starts, or,
 * in place of a daemon that was there for sandboxes alone, at one that we start. Answers null when the command ended first.
 * Throws a `DeckError` when no daemon comes, or the next one cannot have it.
 */
export async function takeUpAgain(
  bereaved: Bereaved,
): Promise<{ daemon: ReachedDaemon; connection: SandboxConnection } | null> {
  const { paths, endpoint, daemon, over } = bereaved;
  const { untilEmpty, pid } = daemon.version;
  const { name } = endpoint;
  say(
    untilEmpty
      ? `the daemon (pid ${pid}) has gone without a word; starting another one for ${name}`
      : `the daemon (pid ${pid}) has gone without a word; ${name} waits ${PATIENCE / 1000} s for the next one`,
  );
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    if (over()) return null;
    try {
      const next = await (untilEmpty ? startNext(bereaved) : findNext(bereaved));
      const connection = await next.client.openSandbox(asItWas(bereaved));
      say(`${name} is connected again, as ${[endpoint.ipv4, endpoint.ipv6].filter(Boolean).join(' and ')}`);
      return { daemon: next, connection };
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      const late = performance.now() > deadline;
      if (late && error instanceof DaemonAbsent) {
        throw unavailable(
          `the daemon has gone, and the network of ${name} with it; start one at ${paths.socket}, and run it again`,
        );
      }
      // Whoever is just ending, or just starting, is another one in a moment.
      if (late || error.code !== 'unavailable') {
        throw new DeckError(error.code, `cannot connect ${name} again: ${error.message}`);
      }
    }
    await sleep(LOOK);
  }
}

async function findNext({ paths, id }: Bereaved): Promise<ReachedDaemon> {
  const client = new DaemonClient(paths.socket);
  return { client, version: await client.expectSandbox(id) };
}

/** One that is what the last one was. */
function startNext({ paths, host, id, wish, daemon }: Bereaved): Promise<ReachedDaemon> {
  return reachDaemon(paths, host, id, { ...wish, uplinks: daemon.version.uplinks.map(parseUplinkSpec) });
}

function asItWas({ id, pid, options, endpoint }: Bereaved) {
  const { name, network, ifname, mac, mtu, ipv4, ipv6, ports } = endpoint;
  return {
    ...options,
    id,
    pid,
    name,
    network,
    ifname,
    mac,
    mtu,
    ...(ipv4 !== null && { ip: ipv4 }),
    ...(ipv6 !== null && { ip6: ipv6 }),
    publish: ports.map(specOf),
  };
}
