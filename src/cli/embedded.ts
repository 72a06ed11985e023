import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { VersionInfo } from '../control/api-schema.ts';
import { DaemonClient } from '../control/client.ts';
import { conflict, DeckError, unavailable } from '../control/error.ts';
import { DEFAULT_NETWORK } from '../control/name.ts';
import type { NetworkInfo } from '../control/network.ts';
import { openIn, type RuntimePaths } from '../control/paths.ts';
import { findProcess } from '../control/process.ts';
import { SANDBOX_VARIABLE } from '../control/sandbox.ts';
import { formatUplinkSpec, type UplinkSpec } from '../control/uplink-spec.ts';
import type { DaemonMessage } from './daemon.ts';
import { say } from './output.ts';

/** The program itself, for processes of it that outlive this one. */
export const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** Milliseconds for a daemon to come up, or to make room for the next one. */
const START_TIMEOUT = 15_000;

/** What a daemon is to be like, whether it runs already or is started. */
export interface DaemonWish {
  /** Its ways out; whatever it has when left out. */
  uplinks?: readonly UplinkSpec[];
  /** A network whose endpoints are to reach the loopback of the host. */
  hostLoopback?: string;
}

export interface ReachedDaemon {
  client: DaemonClient;
  version: VersionInfo;
}

/**
 * The daemon at the socket, which now expects the sandbox of this id; one is started if there is none. Several may do
 * this at once: all but one of the daemons find the lock taken, and their starters use the one that has it.
 * @param wish for the daemon to start; one that is there must be like that already
 */
export async function reachDaemon(
  paths: RuntimePaths,
  host: string | undefined,
  id: string,
  wish: DaemonWish = {},
): Promise<ReachedDaemon> {
  const client = new DaemonClient(paths.socket);
  const deadline = performance.now() + START_TIMEOUT;
  for (;;) {
    try {
      const version = await client.expectSandbox(id);
      try {
        checkUplinks(client, version, wish);
        await checkLoopback(client, wish);
      } catch (error) {
        await client.closeSandbox(id);
        throw error;
      }
      return { client, version };
    } catch (error) {
      // Not there, or just ending.
      if (!(error instanceof DeckError && error.code === 'unavailable')) throw error;
    }
    const answer = await startDaemon(paths, host, wish);
    if (answer.ready) {
      for (const notice of answer.notices) say(notice);
      continue;
    }
    // Another one was faster, or is just ending.
    if (answer.code !== 'conflict' || performance.now() > deadline)
      throw new DeckError(answer.code, answer.message);
    await sleep(20);
  }
}

/** Uplinks come and go with a deck: a daemon that runs without one that is wanted cannot get it any more. */
function checkUplinks(client: DaemonClient, { uplinks }: VersionInfo, { uplinks: wanted }: DaemonWish): void {
  const remedy = 'leave --uplink out, or run one of your own with --host unix:///PATH';
  const missing = wanted?.find((uplink) => !uplinks.includes(formatUplinkSpec(uplink)));
  if (missing) {
    throw conflict(
      `the daemon at ${client.socket} runs without uplink ${formatUplinkSpec(missing)}; ${remedy}`,
    );
  }
  if (wanted?.length === 0 && uplinks.length > 0) {
    throw conflict(`the daemon at ${client.socket} runs with uplink ${uplinks[0]}; ${remedy}`);
  }
}

/** A network is made with or without the host's loopback, and stays so. */
async function checkLoopback(client: DaemonClient, { hostLoopback: name }: DaemonWish): Promise<void> {
  if (name === undefined) return;
  const network = await client.get<NetworkInfo>(`/v1/networks/${encodeURIComponent(name)}`);
  if (network.hostLoopback) return;
  throw conflict(
    `network ${name} of the daemon at ${client.socket} keeps the host's loopback from endpoints; make one with "tapdeck network create --host-loopback NAME"`,
  );
}

/** Starts a daemon that outlives us and ends with its last sandbox; waits until it listens or gives up. */
async function startDaemon(
  paths: RuntimePaths,
  host: string | undefined,
  { uplinks, hostLoopback }: DaemonWish,
): Promise<DaemonMessage> {
  const log = await openIn(paths, () => openSync(paths.log, 'a', 0o600));
  const { [SANDBOX_VARIABLE]: _, ...env } = process.env;
  try {
    const child = spawn(
      process.execPath,
      [
        MAIN,
        ...(host === undefined ? [] : ['--host', host]),
        'daemon',
        '--until-empty',
        '--tell-parent',
        ...(uplinks?.length === 0 ? ['--uplink', 'none'] : []),
        ...(uplinks ?? []).flatMap((uplink) => ['--uplink', formatUplinkSpec(uplink)]),
        ...(hostLoopback === DEFAULT_NETWORK ? ['--host-loopback'] : []),
      ],
      // A session of its own: ctrl-C here is not meant for it.
      { stdio: ['ignore', log, log, 'ipc'], detached: true, cwd: '/', env },
    );
    const answer = await new Promise<DaemonMessage>((resolve, reject) => {
      child.once('message', resolve);
      child.once('error', (error) => reject(unavailable(`cannot start a daemon: ${error.message}`)));
      child.once('exit', (code, signal) => {
        reject(
          unavailable(`the daemon ended (${signal ?? `code ${code}`}) before it was ready; see ${paths.log}`),
        );
      });
    });
    child.unref();
    child.channel?.unref();
    return answer;
  } finally {
    closeSync(log);
  }
}

/**
 * Waits until a daemon that said it was ending has ended, unless somebody gave it a reason to stay.
 * @param id of the sandbox that it ends with
 */
export async function awaitEnd(
  paths: RuntimePaths,
  { client, version }: Pick<ReachedDaemon, 'client' | 'version'>,
  id: string,
): Promise<void> {
  for (let waited = 10; waited <= 10_000 && findProcess(version.pid); waited += 10) {
    // It removes the socket first of all: one that has not is slow, or has a reason to stay, and knows which.
    if (waited % 300 === 0 && existsSync(paths.socket)) {
      const { ending } = await client.closeSandbox(id).catch(() => ({ ending: true }));
      if (!ending) return;
    }
    await sleep(10);
  }
}
