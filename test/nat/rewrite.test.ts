import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  setDestinationIpv4,
  setDestinationIpv6,
  setDestinationPort,
  setSourceIpv4,
  setSourceIpv6,
  setSourcePort,
} from '../../nat/rewrite.ts';
import { fragments, icmpEcho, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { icmpIdentifier } from '../../wire/icmp.ts';
import { IPV4_DST, IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { TCP_CHECKSUM } from '../../wire/tcp.ts';
import { checksumOffset, transportChecksumOk } from '../../wire/transport.ts';
import { UDP_CHECKSUM } from '../../wire/udp.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_NONE, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

const A: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };
const B: Station = { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' };

function packetOf(frame: Uint8Array): Packet {
  const packet = new Packet(new Uint8Array(VNET_LEN + frame.length));
  packet.bytes.set(frame, VNET_LEN);
  packet.at = VNET_LEN;
  packet.length = frame.length;
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

const family = fc.constantFrom<4 | 6>(4, 6);
const frame = fc.oneof(
  fc
    .record({ family, data: fc.nat(100) })
    .map(({ family, data }) => tcp({ from: A, to: B, family, srcPort: 4000, dstPort: 80, data })),
  fc
    .record({ family, data: fc.nat(100) })
    .map(({ family, data }) => udp({ from: A, to: B, family, srcPort: 4000, dstPort: 53, data })),
  fc
    .record({ family, data: fc.nat(100) })
    .map(({ family, data }) => icmpEcho({ from: A, to: B, family, data })),
);
const word = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 0xffff, 0xffff0000 | 0));
const words = fc.tuple(word, word, word, word).map((each) => Int32Array.from(each));
const port = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 0xffff));
const change = fc.record({ source: words, destination: words, sourcePort: port, destinationPort: port });

function rewrite(
  packet: Packet,
  to: { source: Int32Array; destination: Int32Array; sourcePort: number; destinationPort: number },
) {
  if (packet.etherType === ETHERTYPE_IPV4) {
    setSourceIpv4(packet, to.source[0]!);
    setDestinationIpv4(packet, to.destination[0]!);
  } else {
    setSourceIpv6(packet, to.source);
    setDestinationIpv6(packet, to.destination);
  }
  setSourcePort(packet, to.sourcePort);
  setDestinationPort(packet, to.destinationPort);
}

describe('rewriting', () => {
  test('CK-1: whatever is rewritten, all checksums are right afterwards', () => {
    fc.assert(
      fc.property(frame, change, (bytes, to) => {
        const packet = packetOf(bytes);
        rewrite(packet, to);
        expect(parse(packet)).toBe(Malformed.NONE);
        expect(transportChecksumOk(packet)).toBe(true);
        const { l3 } = packet;
        const isIpv4 = packet.etherType === ETHERTYPE_IPV4;
        expect(get32(packet.bytes, l3 + (isIpv4 ? IPV4_SRC : IPV6_SRC))).toBe(to.source[0]);
        expect(get32(packet.bytes, l3 + (isIpv4 ? IPV4_DST : IPV6_DST))).toBe(to.destination[0]);
      }),
      { numRuns: 2000 },
    );
  });

  test('CK-2: a wrong transport checksum is still wrong afterwards', () => {
    fc.assert(
      fc.property(frame, change, fc.integer({ min: 1, max: 0xfffe }), (bytes, to, error) => {
        const packet = packetOf(bytes);
        const field = packet.l4 + checksumOffset(packet);
        const wrong = get16(packet.bytes, field) ^ error;
        // 0 is "none" for UDP, and both zeros are one number.
        fc.pre(wrong !== 0 && wrong !== 0xffff);
        set16(packet.bytes, field, wrong);
        fc.pre(!transportChecksumOk(packet));
        rewrite(packet, to);
        fc.pre(get16(packet.bytes, field) !== 0);
        expect(transportChecksumOk(packet)).toBe(false);
      }),
    );
  });

  test('CK-3: a partial checksum stays the sum of its pseudo-header', () => {
    fc.assert(
      fc.property(family, fc.boolean(), change, (family, isTcp, to) => {
        const options = { from: A, to: B, family, srcPort: 1, dstPort: 2, data: 50 };
        const packet = packetOf(isTcp ? tcp(options) : udp(options));
        const { bytes, at, l3, l4, protocol } = packet;
        const offset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
        writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, l4 - at, offset);
        const pseudo = () =>
          (family === 4 ? pseudoSumIpv4 : pseudoSumIpv6)(bytes, l3, protocol, packet.end - l4) % 0xffff;
        set16(bytes, l4 + offset, pseudo());
        rewrite(packet, to);
        expect(get16(bytes, l4 + offset) % 0xffff).toBe(pseudo());
      }),
    );
  });

  test('IP-11: UDP without a checksum stays without one', () => {
    const packet = packetOf(udp({ from: A, to: B, srcPort: 1, dstPort: 2, data: 8 }));
    set16(packet.bytes, packet.l4 + UDP_CHECKSUM, 0);
    setSourceIpv4(packet, 0x01020304);
    setSourcePort(packet, 999);
    expect(get16(packet.bytes, packet.l4 + UDP_CHECKSUM)).toBe(0);
  });

  test('the identifier of an ICMP query is its port', () => {
    for (const family of [4, 6] as const) {
      const packet = packetOf(icmpEcho({ from: A, to: B, family, data: 8 }));
      setSourcePort(packet, 0xbeef);
      expect(icmpIdentifier(packet.bytes, packet.l4)).toBe(0xbeef);
      expect(transportChecksumOk(packet)).toBe(true);
    }
  });

  test('of fragments only the addresses change, and the whole datagram is right afterwards', () => {
    const pieces = fragments(udp({ from: A, to: B, srcPort: 1, dstPort: 2, data: 3000 }), 1500).map(packetOf);
    expect(pieces.length).toBe(3);
    for (const piece of pieces) {
      const payload = piece.bytes.slice(piece.l3 + 20, piece.end);
      setSourceIpv4(piece, 0x7f000001);
      setSourcePort(piece, 7777);
      if (piece.fragmentOffset > 0) expect(piece.bytes.slice(piece.l3 + 20, piece.end)).toEqual(payload);
    }
    const whole = packetOf(
      udp({ from: { ...A, ipv4: '127.0.0.1' }, to: B, srcPort: 7777, dstPort: 2, data: 3000 }),
    );
    const joined = pieces.flatMap((piece) => [...piece.bytes.slice(piece.l3 + 20, piece.end)]);
    expect(joined).toEqual([...whole.bytes.slice(whole.l3 + 20, whole.end)]);
  });
});
