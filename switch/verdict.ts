import type { DropReason } from './drop-reason.ts';
import type { PortId } from './frame.ts';

/**
 * What is to become of a frame. A verdict is one small integer, a kind in the low bits and its argument
 * above, so that a stage returns it without making an object. Stages only return verdicts; the edge
 * (`src/dataplane/egress.ts`) alone acts on them.
 */
export type Verdict = number;

export const VerdictKind = {
  /** Not this stage's business: the next one decides. */
  PASS: 0,
  /** Discard; the argument is the drop reason. */
  DROP: 1,
  /** Send by one port; the argument is the port. */
  FORWARD: 2,
  /** Send by every port of a network but the one it came from; the argument is the network. */
  FLOOD: 3,
  /** The deck itself was the destination and has read it. */
  CONSUME: 4,
  /** Somebody keeps it for now and holds his own reference (waiting for a neighbor, for other fragments). */
  HOLD: 5,
} as const;
export type VerdictKind = (typeof VerdictKind)[keyof typeof VerdictKind];

const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;

export const PASS: Verdict = VerdictKind.PASS;
export const CONSUME: Verdict = VerdictKind.CONSUME;
export const HOLD: Verdict = VerdictKind.HOLD;

export function drop(reason: DropReason): Verdict {
  return (reason << KIND_BITS) | VerdictKind.DROP;
}

export function forward(port: PortId): Verdict {
  return (port << KIND_BITS) | VerdictKind.FORWARD;
}

export function flood(network: number): Verdict {
  return (network << KIND_BITS) | VerdictKind.FLOOD;
}

export function verdictKind(verdict: Verdict): VerdictKind {
  return (verdict & KIND_MASK) as VerdictKind;
}

/** The drop reason, port or network of a verdict, by its kind. */
export function verdictArgument(verdict: Verdict): number {
  return verdict >> KIND_BITS;
}
