/**
 * The machine that filters run on: the one of the BSD Packet Filter (S. McCanne, V. Jacobson: "The BSD Packet Filter",
 * USENIX Winter 1993), with two registers, a small memory, and only forward jumps, so that every program ends.
 *
 * A program is a flat array and not closures or generated source: one loop that the engine compiles once, no call for
 * any part of a filter, nothing allocated for a packet, and nothing that a Node without `eval` would refuse.
 */

/** Operations. A, X are the registers, M the memory, P the frame, k the operand. Numbers are 32 bits without sign. */
export const Op = {
  /** The answer is k: 1 to take the frame. */
  RETURN: 0,
  /** A = P[k], 1, 2 or 4 bytes, big-endian. Bytes that were not captured make the answer no. */
  BYTE: 1,
  HALF: 2,
  WORD: 3,
  /** A = P[X + k]. */
  BYTE_X: 4,
  HALF_X: 5,
  WORD_X: 6,
  /** X = 4 * (P[k] & 15): the length of an IPv4 header. */
  HEADER_X: 7,
  /** A = k. */
  NUMBER: 8,
  /** A = length of the frame on the wire. */
  LENGTH: 9,
  /** M[k] = A. */
  STORE: 10,
  /** A = M[k]. */
  RECALL: 11,
  /** X = A. */
  COPY_X: 12,
  /** A = A + k, and so on. */
  ADD: 13,
  SUB: 14,
  MUL: 15,
  /** By 0 the answer is no, as for MOD. */
  DIV: 16,
  MOD: 17,
  AND: 18,
  OR: 19,
  XOR: 20,
  /** By 32 or more it gives 0, as for RSH. */
  LSH: 21,
  RSH: 22,
  /** A = A + X, and so on. */
  ADD_X: 23,
  SUB_X: 24,
  MUL_X: 25,
  DIV_X: 26,
  MOD_X: 27,
  AND_X: 28,
  OR_X: 29,
  XOR_X: 30,
  LSH_X: 31,
  RSH_X: 32,
  /** A = -A. */
  NEG: 33,
  /** Goes on at one place when A = k, and at another when not, and so on. */
  EQUAL: 34,
  GREATER: 35,
  AT_LEAST: 36,
  /** When A & k is not 0. */
  ANY_BIT: 37,
  EQUAL_X: 38,
  GREATER_X: 39,
  AT_LEAST_X: 40,
} as const;
export type Op = (typeof Op)[keyof typeof Op];

/** Words of one instruction: operation, operand, and where a jump goes on (places of instructions, in words). */
export const STRIDE = 4;

/**
 * Whether a program takes a frame of `length` captured bytes at `bytes[at]`, which had `wireLength` bytes on the wire.
 * `memory` need not be cleared: a program reads only what it has written.
 */
export function run(
  program: Int32Array,
  memory: Int32Array,
  bytes: Uint8Array,
  at: number,
  length: number,
  wireLength: number,
): boolean {
  let a = 0;
  let x = 0;
  let pc = 0;
  for (;;) {
    const k = program[pc + 1]!;
    switch (program[pc]) {
      case Op.RETURN:
        return k !== 0;
      case Op.BYTE:
        if (k + 1 > length) return false;
        a = bytes[at + k]!;
        break;
      case Op.HALF:
        if (k + 2 > length) return false;
        a = (bytes[at + k]! << 8) | bytes[at + k + 1]!;
        break;
      case Op.WORD:
        if (k + 4 > length) return false;
        a = word(bytes, at + k);
        break;
      // An X of 2^31 or more is beyond every frame.
      case Op.BYTE_X:
        if (x < 0 || x + k + 1 > length) return false;
        a = bytes[at + x + k]!;
        break;
      case Op.HALF_X:
        if (x < 0 || x + k + 2 > length) return false;
        a = (bytes[at + x + k]! << 8) | bytes[at + x + k + 1]!;
        break;
      case Op.WORD_X:
        if (x < 0 || x + k + 4 > length) return false;
        a = word(bytes, at + x + k);
        break;
      case Op.HEADER_X:
        if (k + 1 > length) return false;
        x = (bytes[at + k]! & 0x0f) << 2;
        break;
      case Op.NUMBER:
        a = k;
        break;
      case Op.LENGTH:
        a = wireLength | 0;
        break;
      case Op.STORE:
        memory[k] = a;
        break;
      case Op.RECALL:
        a = memory[k]!;
        break;
      case Op.COPY_X:
        x = a;
        break;
      case Op.ADD:
        a = (a + k) | 0;
        break;
      case Op.SUB:
        a = (a - k) | 0;
        break;
      case Op.MUL:
        a = Math.imul(a, k);
        break;
      case Op.DIV:
        if (k === 0) return false;
        a = ((a >>> 0) / (k >>> 0)) | 0;
        break;
      case Op.MOD:
        if (k === 0) return false;
        a = ((a >>> 0) % (k >>> 0)) | 0;
        break;
      case Op.AND:
        a &= k;
        break;
      case Op.OR:
        a |= k;
        break;
      case Op.XOR:
        a ^= k;
        break;
      case Op.LSH:
        a = k >>> 0 < 32 ? a << k : 0;
        break;
      case Op.RSH:
        a = k >>> 0 < 32 ? (a >>> k) | 0 : 0;
        break;
      case Op.ADD_X:
        a = (a + x) | 0;
        break;
      case Op.SUB_X:
        a = (a - x) | 0;
        break;
      case Op.MUL_X:
        a = Math.imul(a, x);
        break;
      case Op.DIV_X:
        if (x === 0) return false;
        a = ((a >>> 0) / (x >>> 0)) | 0;
        break;
      case Op.MOD_X:
        if (x === 0) return false;
        a = ((a >>> 0) % (x >>> 0)) | 0;
        break;
      case Op.AND_X:
        a &= x;
        break;
      case Op.OR_X:
        a |= x;
        break;
      case Op.XOR_X:
        a ^= x;
        break;
      case Op.LSH_X:
        a = x >>> 0 < 32 ? a << x : 0;
        break;
      case Op.RSH_X:
        a = x >>> 0 < 32 ? (a >>> x) | 0 : 0;
        break;
      case Op.NEG:
        a = -a | 0;
        break;
      case Op.EQUAL:
        pc = program[pc + (a === k ? 2 : 3)]!;
        continue;
      case Op.GREATER:
        pc = program[pc + (a >>> 0 > k >>> 0 ? 2 : 3)]!;
        continue;
      case Op.AT_LEAST:
        pc = program[pc + (a >>> 0 >= k >>> 0 ? 2 : 3)]!;
        continue;
      case Op.ANY_BIT:
        pc = program[pc + ((a & k) !== 0 ? 2 : 3)]!;
        continue;
      case Op.EQUAL_X:
        pc = program[pc + (a === x ? 2 : 3)]!;
        continue;
      case Op.GREATER_X:
        pc = program[pc + (a >>> 0 > x >>> 0 ? 2 : 3)]!;
        continue;
      case Op.AT_LEAST_X:
        pc = program[pc + (a >>> 0 >= x >>> 0 ? 2 : 3)]!;
        continue;
    }
    pc += STRIDE;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
