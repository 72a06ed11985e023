import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import type { DaemonClient } from '../control/client.ts';
import type { Container } from '../control/container.ts';
import { DeckError, invalid, unavailable } from '../control/error.ts';
import { quote } from '../control/name.ts';
import { enter } from '../control/sandbox.ts';
import { EXIT_DECK_FAILED, report } from './output.ts';
import { Signals } from './signals.ts';

export interface ExecFlags {
  /** `NAME=VALUE`, or `NAME` for the value that it has here. */
  env?: readonly string[];
}

/** Namespaces of a process as /proc and nsenter call them. Entered in this order: the user namespace permits the others. */
const NAMESPACES = [
  ['user', '--user'],
  ['mnt', '--mount'],
  ['uts', '--uts'],
  ['ipc', '--ipc'],
  ['net', '--net'],
  ['pid', '--pid'],
  ['cgroup', '--cgroup'],
] as const;

/**
 * `tapdeck exec NAME COMMAND`: runs a command in a container's namespaces, those that are not our own; answers its exit code, or
 * 125 when it never began. Of a container that was attached by the path of its namespace only the network is known.
 */
export async function exec(
  client: DaemonClient,
  name: string,
  command: readonly string[],
  { env = [] }: ExecFlags,
): Promise<number> {
  const signals = new Signals();
  try {
    if (command.length === 0) throw invalid('no command to run; give one after the name of the container');
    const more = env.map(assignment);
    const container = await client.get<Container>(`/v1/containers/${encodeURIComponent(name)}`);
    const [program, ...into] = entry(container);
    const child = spawn(program!, [...into, ...command], {
      stdio: 'inherit',
      env: { ...process.env, TAPDECK_HOST: `unix://${client.socket}`, ...Object.fromEntries(more) },
    });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    // Without a process there is an error, and no end.
    ended.catch(() => {});
    if (child.pid === undefined) throw unavailable('cannot start "nsenter"; install util-linux');
    signals.passTo(child);
    const [code, signal] = await ended;
    return signal ? 128 + constants.signals[signal] : code!;
  } catch (error) {
    report(error);
    return EXIT_DECK_FAILED;
  } finally {
    signals.stop();
  }
}

/** The words that come before a command that is to run in a container. */
function entry({ name, pid, netns }: Container): string[] {
  if (pid === null) return ['nsenter', `--net=${netns}`, '--'];
  const others = NAMESPACES.filter(
    ([kind]) => namespaceOf(name, pid, kind) !== readlinkSync(`/proc/self/ns/${kind}`),
  );
  const flags = others.map(([, flag]) => flag);
  // With the files of the container comes the folder that it is in.
  return enter(pid, flags.includes('--mount') ? [...flags, '--wd'] : flags);
}

function namespaceOf(name: string, pid: number, kind: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') {
      throw new DeckError(
        'permission',
        `container ${quote(name)} is somebody else's: process ${pid} may not be looked at; run this as its user, or as root`,
      );
    }
    throw new DeckError(
      'not-found',
      `container ${quote(name)} has ended: there is no process ${pid} any more`,
    );
  }
}

function assignment(text: string): [string, string] {
  const [, key, value] = /^([^=]+)(?:=(.*))?$/s.exec(text) ?? [];
  if (key === undefined) throw invalid(`-e ${quote(text)} is no variable; give NAME=VALUE, or NAME`);
  return [key, value ?? process.env[key] ?? ''];
}
