import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { get16, set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6, sum } from '../../wire/checksum.ts';
import {
  ETH_LEN,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  writeEthernet,
} from '../../wire/ethernet.ts';
import { fillIpv4Checksum, IPV4_DF, IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_EXT_DESTINATION, setIpv6Dst, setIpv6Src, writeIpv6 } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse, parseEthernet } from '../../wire/parse.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { completeChecksum, segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import {
  TCP_ACK,
  TCP_CHECKSUM,
  TCP_CWR,
  TCP_ECE,
  TCP_FIN,
  TCP_LEN,
  TCP_PSH,
  tcpFlags,
  writeTcp,
} from '../../wire/tcp.ts';
import { fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { UDP_CHECKSUM, UDP_LEN, udpChecksum, writeUdp } from '../../wire/udp.ts';
import {
  clearVnet,
  hasPartialChecksum,
  VNET_F_NEEDS_CSUM,
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import { writeVlan } from '../../wire/vlan.ts';
import {
  AT,
  FRAGMENT4_FIRST,
  frameOf,
  garbage,
  packetOf,
  SAMPLES,
  same,
  TCP4_SYN,
  UDP4,
  UDP6,
  untouched,
} from './samples.ts';

interface Shape {
  ipv6: boolean;
  tcp: boolean;
  tagged: boolean;
  /** Bytes of IPv4 options (NOPs) or of IPv6 destination options. */
  ipOptions: number;
  tcpOptions: number;
  flags: number;
  sequence: number;
  identification: number;
  payload: Uint8Array;
  size: number;
  /** Ethernet padding behind the packet. */
  padding: number;
}

/** A GSO frame as a container's kernel hands it over: with the pseudo-header's sum for a checksum. */
function gsoFrame(shape: Shape): Packet {
  const { ipv6, tcp, payload } = shape;
  const transport = (tcp ? TCP_LEN + shape.tcpOptions : UDP_LEN) + payload.length;
  const bytes = garbage(AT + 200 + transport + shape.padding);
  const packet = new Packet(bytes);
  packet.at = AT;
  let at = writeEthernet(bytes, AT, 0x0242, 3, 0x0242, 2, ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
  if (shape.tagged) {
    at = writeVlan(bytes, AT + 12, ETHERTYPE_VLAN, 5) + 2;
    set16(bytes, at - 2, ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
  }
  const l3 = at;
  const protocol = tcp ? PROTO_TCP : PROTO_UDP;
  if (ipv6) {
    at = writeIpv6(
      bytes,
      l3,
      shape.ipOptions + transport,
      shape.ipOptions > 0 ? IPV6_EXT_DESTINATION : protocol,
      64,
    );
    setIpv6Src(bytes, l3, 0xfd000dec | 0, 0, 0, 2);
    setIpv6Dst(bytes, l3, 0xfd000dec | 0, 0, 0, 3);
    if (shape.ipOptions > 0) {
      bytes.fill(0, at, at + shape.ipOptions);
      bytes[at] = protocol;
      bytes[at + 1] = (shape.ipOptions >> 3) - 1;
    }
  } else {
    const total = IPV4_LEN + shape.ipOptions + transport;
    at = writeIpv4(bytes, l3, total, protocol, 64, 0x0a000002, 0x0a000003, shape.identification, IPV4_DF);
    bytes[l3] = 0x45 + (shape.ipOptions >> 2);
    bytes.fill(1, at, at + shape.ipOptions);
    fillIpv4Checksum(bytes, l3);
  }
  const l4 = at + shape.ipOptions;
  if (tcp) {
    at = writeTcp(bytes, l4, 443, 40000, shape.sequence, 77, shape.flags, 502, TCP_LEN + shape.tcpOptions);
    bytes.fill(1, at, at + shape.tcpOptions);
    at += shape.tcpOptions;
  } else {
    at = writeUdp(bytes, l4, 443, 40000, transport);
  }
  bytes.set(payload, at);
  packet.length = at + payload.length + shape.padding - AT;
  const field = tcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  const pseudo = ipv6
    ? pseudoSumIpv6(bytes, l3, protocol, transport)
    : pseudoSumIpv4(bytes, l3, protocol, transport);
  set16(bytes, l4 + field, fold(pseudo));
  const ecn = (shape.flags & TCP_CWR) !== 0 ? VNET_GSO_ECN : 0;
  const type = tcp ? (ipv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4) | ecn : VNET_GSO_UDP_L4;
  writeVnet(bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, type, at - AT, shape.size, l4 - AT, field);
  return packet;
}

/** All frames for which a packet stands, each in a buffer of its own with garbage around it. */
function segments(packet: Packet): Packet[] {
  const count = segmentCount(packet);
  const longest = segmentLength(packet);
  return Array.from({ length: count }, (_, index) => {
    const target = new Packet(garbage(AT + longest + 8));
    target.at = AT;
    writeSegment(packet, index, target);
    expect(target.length).toBeLessThanOrEqual(longest);
    expect(untouched(target.bytes, 0, AT - VNET_LEN)).toBe(true);
    expect(same(target.bytes.subarray(AT - VNET_LEN, AT), new Uint8Array(VNET_LEN))).toBe(true);
    expect(untouched(target.bytes, AT + target.length, target.bytes.length)).toBe(true);
    return target;
  });
}

const arbitrary: fc.Arbitrary<Shape> = fc.record({
  ipv6: fc.boolean(),
  tcp: fc.boolean(),
  tagged: fc.boolean(),
  ipOptions: fc.constantFrom(0, 0, 8, 16, 40),
  tcpOptions: fc.constantFrom(0, 12, 40),
  flags: fc.integer({ min: 0, max: 255 }),
  sequence: fc.oneof(fc.constantFrom(0, -1, -1000, 0x7fffffff), fc.integer()),
  identification: fc.oneof(fc.constantFrom(0, 0xffff, 0xfffe), fc.nat(0xffff)),
  payload: fc.uint8Array({ minLength: 0, maxLength: 300, size: 'max' }),
  size: fc.oneof(
    { arbitrary: fc.integer({ min: 1, max: 7 }), weight: 1 },
    { arbitrary: fc.integer({ min: 8, max: 300 }), weight: 9 },
  ),
  padding: fc.constantFrom(0, 0, 3),
});

/** Frame `index` as the sender would have sent it by itself: the shape's headers around a piece of its payload. */
function expected(shape: Shape, index: number, count: number): Uint8Array {
  const offset = index * shape.size;
  let flags = shape.flags;
  if (index < count - 1) flags &= ~(TCP_FIN | TCP_PSH);
  if (index > 0) flags &= ~TCP_CWR;
  const packet = gsoFrame({
    ...shape,
    flags,
    sequence: (shape.sequence + offset) | 0,
    identification: (shape.identification + index) & 0xffff,
    payload: shape.payload.slice(offset, offset + shape.size),
    padding: 0,
  });
  parse(packet);
  fillTransportChecksum(packet);
  return frameOf(packet);
}

describe('segmentation', () => {
  it('gives the frames that the sender would have sent one by one; together they carry its payload', () => {
    fc.assert(
      fc.property(arbitrary, (shape) => {
        const packet = gsoFrame(shape);
        const before = packet.bytes.slice();
        parse(packet);
        const pieces = segments(packet);
        expect(same(packet.bytes, before)).toBe(true);
        expect(pieces.length).toBe(Math.max(1, Math.ceil(shape.payload.length / shape.size)));

        const reassembled = new Uint8Array(shape.payload.length);
        let length = 0;
        for (const [index, piece] of pieces.entries()) {
          expect(same(frameOf(piece), expected(shape, index, pieces.length))).toBe(true);
          // What writeSegment says of its headers is what parse finds.
          const { l3, l4, payload, end } = piece;
          expect(parse(piece)).toBe(Malformed.NONE);
          expect([piece.l3, piece.l4, piece.payload, piece.end]).toEqual([l3, l4, payload, end]);
          expect(transportChecksumOk(piece)).toBe(true);
          reassembled.set(piece.bytes.subarray(payload, end), length);
          length += end - payload;
        }
        expect(length).toBe(shape.payload.length);
        expect(same(reassembled, shape.payload)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  const plain: Shape = {
    ipv6: false,
    tcp: true,
    tagged: false,
    ipOptions: 0,
    tcpOptions: 12,
    flags: TCP_ACK | TCP_PSH,
    sequence: 0,
    identification: 1,
    payload: new Uint8Array(65_000).map((_, i) => i * 31),
    size: 1448,
    padding: 0,
  };

  it('of 64 KiB: 45 segments', () => {
    const packet = gsoFrame(plain);
    expect(segmentLength(packet)).toBe(ETH_LEN + IPV4_LEN + 32 + 1448);
    const pieces = segments(packet);
    expect(pieces.length).toBe(45);
    expect(pieces.map((piece) => piece.length)).toEqual([
      ...new Array(44).fill(1514),
      66 + 65_000 - 44 * 1448,
    ]);
    expect(pieces.every((piece) => transportChecksumOk(piece))).toBe(true);
  });

  it('says CWR once, ECN-Echo always (RFC 3168 §6.1)', () => {
    const packet = gsoFrame({
      ...plain,
      payload: new Uint8Array(30),
      size: 10,
      flags: TCP_ACK | TCP_CWR | TCP_ECE,
    });
    const flags = segments(packet).map((piece) => tcpFlags(piece.bytes, piece.l4));
    expect(flags).toEqual([TCP_ACK | TCP_CWR | TCP_ECE, TCP_ACK | TCP_ECE, TCP_ACK | TCP_ECE]);
  });

  it('says FIN and PSH last', () => {
    const packet = gsoFrame({
      ...plain,
      payload: new Uint8Array(30),
      size: 10,
      flags: TCP_ACK | TCP_FIN | TCP_PSH,
    });
    const flags = segments(packet).map((piece) => tcpFlags(piece.bytes, piece.l4));
    expect(flags).toEqual([TCP_ACK, TCP_ACK, TCP_ACK | TCP_FIN | TCP_PSH]);
  });

  it('writes a computed UDP checksum of 0 as 0xffff', () => {
    for (const ipv6 of [false, true]) {
      const shape = { ...plain, tcp: false, ipv6, payload: Uint8Array.of(0, 0, 1, 2, 0, 0, 3, 4), size: 4 };
      const [first, second] = segments(gsoFrame(shape)) as [Packet, Packet];
      // The first two bytes of each piece are chosen so that the rest sums up to nothing.
      shape.payload.set(first.bytes.slice(first.l4 + UDP_CHECKSUM, first.l4 + UDP_CHECKSUM + 2), 0);
      shape.payload.set(second.bytes.slice(second.l4 + UDP_CHECKSUM, second.l4 + UDP_CHECKSUM + 2), 4);
      const pieces = segments(gsoFrame(shape));
      expect(pieces.map((piece) => udpChecksum(piece.bytes, piece.l4))).toEqual([0xffff, 0xffff]);
      expect(pieces.every((piece) => transportChecksumOk(piece))).toBe(true);
    }
  });

  it('of UDP without a checksum makes datagrams without one, over IPv4', () => {
    for (const ipv6 of [false, true]) {
      const packet = gsoFrame({ ...plain, tcp: false, ipv6, payload: new Uint8Array(30).fill(7), size: 10 });
      parse(packet);
      set16(packet.bytes, packet.l4 + UDP_CHECKSUM, 0);
      writeVnet(packet.bytes, AT - VNET_LEN, 0, VNET_GSO_UDP_L4, 0, 10, 0, 0);
      const pieces = segments(packet);
      expect(pieces.length).toBe(3);
      for (const piece of pieces) expect(udpChecksum(piece.bytes, piece.l4) === 0).toBe(!ipv6);
    }
  });

  it('works within one buffer, and without being parsed before', () => {
    const packet = gsoFrame({ ...plain, payload: new Uint8Array(300).fill(9), size: 100 });
    const bytes = new Uint8Array(4096);
    bytes.set(packet.bytes, 1000);
    const source = new Packet(bytes);
    source.at = 1000 + AT;
    source.length = packet.length;
    expect(parseEthernet(source)).toBe(Malformed.NONE);
    expect(segmentLength(source)).toBe(166);
    expect(source.l4).toBe(0);
    expect(segmentCount(source)).toBe(3);
    const target = new Packet(bytes);
    target.at = 3000;
    for (const [index, piece] of segments(packet).entries()) {
      writeSegment(source, index, target);
      expect(frameOf(target)).toEqual(frameOf(piece));
    }
  });

  it('of an ordinary frame is a copy with its checksum finished', () => {
    for (const sample of Object.values(SAMPLES)) {
      const packet = packetOf(sample);
      parse(packet);
      expect(segmentCount(packet)).toBe(1);
      expect(segmentLength(packet)).toBe(sample.length);
      const [piece] = segments(packet) as [Packet];
      expect(frameOf(piece)).toEqual(sample);
      expect(piece.l4).toBe(packet.l4);
    }
    const partial = gsoFrame({ ...plain, payload: new Uint8Array(5), tcp: false });
    writeVnet(partial.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, 34, UDP_CHECKSUM);
    parse(partial);
    const [piece] = segments(partial) as [Packet];
    expect(hasPartialChecksum(piece)).toBe(false);
    expect(transportChecksumOk(piece)).toBe(true);
    expect(hasPartialChecksum(partial)).toBe(true);
  });

  it('refuses what lies: 0 segments', () => {
    const wrong = gsoFrame({ ...plain, payload: new Uint8Array(100), size: 10 });
    writeVnet(wrong.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV6, 0, 10, 34, 16);
    expect(segmentCount(wrong)).toBe(0);
    const fragment = packetOf(FRAGMENT4_FIRST);
    writeVnet(fragment.bytes, AT - VNET_LEN, 0, VNET_GSO_UDP_L4, 0, 10, 0, 0);
    expect(segmentCount(fragment)).toBe(0);
    const cut = packetOf(UDP4.slice(0, 30));
    writeVnet(cut.bytes, AT - VNET_LEN, 0, VNET_GSO_UDP_L4, 0, 10, 0, 0);
    expect(segmentCount(cut)).toBe(0);
    expect(segmentLength(cut)).toBe(30);
  });

  it('length is never more than the frame', () => {
    const packet = packetOf(TCP4_SYN);
    for (const start of [0, 34, 54, 60, 65_535]) {
      for (const size of [0, 1, 65_535]) {
        writeVnet(packet.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, 0, size, start, 16);
        expect(segmentLength(packet)).toBeLessThanOrEqual(TCP4_SYN.length);
      }
    }
  });
});

describe('completeChecksum', () => {
  /** The sample with its checksum made partial. */
  function partial(sample: Uint8Array): Packet {
    const packet = packetOf(sample);
    parse(packet);
    const { bytes, l3, l4, protocol } = packet;
    const field = protocol === PROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    const length = packet.end - l4;
    const pseudo =
      packet.etherType === ETHERTYPE_IPV6
        ? pseudoSumIpv6(bytes, l3, protocol, length)
        : pseudoSumIpv4(bytes, l3, protocol, length);
    set16(bytes, l4 + field, fold(pseudo));
    writeVnet(bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, l4 - AT, field);
    return packet;
  }

  const samples = ['UDP4', 'UDP6', 'TCP4_SYN', 'TCP6', 'VLAN', 'QINQ', 'EXTENSIONS', 'FRAGMENT6_ATOMIC'];

  it.each(samples)('gives back %s, in place', (name) => {
    const sample = SAMPLES[name]!;
    const packet = partial(sample);
    expect(transportChecksumOk(packet)).toBe(true);
    parseEthernet(packet);
    expect(completeChecksum(packet)).toBe(true);
    expect(frameOf(packet)).toEqual(sample);
    expect([...packet.bytes.slice(AT - VNET_LEN, AT)]).toEqual(new Array(VNET_LEN).fill(0));
  });

  it.each(samples)('fillTransportChecksum gives back %s, too', (name) => {
    const packet = partial(SAMPLES[name]!);
    fillTransportChecksum(packet);
    expect(frameOf(packet)).toEqual(SAMPLES[name]);
    expect(hasPartialChecksum(packet)).toBe(false);
  });

  it('does nothing to a finished one', () => {
    const packet = packetOf(UDP4);
    parse(packet);
    expect(completeChecksum(packet)).toBe(true);
    expect(frameOf(packet)).toEqual(UDP4);
  });

  it('does not sum Ethernet padding of a parsed packet', () => {
    const padded = new Uint8Array(60).fill(0xee);
    padded.set(UDP4);
    const packet = partial(padded);
    expect(completeChecksum(packet)).toBe(true);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('writes a computed UDP checksum of 0 as 0xffff, of TCP as 0', () => {
    for (const [sample, at] of [
      [UDP4, UDP_CHECKSUM],
      [UDP6, UDP_CHECKSUM],
      [SAMPLES['TCP6']!, TCP_CHECKSUM],
    ] as const) {
      const packet = partial(sample);
      set16(packet.bytes, packet.payload, 0);
      const { l4, end } = packet;
      set16(packet.bytes, packet.payload, ~sum(packet.bytes, l4, end - l4));
      expect(completeChecksum(packet)).toBe(true);
      expect(get16(packet.bytes, l4 + at)).toBe(at === UDP_CHECKSUM ? 0xffff : 0);
      expect(transportChecksumOk(packet)).toBe(true);
    }
  });

  it('refuses a place outside of the packet, and changes nothing', () => {
    for (const [start, offset] of [
      [13, 6],
      [34, 12],
      [34, 65_535],
      [65_535, 0],
    ] as const) {
      const packet = packetOf(UDP4);
      parseEthernet(packet);
      writeVnet(packet.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, start, offset);
      const before = packet.bytes.slice();
      expect(completeChecksum(packet)).toBe(false);
      expect(packet.bytes).toEqual(before);
      clearVnet(packet.bytes, AT - VNET_LEN);
      expect(completeChecksum(packet)).toBe(true);
    }
  });
});
