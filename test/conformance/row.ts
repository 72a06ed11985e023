import type { Bed } from './bed.ts';
import type { Layout } from './geography.ts';

/** RFC 2119: how much a requirement weighs. */
export const STRENGTHS = ['MUST', 'SHOULD', 'MAY'] as const;
export type Strength = (typeof STRENGTHS)[number];

/** One requirement and how it is tried with packets. */
export interface Row {
  /** The standard and its clause: `4787-1` is REQ-1 of RFC 4787, `7857-2.1` section 2.1 of RFC 7857. */
  id: string;
  strength: Strength;
  /** What is required. */
  title: string;
  /** How the NAT is to be set up for it; the usual test bed when left out. */
  layout?: Layout;
  /** Whoever refuses the layout fulfils the requirement. */
  refusal?: boolean;
  /** IP versions with which it is tried; IPv4 alone when left out. All of them must pass. */
  families?: readonly (4 | 6)[];
  /**
   * Sends packets and looks at what comes out. Answers in one line what was seen.
   * @throws Failure when that is not what is required, Undrivable when the subject cannot be asked
   */
  run(bed: Bed): Promise<string>;
  /** For a subject in real time whose tables are another program's: why the row cannot be tried, or another way to. */
  kernel?: string | ((bed: Bed) => Promise<string>);
}

export const BOTH = [4, 6] as const;

/** The requirement is not met: the message says what was seen instead. */
export class Failure extends Error {}

/** The subject cannot be asked: no fault of its own. */
export class Undrivable extends Error {}

/** @throws Failure */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Failure(message);
}

/** @throws Failure naming both, when they differ */
export function same<T extends string | number | boolean | null>(actual: T, expected: T, what: string): void {
  if (actual !== expected) throw new Failure(`${what} is ${actual}, not ${expected}`);
}

/** @throws Failure saying where the first difference is */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  same(actual.length, expected.length, `the length of ${what}`);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  if (at >= 0) throw new Failure(`byte ${at} of ${what} is ${actual[at]}, not ${expected[at]}`);
}

/** The bytes that a packet has whose data is given as a number. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i + (i >> 8)) & 0xff);
}
