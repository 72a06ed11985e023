import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpv6 } from '../../wire/address.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_CODE,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_SOLICITATION,
  ICMPV6_TYPE,
} from '../../wire/icmpv6.ts';
import {
  IPV6_EXT_FRAGMENT,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  setIpv6Address,
  setIpv6Dst,
  setIpv6HopLimit,
  setIpv6PayloadLength,
  setIpv6Src,
} from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import {
  findNdOption,
  isNd,
  ND_NA_LEN,
  ND_NA_OVERRIDE,
  ND_NA_ROUTER,
  ND_NA_SOLICITED,
  ND_NS_LEN,
  ND_OPT_MTU,
  ND_OPT_SOURCE_LLA,
  ND_OPT_TARGET_LLA,
  ND_RA_LEN,
  ND_RA_OTHER,
  ND_RS_LEN,
  ND_TARGET,
  ndLength,
  ndNaFlags,
  ndOk,
  ndOptionMacHi,
  ndOptionMacLo,
  ndOptionsOk,
  ndRaLifetime,
  ndTarget,
  writeNdMacOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
  writeRouterAdvertisement,
  writeRouterSolicitation,
} from '../../wire/nd.ts';
import type { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { AT, garbage, ICMPV6, NA, NS, packetOf, RA, RS, UDP6 } from './samples.ts';

const L4 = AT + ETH_LEN + IPV6_LEN;
const TARGET = parseIpv6('fd00:dec::3')!;
const MAC2 = [0x0242, 0xac110002 | 0] as const;
const MAC3 = [0x0242, 0xac110003 | 0] as const;

/** The message of a sample, without its checksum. */
function message(sample: Uint8Array): Uint8Array {
  const bytes = sample.slice(ETH_LEN + IPV6_LEN);
  bytes.fill(0, 2, 4);
  return bytes;
}

function parsed(sample: Uint8Array): Packet {
  const packet = packetOf(sample);
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

describe('neighbor solicitation', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(NS);
    expect([0, 1, 2, 3].map((word) => ndTarget(bytes, L4, word))).toEqual(TARGET);
    const option = findNdOption(bytes, L4 + ND_NS_LEN, AT + NS.length, ND_OPT_SOURCE_LLA);
    expect(option).toBe(L4 + ND_NS_LEN);
    expect([ndOptionMacHi(bytes, option), ndOptionMacLo(bytes, option)]).toEqual(MAC2);
    expect(findNdOption(bytes, L4 + ND_NS_LEN, AT + NS.length, ND_OPT_TARGET_LLA)).toBe(0);
  });

  it('construct', () => {
    const packet = packetOf(NS);
    packet.bytes.fill(0xa5, L4 + ND_TARGET, L4 + ND_NS_LEN);
    setIpv6Address(packet.bytes, L4 + ND_TARGET, ...TARGET);
    expect(packet.bytes.slice(AT, AT + NS.length)).toEqual(NS);
  });

  it('parse', () => {
    const packet = parsed(NS);
    expect(ndOk(packet)).toBe(true);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('emit', () => {
    const bytes = garbage(ND_NS_LEN + 8);
    const options = writeNeighborSolicitation(bytes, 0, ...TARGET);
    expect(options).toBe(ND_NS_LEN);
    expect(writeNdMacOption(bytes, options, ND_OPT_SOURCE_LLA, ...MAC2)).toBe(ND_NS_LEN + 8);
    expect(bytes).toEqual(message(NS));
  });

  it('emit, with its checksum', () => {
    const packet = packetOf(NS);
    packet.bytes.fill(0xa5, L4, AT + NS.length);
    writeNdMacOption(
      packet.bytes,
      writeNeighborSolicitation(packet.bytes, L4, ...TARGET),
      ND_OPT_SOURCE_LLA,
      ...MAC2,
    );
    fillIcmpv6Checksum(packet.bytes, AT + ETH_LEN, L4, 32);
    expect(packet.bytes.slice(AT, AT + NS.length)).toEqual(NS);
  });
});

describe('neighbor advertisement', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(NA);
    expect(ndNaFlags(bytes, L4)).toBe(ND_NA_SOLICITED | ND_NA_OVERRIDE);
    expect([0, 1, 2, 3].map((word) => ndTarget(bytes, L4, word))).toEqual(TARGET);
  });

  it('parse', () => {
    expect(ndOk(parsed(NA))).toBe(true);
  });

  it('emit', () => {
    const bytes = garbage(ND_NA_LEN + 8);
    const options = writeNeighborAdvertisement(bytes, 0, ND_NA_SOLICITED | ND_NA_OVERRIDE, ...TARGET);
    writeNdMacOption(bytes, options, ND_OPT_TARGET_LLA, ...MAC3);
    expect(bytes).toEqual(message(NA));
    writeNeighborAdvertisement(bytes, 0, ND_NA_ROUTER, ...TARGET);
    expect(bytes[4]).toBe(0x80);
  });
});

