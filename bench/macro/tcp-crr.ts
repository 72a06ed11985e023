import { awaitOutput, stop } from './command.ts';
import type { Path } from './contender.ts';

const PORT = '5210';
/** So many ports of the server take turns: with one, the ports of the client would come round within a sample. */
const PORTS = '16';
/** Connections that are under way at one time. */
const PARALLEL = '64';

/** Short connections, one after the other on each of the parallel tracks. */
export interface Connections {
  /** Complete ones per second: connected, 64 bytes delivered, closed from both sides. */
  rate: number;
  failed: number;
  /** From connect to the server's end of it, in microseconds. */
  p50: number;
  p99: number;
}

/** New TCP connections from A to B, 64 bytes each. */
export async function tcpCrr(path: Path, binary: string, milliseconds: number): Promise<Connections> {
  const server = path.nsB.start([binary, 'serve', path.addressB, PORT, PORTS]);
  try {
    await awaitOutput(server, 'ready');
    const report = await path.nsA.run(
      [binary, 'ask', path.addressB, PORT, PORTS, PARALLEL, String(milliseconds)],
      milliseconds + 10_000,
    );
    const { connections, failed, p50, p99, seconds } = JSON.parse(report);
    return { rate: connections / seconds, failed, p50, p99 };
  } finally {
    await stop(server);
  }
}
