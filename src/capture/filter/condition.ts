/** What a filter asks of a frame, between its tree and the machine's program. */
import { Op, STRIDE } from './machine.ts';

/** One comparison: instructions that load A (and perhaps X), as pairs of operation and operand, and a jump. */
interface Test {
  readonly kind: 'test';
  readonly load: readonly number[];
  readonly op: Op;
  readonly k: number;
}

/** Conditions are looked at from left to right, and no further than needed: a load beyond the frame ends the program. */
export type Condition =
  | Test
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'not'; readonly of: Condition };

/** Compares what `load` leaves in A with `k`, or with X. */
export function test(load: readonly number[], op: Op, k = 0): Condition {
  return { kind: 'test', load, op, k };
}

export function all(first: Condition, ...others: (Condition | undefined)[]): Condition {
  return joined('and', first, others);
}

export function any(first: Condition, ...others: (Condition | undefined)[]): Condition {
  return joined('or', first, others);
}

function joined(kind: 'and' | 'or', first: Condition, others: readonly (Condition | undefined)[]): Condition {
  let left = first;
  for (const right of others) if (right !== undefined) left = { kind, left, right };
  return left;
}

export function not(of: Condition): Condition {
  return { kind: 'not', of };
}

/** `size` bytes at a fixed place are `value`, where `mask` has bits. */
export function field(at: number, size: 1 | 2 | 4, value: number, mask = 0xffff_ffff): Condition {
  const load = [size === 1 ? Op.BYTE : size === 2 ? Op.HALF : Op.WORD, at];
  if (mask !== 0xffff_ffff) load.push(Op.AND, mask);
  return test(load, Op.EQUAL, value);
}

interface Block {
  readonly test: Test;
  /** Numbers of blocks. */
  readonly yes: number;
  readonly no: number;
}

const REFUSE = -1;
const TAKE = -2;

/** The machine's program for a condition: every comparison once, each jump straight to what decides next. */
export function assemble(condition: Condition | undefined): Int32Array {
  // From right to left, because a comparison must know where to go on; so the last block is the first to run.
  const blocks: Block[] = [];
  const build = (of: Condition, yes: number, no: number): number => {
    switch (of.kind) {
      case 'test':
        return blocks.push({ test: of, yes, no }) - 1;
      case 'not':
        return build(of.of, no, yes);
      case 'and':
        return build(of.left, build(of.right, yes, no), no);
      case 'or':
        return build(of.left, yes, build(of.right, yes, no));
    }
  };
  if (condition !== undefined) build(condition, TAKE, REFUSE);
  blocks.reverse();

  const starts: number[] = [];
  let end = 0;
  for (const { test } of blocks) {
    starts.push(end);
    end += (test.load.length / 2 + 1) * STRIDE;
  }
  const place = (block: number): number => {
    if (block === TAKE) return end;
    return block === REFUSE ? end + STRIDE : starts[blocks.length - 1 - block]!;
  };
  const program = new Int32Array(end + 2 * STRIDE);
  let at = 0;
  for (const { test, yes, no } of blocks) {
    for (let i = 0; i < test.load.length; i += 2, at += STRIDE) {
      program[at] = test.load[i]!;
      program[at + 1] = test.load[i + 1]!;
    }
    program.set([test.op, test.k, place(yes), place(no)], at);
    at += STRIDE;
  }
  program.set([Op.RETURN, 1], end);
  program.set([Op.RETURN, 0], end + STRIDE);
  return program;
}
