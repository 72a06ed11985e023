import { awaitOutput, stop } from './command.ts';
import type { Path } from './contender.ts';
import { FIRST_BYTE_PORT } from './served-ports.ts';

/** Times from connect to the first byte of a server that speaks first, in microseconds. */
export interface FirstByte {
  connections: number;
  /** Brought no byte within a second. */
  failed: number;
  /** More than 4 s when every connection failed. */
  p50: number;
  p99: number;
}

/** Connections from A to B, one at a time. */
export async function firstByte(path: Path, binary: string, milliseconds: number): Promise<FirstByte> {
  const server = path.nsB.start([binary, 'serve', String(FIRST_BYTE_PORT)]);
  try {
    await awaitOutput(server, 'ready');
    const port = String(FIRST_BYTE_PORT + (path.shift ?? 0));
    const report = await path.nsA.run(
      [binary, 'ask', path.addressB, port, String(milliseconds)],
      // Its warm-up may be as slow as what it warms up for.
      milliseconds + 20_000,
    );
    return JSON.parse(report) as FirstByte;
  } finally {
    await stop(server);
  }
}
