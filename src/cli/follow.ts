import { once } from 'node:events';
import type { DaemonClient } from '../control/client.ts';
import { unavailable } from '../control/error.ts';
import { EXIT_DONE } from './output.ts';

/** Prints a stream of the daemon's, a line for each element, until ctrl-C. Throws a `DeckError` when the daemon goes first. */
export async function follow<T>(
  client: DaemonClient,
  path: string,
  lineOf: (element: T) => string,
): Promise<number> {
  const stream = await client.stream<T>(path);
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    stream.destroy();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt);
  try {
    // While we wait for our reader, what comes waits at the daemon, which has bounds.
    for await (const element of stream.lines) await writeText(`${lineOf(element)}\n`);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, interrupt);
    stream.destroy();
  }
  if (interrupted) return EXIT_DONE;
  throw unavailable('the daemon has gone; start it again and ask again');
}

/** Who reads slowly is waited for. */
export async function writeText(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
