import { type Carrier, carryMap } from '../../wire/carrier.ts';
import { RULE_KINDS, type RuleCounter, type RuleKind } from './commands.ts';

/** The number of each kind of rule: its place in `RULE_KINDS`. Written out, for the engine to see constants. */
export const Rule = {
  DNAT: 0,
  MASQUERADE: 1,
  HAIRPIN: 2,
  NPT: 3,
  ESTABLISHED: 4,
  PUBLISHED: 5,
  OUTBOUND: 6,
  INTRA: 7,
  INVALID: 8,
  UNPUBLISHED: 9,
  ISOLATED: 10,
  INTERNAL_OUT: 11,
  INTERNAL_IN: 12,
  ICC: 13,
  INTERNAL_INPUT: 14,
  CLOSED_TCP: 15,
  CLOSED_UDP: 16,
  USER: 17,
} as const satisfies Record<RuleKind, number>;

const KINDS = RULE_KINDS.length;
/** Counters of a rule: packets and bytes. */
const STRIDE = 2;
/** Rules of a publish; all others are of a network. */
const PUBLISH_KINDS: readonly number[] = [Rule.DNAT, Rule.HAIRPIN, Rule.PUBLISHED];
/** Rules of an uplink. */
const UPLINK_KINDS: readonly number[] = [Rule.INVALID, Rule.UNPUBLISHED, Rule.CLOSED_UDP];

/** What decides which rules a network has. */
export interface NetworkTraits {
  isUplink: boolean;
  /** Whether it leaves by an uplink with the address of that. */
  masquerades: boolean;
  npt: boolean;
  isInternal: boolean;
  /** Whether its ports may speak to each other. */
  icc: boolean;
}

/**
 * What the rules of the deck have let through, translated and dropped: packets and bytes per rule, as `iptables -v`
 * shows them. A rule is named by its kind and a network, or a publish; doubles, exact to 2^53.
 */
export class Rules {
  readonly #networks: Float64Array;
  /** Networks from here on were never there. */
  #high = 0;
  #publishes = new Float64Array(64 * KINDS * STRIDE);
  readonly #networkRules = new Map<number, readonly number[]>();
  /** By a publish's id: its row, by which its counters are found, and its network. */
  readonly #publishRules = new Map<number, { row: number; network: number }>();

  /** @param networks most networks, uplinks included */
  constructor(networks: number) {
    this.#networks = new Float64Array(networks * KINDS * STRIDE);
  }

  carry(carrier: Carrier): void {
    this.#high = carrier.number(this.#high);
    carrier.column(this.#networks, this.#high * KINDS * STRIDE);
    this.#publishes = carrier.grown(this.#publishes);
    carryMap(carrier, this.#networkRules);
    carryMap(carrier, this.#publishRules);
  }

  /** Begins to count for a network; `kinds` are the rules that it has. */
  addNetwork(id: number, { isUplink, masquerades, npt, isInternal, icc }: NetworkTraits): void {
    const kinds = isUplink
      ? UPLINK_KINDS
      : [
          ...(masquerades ? [Rule.MASQUERADE] : []),
          ...(npt ? [Rule.NPT] : []),
          Rule.ESTABLISHED,
          Rule.OUTBOUND,
          icc ? Rule.INTRA : Rule.ICC,
          Rule.INVALID,
          Rule.ISOLATED,
          ...(isInternal ? [Rule.INTERNAL_OUT, Rule.INTERNAL_IN, Rule.INTERNAL_INPUT] : []),
          Rule.CLOSED_TCP,
          Rule.CLOSED_UDP,
        ];
    this.#high = Math.max(this.#high, id + 1);
    this.#networks.fill(0, id * KINDS * STRIDE, (id + 1) * KINDS * STRIDE);
    this.#networkRules.set(id, kinds);
  }

  removeNetwork(id: number): void {
    this.#networkRules.delete(id);
  }

  addPublish(id: number, row: number, network: number): void {
    const from = row * KINDS * STRIDE;
    if (from + KINDS * STRIDE > this.#publishes.length) {
      const longer = new Float64Array(2 * (from + KINDS * STRIDE));
      longer.set(this.#publishes);
      this.#publishes = longer;
    }
    this.#publishes.fill(0, from, from + KINDS * STRIDE);
    this.#publishRules.set(id, { row, network });
  }

  removePublish(id: number): void {
    this.#publishRules.delete(id);
  }

  /** Counts a packet of `bytes` for a network's rule. */
  count(kind: number, network: number, bytes: number): void {
    const at = (network * KINDS + kind) * STRIDE;
    this.#networks[at]!++;
    this.#networks[at + 1]! += bytes;
  }

  /** Counts a packet of `bytes` for the rule of the publish in a row. */
  countPublish(kind: number, row: number, bytes: number): void {
    const at = (row * KINDS + kind) * STRIDE;
    this.#publishes[at]!++;
    this.#publishes[at + 1]! += bytes;
  }

  list(): RuleCounter[] {
    const rows: RuleCounter[] = [];
    for (const [network, kinds] of this.#networkRules) {
      for (const kind of kinds) {
        const at = (network * KINDS + kind) * STRIDE;
        const [packets, bytes] = [this.#networks[at]!, this.#networks[at + 1]!];
        rows.push({ kind: RULE_KINDS[kind]!, network, publish: -1, packets, bytes });
      }
    }
    for (const [publish, { row, network }] of this.#publishRules) {
      for (const kind of PUBLISH_KINDS) {
        const at = (row * KINDS + kind) * STRIDE;
        const [packets, bytes] = [this.#publishes[at]!, this.#publishes[at + 1]!];
        rows.push({ kind: RULE_KINDS[kind]!, network, publish, packets, bytes });
      }
    }
    return rows;
  }
}
