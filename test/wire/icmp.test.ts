import { describe, expect, it } from 'vitest';
import { set16 } from '../../wire/bytes.ts';
import { update16 } from '../../wire/checksum.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import {
  fillIcmpChecksum,
  ICMP_CODE,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_LEN,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SEQUENCE,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACHABLE,
  icmpChecksum,
  icmpCode,
  icmpGateway,
  icmpIdentifier,
  icmpMtu,
  icmpSequence,
  icmpType,
  isIcmpError,
  setIcmpChecksum,
  setIcmpIdentifier,
  setIcmpType,
  writeIcmp,
} from '../../wire/icmp.ts';
import { IPV4_LEN, setIpv4TotalLength, writeIpv4 } from '../../wire/ipv4.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP } from '../../wire/protocol.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { AT, FRAGMENTATION_NEEDED, garbage, ICMP, packetOf } from './samples.ts';

const L4 = AT + ETH_LEN + IPV4_LEN;
const MESSAGE = ICMP.slice(ETH_LEN + IPV4_LEN);

describe('ICMP', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(ICMP);
    expect([icmpType(bytes, L4), icmpCode(bytes, L4)]).toEqual([ICMP_ECHO_REQUEST, 0]);
    expect([icmpIdentifier(bytes, L4), icmpSequence(bytes, L4)]).toEqual([1234, 7]);
    expect(icmpChecksum(bytes, L4)).toBe((MESSAGE[2]! << 8) | MESSAGE[3]!);
  });

  it('construct', () => {
    const bytes = garbage(MESSAGE.length);
    setIcmpType(bytes, 0, ICMP_ECHO_REQUEST);
    bytes[ICMP_CODE] = 0;
    setIcmpChecksum(bytes, 0, icmpChecksum(MESSAGE, 0));
    setIcmpIdentifier(bytes, 0, 1234);
    set16(bytes, ICMP_SEQUENCE, 7);
    bytes.set(MESSAGE.slice(ICMP_LEN), ICMP_LEN);
    expect(bytes).toEqual(MESSAGE);
  });

  it('parse', () => {
    const packet = packetOf(ICMP);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      protocol: PROTO_ICMP,
      l4: L4,
      payload: L4 + ICMP_LEN,
      end: AT + ICMP.length,
    });
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('emit', () => {
    const bytes = garbage(MESSAGE.length);
    expect(writeIcmp(bytes, 0, ICMP_ECHO_REQUEST, 0, (1234 << 16) | 7)).toBe(ICMP_LEN);
    expect(icmpChecksum(bytes, 0)).toBe(0);
    bytes.set(MESSAGE.slice(ICMP_LEN), ICMP_LEN);
    fillIcmpChecksum(bytes, 0, bytes.length);
    expect(bytes).toEqual(MESSAGE);
  });

  it('a reply is a request with another type, its checksum adjusted', () => {
    const packet = packetOf(ICMP);
    parse(packet);
    setIcmpType(packet.bytes, L4, ICMP_ECHO_REPLY);
    expect(transportChecksumOk(packet)).toBe(false);
    setIcmpChecksum(
      packet.bytes,
      L4,
      update16(icmpChecksum(packet.bytes, L4), ICMP_ECHO_REQUEST << 8, ICMP_ECHO_REPLY << 8),
    );
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('"fragmentation needed" says how large a packet may be', () => {
    const packet = packetOf(FRAGMENTATION_NEEDED);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(transportChecksumOk(packet)).toBe(true);
    const { bytes, l4 } = packet;
    expect([icmpType(bytes, l4), icmpCode(bytes, l4)]).toEqual([ICMP_UNREACHABLE, ICMP_UNREACH_FRAG_NEEDED]);
    expect(icmpMtu(bytes, l4)).toBe(1400);
    expect(icmpGateway(bytes, l4)).toBe(1400);
    expect(packet.payload).toBe(l4 + ICMP_LEN);
  });

  it('errors are known: about them no error is sent', () => {
    const errors = Array.from({ length: 256 }, (_, type) => type).filter(isIcmpError);
    expect(errors).toEqual([
      ICMP_UNREACHABLE,
      ICMP_SOURCE_QUENCH,
      ICMP_REDIRECT,
      ICMP_TIME_EXCEEDED,
      ICMP_PARAMETER_PROBLEM,
    ]);
  });

  it('is truncated below 8 bytes', () => {
    const frame = ICMP.slice(0, ETH_LEN + IPV4_LEN + 7);
    writeIpv4(frame, ETH_LEN, 27, PROTO_ICMP, 64, 1, 2);
    expect(parse(packetOf(frame))).toBe(Malformed.HDR_TRUNC);
  });

  it('with one byte changed has a wrong checksum', () => {
    for (let i = 0; i < MESSAGE.length; i++) {
      const frame = ICMP.slice();
      frame[ETH_LEN + IPV4_LEN + i]! ^= 0x10;
      const packet = packetOf(frame);
      expect(parse(packet)).toBe(Malformed.NONE);
      expect(transportChecksumOk(packet)).toBe(false);
    }
  });

  it('a total length beyond the frame is not read', () => {
    const frame = ICMP.slice();
    setIpv4TotalLength(frame, ETH_LEN, 37);
    expect(parse(packetOf(frame))).toBe(Malformed.IP_INHDR);
  });
});
