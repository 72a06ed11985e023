/**
 * Big-endian (network order) integers in a byte array. Nothing here checks bounds: `parse` does it once for a
 * whole frame, and a read beyond the array is `undefined`, which the integer operators turn into 0.
 */

/** Unsigned 16 bits at `at`. */
export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

/** Signed 32 bits at `at`: the form in which addresses are held and compared. */
export function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

/** Writes the low 16 bits of `value`. */
export function set16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes 32 bits, signed or unsigned. */
export function set32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/**
 * Copies `length` bytes. Within one buffer (frames of one arena) nothing is allocated, and the ranges may
 * overlap; between two buffers one short-lived view is made.
 */
export function copy(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, length: number): void {
  if (from === to) to.copyWithin(toAt, fromAt, fromAt + length);
  else to.set(from.subarray(fromAt, fromAt + length), toAt);
}
