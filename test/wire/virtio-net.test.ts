import { describe, expect, it } from 'vitest';
import { Malformed } from '../../wire/malformed.ts';
import type { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import {
  checkVnet,
  clearNeedsChecksum,
  clearVnet,
  csumOffset,
  csumStart,
  gsoEcn,
  gsoSize,
  gsoType,
  hasPartialChecksum,
  needsChecksum,
  numBuffers,
  setCsumStart,
  setGsoSize,
  VNET_CSUM_OFFSET,
  VNET_CSUM_START,
  VNET_F_DATA_VALID,
  VNET_F_NEEDS_CSUM,
  VNET_FLAGS,
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_SIZE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_TYPE,
  VNET_GSO_UDP,
  VNET_GSO_UDP_L4,
  VNET_HDR_LEN,
  VNET_LEN,
  VNET_MAX_SEGMENTS,
  vnetFlags,
  vnetHeaderLength,
  writeVnet,
} from '../../wire/virtio-net.ts';
import {
  ARP,
  AT,
  bytes,
  FRAGMENT4_FIRST,
  FRAGMENT4_LAST,
  FRAGMENT6_ATOMIC,
  frameOf,
  garbage,
  ICMP,
  LLDP,
  packetOf,
  QINQ,
  TCP4_SYN,
  TCP6,
  UDP4,
  UDP6,
} from './samples.ts';

/** As a TAP writes it: a TCP segment over IPv4 to be cut at 1,448, CWR set. */
const HEADER = bytes('01 81 4200 a805 2200 1000 0000');
const VNET = AT - VNET_LEN;

describe('the virtio-net header', () => {
  it('deconstruct', () => {
    expect(vnetFlags(HEADER, 0)).toBe(VNET_F_NEEDS_CSUM);
    expect([needsChecksum(HEADER, 0), gsoType(HEADER, 0), gsoEcn(HEADER, 0)]).toEqual([
      true,
      VNET_GSO_TCPV4,
      true,
    ]);
    expect([vnetHeaderLength(HEADER, 0), gsoSize(HEADER, 0)]).toEqual([66, 1448]);
    expect([csumStart(HEADER, 0), csumOffset(HEADER, 0), numBuffers(HEADER, 0)]).toEqual([34, 16, 0]);
  });

  it('construct', () => {
    const out = garbage(VNET_LEN);
    clearVnet(out, 0);
    expect(out).toEqual(new Uint8Array(VNET_LEN));
    out[VNET_FLAGS] = VNET_F_NEEDS_CSUM;
    out[VNET_GSO_TYPE] = VNET_GSO_TCPV4 | VNET_GSO_ECN;
    out[VNET_HDR_LEN] = 66;
    setGsoSize(out, 0, 1448);
    setCsumStart(out, 0, 34);
    out[VNET_CSUM_OFFSET] = 16;
    expect(out).toEqual(HEADER);
  });

  it('parse: it says what the frame is', () => {
    const packet = packetOf(TCP4_SYN);
    packet.bytes.set(HEADER, VNET);
    parse(packet);
    expect(checkVnet(packet)).toBe(Malformed.NONE);
    expect(hasPartialChecksum(packet)).toBe(true);
  });

  it('emit', () => {
    const out = garbage(VNET_LEN);
    writeVnet(out, 0, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4 | VNET_GSO_ECN, 66, 1448, 34, 16);
    expect(out).toEqual(HEADER);
  });

  it('without its checksum is left with the rest', () => {
    const out = HEADER.slice();
    out[VNET_FLAGS] = VNET_F_NEEDS_CSUM | VNET_F_DATA_VALID;
    clearNeedsChecksum(out, 0);
    expect(vnetFlags(out, 0)).toBe(VNET_F_DATA_VALID);
    expect([csumStart(out, 0), csumOffset(out, 0), gsoSize(out, 0)]).toEqual([0, 0, 1448]);
  });
});

/** A sample with a virtio-net header, parsed. */
function withVnet(
  sample: Uint8Array,
  flags: number,
  type: number,
  size: number,
  start: number,
  offset: number,
): Packet {
  const packet = packetOf(sample);
  writeVnet(packet.bytes, VNET, flags, type, 0, size, start, offset);
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

const CSUM = VNET_F_NEEDS_CSUM;

describe('checkVnet accepts', () => {
  it.each([
    ['an ordinary frame', UDP4, 0, VNET_GSO_NONE, 0, 0, 0],
    ['an ordinary frame with rubbish in fields that do not count', UDP4, VNET_F_DATA_VALID, 0, 9, 9999, 9999],
    ['partial UDP', UDP4, CSUM, VNET_GSO_NONE, 0, 34, 6],
    ['partial TCP', TCP4_SYN, CSUM, VNET_GSO_NONE, 0, 34, 16],
    ['partial UDP over IPv6', UDP6, CSUM, VNET_GSO_NONE, 0, 54, 6],
    ['partial UDP behind two tags', QINQ, CSUM, VNET_GSO_NONE, 0, 62, 6],
    ['a checksum further in, of an encapsulated packet', UDP4, CSUM, VNET_GSO_NONE, 0, 42, 0],
    ['a checksum in something that is not IP', LLDP, CSUM, VNET_GSO_NONE, 0, 14, 0],
    ['TSO', TCP4_SYN, CSUM, VNET_GSO_TCPV4, 1, 34, 16],
    ['TSO with CWR', TCP4_SYN, CSUM, VNET_GSO_TCPV4 | VNET_GSO_ECN, 1448, 34, 16],
    ['TSO over IPv6', TCP6, CSUM, VNET_GSO_TCPV6, 1428, 54, 16],
    ['TSO with a finished checksum', TCP6, 0, VNET_GSO_TCPV6, 1428, 0, 0],
    ['USO', UDP4, CSUM, VNET_GSO_UDP_L4, 1, 34, 6],
    ['USO over IPv6', UDP6, CSUM, VNET_GSO_UDP_L4, 1200, 54, 6],
  ])('%s', (_, sample, flags, type, size, start, offset) => {
    expect(checkVnet(withVnet(sample, flags, type, size, start, offset))).toBe(Malformed.NONE);
  });
});

describe('checkVnet refuses', () => {
  it.each([
    ['a start in the Ethernet header', UDP4, CSUM, VNET_GSO_NONE, 0, 13, 6],
    ['a start in a tag', QINQ, CSUM, VNET_GSO_NONE, 0, 18, 6],
    ['an address, by a start in the IP header', UDP4, CSUM, VNET_GSO_NONE, 0, 20, 10],
    ['a sequence number, by a start in the TCP header', TCP4_SYN, CSUM, VNET_GSO_NONE, 0, 36, 2],
    ['an address in ARP', ARP, CSUM, VNET_GSO_NONE, 0, 14, 14],
    ['another field of ICMP', ICMP, CSUM, VNET_GSO_NONE, 0, 34, 4],
    ['a field beyond the frame', UDP4, CSUM, VNET_GSO_NONE, 0, 34, 12],
    ['a start beyond the frame', UDP4, CSUM, VNET_GSO_NONE, 0, 65_535, 6],
    ['an offset beyond everything', UDP4, CSUM, VNET_GSO_NONE, 0, 34, 65_535],
    ['another field of TCP', TCP4_SYN, CSUM, VNET_GSO_NONE, 0, 34, 6],
    ['another field of UDP', UDP4, CSUM, VNET_GSO_NONE, 0, 34, 4],
    ['a partial first fragment', FRAGMENT4_FIRST, CSUM, VNET_GSO_NONE, 0, 34, 6],
    ['a partial later fragment', FRAGMENT4_LAST, CSUM, VNET_GSO_NONE, 0, 34, 6],
    ['segments of nothing', TCP4_SYN, CSUM, VNET_GSO_TCPV4, 0, 34, 16],
    ['TSO of the other IP version', TCP4_SYN, CSUM, VNET_GSO_TCPV6, 100, 34, 16],
    ['TSO of the other IP version', TCP6, CSUM, VNET_GSO_TCPV4, 100, 54, 16],
    ['TSO of UDP', UDP4, CSUM, VNET_GSO_TCPV4, 100, 34, 6],
    ['USO of TCP', TCP6, CSUM, VNET_GSO_UDP_L4, 100, 54, 16],
    ['USO with an ECN bit', UDP4, CSUM, VNET_GSO_UDP_L4 | VNET_GSO_ECN, 100, 34, 6],
    ['GSO of ICMP', ICMP, CSUM, VNET_GSO_TCPV4, 100, 34, 2],
    ['GSO of ARP', ARP, 0, VNET_GSO_TCPV4, 100, 0, 0],
    ['GSO of a fragment', FRAGMENT4_FIRST, 0, VNET_GSO_UDP_L4, 100, 0, 0],
    ['GSO of a later fragment', FRAGMENT4_LAST, 0, VNET_GSO_UDP_L4, 100, 0, 0],
    ['GSO of an atomic fragment', FRAGMENT6_ATOMIC, CSUM, VNET_GSO_UDP_L4, 100, 62, 6],
    ['GSO with a checksum elsewhere', TCP4_SYN, CSUM, VNET_GSO_TCPV4, 100, 54, 16],
    ['UFO', UDP4, CSUM, VNET_GSO_UDP, 100, 34, 6],
    ['a type that nobody knows', UDP4, CSUM, 2, 100, 34, 6],
    ['ECN alone', TCP4_SYN, CSUM, VNET_GSO_ECN, 100, 34, 16],
  ])('%s', (_, sample, flags, type, size, start, offset) => {
    const packet = withVnet(sample, flags, type, size, start, offset);
    const before = frameOf(packet);
    expect(checkVnet(packet)).toBe(Malformed.VNET_INHDR);
    expect(frameOf(packet)).toEqual(before);
  });

  it('more segments than any link needs', () => {
    const packet = withVnet(UDP4, CSUM, VNET_GSO_UDP_L4, 1, 34, 6);
    packet.end = packet.payload + VNET_MAX_SEGMENTS;
    expect(checkVnet(packet)).toBe(Malformed.NONE);
    packet.end += 1;
    expect(checkVnet(packet)).toBe(Malformed.VNET_INHDR);
  });
});

describe('a partial checksum', () => {
  it("is the packet's own only at its transport header", () => {
    expect(hasPartialChecksum(withVnet(UDP4, CSUM, VNET_GSO_NONE, 0, 34, 6))).toBe(true);
    expect(hasPartialChecksum(withVnet(UDP4, 0, VNET_GSO_NONE, 0, 34, 6))).toBe(false);
    expect(hasPartialChecksum(withVnet(UDP4, CSUM, VNET_GSO_NONE, 0, 42, 6))).toBe(false);
  });

  it('fields are little-endian', () => {
    const out = new Uint8Array(VNET_LEN);
    setCsumStart(out, 0, 0x1234);
    setGsoSize(out, 0, 0x5678);
    expect([...out.slice(VNET_CSUM_START, VNET_CSUM_START + 2)]).toEqual([0x34, 0x12]);
    expect([...out.slice(VNET_GSO_SIZE, VNET_GSO_SIZE + 2)]).toEqual([0x78, 0x56]);
  });
});
