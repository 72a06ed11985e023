import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TUPLE_LENGTH, tupleKind } from '../../nat/tuple.ts';
import { hashTuple } from '../../nat/tuple-hash.ts';
import { hashN } from '../../wire/hash.ts';

/** HalfSipHash-1-3 of bytes, written down from the paper's algorithm with unsigned numbers. */
function halfSipHash(k0: number, k1: number, message: Uint8Array): number {
  const v = [k0 >>> 0, k1 >>> 0, (k0 ^ 0x6c796765) >>> 0, (k1 ^ 0x74656462) >>> 0];
  const rotate = (x: number, by: number) => ((x << by) | (x >>> (32 - by))) >>> 0;
  const round = () => {
    v[0] = (v[0]! + v[1]!) >>> 0;
    v[1] = (rotate(v[1]!, 5) ^ v[0]!) >>> 0;
    v[0] = rotate(v[0]!, 16);
    v[2] = (v[2]! + v[3]!) >>> 0;
    v[3] = (rotate(v[3]!, 8) ^ v[2]!) >>> 0;
    v[0] = (v[0]! + v[3]!) >>> 0;
    v[3] = (rotate(v[3]!, 7) ^ v[0]!) >>> 0;
    v[2] = (v[2]! + v[1]!) >>> 0;
    v[1] = (rotate(v[1]!, 13) ^ v[2]!) >>> 0;
    v[2] = rotate(v[2]!, 16);
  };
  const padded = new Uint8Array((message.length & ~3) + 4);
  padded.set(message);
  padded[padded.length - 1] = message.length;
  const view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 4) {
    const word = view.getUint32(at, true);
    v[3] = (v[3]! ^ word) >>> 0;
    round();
    v[0] = (v[0]! ^ word) >>> 0;
  }
  v[2] = (v[2]! ^ 0xff) >>> 0;
  for (let i = 0; i < 3; i++) round();
  return (v[1]! ^ v[3]!) | 0;
}

const word = fc.integer();

describe('hash of a tuple', () => {
  test('property: IPv4 is HalfSipHash of addresses, ports and three bytes of the kind', () => {
    fc.assert(
      fc.property(
        word,
        word,
        word,
        word,
        word,
        fc.nat(255),
        fc.nat(32_767),
        (k0, k1, src, dst, ports, protocol, zone) => {
          const kind = tupleKind(protocol, false, zone);
          const words = Int32Array.from([7, 0, 0, 0xffff, src, 0, 0, 0xffff, dst, ports, kind]);
          const message = new Uint8Array(16);
          const view = new DataView(message.buffer);
          [src, dst, ports, kind].forEach((each, i) => {
            view.setInt32(4 * i, each, true);
          });
          expect(hashTuple([k0, k1], words, 1)).toBe(halfSipHash(k0, k1, message.subarray(0, 15)));
        },
      ),
    );
  });

  test('zones that take more than three bytes are told apart', () => {
    const hashes = new Set<number>();
    for (let bit = 0; bit < 23; bit++) {
      const words = Int32Array.from([0, 0, 0xffff, 1, 0, 0, 0xffff, 2, 3, tupleKind(6, false, 1 << bit)]);
      hashes.add(hashTuple([1, 2], words, 0));
    }
    expect(hashes.size).toBe(23);
  });

  test('property: every word of an IPv6 tuple counts', () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 9, maxLength: 9 }), fc.nat(8), fc.nat(31), (most, at, bit) => {
        const words = Int32Array.from([...most, tupleKind(6, true, 5)]);
        const hash = hashTuple([3, 4], words, 0);
        expect(hash).toBe(hashN(3, 4, words, 0, TUPLE_LENGTH));
        words[at]! ^= 1 << bit;
        expect(hashTuple([3, 4], words, 0)).not.toBe(hash);
      }),
    );
  });
});
