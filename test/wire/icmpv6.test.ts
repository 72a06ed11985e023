import { describe, expect, it } from 'vitest';
import { set16 } from '../../wire/bytes.ts';
import { update16 } from '../../wire/checksum.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_CODE,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_LEN,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_SEQUENCE,
  ICMPV6_UNREACHABLE,
  icmpv6Checksum,
  icmpv6Code,
  icmpv6Identifier,
  icmpv6Mtu,
  icmpv6Sequence,
  icmpv6Type,
  isIcmpv6Error,
  setIcmpv6Checksum,
  setIcmpv6Identifier,
  setIcmpv6Type,
  writeIcmpv6,
} from '../../wire/icmpv6.ts';
import { IPV6_LEN, setIpv6PayloadLength } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMPV6 } from '../../wire/protocol.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { AT, garbage, ICMPV6, MLD_HOP_BY_HOP, PACKET_TOO_BIG, packetOf } from './samples.ts';

const L3 = AT + ETH_LEN;
const L4 = L3 + IPV6_LEN;
const MESSAGE = ICMPV6.slice(ETH_LEN + IPV6_LEN);

describe('ICMPv6', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(ICMPV6);
    expect([icmpv6Type(bytes, L4), icmpv6Code(bytes, L4)]).toEqual([ICMPV6_ECHO_REQUEST, 0]);
    expect([icmpv6Identifier(bytes, L4), icmpv6Sequence(bytes, L4)]).toEqual([1234, 7]);
    expect(icmpv6Checksum(bytes, L4)).toBe((MESSAGE[2]! << 8) | MESSAGE[3]!);
  });

  it('construct', () => {
    const bytes = garbage(MESSAGE.length);
    setIcmpv6Type(bytes, 0, ICMPV6_ECHO_REQUEST);
    bytes[ICMPV6_CODE] = 0;
    setIcmpv6Checksum(bytes, 0, icmpv6Checksum(MESSAGE, 0));
    setIcmpv6Identifier(bytes, 0, 1234);
    set16(bytes, ICMPV6_SEQUENCE, 7);
    bytes.set(MESSAGE.slice(ICMPV6_LEN), ICMPV6_LEN);
    expect(bytes).toEqual(MESSAGE);
  });

  it('parse', () => {
    const packet = packetOf(ICMPV6);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      protocol: PROTO_ICMPV6,
      l4: L4,
      payload: L4 + ICMPV6_LEN,
      end: AT + ICMPV6.length,
    });
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('emit', () => {
    const packet = packetOf(ICMPV6);
    packet.bytes.fill(0xa5, L4, AT + ICMPV6.length);
    expect(writeIcmpv6(packet.bytes, L4, ICMPV6_ECHO_REQUEST, 0, (1234 << 16) | 7)).toBe(L4 + ICMPV6_LEN);
    expect(icmpv6Checksum(packet.bytes, L4)).toBe(0);
    packet.bytes.set(MESSAGE.slice(ICMPV6_LEN), L4 + ICMPV6_LEN);
    fillIcmpv6Checksum(packet.bytes, L3, L4, MESSAGE.length);
    expect(packet.bytes.slice(L4, L4 + MESSAGE.length)).toEqual(MESSAGE);
  });

  it('a reply is a request with another type, its checksum adjusted', () => {
    const packet = packetOf(ICMPV6);
    parse(packet);
    setIcmpv6Type(packet.bytes, L4, ICMPV6_ECHO_REPLY);
    expect(transportChecksumOk(packet)).toBe(false);
    setIcmpv6Checksum(
      packet.bytes,
      L4,
      update16(icmpv6Checksum(packet.bytes, L4), ICMPV6_ECHO_REQUEST << 8, ICMPV6_ECHO_REPLY << 8),
    );
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('"packet too big" says how large a packet may be', () => {
    const packet = packetOf(PACKET_TOO_BIG);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(transportChecksumOk(packet)).toBe(true);
    expect(icmpv6Type(packet.bytes, packet.l4)).toBe(ICMPV6_PACKET_TOO_BIG);
    expect(icmpv6Mtu(packet.bytes, packet.l4)).toBe(1400);
  });

  it('the checksum covers the pseudo-header, behind extension headers too', () => {
    const packet = packetOf(MLD_HOP_BY_HOP);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(transportChecksumOk(packet)).toBe(true);
    packet.bytes[packet.l3 + 39]! ^= 1;
    expect(transportChecksumOk(packet)).toBe(false);
  });

  it('errors have types below 128', () => {
    expect([ICMPV6_UNREACHABLE, ICMPV6_PARAMETER_PROBLEM, 127].map(isIcmpv6Error)).toEqual([
      true,
      true,
      true,
    ]);
    expect([ICMPV6_ECHO_REQUEST, ICMPV6_NEIGHBOR_SOLICITATION, 255].map(isIcmpv6Error)).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('is truncated below 8 bytes', () => {
    const frame = ICMPV6.slice(0, ETH_LEN + IPV6_LEN + 7);
    setIpv6PayloadLength(frame, ETH_LEN, 7);
    expect(parse(packetOf(frame))).toBe(Malformed.HDR_TRUNC);
  });
});
