import { awaitOutput, stop } from './command.ts';
import { BULK_PORT, type Path } from './contender.ts';

/** iperf3 leaves out the first second: connection, slow start, cold caches. */
const OMIT_SECONDS = 1;

/**
 * Bulk transfer over one TCP connection from A to B by iperf3.
 * @param congestion congestion control, undefined for the kernel's default
 * @returns what arrived at B, in Gbit/s
 */
export async function tcpBulk(path: Path, seconds: number, congestion?: string): Promise<number> {
  const port = path.bulkPort ?? BULK_PORT + (path.shift ?? 0);
  const server = path.nsB.start(['iperf3', '-s', '-1', '-p', String(BULK_PORT), '--forceflush']);
  try {
    await awaitOutput(server, 'Server listening');
    const report = await path.nsA.run(
      [
        ...['iperf3', '-J', '-c', path.addressB, '-p', String(port)],
        ...['-t', String(seconds), '-O', String(OMIT_SECONDS)],
        ...(congestion === undefined ? [] : ['-C', congestion]),
      ],
      (seconds + OMIT_SECONDS) * 1000 + 10_000,
    );
    const { end } = JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } };
    return end.sum_received.bits_per_second / 1e9;
  } finally {
    await stop(server);
  }
}
