// Another reader of classic pcap, `pcap-parser`, finds the same records in the same files.
import { EventEmitter } from 'node:events';
import fc from 'fast-check';
import { type Packet, parse } from 'pcap-parser';
import { expect, it } from 'vitest';
import { frames, parseInChunks, pcapFile, swapPcap } from './captures.ts';

/** The package reads from a stream; this one gives it all at once. */
class WholeFile extends EventEmitter {
  pause(): void {}
  resume(): void {}
}

function packetsOf(file: Uint8Array): Packet[] {
  const packets: Packet[] = [];
  const stream = new WholeFile();
  parse(stream).on('packet', (packet) => void packets.push({ ...packet, data: Buffer.from(packet.data) }));
  stream.emit('data', Buffer.from(file));
  return packets;
}

it.each([false, true])('pcap-parser and ours read the same; big-endian: %s', (swapped) => {
  fc.assert(
    fc.property(frames(1000n), (written) => {
      const file = swapped ? swapPcap(pcapFile(written)) : pcapFile(written);
      const { records } = parseInChunks(file);
      expect(
        records.map(({ timestamp, originalLength, capturedLength, data }) => ({
          header: {
            timestampSeconds: Number(timestamp / 1_000_000_000n),
            timestampMicroseconds: Number(timestamp % 1_000_000_000n) / 1000,
            capturedLength,
            originalLength,
          },
          data: Buffer.from(data),
        })),
      ).toEqual(packetsOf(file));
    }),
  );
});
