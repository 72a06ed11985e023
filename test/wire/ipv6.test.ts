import { describe, expect, it } from 'vitest';
import { parseIpv6 } from '../../wire/address.ts';
import { set16 } from '../../wire/bytes.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import {
  findIpv6Extension,
  IPV6_DST,
  IPV6_EXT_AH,
  IPV6_EXT_DESTINATION,
  IPV6_EXT_FRAGMENT,
  IPV6_EXT_HOP_BY_HOP,
  IPV6_EXT_MOBILITY,
  IPV6_EXT_ROUTING,
  IPV6_FRAG_M,
  IPV6_FRAG_OFFSET,
  IPV6_LEN,
  IPV6_MAX_EXTENSIONS,
  IPV6_NEXT_HEADER,
  IPV6_NO_NEXT,
  IPV6_SRC,
  ipv6Dst,
  ipv6FlowLabel,
  ipv6FragmentIdentification,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6OptionsOk,
  ipv6PayloadLength,
  ipv6Src,
  ipv6TrafficClass,
  setIpv6Address,
  setIpv6Dst,
  setIpv6HopLimit,
  setIpv6PayloadLength,
  setIpv6Src,
  writeIpv6,
  writeIpv6Fragment,
} from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ESP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  AT,
  EXTENSIONS,
  FRAGMENT6_ATOMIC,
  FRAGMENT6_FIRST,
  FRAGMENT6_LAST,
  garbage,
  MLD_HOP_BY_HOP,
  packetOf,
  TCP6,
  UDP6,
} from './samples.ts';

const L3 = AT + ETH_LEN;
const SRC = parseIpv6('fd00:dec::2')!;
const DST = parseIpv6('fd00:dec::3')!;
const HEADER = TCP6.slice(ETH_LEN, ETH_LEN + IPV6_LEN);

/** A frame of these headers behind the Ethernet header of a sample, its payload length right. */
function frameWith(nextHeader: number, ...payload: number[]): Uint8Array {
  const frame = new Uint8Array(ETH_LEN + IPV6_LEN + payload.length);
  frame.set(UDP6.slice(0, ETH_LEN + IPV6_LEN));
  frame.set(payload, ETH_LEN + IPV6_LEN);
  setIpv6PayloadLength(frame, ETH_LEN, payload.length);
  frame[ETH_LEN + IPV6_NEXT_HEADER] = nextHeader;
  return frame;
}

const UDP = [...UDP6.slice(54)];
/** An options header of 8 bytes with a PadN. */
const options = (next: number) => [next, 0, 1, 4, 0, 0, 0, 0];

describe('IPv6', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(TCP6);
    expect(ipv6TrafficClass(bytes, L3)).toBe(2);
    expect(ipv6FlowLabel(bytes, L3)).toBe(0xabcde);
    expect(ipv6PayloadLength(bytes, L3)).toBe(25);
    expect(ipv6NextHeader(bytes, L3)).toBe(PROTO_TCP);
    expect(ipv6HopLimit(bytes, L3)).toBe(64);
    expect([0, 1, 2, 3].map((word) => ipv6Src(bytes, L3, word))).toEqual(SRC);
    expect([0, 1, 2, 3].map((word) => ipv6Dst(bytes, L3, word))).toEqual(DST);
  });

  it('construct', () => {
    const bytes = garbage(IPV6_LEN);
    bytes.set(HEADER.slice(0, 4));
    setIpv6PayloadLength(bytes, 0, 25);
    bytes[IPV6_NEXT_HEADER] = PROTO_TCP;
    setIpv6HopLimit(bytes, 0, 64);
    setIpv6Address(bytes, IPV6_SRC, ...SRC);
    setIpv6Address(bytes, IPV6_DST, ...DST);
    expect(bytes).toEqual(HEADER);
  });

  it('parse', () => {
    const packet = packetOf(TCP6);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      l3: L3,
      l4: L3 + 40,
      payload: L3 + 60,
      end: L3 + 65,
      protocol: PROTO_TCP,
      fragmentHeader: 0,
    });
  });

  it('emit', () => {
    const bytes = garbage(IPV6_LEN);
    expect(writeIpv6(bytes, 0, 25, PROTO_TCP, 64, 2, 0xabcde)).toBe(IPV6_LEN);
    setIpv6Src(bytes, 0, ...SRC);
    setIpv6Dst(bytes, 0, ...DST);
    expect(bytes).toEqual(HEADER);
  });

  it('padding lies behind the end', () => {
    const padded = new Uint8Array(90).fill(0xff);
    padded.set(UDP6);
    const packet = packetOf(padded);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.end).toBe(AT + UDP6.length);
  });
});

