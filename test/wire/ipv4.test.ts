import { describe, expect, it } from 'vitest';
import { set16 } from '../../wire/bytes.ts';
import { sum } from '../../wire/checksum.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import {
  decrementIpv4Ttl,
  fillIpv4Checksum,
  findIpv4Option,
  IPV4_DF,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OPT_ROUTER_ALERT,
  IPV4_OPT_SSRR,
  IPV4_PROTOCOL,
  IPV4_TOS,
  IPV4_VERSION_IHL,
  ipv4Checksum,
  ipv4Dst,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Identification,
  ipv4OptionsOk,
  ipv4Protocol,
  ipv4Src,
  ipv4Tos,
  ipv4TotalLength,
  ipv4Ttl,
  isIpv4SourceRouted,
  setIpv4Checksum,
  setIpv4Dst,
  setIpv4Fragment,
  setIpv4Identification,
  setIpv4Src,
  setIpv4TotalLength,
  setIpv4Ttl,
  writeIpv4,
} from '../../wire/ipv4.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_IGMP, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  AT,
  FRAGMENT4_FIRST,
  FRAGMENT4_LAST,
  garbage,
  IGMP_ROUTER_ALERT,
  packetOf,
  TCP4_SYN,
  UDP4,
} from './samples.ts';

const L3 = AT + ETH_LEN;
const SRC = 0xac110002 | 0;
const DST = 0xac110003 | 0;
const HEADER = UDP4.slice(ETH_LEN, ETH_LEN + IPV4_LEN);

/** A sample with its header changed and the header checksum made right again. */
function changed(sample: Uint8Array, change: (bytes: Uint8Array, at: number) => void): Uint8Array {
  const frame = sample.slice();
  change(frame, ETH_LEN);
  fillIpv4Checksum(frame, ETH_LEN);
  return frame;
}

describe('IPv4', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(UDP4);
    expect(ipv4HeaderLength(bytes, L3)).toBe(20);
    expect(ipv4Tos(bytes, L3)).toBe(0);
    expect(ipv4TotalLength(bytes, L3)).toBe(33);
    expect(ipv4Identification(bytes, L3)).toBe(0x1234);
    expect(ipv4Fragment(bytes, L3)).toBe(IPV4_DF);
    expect(ipv4Ttl(bytes, L3)).toBe(64);
    expect(ipv4Protocol(bytes, L3)).toBe(PROTO_UDP);
    expect(ipv4Checksum(bytes, L3)).toBe((UDP4[24]! << 8) | UDP4[25]!);
    expect([ipv4Src(bytes, L3), ipv4Dst(bytes, L3)]).toEqual([SRC, DST]);
  });

  it('construct', () => {
    const bytes = garbage(IPV4_LEN);
    bytes[IPV4_VERSION_IHL] = 0x45;
    bytes[IPV4_TOS] = 0;
    setIpv4TotalLength(bytes, 0, 33);
    setIpv4Identification(bytes, 0, 0x1234);
    setIpv4Fragment(bytes, 0, IPV4_DF);
    setIpv4Ttl(bytes, 0, 64);
    bytes[IPV4_PROTOCOL] = PROTO_UDP;
    setIpv4Src(bytes, 0, SRC);
    setIpv4Dst(bytes, 0, DST);
    setIpv4Checksum(bytes, 0, ipv4Checksum(HEADER, 0));
    expect(bytes).toEqual(HEADER);
  });

  it('parse', () => {
    const packet = packetOf(UDP4);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      l3: L3,
      l4: L3 + 20,
      payload: L3 + 28,
      end: L3 + 33,
      protocol: PROTO_UDP,
      fragmentOffset: 0,
      moreFragments: false,
      fragmentHeader: 0,
    });
  });

  it('emit', () => {
    const bytes = garbage(IPV4_LEN);
    expect(writeIpv4(bytes, 0, 33, PROTO_UDP, 64, SRC, DST, 0x1234, IPV4_DF, 0)).toBe(IPV4_LEN);
    expect(bytes).toEqual(HEADER);
  });

  it('padding lies behind the end', () => {
    const padded = new Uint8Array(60).fill(0xff);
    padded.set(UDP4);
    const packet = packetOf(padded);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.end).toBe(L3 + 33);
  });

  it('one hop less keeps the checksum right, down to zero', () => {
    const bytes = HEADER.slice();
    for (let ttl = 63; ttl >= 0; ttl--) {
      decrementIpv4Ttl(bytes, 0);
      expect(ipv4Ttl(bytes, 0)).toBe(ttl);
      expect(ipv4Protocol(bytes, 0)).toBe(PROTO_UDP);
      expect(sum(bytes, 0, IPV4_LEN)).toBe(0xffff);
    }
  });
});

