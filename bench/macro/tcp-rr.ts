import { awaitOutput, stop } from './command.ts';
import type { Path } from './contender.ts';

const PORT = '5202';

/** Times of one exchange of a byte for a byte, in microseconds. */
export interface Latency {
  transactions: number;
  p50: number;
  p90: number;
  p99: number;
}

/** Asks and answers over one TCP connection from A to B, one byte each way, one at a time. */
export async function tcpRr(path: Path, binary: string, milliseconds: number): Promise<Latency> {
  const server = path.nsB.start([binary, 'serve', path.addressB, PORT]);
  try {
    await awaitOutput(server, 'ready');
    const report = await path.nsA.run(
      [binary, 'ask', path.addressB, PORT, String(milliseconds)],
      milliseconds + 10_000,
    );
    return JSON.parse(report) as Latency;
  } finally {
    await stop(server);
  }
}
