import type { PortId } from '../../switch/frame.ts';
import type { Mac } from '../../wire/address.ts';
import type { RuleCounter } from '../dataplane/commands.ts';

/** One word for IPv4, four for IPv6, int32 each. */
export type Address = readonly number[];

/** An address of a station and the length of the prefix that it shares with its neighbors. */
export interface StationAddress {
  readonly address: Address;
  readonly prefix: number;
  /** The router by which the station reaches all that is not on its link; null when its routes lead there elsewhere. */
  readonly gateway: Address | null;
}

/** Somebody at a port, who acts as a kernel does: asks for neighbors, answers for its addresses, has routes. */
export interface Station {
  /** Stations of one host have the same; its packets leave by whichever of them leads to the destination. */
  readonly host: string;
  readonly port: PortId;
  readonly mac: Mac;
  /** Of the question's IP version; null without. */
  readonly ip: StationAddress | null;
  /**
   * Everybody behind an uplink: it has all addresses but those of `deck`, and sends what is not for its own link to the first
   * of them. `ip` is that of the router there.
   */
  readonly outside: { readonly deck: readonly Address[] } | null;
}

/** What is to be tried. Addresses and stations are of one IP version. */
export interface Question {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  /** Index of the station that asks, and the address by which it does. */
  readonly from: number;
  readonly source: Address;
  /** Whether it asks by this station only, and not by that of its host which leads to the destination. */
  readonly bound: boolean;
  readonly destination: Address;
  /** TCP and UDP; 0 for ICMP. */
  readonly port: number;
  readonly stations: readonly Station[];
}

/** What a frame is in the conversation. */
export const STEPS = [
  /** "Who has this address?", by ARP or neighbor discovery, and what is said to that. */
  'neighbor-question',
  'neighbor-answer',
  /** SYN, datagram or echo request. */
  'request',
  /** SYN+ACK, datagram or echo reply. */
  'answer',
  /** TCP: the acknowledgment with which the connection stands, and the first bytes on it, in both directions. */
  'acknowledgment',
  'data',
] as const;
export type StepKind = (typeof STEPS)[number];

/** One frame that a station sends, and all that becomes of it in the deck. */
export interface Step {
  readonly kind: StepKind;
  /** Index of the station that sends it. */
  readonly from: number;
  readonly frame: Uint8Array;
  /** As `switch/verdict.ts` writes it: what was decided about the frame itself. */
  readonly verdict: number;
  /** Numbers of the drop reasons of the frame, and of frames that came of it. */
  readonly drops: readonly number[];
  /** The rules that counted something, in the order of the chains. */
  readonly rules: readonly RuleCounter[];
  /** What was observed of it on its way, and of what the deck made because of it: a story each, rows of `switch/trace.ts`. */
  readonly stories: readonly Int32Array[];
  /** What left the deck because of it. */
  readonly sent: readonly { readonly port: PortId; readonly frame: Uint8Array }[];
  /** Index of the station that got what was sent, to the address that it was meant for; -1 for nobody. */
  readonly arrived: number;
  /** What the deck said to the sender in the place of, or beside, the destination. */
  readonly reply: DeckReply | null;
  /** Of a question for a neighbor: whose MAC is asked for, and whether somebody has told it. */
  readonly target: Address | null;
  readonly answered: boolean;
  /** Milliseconds that it took until nobody was waited for any more. */
  readonly waited: number;
}

/** What the deck itself answers a sender. */
export interface DeckReply {
  readonly kind: 'answer' | 'reset' | 'icmp-error';
  /** Of an ICMP or ICMPv6 error; 0 otherwise. */
  readonly type: number;
  readonly code: number;
}

/** Why it is no, where no step tells it by a drop reason. */
export const FAILURES = [
  /** The sender's host has no route to the destination. */
  'no-route',
  /** Nobody answers the question for a neighbor. */
  'no-neighbor',
  /** A frame was dropped: the step before tells why. */
  'dropped',
  /** The deck refuses by a reset or an ICMP error. */
  'refused',
  /** It reaches somebody for whom it is not. */
  'astray',
  /** It waits in the deck, and nothing comes of it. */
  'lost',
] as const;
export type Failure = (typeof FAILURES)[number];

/** What would become of the question. */
export interface Outcome {
  readonly steps: readonly Step[];
  /** null for yes: request and answer both arrive. */
  readonly failure: Failure | null;
  /** Index of the station that had to find a way when it failed, or of the one that answered. */
  readonly at: number;
  /** Whether it takes an answer from outside, of which the deck cannot know whether it would come. */
  readonly assumed: boolean;
}
