import type { PortRange } from './rule-ports.ts';

/** One rule. */
export interface RuleView {
  /** What becomes of the packet, or the chain that it goes to. */
  target: string;
  /** `all`, `tcp`, `udp`, ..., or a number. */
  protocol: string;
  /** Network or uplink by which the packet comes in and goes out; `*` for any, `!lab` for any but lab. */
  in: string;
  out: string;
  /** Subnets or addresses; empty for any. */
  source: string[];
  destination: string[];
  /** null for any. */
  sourcePorts: PortRange | null;
  destinationPorts: PortRange | null;
  /** States of the connection, of which one must hold; empty for any. */
  states: string[];
  /** What the destination becomes; null for rules that leave it as it is. */
  to: { address: string; ports: PortRange } | null;
  /** What else must hold, and with what the packet is rewritten or answered, in iptables' words. */
  detail: string;
  /** What it does, in plain words. */
  words: string;
  /** The id of a rule of the user's; null for all others. */
  rule: number | null;
  /**
   * What it has counted since it was made: in table nat the first packets of connections, in table filter all that it let
   * through or discarded. null for a rule that only leads to another chain.
   */
  packets: number | null;
  bytes: number | null;
}

/** A chain, its rules in the order in which they are tried. */
export interface ChainView {
  table: 'nat' | 'filter';
  name: string;
  /** What becomes of packets that no rule is about; null for a chain that others lead to. */
  policy: 'ACCEPT' | 'DROP' | null;
  /** How many rules lead to it; 0 for those that netfilter has itself. */
  references: number;
  rules: RuleView[];
}

/** A rule that is about every packet, and does nothing. */
export const ANY: RuleView = {
  target: '',
  protocol: 'all',
  in: '*',
  out: '*',
  source: [],
  destination: [],
  sourcePorts: null,
  destinationPorts: null,
  states: [],
  to: null,
  detail: '',
  words: '',
  rule: null,
  packets: null,
  bytes: null,
};