describe('a bad IPv6 header', () => {
  it('is cut off', () => {
    expect(parse(packetOf(UDP6.slice(0, 53)))).toBe(Malformed.HDR_TRUNC);
  });

  it('has another version', () => {
    for (const version of [0, 4, 5, 7]) {
      const frame = UDP6.slice();
      frame[ETH_LEN] = version << 4;
      expect(parse(packetOf(frame))).toBe(Malformed.IPV6_INHDR);
    }
  });

  it('has a payload length beyond the frame', () => {
    for (const length of [UDP.length + 1, 65_535]) {
      const frame = UDP6.slice();
      setIpv6PayloadLength(frame, ETH_LEN, length);
      expect(parse(packetOf(frame))).toBe(Malformed.IPV6_INHDR);
    }
  });

  it('has a payload too short for what it announces', () => {
    const frame = UDP6.slice();
    setIpv6PayloadLength(frame, ETH_LEN, 7);
    expect(parse(packetOf(frame))).toBe(Malformed.HDR_TRUNC);
  });

  it('is a jumbogram (RFC 2675)', () => {
    const frame = frameWith(IPV6_EXT_HOP_BY_HOP, PROTO_UDP, 0, 0xc2, 4, 0, 1, 0, 0, ...UDP);
    setIpv6PayloadLength(frame, ETH_LEN, 0);
    expect(parse(packetOf(frame))).toBe(Malformed.HDR_TRUNC);
  });
});

