/** Flows for tests: who speaks, as whom the other end sees them, and the frames of both directions. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { extractTuple, TUPLE_WORDS } from '../../nat/tuple.ts';
import { type Data, icmpEcho, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP } from '../../wire/protocol.ts';
import { checksumOffset } from '../../wire/transport.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_NONE, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

/** A parsed packet with `frame` in it, between two runs of bytes that are not its own. */
export function packetOf(frame: Uint8Array, garbage = 0xa5): Packet {
  const packet = new Packet(new Uint8Array(32 + VNET_LEN + frame.length + 32).fill(garbage));
  packet.at = 32 + VNET_LEN;
  packet.length = frame.length;
  packet.bytes.fill(0, 32, packet.at);
  packet.bytes.set(frame, packet.at);
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

/** The bytes of the packet's frame. */
export function frameOf(packet: Packet): Uint8Array {
  return packet.bytes.slice(packet.at, packet.at + packet.length);
}

export interface Endpoint {
  station: Station;
  /** Port, or identifier of an ICMP query. */
  port: number;
}

/**
 * What the client sends goes from `client` to `service` and arrives as from `seenClient` to `server`; the answer goes the
 * way back. Masquerading makes `seenClient` another than `client`, a published port `server` another than `service`,
 * hairpin both.
 */
export interface Flow {
  family: 4 | 6;
  protocol: 'tcp' | 'udp' | 'icmp';
  client: Endpoint;
  service: Endpoint;
  seenClient: Endpoint;
  server: Endpoint;
}

export const ZONE_INSIDE = 3;
export const ZONE_OUTSIDE = 7;

/** Frame of the flow between two of its endpoints. */
export function frameBetween(
  flow: Flow,
  from: Endpoint,
  to: Endpoint,
  isReply: boolean,
  data: Data,
  ttl = 64,
): Uint8Array {
  const options = { from: from.station, to: to.station, family: flow.family, data, ttl };
  switch (flow.protocol) {
    case 'tcp':
      return tcp({ ...options, srcPort: from.port, dstPort: to.port, sequence: 0x89abcdef | 0, flags: 'PA' });
    case 'udp':
      return udp({ ...options, srcPort: from.port, dstPort: to.port });
    case 'icmp':
      return icmpEcho({ ...options, identifier: isReply ? to.port : from.port, reply: isReply });
  }
}

/** What its sender sends in a direction: 0 the client, 1 the server. */
export function sent(flow: Flow, direction: number, data: Data): Uint8Array {
  return direction === 0
    ? frameBetween(flow, flow.client, flow.service, false, data)
    : frameBetween(flow, flow.server, flow.seenClient, true, data);
}

/** What its receiver must get of it. */
export function received(flow: Flow, direction: number, data: Data): Uint8Array {
  return direction === 0
    ? frameBetween(flow, flow.seenClient, flow.server, false, data)
    : frameBetween(flow, flow.service, flow.client, true, data);
}

/** The two tuples of the flow, as the first row but one of a connection table. */
export function tuplesOf(flow: Flow): Int32Array {
  const words = new Int32Array(2 * 2 * TUPLE_WORDS);
  const original = packetOf(sent(flow, 0, 8));
  const reply = packetOf(sent(flow, 1, 8));
  expect(extractTuple(original, ZONE_INSIDE, words, 2 * TUPLE_WORDS)).toBe(true);
  expect(extractTuple(reply, ZONE_OUTSIDE, words, 3 * TUPLE_WORDS)).toBe(true);
  return words;
}

/** The `ref` of a direction of the row that `tuplesOf` fills. */
export function refOf(direction: number): number {
  return 2 | direction;
}

const word = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 0xffff, 0xffff0000 | 0, 0x0a000001, 0x0a00 << 16));
const port = fc.oneof(fc.integer({ min: 1, max: 0xffff }), fc.constantFrom(1, 0xffff));
const station = fc.tuple(word, word, word, word).map(([w0, w1, w2, w3]) => ({
  mac: '02:42:0a:00:00:0a',
  ipv4: formatIpv4(w3),
  ipv6: formatIpv6(w0, w1, w2, w3),
}));

/** Any flow: translated at neither, one or both of its ends. */
export const anyFlow: fc.Arbitrary<Flow> = fc
  .record({
    family: fc.constantFrom<4 | 6>(4, 6),
    protocol: fc.constantFrom<Flow['protocol']>('tcp', 'udp', 'icmp'),
    stations: fc.tuple(station, station, station, station),
    ports: fc.tuple(port, port, port, port),
    masquerade: fc.boolean(),
    publish: fc.boolean(),
  })
  .map(({ family, protocol, stations, ports, masquerade, publish }) => {
    const at = (i: number) => ({ station: stations[i]!, port: ports[i]! });
    const client = at(0);
    const service = at(1);
    return {
      family,
      protocol,
      client,
      service,
      seenClient: masquerade ? at(2) : client,
      server: publish ? at(3) : service,
    };
  });

/** A container behind masquerade that speaks to a server outside. */
export const MASQUERADED: Flow = {
  family: 4,
  protocol: 'tcp',
  client: { station: { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' }, port: 4000 },
  service: { station: { mac: '02:42:0a:00:00:0a', ipv4: '192.0.2.7', ipv6: '2001:db8::7' }, port: 80 },
  seenClient: {
    station: { mac: '02:42:0a:00:00:0a', ipv4: '198.51.100.9', ipv6: '2001:db8:9::9' },
    port: 61000,
  },
  server: { station: { mac: '02:42:0a:00:00:0a', ipv4: '192.0.2.7', ipv6: '2001:db8::7' }, port: 80 },
};

/** Leaves only the pseudo-header's sum in the checksum, as a TAP with offloads does. */
export function makePartial(packet: Packet): void {
  const { bytes, at, l4 } = packet;
  const offset = checksumOffset(packet);
  set16(bytes, l4 + offset, pseudoHeaderSum(packet));
  writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, l4 - at, offset);
}

/** Sum of the packet's pseudo-header; ICMP has none. */
export function pseudoHeaderSum({ bytes, l3, l4, end, protocol }: Packet): number {
  if (bytes[l3]! >>> 4 === 6) return fold(pseudoSumIpv6(bytes, l3, protocol, end - l4));
  return protocol === PROTO_ICMP ? 0 : fold(pseudoSumIpv4(bytes, l3, protocol, end - l4));
}