describe('router solicitation and advertisement', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(RA);
    expect(ndRaLifetime(bytes, L4)).toBe(1800);
    expect(findNdOption(bytes, L4 + ND_RA_LEN, AT + RA.length, ND_OPT_MTU)).toBe(0);
    expect(findNdOption(bytes, L4 + ND_RA_LEN, AT + RA.length, ND_OPT_SOURCE_LLA)).toBe(L4 + ND_RA_LEN);
  });

  it('parse', () => {
    expect(ndOk(parsed(RA))).toBe(true);
    expect(ndOk(parsed(RS))).toBe(true);
  });

  it('emit', () => {
    const advertisement = garbage(ND_RA_LEN + 8);
    const options = writeRouterAdvertisement(advertisement, 0, 64, ND_RA_OTHER, 1800);
    writeNdMacOption(advertisement, options, ND_OPT_SOURCE_LLA, 0x0242, 0xac110001 | 0);
    expect(advertisement).toEqual(message(RA));
    const solicitation = garbage(ND_RS_LEN + 8);
    writeNdMacOption(solicitation, writeRouterSolicitation(solicitation, 0), ND_OPT_SOURCE_LLA, ...MAC2);
    expect(solicitation).toEqual(message(RS));
  });
});

describe('a message that may not be believed', () => {
  /** The sample with a change, parsed; checksums are another matter. */
  function changed(sample: Uint8Array, change: (bytes: Uint8Array, l3: number, l4: number) => void): boolean {
    const frame = sample.slice();
    change(frame, ETH_LEN, ETH_LEN + IPV6_LEN);
    return ndOk(parsed(frame));
  }
  const group = parseIpv6('ff02::1')!;

  it('is not neighbor discovery at all', () => {
    expect(ndOk(parsed(UDP6))).toBe(false);
    expect(ndOk(parsed(ICMPV6))).toBe(false);
    expect(isNd(ICMPV6_ECHO_REQUEST)).toBe(false);
    expect([ICMPV6_ROUTER_SOLICITATION - 1, ICMPV6_REDIRECT + 1].map(isNd)).toEqual([false, false]);
    expect([ICMPV6_ROUTER_SOLICITATION, ICMPV6_REDIRECT].map(isNd)).toEqual([true, true]);
    expect(ndLength(ICMPV6_ECHO_REQUEST)).toBe(0);
  });

  it.each([
    ['NS', NS],
    ['NA', NA],
    ['RA', RA],
    ['RS', RS],
  ])('%s: crossed a router, or has a code', (_, sample) => {
    expect(changed(sample, (bytes, l3) => setIpv6HopLimit(bytes, l3, 254))).toBe(false);
    expect(changed(sample, (bytes, _l3, l4) => (bytes[l4 + ICMPV6_CODE] = 1))).toBe(false);
  });

  it.each([
    ['NS', NS],
    ['NA', NA],
    ['RA', RA],
    ['RS', RS],
  ])('%s: has an option that is cut off, or of length 0', (_, sample) => {
    expect(changed(sample, (bytes) => (bytes[bytes.length - 7] = 0))).toBe(false);
    expect(changed(sample, (bytes) => (bytes[bytes.length - 7] = 2))).toBe(false);
  });

  it('is shorter than its kind', () => {
    for (const [sample, length] of [
      [NS, ND_NS_LEN],
      [NA, ND_NA_LEN],
      [RA, ND_RA_LEN],
    ] as const) {
      const whole = sample.slice(0, ETH_LEN + IPV6_LEN + length);
      setIpv6PayloadLength(whole, ETH_LEN, length);
      expect(ndOk(parsed(whole))).toBe(true);
      const short = whole.slice(0, -1);
      setIpv6PayloadLength(short, ETH_LEN, length - 1);
      expect(ndOk(parsed(short))).toBe(false);
    }
  });

  it('is about a group', () => {
    for (const sample of [NS, NA]) {
      expect(changed(sample, (bytes, _l3, l4) => setIpv6Address(bytes, l4 + ND_TARGET, ...group))).toBe(
        false,
      );
    }
  });

  it('comes from nobody and yet teaches an address', () => {
    expect(changed(NS, (bytes, l3) => setIpv6Src(bytes, l3, 0, 0, 0, 0))).toBe(false);
    expect(changed(RS, (bytes, l3) => setIpv6Src(bytes, l3, 0, 0, 0, 0))).toBe(false);
  });

  it('duplicate address detection goes to the solicited-node group', () => {
    const probe = NS.slice(0, ETH_LEN + IPV6_LEN + ND_NS_LEN);
    setIpv6PayloadLength(probe, ETH_LEN, ND_NS_LEN);
    setIpv6Src(probe, ETH_LEN, 0, 0, 0, 0);
    expect(ndOk(parsed(probe))).toBe(true);
    setIpv6Dst(probe, ETH_LEN, ...TARGET);
    expect(ndOk(parsed(probe))).toBe(false);
  });

  it('answers a question to everybody', () => {
    expect(changed(NA, (bytes, l3) => setIpv6Dst(bytes, l3, ...group))).toBe(false);
    expect(
      changed(NA, (bytes, l3, l4) => {
        setIpv6Dst(bytes, l3, ...group);
        bytes[l4 + 4] = 0x20;
      }),
    ).toBe(true);
  });

  it('advertises a router from afar', () => {
    expect(changed(RA, (bytes, l3) => setIpv6Src(bytes, l3, ...TARGET))).toBe(false);
  });

  it('redirects from afar, or a group', () => {
    const redirect = (change: (bytes: Uint8Array) => void) => {
      const frame = new Uint8Array(ETH_LEN + IPV6_LEN + 40);
      frame.set(RA.slice(0, ETH_LEN + IPV6_LEN + 4));
      frame[ETH_LEN + IPV6_LEN + ICMPV6_TYPE] = ICMPV6_REDIRECT;
      setIpv6PayloadLength(frame, ETH_LEN, 40);
      setIpv6Address(frame, ETH_LEN + IPV6_LEN + 24, ...TARGET);
      change(frame);
      return ndOk(parsed(frame));
    };
    expect(redirect(() => {})).toBe(true);
    expect(redirect((bytes) => setIpv6Src(bytes, ETH_LEN, ...TARGET))).toBe(false);
    expect(redirect((bytes) => setIpv6Address(bytes, ETH_LEN + IPV6_LEN + 24, ...group))).toBe(false);
  });

  it('comes in a fragment, even an atomic one (RFC 6980)', () => {
    const frame = new Uint8Array(NS.length + 8);
    frame.set(NS.slice(0, ETH_LEN + IPV6_LEN));
    frame.set([58, 0, 0, 0, 0, 0, 0, 1], ETH_LEN + IPV6_LEN);
    frame.set(NS.slice(ETH_LEN + IPV6_LEN), ETH_LEN + IPV6_LEN + 8);
    frame[ETH_LEN + IPV6_NEXT_HEADER] = IPV6_EXT_FRAGMENT;
    setIpv6PayloadLength(frame, ETH_LEN, 40);
    const packet = parsed(frame);
    expect(packet.bytes[packet.l4]).toBe(ICMPV6_NEIGHBOR_SOLICITATION);
    expect(ndOk(packet)).toBe(false);
  });
});

describe('options', () => {
  it('of any bytes are walked to the end and no further', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.integer({ min: 0, max: 255 }), (bytes, type) => {
        const found = findNdOption(bytes, 0, bytes.length, type);
        if (found !== 0) expect(found + (bytes[found + 1]! << 3)).toBeLessThanOrEqual(bytes.length);
        if (ndOptionsOk(bytes, 0, bytes.length)) expect(bytes.length % 8).toBe(0);
      }),
    );
  });

  it('are found behind others', () => {
    const bytes = Uint8Array.of(5, 2, ...new Array(14).fill(0), 1, 1, 2, 0x42, 0, 0, 0, 1);
    expect(findNdOption(bytes, 0, bytes.length, ND_OPT_SOURCE_LLA)).toBe(16);
    expect(ndOptionsOk(bytes, 0, bytes.length)).toBe(true);
    expect(ndOptionsOk(bytes, 0, bytes.length - 1)).toBe(false);
  });
});
