import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaptureError } from '../../src/capture/capture-error.ts';
import { CaptureParser } from '../../src/capture/capture-parser.ts';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { cuts, frames, MemorySink, parseInChunks, pcapFile, swapPcap, type Written } from './captures.ts';

const HEADER = 24;
const RECORD = 16;

function frame(length: number, timestamp = 1_700_000_000_000_001_000n): Written {
  return { timestamp, data: new Uint8Array(length).fill(0xab), originalLength: length };
}

function patched(file: Uint8Array, at: number, value: number): Uint8Array {
  const copy = file.slice();
  new DataView(copy.buffer).setUint32(at, value, true);
  return copy;
}

describe('classic pcap', () => {
  const variants = [
    { name: 'microseconds, little-endian', unit: 1000n, nanoseconds: false, swapped: false, format: 'pcap' },
    { name: 'microseconds, big-endian', unit: 1000n, nanoseconds: false, swapped: true, format: 'pcap' },
    { name: 'nanoseconds, little-endian', unit: 1n, nanoseconds: true, swapped: false, format: 'pcap-ns' },
    { name: 'nanoseconds, big-endian', unit: 1n, nanoseconds: true, swapped: true, format: 'pcap-ns' },
  ];

  it.each(variants)(
    'reads what was written, whatever the chunks: $name',
    ({ unit, nanoseconds, swapped, format }) => {
      fc.assert(
        fc.property(frames(unit), cuts, (written, where) => {
          const file = pcapFile(written, nanoseconds);
          const { parser, records, problems, memory } = parseInChunks(swapped ? swapPcap(file) : file, where);
          expect(problems).toEqual([]);
          expect(parser.format).toBe(format);
          expect(memory).toBeLessThanOrEqual(Math.max(1024, 2 * file.length));
          expect(
            records.map(({ timestamp, data, originalLength }) => ({ timestamp, data, originalLength })),
          ).toEqual(written);
          expect(records.map(({ number }) => number)).toEqual(written.map((_, i) => i + 1));
          for (const record of records) {
            expect(record).toMatchObject({ interfaceId: 0, linkType: 1, capturedLength: record.data.length });
            expect(file.slice(record.offset + RECORD, record.offset + RECORD + record.data.length)).toEqual(
              record.data,
            );
          }
        }),
      );
    },
  );

  it('says the time to the microsecond, cutting off the rest', () => {
    const { records } = parseInChunks(pcapFile([frame(60, 1_234_567_890_123_456_789n)]));
    expect(records[0]!.timestamp).toBe(1_234_567_890_123_456_000n);
  });

  it('reads an empty capture', () => {
    const { records, problems, parser } = parseInChunks(pcapFile([]));
    expect(records).toEqual([]);
    expect(problems).toEqual([]);
    expect(parser.interfaces).toMatchObject([{ id: 0, linkType: 1, snapLength: 262_144 }]);
  });

  it('shortens frames to the snapshot length and keeps their length on the wire', () => {
    const sink = new MemorySink();
    new PcapWriter(sink.write, { snapLength: 64 }).write(0n, new Uint8Array(1514), 0, 1514);
    const { records, problems } = parseInChunks(sink.bytes);
    expect(problems).toEqual([]);
    expect(records).toMatchObject([{ capturedLength: 64, originalLength: 1514 }]);
  });

  it('reads the length of the frame check sequence from the link type field', () => {
    const { records } = parseInChunks(patched(pcapFile([frame(64)]), 20, (0x2400_0000 | 1) >>> 0));
    expect(records).toMatchObject([{ linkType: 1, fcsLength: 4 }]);
  });

  it.each([-1n, 4_294_967_296_000_000_000n])('refuses to write the time %s', (timestamp) => {
    const writer = new PcapWriter(() => {});
    expect(() => writer.write(timestamp, new Uint8Array(1), 0, 1)).toThrow(RangeError);
  });

  describe.each([false, true])('damage, nanoseconds %s', (nanoseconds) => {
    const whole = pcapFile([frame(60), frame(70), frame(80)], nanoseconds);
    const third = HEADER + RECORD + 60 + RECORD + 70;

    it('uses what is before a cut-off record, wherever it is cut', () => {
      for (let end = third + 1; end < whole.length; end++) {
        const { records, problems } = parseInChunks(whole.slice(0, end));
        expect(records.map(({ capturedLength }) => capturedLength)).toEqual([60, 70]);
        expect(problems).toMatchObject([{ file: 'test', offset: third, what: 'cut off' }]);
      }
      expect(parseInChunks(whole.slice(0, third)).problems).toEqual([]);
    });

    it('uses what is before a cut-off header', () => {
      for (let end = 4; end < HEADER; end++) {
        const { records, problems } = parseInChunks(whole.slice(0, end));
        expect(records).toEqual([]);
        expect(problems).toMatchObject([{ offset: 0, what: 'cut off' }]);
      }
    });

    it.each([262_145, 0x7fff_ffff, 0xffff_ffff])('ends before a record that claims %i bytes', (length) => {
      const { records, problems, memory } = parseInChunks(patched(whole, third + 8, length));
      expect(records).toHaveLength(2);
      expect(problems).toMatchObject([{ offset: third, what: 'absurd record' }]);
      expect(problems[0]!.message).toContain(`captured length is ${length}`);
      expect(memory).toBeLessThan(2048);
    });

    it('notices a captured length that lies within reason by what follows it', () => {
      // The second record swallows 4 bytes of the third, whose header is then read out of step.
      const { records, problems } = parseInChunks(patched(whole, HEADER + RECORD + 60 + 8, 74));
      expect(records.length).toBeLessThan(3);
      expect(problems.map(({ what }) => what)).toContain('more bytes captured than the frame had');
      expect(problems.at(-1)!.offset).toBe(third + 4);
    });

    it('throws the fault, after the records before it, when nobody is to be warned', () => {
      const parser = new CaptureParser({ file: 'test' });
      parser.push(whole.slice(0, -1));
      parser.end();
      expect(parser.next()?.capturedLength).toBe(60);
      expect(parser.next()?.capturedLength).toBe(70);
      expect(() => parser.next()).toThrow(
        new CaptureError(
          'test',
          third,
          'cut off',
          'the file ends 95 bytes into what begins here',
          'use what is before it (records: 2) or capture again',
        ),
      );
      expect(parser.next()).toBeUndefined();
    });

    it('uses records beyond the snapshot length, and tells of the first', () => {
      const { records, problems } = parseInChunks(patched(whole, 16, 65));
      expect(records).toHaveLength(3);
      expect(problems).toMatchObject([
        { offset: HEADER + RECORD + 60, what: 'record longer than the snapshot length' },
      ]);
    });

    it('tells of an impossible time', () => {
      const { records, problems } = parseInChunks(patched(whole, HEADER + 4, 1_000_000_000));
      expect(records).toHaveLength(3);
      expect(problems).toMatchObject([{ offset: HEADER, what: 'impossible time' }]);
    });

    it('refuses another version', () => {
      const { records, problems } = parseInChunks(patched(whole, 4, 0x0002_0002));
      expect(records).toEqual([]);
      expect(problems).toMatchObject([{ offset: 0, what: 'unsupported pcap version' }]);
      expect(problems[0]!.why).toContain('2.2');
    });
  });
});

describe('files that are no captures', () => {
  const cases: [string, number[], RegExp][] = [
    ['an empty file', [], /the file is empty/],
    ['three bytes', [0xd4, 0xc3, 0xb2], /only 3 bytes/],
    ['text', [...Buffer.from('hello, world')], /begins with 0x68656c6c/],
    ['gzip', [0x1f, 0x8b, 8, 0], /compressed by gzip; decompress it with gunzip/],
    ['zstd', [0x28, 0xb5, 0x2f, 0xfd], /unzstd/],
    ['a modified pcap', [0xa1, 0xb2, 0xcd, 0x34], /editcap/],
  ];

  it.each(cases)('says so: %s', (_name, bytes, message) => {
    // Also when warnings are wanted: there is nothing before the fault that could be used.
    expect(() => parseInChunks(Uint8Array.from(bytes))).toThrow(CaptureError);
    expect(() => parseInChunks(Uint8Array.from(bytes))).toThrow(message);
  });
});