describe('IPv6 extension headers', () => {
  it('are stepped over', () => {
    const packet = packetOf(EXTENSIONS);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ protocol: PROTO_UDP, l4: L3 + 96, payload: L3 + 104, end: L3 + 109 });
    expect(findIpv6Extension(packet, IPV6_EXT_HOP_BY_HOP)).toBe(L3 + 40);
    expect(findIpv6Extension(packet, IPV6_EXT_DESTINATION)).toBe(L3 + 48);
    expect(findIpv6Extension(packet, IPV6_EXT_ROUTING)).toBe(L3 + 56);
    expect(findIpv6Extension(packet, IPV6_EXT_AH)).toBe(L3 + 64);
    expect(findIpv6Extension(packet, IPV6_EXT_FRAGMENT)).toBe(0);
  });

  it('carry the router alert of MLD', () => {
    const packet = packetOf(MLD_HOP_BY_HOP);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ protocol: PROTO_ICMPV6, l4: L3 + 48 });
  });

  it('cut anywhere are malformed', () => {
    for (let length = 54; length < EXTENSIONS.length; length++) {
      const frame = EXTENSIONS.slice(0, length);
      setIpv6PayloadLength(frame, ETH_LEN, length - 54);
      const malformed = parse(packetOf(frame));
      expect([Malformed.HDR_TRUNC, Malformed.IPV6_INHDR, Malformed.L4_INHDR]).toContain(malformed);
    }
  });

  it('hop-by-hop options stand first or nowhere', () => {
    const frame = frameWith(
      IPV6_EXT_DESTINATION,
      ...options(IPV6_EXT_HOP_BY_HOP),
      ...options(PROTO_UDP),
      ...UDP,
    );
    expect(parse(packetOf(frame))).toBe(Malformed.IPV6_INHDR);
  });

  it('longer than the packet are bad', () => {
    for (const type of [
      IPV6_EXT_HOP_BY_HOP,
      IPV6_EXT_DESTINATION,
      IPV6_EXT_ROUTING,
      IPV6_EXT_AH,
      IPV6_EXT_MOBILITY,
    ]) {
      expect(parse(packetOf(frameWith(type, PROTO_UDP, 255, 0, 0, 0, 0, 0, 0, ...UDP)))).toBe(
        Malformed.IPV6_INHDR,
      );
    }
  });

  it('with options that overrun are bad', () => {
    expect(parse(packetOf(frameWith(IPV6_EXT_DESTINATION, PROTO_UDP, 0, 1, 5, 0, 0, 0, 0, ...UDP)))).toBe(
      Malformed.IPV6_INHDR,
    );
  });

  it('are followed to a limit', () => {
    const chain = (count: number) => {
      const headers = Array.from({ length: count - 1 }, () => options(IPV6_EXT_DESTINATION)).flat();
      return frameWith(IPV6_EXT_DESTINATION, ...headers, ...options(PROTO_UDP), ...UDP);
    };
    expect(parse(packetOf(chain(IPV6_MAX_EXTENSIONS)))).toBe(Malformed.NONE);
    expect(parse(packetOf(chain(IPV6_MAX_EXTENSIONS + 1)))).toBe(Malformed.IPV6_INHDR);
  });

  it('end at ESP and at "no next header"', () => {
    const esp = packetOf(frameWith(PROTO_ESP, 1, 2, 3, 4));
    expect(parse(esp)).toBe(Malformed.NONE);
    expect(esp).toMatchObject({ protocol: PROTO_ESP, l4: L3 + 40, payload: L3 + 40 });
    const none = packetOf(frameWith(IPV6_EXT_DESTINATION, ...options(IPV6_NO_NEXT)));
    expect(parse(none)).toBe(Malformed.NONE);
    expect(none).toMatchObject({ protocol: IPV6_NO_NEXT, l4: L3 + 48, payload: L3 + 48, end: L3 + 48 });
    const empty = packetOf(frameWith(IPV6_NO_NEXT));
    expect(parse(empty)).toBe(Malformed.NONE);
    expect(empty).toMatchObject({ l4: L3 + 40, end: L3 + 40 });
  });

  it.each([
    ['only Pad1', [0, 0, 0, 0, 0, 0], true],
    ['PadN to the end', [1, 4, 0, 0, 0, 0], true],
    ['Pad1, then PadN', [0, 1, 3, 0, 0, 0], true],
    ['router alert and PadN', [5, 2, 0, 0, 1, 0], true],
    ['beyond the end', [1, 5, 0, 0, 0, 0], false],
    ['type without length', [1, 3, 0, 0, 0, 1], false],
  ])('options: %s', (_, value, ok) => {
    expect(ipv6OptionsOk(Uint8Array.of(59, 0, ...value, 0, 0), 0)).toBe(ok);
  });
});

