// What the tests of this folder share: captures made in memory, and records to keep.
import fc from 'fast-check';
import type { CaptureError } from '../../src/capture/capture-error.ts';
import type { ReadOptions } from '../../src/capture/capture-input.ts';
import { CaptureParser } from '../../src/capture/capture-parser.ts';
import type { CaptureRecord } from '../../src/capture/capture-record.ts';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';

/** A frame to be written. */
export interface Written {
  timestamp: bigint;
  data: Uint8Array;
  originalLength: number;
  interfaceId?: number;
  flags?: number | undefined;
  packetId?: bigint | undefined;
  comments?: string[];
}

/** A sink that keeps everything. */
export class MemorySink {
  readonly #chunks: Uint8Array[] = [];
  readonly write = (bytes: Uint8Array): void => {
    this.#chunks.push(bytes.slice());
  };

  get bytes(): Uint8Array {
    return Uint8Array.from(Buffer.concat(this.#chunks));
  }
}

export function pcapFile(frames: readonly Written[], nanoseconds = false): Uint8Array {
  const sink = new MemorySink();
  const writer = new PcapWriter(sink.write, { nanoseconds });
  for (const { timestamp, data, originalLength } of frames) {
    writer.write(timestamp, data, 0, data.length, originalLength);
  }
  return sink.bytes;
}

export function pcapngFile(frames: readonly Written[], interfaces: readonly string[] = ['eth0']): Uint8Array {
  const sink = new MemorySink();
  const writer = new PcapngWriter(sink.write);
  for (const name of interfaces) writer.addInterface({ name });
  for (const frame of frames) {
    writer.write(frame.interfaceId ?? 0, frame.timestamp, frame.data, 0, frame.data.length, frame);
  }
  return sink.bytes;
}

/** The same classic pcap file in the other byte order. */
export function swapPcap(file: Uint8Array): Uint8Array {
  const swapped = file.slice();
  const view = new DataView(swapped.buffer);
  const swap32 = (at: number) => view.setUint32(at, view.getUint32(at, true));
  const swap16 = (at: number) => view.setUint16(at, view.getUint16(at, true));
  for (const at of [0, 8, 12, 16, 20]) swap32(at);
  for (const at of [4, 6]) swap16(at);
  for (let at = 24; at < swapped.length; ) {
    const length = view.getUint32(at + 8, true);
    for (const field of [0, 4, 8, 12]) swap32(at + field);
    at += 16 + length;
  }
  return swapped;
}

/** A record whose data is a copy, so that it can be kept. */
export function kept(record: CaptureRecord): CaptureRecord {
  return { ...record, data: record.data.slice() };
}

export interface Parsed {
  parser: CaptureParser;
  records: CaptureRecord[];
  problems: CaptureError[];
  /** Most memory that the parser held at any time. */
  memory: number;
}

/** Reads a file in chunks that end at the given places, and collects everything that comes of it. */
export function parseInChunks(
  file: Uint8Array,
  cuts: readonly number[] = [],
  options: ReadOptions = {},
): Parsed {
  const problems: CaptureError[] = [];
  const parser = new CaptureParser({ file: 'test', warn: (problem) => problems.push(problem), ...options });
  const records: CaptureRecord[] = [];
  let memory = 0;
  const drain = () => {
    for (let record = parser.next(); record !== undefined; record = parser.next()) records.push(kept(record));
    memory = Math.max(memory, parser.memory);
  };
  const ends = [...cuts].filter((cut) => cut < file.length).sort((a, b) => a - b);
  let from = 0;
  for (const to of [...ends, file.length]) {
    parser.push(file.slice(from, to));
    drain();
    from = to;
  }
  parser.end();
  drain();
  return { parser, records, problems, memory };
}

/** Frames with times up to 2106, which every format can say. */
export function frames(unit: bigint): fc.Arbitrary<Written[]> {
  const frame = fc
    .record({
      ticks: fc.bigInt({ min: 0n, max: (0xffff_ffffn * 1_000_000_000n) / unit }),
      data: fc.uint8Array({ maxLength: 300 }),
      more: fc.nat({ max: 2000 }),
    })
    .map(({ ticks, data, more }) => ({ timestamp: ticks * unit, data, originalLength: data.length + more }));
  return fc.array(frame, { maxLength: 20 });
}

export const cuts: fc.Arbitrary<number[]> = fc.array(fc.nat({ max: 6000 }), { maxLength: 30 });
