import { describe } from '../../wire/describe.ts';
import { Packet } from '../../wire/packet.ts';
import { dissect } from './dissect.ts';

/** A frame in one line, as `tapdeck replay --verbose` prints it. */
export function frameLine(bytes: Uint8Array, at = 0, length = bytes.length): string {
  // The virtio-net header that a packet has in front of it is none of a captured frame's.
  const packet = new Packet(bytes.subarray(at, at + length));
  packet.length = length;
  return describe(packet);
}

/** Position of the first byte in which two frames differ; -1 when they are equal. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? -1 : common;
}

/** How what differs is painted; a terminal that has no colours gets the mark alone. */
export interface Paint {
  expected: (text: string) => string;
  actual: (text: string) => string;
}

const PLAIN: Paint = { expected: (text) => text, actual: (text) => text };

/**
 * Two frames decoded side by side, one field per line, with a mark on the fields that differ; undefined when
 * the frames are equal.
 */
export function frameDifference(
  expected: Uint8Array,
  actual: Uint8Array,
  paint: Paint = PLAIN,
): string | undefined {
  const first = firstDifference(expected, actual);
  if (first < 0) return undefined;
  const rows = sideBySide(expected, actual);
  const name = widest(rows.map(([field]) => field));
  const left = Math.max(8, widest(rows.map(([, value]) => value)));
  const lines = [`  ${'field'.padEnd(name)}  ${'expected'.padEnd(left)}  came out`];
  for (const [field, before, after] of rows) {
    if (before === after) lines.push(`  ${field.padEnd(name)}  ${before.padEnd(left)}  ${after}`);
    else {
      const columns = [paint.expected(before.padEnd(left)), paint.actual(after)];
      lines.push(`* ${field.padEnd(name)}  ${columns.join('  ')}`);
    }
  }
  lines.push(`  (first different byte: ${first})`);
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** Fields of both frames by name, in the order in which they stand; those that one frame lacks as `-`. */
function sideBySide(
  expected: Uint8Array,
  actual: Uint8Array,
): [field: string, before: string, after: string][] {
  const before = dissect(expected);
  const after = dissect(actual);
  const rows: [string, string, string][] = [];
  let next = 0;
  for (const { name, value } of before) {
    const found = after.findIndex((field, i) => i >= next && field.name === name);
    if (found < 0) {
      rows.push([name, value, '-']);
      continue;
    }
    for (; next < found; next++) rows.push([after[next]!.name, '-', after[next]!.value]);
    rows.push([name, value, after[found]!.value]);
    next = found + 1;
  }
  for (const { name, value } of after.slice(next)) rows.push([name, '-', value]);
  return rows;
}

function widest(texts: readonly string[]): number {
  return Math.max(...texts.map((text) => text.length));
}
