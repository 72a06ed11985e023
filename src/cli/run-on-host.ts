import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { DaemonClient } from '../control/client.ts';
import type { Container } from '../control/container.ts';
import type { AttachOptions, Endpoint } from '../control/endpoint.ts';
import { DeckError, invalid, unavailable } from '../control/error.ts';
import { say } from './output.ts';
import type { Signals } from './signals.ts';

/** What is about an interface that there is not. */
const WISHES = ['ip', 'ip6', 'mac', 'ifname', 'mtu', 'faults', 'networks'] as const;

/** Throws a `DeckError` for options that make no sense in the host's network. */
export function checkOnHost(options: AttachOptions): void {
  if (options.publish) {
    throw invalid('ports of network host cannot be published: it shares the ports of the host; leave -p out');
  }
  const wish = WISHES.find((one) => options[one] !== undefined);
  if (wish === 'networks') {
    throw invalid(
      'a container cannot be in network host and in others; leave --network host out, or the others',
    );
  }
  if (wish) {
    throw invalid(
      `network host has no interface of ours and takes no --${wish}; leave it out, or use another network`,
    );
  }
}

/**
 * Runs a command in the host's network as it is; answers its exit code. A daemon that runs shows it among its containers, but
 * none is started for it.
 */
export async function runOnHost(
  socket: string,
  command: readonly string[],
  options: AttachOptions,
  signals: Signals,
): Promise<number> {
  // The shell knows how a command is looked up, and which exit code says that it was not found.
  const shell = ['/bin/sh', '-c', 'exec "$@"', 'tapdeck', ...command];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...shell], { stdio: 'inherit' });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  // Without a process there is an error, and no end.
  ended.catch(() => {});
  if (child.pid === undefined) throw unavailable('cannot start "setpriv"; install util-linux');
  signals.passTo(child);
  const client = new DaemonClient(socket);
  const { name, network, hostname, labels } = options;
  const shown = await show(client, {
    pid: child.pid,
    ...(name !== undefined && { name }),
    ...(network !== undefined && { network }),
    ...(hostname !== undefined && { hostname }),
    ...(labels && { labels }),
  });
  const [code, signal] = await ended;
  if (shown) await client.delete<Container>(`/v1/endpoints/${shown.containerId}`).catch(ignoreAbsent);
  return signal ? 128 + constants.signals[signal] : code!;
}

async function show(client: DaemonClient, options: AttachOptions): Promise<Endpoint | null> {
  try {
    return await client.post<Endpoint>('/v1/endpoints', options);
  } catch (error) {
    // The command runs all the same: it needs nothing of the daemon.
    ignoreAbsent(error);
    return null;
  }
}

/** The daemon, or the command, may be gone by now. */
function ignoreAbsent(error: unknown): void {
  if (!(error instanceof DeckError)) throw error;
  if (error.code === 'conflict') say(`note: ${error.message}`);
}
