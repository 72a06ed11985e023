import { describe, expect, it } from 'vitest';
import { set16 } from '../../wire/bytes.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { IPV4_LEN } from '../../wire/ipv4.ts';
import { IPV6_EXT_ROUTING, IPV6_LEN } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
import { fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import {
  setUdpChecksum,
  setUdpDstPort,
  setUdpLength,
  setUdpSrcPort,
  UDP_CHECKSUM,
  UDP_LEN,
  UDP_LENGTH,
  udpChecksum,
  udpDstPort,
  udpLength,
  udpSrcPort,
  writeUdp,
} from '../../wire/udp.ts';
import {
  AT,
  EXTENSIONS,
  FRAGMENT4_FIRST,
  FRAGMENT4_LAST,
  frameOf,
  garbage,
  packetOf,
  UDP4,
  UDP6,
} from './samples.ts';

const L4 = AT + ETH_LEN + IPV4_LEN;
const HEADER = UDP4.slice(ETH_LEN + IPV4_LEN, ETH_LEN + IPV4_LEN + UDP_LEN);

describe('UDP', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(UDP4);
    expect([udpSrcPort(bytes, L4), udpDstPort(bytes, L4), udpLength(bytes, L4)]).toEqual([40000, 7, 13]);
    expect(udpChecksum(bytes, L4)).toBe((HEADER[6]! << 8) | HEADER[7]!);
  });

  it('construct', () => {
    const bytes = garbage(UDP_LEN);
    setUdpSrcPort(bytes, 0, 40000);
    setUdpDstPort(bytes, 0, 7);
    setUdpLength(bytes, 0, 13);
    setUdpChecksum(bytes, 0, udpChecksum(HEADER, 0));
    expect(bytes).toEqual(HEADER);
  });

  it('parse', () => {
    const packet = packetOf(UDP4);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ protocol: PROTO_UDP, l4: L4, payload: L4 + UDP_LEN, end: L4 + 13 });
  });

  it.each([
    ['IPv4', UDP4],
    ['IPv6', UDP6],
    ['IPv6 with extension headers', EXTENSIONS],
  ])('emit over %s', (_, sample) => {
    const packet = packetOf(sample);
    parse(packet);
    packet.bytes.fill(0xa5, packet.l4, packet.payload);
    expect(writeUdp(packet.bytes, packet.l4, 40000, 7, 13)).toBe(packet.payload);
    fillTransportChecksum(packet);
    expect(frameOf(packet)).toEqual(sample);
  });

  it('is truncated below 8 bytes, and bad with a length below 8 or beyond the packet', () => {
    const parsed = (length: number) => {
      const frame = UDP4.slice();
      set16(frame, ETH_LEN + IPV4_LEN + UDP_LENGTH, length);
      return parse(packetOf(frame));
    };
    expect([0, 7, 14, 65_535].map(parsed)).toEqual(new Array(4).fill(Malformed.L4_INHDR));
    expect([8, 12, 13].map(parsed)).toEqual(new Array(3).fill(Malformed.NONE));
  });
});

describe('the UDP checksum', () => {
  it.each([
    ['IPv4', UDP4],
    ['IPv6', UDP6],
    ['IPv6 with extension headers', EXTENSIONS],
  ])('is right over %s, and wrong with any byte changed', (_, sample) => {
    const packet = packetOf(sample);
    parse(packet);
    expect(transportChecksumOk(packet)).toBe(true);
    for (let at = packet.l4; at < packet.end; at++) {
      packet.bytes[at]! ^= 0x40;
      expect(transportChecksumOk(packet)).toBe(false);
      packet.bytes[at]! ^= 0x40;
    }
  });

  it('0 means none over IPv4, and nothing over IPv6 (RFC 8200 §8.1)', () => {
    for (const [sample, ok] of [
      [UDP4, true],
      [UDP6, false],
    ] as const) {
      const packet = packetOf(sample);
      parse(packet);
      set16(packet.bytes, packet.l4 + UDP_CHECKSUM, 0);
      expect(transportChecksumOk(packet)).toBe(ok);
    }
  });

  it('computed 0 goes out as 0xffff', () => {
    for (const sample of [UDP4, UDP6]) {
      const packet = packetOf(sample);
      parse(packet);
      // Two payload bytes that bring the sum of everything else to 0xffff: the checksum itself.
      const check = udpChecksum(packet.bytes, packet.l4);
      set16(packet.bytes, packet.payload, 0);
      fillTransportChecksum(packet);
      set16(packet.bytes, packet.payload, udpChecksum(packet.bytes, packet.l4));
      fillTransportChecksum(packet);
      expect(udpChecksum(packet.bytes, packet.l4)).toBe(0xffff);
      expect(check).not.toBe(0xffff);
      expect(transportChecksumOk(packet)).toBe(true);
    }
    const bytes = garbage(8);
    setUdpChecksum(bytes, 0, 0);
    expect(udpChecksum(bytes, 0)).toBe(0xffff);
  });

  it('covers the datagram, not what lies behind it in the packet', () => {
    const packet = packetOf(UDP4);
    setUdpLength(packet.bytes, L4, 10);
    parse(packet);
    fillTransportChecksum(packet);
    packet.bytes[L4 + 12]! ^= 1;
    expect(transportChecksumOk(packet)).toBe(true);
    packet.bytes[L4 + 9]! ^= 1;
    expect(transportChecksumOk(packet)).toBe(false);
  });

  it('of a fragment cannot be judged', () => {
    for (const sample of [FRAGMENT4_FIRST, FRAGMENT4_LAST]) {
      const packet = packetOf(sample);
      expect(parse(packet)).toBe(Malformed.NONE);
      expect(transportChecksumOk(packet)).toBe(true);
    }
  });

  it('of a packet under way through a routing header can be judged at its end only', () => {
    const packet = packetOf(EXTENSIONS);
    const routing = AT + ETH_LEN + IPV6_LEN + 16;
    packet.bytes[routing + 3] = 1;
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.bytes[routing - 8]).toBe(IPV6_EXT_ROUTING);
    packet.bytes[packet.end - 1]! ^= 1;
    expect(transportChecksumOk(packet)).toBe(true);
    packet.bytes[routing + 3] = 0;
    expect(transportChecksumOk(packet)).toBe(false);
  });
});
