import { IPV4_MAPPED } from '../../../nat/tuple.ts';
import { ROW_NOW, ROW_PACKET, ROW_WORDS } from '../../../switch/trace.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../../wire/protocol.ts';
import type { PastFilter } from '../../dataplane/past.ts';
import type { Names } from '../../trace/names.ts';
import { inWords, readStory } from '../../trace/story.ts';
import type { Address } from '../../why/question.ts';
import type { WhyView } from './explain.ts';
import { headOf } from './explain.ts';
import type { Resolved } from './resolve.ts';

/** Packets that are told of. */
export const MOST_PAST = 5;

/** What happened to the last packets like those of a question. */
export interface WhyPastView extends Pick<WhyView, 'protocol' | 'port' | 'family' | 'from' | 'to'> {
  /** The oldest first. */
  packets: PastPacket[];
}

export interface PastPacket {
  /** Its number in the deck. */
  packet: number;
  /** Milliseconds since. */
  ago: number;
  /** Its way, a line for each stage; of a dropped packet perhaps only its end. */
  way: string[];
}

/** The packets that a question means, as the data plane remembers them. */
export function pastFilter({
  family,
  question: { protocol, source, destination, port },
}: Resolved): PastFilter {
  const words = (address: Address) => (address.length === 1 ? [0, 0, IPV4_MAPPED, address[0]!] : address);
  const icmp = family === 4 ? PROTO_ICMP : PROTO_ICMPV6;
  return {
    src: words(source),
    dst: words(destination),
    protocol: protocol === 'tcp' ? PROTO_TCP : protocol === 'udp' ? PROTO_UDP : icmp,
    ...(port > 0 && { dstPort: port }),
  };
}

/** @param rows of `Past.list`: all of one packet's, though others may lie between them */
export function viewPast(resolved: Resolved, rows: Int32Array, now: number, names: Names): WhyPastView {
  const places = new Map<number, number[]>();
  for (let at = 0; at < rows.length; at += ROW_WORDS) {
    const packet = rows[at + ROW_PACKET]!;
    places.set(packet, [...(places.get(packet) ?? []), at]);
  }
  const view = new DataView(rows.buffer, rows.byteOffset);
  return {
    ...headOf(resolved),
    packets: Array.from(places, ([packet, at]) => ({
      packet: packet >>> 0,
      // Times lie at a multiple of eight bytes from where a row begins.
      ago: Math.max(0, Math.round(now - view.getFloat64(4 * at[0]! + 8 * ROW_NOW, true))),
      way: inWords(readStory(rows, at, at.length, names)),
    })),
  };
}