describe('a bad IPv4 header', () => {
  const parsed = (change: (bytes: Uint8Array, at: number) => void) => parse(packetOf(changed(UDP4, change)));

  it('is cut off', () => {
    expect(parse(packetOf(UDP4.slice(0, 33)))).toBe(Malformed.HDR_TRUNC);
  });

  it('has another version', () => {
    for (const version of [0, 3, 5, 6, 15]) {
      expect(parsed((bytes, at) => (bytes[at] = (version << 4) | 5))).toBe(Malformed.IP_INHDR);
    }
  });

  it('is shorter than 20 bytes, or longer than the packet', () => {
    for (const ihl of [0, 1, 4, 9, 15]) {
      expect(parsed((bytes, at) => (bytes[at] = 0x40 | ihl))).toBe(Malformed.IP_INHDR);
    }
  });

  it('has a total length below its own or beyond the frame', () => {
    for (const total of [0, 19, 34, 65_535]) {
      expect(parsed((bytes, at) => setIpv4TotalLength(bytes, at, total))).toBe(Malformed.IP_INHDR);
    }
  });

  it('has any bit flipped: the checksum tells', () => {
    for (const sample of [UDP4, IGMP_ROUTER_ALERT]) {
      const header = ipv4HeaderLength(sample, ETH_LEN);
      for (let bit = 0; bit < header * 8; bit++) {
        const frame = sample.slice();
        frame[ETH_LEN + (bit >> 3)]! ^= 1 << (bit & 7);
        // Version, header length and total length are judged before, because they say where the checksum ends.
        expect([Malformed.IP_CSUM, Malformed.IP_INHDR]).toContain(parse(packetOf(frame)));
      }
    }
  });
});

describe('IPv4 options', () => {
  it('move the transport header', () => {
    const packet = packetOf(IGMP_ROUTER_ALERT);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ l4: L3 + 24, payload: L3 + 24, end: L3 + 32, protocol: PROTO_IGMP });
    expect(findIpv4Option(packet.bytes, L3, IPV4_OPT_ROUTER_ALERT)).toBe(L3 + 20);
    expect(findIpv4Option(packet.bytes, L3, IPV4_OPT_SSRR)).toBe(0);
    expect(isIpv4SourceRouted(packet.bytes, L3)).toBe(false);
  });

  /** A header with these option bytes, padded with end-of-options. */
  function header(...options: number[]): Uint8Array {
    const length = IPV4_LEN + ((options.length + 3) & ~3);
    const bytes = new Uint8Array(length);
    writeIpv4(bytes, 0, length, PROTO_UDP, 64, SRC, DST);
    bytes[0] = 0x40 | (length >> 2);
    bytes.set(options, IPV4_LEN);
    fillIpv4Checksum(bytes, 0);
    return bytes;
  }

  it.each([
    ['none', [], true],
    ['only end of options', [0], true],
    ['only NOPs', [1, 1, 1, 1], true],
    ['anything behind the end of options', [0, 7, 0, 0], true],
    ['record route', [7, 3, 4], true],
    ['length 0', [7, 0, 0, 0], false],
    ['length 1', [7, 1, 0, 0], false],
    ['length beyond the header', [7, 5, 0, 0], false],
    ['type without length', [1, 1, 1, 7], false],
    ['length beyond the header, second', [1, 148, 4, 0, 0, 68, 4, 0], false],
  ])('%s', (_, options, ok) => {
    expect(ipv4OptionsOk(header(...options), 0)).toBe(ok);
  });

  it('that lie make the header bad', () => {
    const frame = changed(IGMP_ROUTER_ALERT, (bytes, at) => (bytes[at + 21] = 5));
    expect(parse(packetOf(frame))).toBe(Malformed.IP_INHDR);
  });

  it('are found behind NOPs and other options', () => {
    const bytes = header(1, 7, 3, 4, 137, 7, 4, 10, 0, 0, 1);
    expect(findIpv4Option(bytes, 0, IPV4_OPT_SSRR)).toBe(24);
    expect(isIpv4SourceRouted(bytes, 0)).toBe(true);
    expect(isIpv4SourceRouted(header(131, 7, 4, 10, 0, 0, 1), 0)).toBe(true);
    expect(isIpv4SourceRouted(header(0, 131, 3, 4), 0)).toBe(false);
  });
});