describe('IPv6 fragments', () => {
  it('deconstruct', () => {
    const packet = packetOf(FRAGMENT6_FIRST);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.fragmentHeader).toBe(L3 + 40);
    expect(ipv6FragmentIdentification(packet.bytes, packet.fragmentHeader)).toBe(77);
  });

  it('the first has the transport header', () => {
    const packet = packetOf(FRAGMENT6_FIRST);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ l4: L3 + 48, payload: L3 + 56, fragmentOffset: 0, moreFragments: true });
  });

  it('the others have none', () => {
    const packet = packetOf(FRAGMENT6_LAST);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      l4: 0,
      payload: 0,
      fragmentOffset: 32,
      moreFragments: false,
      fragmentHeader: L3 + 40,
      protocol: PROTO_UDP,
    });
    expect(findIpv6Extension(packet, IPV6_EXT_FRAGMENT)).toBe(L3 + 40);
    expect(findIpv6Extension(packet, PROTO_UDP)).toBe(0);
  });

  it('an atomic one is a whole packet (RFC 6946)', () => {
    const packet = packetOf(FRAGMENT6_ATOMIC);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({
      l4: L3 + 48,
      payload: L3 + 56,
      moreFragments: false,
      fragmentHeader: L3 + 40,
    });
  });

  it('emit', () => {
    const bytes = garbage(8);
    expect(writeIpv6Fragment(bytes, 0, PROTO_UDP, 0, true, 77)).toBe(8);
    expect(bytes).toEqual(FRAGMENT6_FIRST.slice(54, 62));
    writeIpv6Fragment(bytes, 0, PROTO_UDP, 32, false, 77);
    expect(bytes).toEqual(FRAGMENT6_LAST.slice(54, 62));
  });

  const fragment = (sample: Uint8Array, field: number) => {
    const frame = sample.slice();
    set16(frame, 54 + IPV6_FRAG_OFFSET, field);
    return parse(packetOf(frame));
  };

  it('all but the last carry a multiple of 8 bytes', () => {
    expect(fragment(FRAGMENT6_LAST, 32 | IPV6_FRAG_M)).toBe(Malformed.FRAG_INVALID);
    expect(fragment(FRAGMENT6_ATOMIC, IPV6_FRAG_M)).toBe(Malformed.FRAG_INVALID);
  });

  it('reach up to 65,535 bytes and not beyond', () => {
    expect(fragment(FRAGMENT6_LAST, 65_512)).toBe(Malformed.NONE);
    expect(fragment(FRAGMENT6_LAST, 65_520)).toBe(Malformed.FRAG_INVALID);
  });

  it('carry something, unless they are atomic', () => {
    const empty = (field: number) =>
      parse(packetOf(frameWith(IPV6_EXT_FRAGMENT, IPV6_NO_NEXT, 0, field >> 8, field & 255, 0, 0, 0, 1)));
    expect(empty(IPV6_FRAG_M)).toBe(Malformed.FRAG_INVALID);
    expect(empty(8)).toBe(Malformed.FRAG_INVALID);
    expect(empty(0)).toBe(Malformed.NONE);
  });

  it('of TCP do not begin inside the fixed header', () => {
    const tcp = (offset: number) =>
      parse(packetOf(frameWith(IPV6_EXT_FRAGMENT, PROTO_TCP, 0, 0, offset, 0, 0, 0, 1, ...UDP)));
    expect(tcp(8)).toBe(Malformed.FRAG_INVALID);
    expect(tcp(16)).toBe(Malformed.FRAG_INVALID);
    expect(tcp(24)).toBe(Malformed.NONE);
  });

  it('the first has the whole header chain (RFC 7112)', () => {
    const header = [IPV6_EXT_DESTINATION, 0, 0, 1, 0, 0, 0, 1];
    expect(parse(packetOf(frameWith(IPV6_EXT_FRAGMENT, ...header, ...options(PROTO_UDP))))).toBe(
      Malformed.HDR_TRUNC,
    );
    expect(parse(packetOf(frameWith(IPV6_EXT_FRAGMENT, ...header, PROTO_UDP, 1, 1, 4, 0, 0, 0, 0)))).toBe(
      Malformed.IPV6_INHDR,
    );
  });

  it('are not fragmented again', () => {
    const twice = [IPV6_EXT_FRAGMENT, 0, 0, 0, 0, 0, 0, 1, PROTO_UDP, 0, 0, 0, 0, 0, 0, 1];
    expect(parse(packetOf(frameWith(IPV6_EXT_FRAGMENT, ...twice, ...UDP)))).toBe(Malformed.FRAG_INVALID);
  });
});
