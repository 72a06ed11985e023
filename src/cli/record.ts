import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import type { DaemonClient } from '../control/client.ts';
import { DeckError, invalid } from '../control/error.ts';
import type { RecordingEnded } from '../control/recording-schema.ts';
import { RecordingFile } from '../control/recordings.ts';
import { milliseconds } from './duration.ts';
import { EXIT_DONE, EXIT_FAILED, say } from './output.ts';

export interface RecordFlags {
  /** Path of a new file, or - for standard output. */
  write?: string;
  /** Seconds, or with a unit. */
  duration?: string;
  quiet?: boolean;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Records until ctrl-C, or for as long as was said. */
export async function record(client: DaemonClient, flags: RecordFlags): Promise<number> {
  const path = flags.write ?? `tapdeck-${new Date().toISOString().replace(/[:.]\d*|Z/g, '')}.tdr`;
  const duration = flags.duration === undefined ? undefined : milliseconds('--duration', flags.duration);
  if (path === '-' && fstatSync(1).isCharacterDevice() && process.stdout.isTTY) {
    throw invalid(
      'a recording is no text for a terminal; give a file with -w FILE, or pipe -w - into a program',
    );
  }
  const stream = await client.bytes('/v1/recording');
  let ending: Promise<RecordingEnded> | undefined;
  const end = () => {
    // Who asks twice does not want to wait for what is still under way.
    if (ending !== undefined) stream.destroy();
    ending ??= client.delete<RecordingEnded>('/v1/recording');
    ending.catch(() => stream.destroy());
  };
  for (const signal of SIGNALS) process.on(signal, end);
  const timer = duration === undefined ? undefined : setTimeout(end, duration);
  try {
    const file = path === '-' ? null : await RecordingFile.open(path);
    if (!flags.quiet) say(`recording to ${path === '-' ? 'standard output' : path}; ctrl-C ends`);
    for await (const chunk of stream.chunks) {
      if (file) {
        await new Promise<void>((resolve) => file.chunk(chunk, resolve));
        if (file.failure) throw file.failure;
      } else if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
    }
    file?.end(null);
    const problem = await file?.closed;
    if (problem) throw problem;
  } catch (error) {
    if (error instanceof DeckError) throw error;
    throw new DeckError(
      'unavailable',
      `the recording was cut: ${(error as Error).message}; what is in ${path} can be replayed`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
    for (const signal of SIGNALS) process.off(signal, end);
    stream.destroy();
  }
  const ended = await (ending ?? client.delete<RecordingEnded>('/v1/recording'));
  say(summary(ended));
  return ended.problem === null ? EXIT_DONE : EXIT_FAILED;
}

function summary({ problem, bytes, milliseconds, received, sent, frames, tables }: RecordingEnded): string {
  const counted = `${(milliseconds / 1000).toFixed(3)} s, ${received} frames in and ${sent} out, ${bytes} bytes`;
  if (problem !== null) return `the recording has ended by itself after ${counted}: ${problem}`;
  return `recorded ${counted}\n  frames  sha256 ${frames}\n  tables  sha256 ${tables}`;
}