describe('IPv4 fragments', () => {
  it('the first has the transport header', () => {
    const packet = packetOf(FRAGMENT4_FIRST);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ l4: L3 + 20, payload: L3 + 28, fragmentOffset: 0, moreFragments: true });
  });

  it('the others have none', () => {
    const packet = packetOf(FRAGMENT4_LAST);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      l4: 0,
      payload: 0,
      fragmentOffset: 32,
      moreFragments: false,
      protocol: PROTO_UDP,
    });
  });

  const fragment = (sample: Uint8Array, field: number) =>
    parse(packetOf(changed(sample, (bytes, at) => setIpv4Fragment(bytes, at, field))));

  it('all but the last carry a multiple of 8 bytes', () => {
    expect(fragment(FRAGMENT4_LAST, IPV4_MF | 4)).toBe(Malformed.FRAG_INVALID);
    expect(fragment(FRAGMENT4_FIRST, IPV4_MF | 4)).toBe(Malformed.NONE);
  });

  it('reach up to 65,535 bytes and not beyond', () => {
    // 8,191 × 8 + 20 + 20 is more than 65,535; 8,186 × 8 + 40 is 65,528.
    expect(fragment(FRAGMENT4_LAST, 8191)).toBe(Malformed.FRAG_INVALID);
    expect(fragment(FRAGMENT4_LAST, 8187)).toBe(Malformed.FRAG_INVALID);
    expect(fragment(FRAGMENT4_LAST, 8186)).toBe(Malformed.NONE);
  });

  it('carry something', () => {
    const frame = changed(FRAGMENT4_LAST.slice(0, 34), (bytes, at) => setIpv4TotalLength(bytes, at, 20));
    expect(parse(packetOf(frame))).toBe(Malformed.FRAG_INVALID);
  });

  it('of TCP do not begin inside the fixed header (RFC 3128)', () => {
    for (const offset of [1, 2]) expect(fragment(TCP4_SYN, offset)).toBe(Malformed.FRAG_INVALID);
    expect(fragment(TCP4_SYN, 3)).toBe(Malformed.NONE);
    expect(fragment(UDP4, 1)).toBe(Malformed.NONE);
  });

  it('the first has the whole transport header, or none of it can be judged (RFC 1858 §3)', () => {
    const tiny = changed(TCP4_SYN.slice(0, 50), (bytes, at) => {
      setIpv4TotalLength(bytes, at, 36);
      setIpv4Fragment(bytes, at, IPV4_MF);
    });
    expect(parse(packetOf(tiny))).toBe(Malformed.HDR_TRUNC);
    const options = changed(TCP4_SYN.slice(0, 58), (bytes, at) => {
      setIpv4TotalLength(bytes, at, 44);
      setIpv4Fragment(bytes, at, IPV4_MF);
    });
    expect(parse(packetOf(options))).toBe(Malformed.L4_INHDR);
  });

  it('the first need not have the whole UDP datagram', () => {
    const whole = changed(FRAGMENT4_FIRST, (bytes, at) => setIpv4Fragment(bytes, at, 0));
    expect(parse(packetOf(whole))).toBe(Malformed.L4_INHDR);
    const lying = changed(FRAGMENT4_FIRST, (bytes, at) => set16(bytes, at + 24, 7));
    expect(parse(packetOf(lying))).toBe(Malformed.L4_INHDR);
  });

  it('of other protocols keep theirs', () => {
    const frame = changed(FRAGMENT4_LAST, (bytes, at) => (bytes[at + IPV4_PROTOCOL] = PROTO_TCP));
    const packet = packetOf(frame);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.protocol).toBe(PROTO_TCP);
  });
});
