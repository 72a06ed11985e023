import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaptureError } from '../../src/capture/capture-error.ts';
import { MAX_CAPTURED_LENGTH } from '../../src/capture/capture-record.ts';
import { MAX_BLOCK_LENGTH } from '../../src/capture/pcapng-decoder.ts';
import { type Parsed, parseInChunks, pcapFile, pcapngFile, swapPcap, type Written } from './captures.ts';
import { realCaptures } from './tools.ts';

const frames: Written[] = [60, 1514, 0, 333, 42].map((length, i) => ({
  timestamp: BigInt(i) * 1_000_000_000n,
  data: new Uint8Array(length).fill(i),
  originalLength: length,
  comments: ['a comment', ''],
  packetId: BigInt(i),
}));

/** The files to be damaged, small ones first; large ones would only repeat the small. */
const files: { name: string; bytes: Uint8Array }[] = [
  { name: 'us', bytes: pcapFile(frames) },
  { name: 'ns, big-endian', bytes: swapPcap(pcapFile(frames, true)) },
  { name: 'pcapng', bytes: pcapngFile(frames) },
  ...realCaptures()
    .map((name) => ({ name, bytes: Uint8Array.from(readFileSync(name)) }))
    .filter(({ bytes }) => bytes.length < 8192),
];

type Change = (bytes: Uint8Array) => Uint8Array;

const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const change: fc.Arbitrary<Change> = fc.oneof(
  // Single bytes, also where lengths and types are.
  fc.tuple(place, fc.nat({ max: 255 })).map(([at, value]) => (bytes: Uint8Array) => {
    const copy = bytes.slice();
    if (copy.length > 0) copy[Math.floor(at * copy.length)] = value;
    return copy;
  }),
  // Whole words with the values at which arithmetic goes wrong.
  fc
    .tuple(
      place,
      fc.constantFrom(0, 1, 4, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff, 0x0a0d_0d0a),
      fc.boolean(),
    )
    .map(([at, value, little]) => (bytes: Uint8Array) => {
      const copy = bytes.slice();
      const word = Math.floor((at * copy.length) / 4) * 4;
      if (word + 4 <= copy.length) new DataView(copy.buffer).setUint32(word, value, little);
      return copy;
    }),
  place.map((at) => (bytes: Uint8Array) => bytes.slice(0, Math.floor(at * bytes.length))),
  fc.tuple(place, place).map(([a, b]) => (bytes: Uint8Array) => {
    const [from, to] = [a, b].map((at) => Math.floor(at * bytes.length)).sort((x, y) => x - y);
    return Uint8Array.from(Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]));
  }),
  fc.tuple(place, fc.uint8Array({ maxLength: 40 })).map(([at, more]) => (bytes: Uint8Array) => {
    const where = Math.floor(at * bytes.length);
    return Uint8Array.from(Buffer.concat([bytes.subarray(0, where), more, bytes.subarray(where)]));
  }),
);

function check({ records, problems, memory }: Parsed, file: Uint8Array): void {
  let before = -1;
  for (const record of records) {
    expect(record.data.length).toBe(record.capturedLength);
    expect(record.capturedLength).toBeLessThanOrEqual(MAX_CAPTURED_LENGTH);
    expect(record.offset).toBeGreaterThan(before);
    before = record.offset;
  }
  for (const problem of problems) {
    expect(problem).toBeInstanceOf(CaptureError);
    expect(problem.message).not.toContain('\n');
    expect(problem.offset).toBeGreaterThanOrEqual(0);
    expect(problem.offset).toBeLessThanOrEqual(file.length);
  }
  expect(memory).toBeLessThanOrEqual(2 * (MAX_BLOCK_LENGTH + file.length));
}

describe('damaged files', () => {
  it('never do more than end the reading', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...files),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat({ max: 8192 }), { maxLength: 4 }),
        ({ bytes }, changes, cuts) => {
          const damaged = changes.reduce((file, apply) => apply(file), bytes);
          let whole: Parsed;
          try {
            whole = parseInChunks(damaged);
          } catch (error) {
            expect(error).toMatchObject({ name: 'CaptureError', what: 'not a capture', offset: 0 });
            return;
          }
          check(whole, damaged);
          // What is found does not depend on how the file came.
          const pieces = parseInChunks(damaged, cuts);
          expect(pieces.records).toEqual(whole.records);
          expect(pieces.problems.map(({ message }) => message)).toEqual(
            whole.problems.map(({ message }) => message),
          );
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('give the records before the damage unchanged', () => {
    fc.assert(
      fc.property(fc.constantFrom(...files), place, ({ bytes }, at) => {
        const end = Math.floor(at * bytes.length);
        if (end < 4) return;
        const whole = parseInChunks(bytes).records;
        const { records } = parseInChunks(bytes.slice(0, end));
        expect(records).toEqual(whole.slice(0, records.length));
        // No whole record is left out: the first that is missing ends, where the one after it begins, behind the cut.
        if (records.length < whole.length) {
          expect(whole[records.length + 1]?.offset ?? bytes.length).toBeGreaterThan(end);
        }
      }),
      { numRuns: 300 },
    );
  });
});
