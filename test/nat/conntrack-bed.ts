import { Conntrack, type ConntrackConfig } from '../../nat/conntrack.ts';
import { DEFAULT_TIMEOUTS } from '../../nat/timeouts.ts';
import { extractTuple, invertTuple, TUPLE_WORDS } from '../../nat/tuple.ts';
import { type Station, tcp, udp } from '../../src/testing/frames.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';

export const A: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };
export const B: Station = { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' };

/** Networks by which the two directions come in. */
export const INSIDE = 1;
export const OUTSIDE = 2;

export function packetOf(frame: Uint8Array): Packet {
  const packet = new Packet(new Uint8Array(VNET_LEN + frame.length));
  packet.bytes.set(frame, VNET_LEN);
  packet.at = VNET_LEN;
  packet.length = frame.length;
  const malformed = parse(packet);
  if (malformed !== Malformed.NONE) throw new Error(`malformed: ${malformed}`);
  return packet;
}

/** The two tuples of a flow that the packet opens and nobody translates. */
export function tuplesOf(packet: Packet): Int32Array {
  const words = new Int32Array(2 * TUPLE_WORDS);
  extractTuple(packet, INSIDE, words, 0);
  invertTuple(words, 0, TUPLE_WORDS, OUTSIDE);
  return words;
}

export function conntrack(options: Partial<ConntrackConfig> = {}): Conntrack {
  return new Conntrack({
    capacity: 64,
    quota: 64,
    timeouts: DEFAULT_TIMEOUTS,
    loose: true,
    key: [1, 2],
    ...options,
  });
}

/** A datagram of A to B or back; `port` says which flow. */
export function datagram(port: number, reply = false, data = 10): Packet {
  return packetOf(
    reply
      ? udp({ from: B, to: A, srcPort: 53, dstPort: port, data })
      : udp({ from: A, to: B, srcPort: port, dstPort: 53, data }),
  );
}

/** A segment of A to B or back; `port` says which flow. */
export function segment(
  port: number,
  flags: string,
  sequence: number,
  acknowledgment: number,
  reply = false,
): Packet {
  const ends = reply
    ? { from: B, to: A, srcPort: 80, dstPort: port }
    : { from: A, to: B, srcPort: port, dstPort: 80 };
  return packetOf(tcp({ ...ends, flags, sequence, acknowledgment, window: 8192 }));
}

/** A row and a direction as one number. */
export function refOf(row: number, direction: number): number {
  return (row << 1) | direction;
}

/** Opens the flow that the packet begins; what `open` returns. */
export function open(table: Conntrack, packet: Packet, now = 0, owner = 0, exempt = false): number {
  return table.open(tuplesOf(packet), 0, packet, owner, exempt, now);
}
