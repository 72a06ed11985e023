import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  claimedMtu,
  isIcmpErrorPacket,
  quotedTcpSequence,
  readQuotation,
  translateError,
} from '../../nat/icmp-error.ts';
import { TUPLE_LENGTH, TUPLE_WORDS } from '../../nat/tuple.ts';
import { fragments, icmp, type Station, udp } from '../../src/testing/frames.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { get16, set16 } from '../../wire/bytes.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { fillIpv4Checksum, IPV4_LEN, IPV4_TOTAL_LENGTH } from '../../wire/ipv4.ts';
import {
  IPV6_EXT_AH,
  IPV6_EXT_DESTINATION,
  IPV6_EXT_FRAGMENT,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
} from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import type { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { checksumOffset, fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { needsChecksum, VNET_LEN } from '../../wire/virtio-net.ts';
import {
  anyFlow,
  type Endpoint,
  type Flow,
  frameBetween,
  frameOf,
  MASQUERADED,
  makePartial,
  packetOf,
  pseudoHeaderSum,
  refOf,
  tuplesOf,
  ZONE_INSIDE,
  ZONE_OUTSIDE,
} from './flow.ts';

const ROUTER: Station = { mac: '02:42:0a:00:00:99', ipv4: '203.0.113.99', ipv6: '2001:db8:99::99' };

/** An extension structure: header and one object, an MPLS label stack entry (RFC 4884 §7, RFC 4950). */
const MPLS = Uint8Array.of(0x20, 0, 0x5f, 0xd6, 0, 8, 1, 1, 0xde, 0xad, 0x01, 0xff);

interface Story {
  flow: Flow;
  /** Of the packet that the error is about. */
  direction: 0 | 1;
  data: number;
  ttl: number;
  /** Bytes of IPv4 options, or of IPv6 extension headers. */
  extra: number;
  /** Bytes that are quoted behind the IP header and what follows it, at most. */
  room: number;
  /** RFC 4884. */
  extended: boolean;
  /** A router on the way made the error, not the receiver. */
  third: boolean;
  hide: boolean;
}

const anyStory: fc.Arbitrary<Story> = fc.record({
  flow: anyFlow,
  direction: fc.constantFrom<0 | 1>(0, 1),
  data: fc.nat(90),
  ttl: fc.integer({ min: 1, max: 255 }),
  extra: fc.constantFrom(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40),
  // 17 is half of TCP's checksum, of which nothing can be known.
  room: fc
    .oneof(fc.constantFrom(8, 16, 18, 1000), fc.integer({ min: 8, max: 40 }))
    .filter((room) => room !== 17),
  extended: fc.boolean(),
  third: fc.boolean(),
  hide: fc.boolean(),
});

/** The packet's IPv4 header with `extra` bytes of options, or its IPv6 header with as many of extension headers. */
function withExtra(frame: Uint8Array, family: 4 | 6, extra: number): Uint8Array {
  if (extra === 0) return frame;
  const headerEnd = ETH_LEN + (family === 4 ? IPV4_LEN : IPV6_LEN);
  const out = new Uint8Array(frame.length + extra);
  out.set(frame.subarray(0, headerEnd));
  out.set(frame.subarray(headerEnd), headerEnd + extra);
  if (family === 4) {
    // A record route option without room, as long as an option may be; the rest is NOPs.
    out.fill(1, headerEnd, headerEnd + extra);
    out.set([7, extra, extra + 1], headerEnd);
    out[ETH_LEN] = 0x40 | ((IPV4_LEN + extra) >> 2);
    set16(out, ETH_LEN + IPV4_TOTAL_LENGTH, out.length - ETH_LEN);
    fillIpv4Checksum(out, ETH_LEN);
    return out;
  }
  // AH can end at any multiple of 4, the others at 8: one of each kind, as far as there is room.
  let at = headerEnd;
  let field = ETH_LEN + IPV6_NEXT_HEADER;
  const last = out[field]!;
  const add = (type: number, length: number) => {
    out[field] = type;
    out[at + 1] = type === IPV6_EXT_AH ? (length >> 2) - 2 : (length >> 3) - 1;
    if (type === IPV6_EXT_DESTINATION) out.set([1, length - 4], at + 2);
    field = at;
    at += length;
  };
  if (extra % 8 === 4 && extra >= 12) add(IPV6_EXT_AH, 12);
  if (headerEnd + extra - at >= 8) add(IPV6_EXT_FRAGMENT, 8);
  if (headerEnd + extra - at >= 8) add(IPV6_EXT_DESTINATION, headerEnd + extra - at);
  out[field] = last;
  set16(out, ETH_LEN + IPV6_PAYLOAD_LENGTH, out.length - ETH_LEN - IPV6_LEN);
  return out;
}

/** What the sender sent and what the other end got of it, TTL aside, each behind its Ethernet header. */
function packets(story: Story): { sent: Uint8Array; seen: Uint8Array } {
  const { flow, direction, data, ttl, extra } = story;
  const { client, service, seenClient, server, family } = flow;
  const make = (from: Endpoint, to: Endpoint) =>
    withExtra(frameBetween(flow, from, to, direction === 1, data, ttl), family, extra).subarray(ETH_LEN);
  return direction === 0
    ? { sent: make(client, service), seen: make(seenClient, server) }
    : { sent: make(server, seenClient), seen: make(service, client) };
}

/** Who sent the packet, and to whom, as `packets` says. */
function ends({ flow, direction }: Story, isSeen: boolean): { from: Station; to: Station } {
  const { client, service, seenClient, server } = flow;
  const pair =
    direction === 0 ? [client, service, seenClient, server] : [server, seenClient, service, client];
  const at = isSeen ? 2 : 0;
  return { from: pair[at]!.station, to: pair[at + 1]!.station };
}

/** The quotation as the error carries it: cut; in front of an extension structure of 128 bytes or more, and padded. */
function quotation(story: Story, packet: Uint8Array): { bytes: Uint8Array; behind: Uint8Array } {
  const header = (story.flow.family === 4 ? IPV4_LEN : IPV6_LEN) + story.extra;
  if (!story.extended) return { bytes: packet.subarray(0, header + story.room), behind: new Uint8Array(0) };
  const bytes = packet.subarray(0, Math.max(128, (header + story.room) & ~7));
  const padding = new Uint8Array(Math.max(128, (bytes.length + 7) & ~7) - bytes.length);
  return { bytes, behind: Uint8Array.of(...padding, ...MPLS) };
}

/** The error as it comes in: time exceeded. */
function errorFrame(story: Story): Uint8Array {
  const { family } = story.flow;
  const { bytes, behind } = quotation(story, packets(story).seen);
  const { from, to } = ends(story, true);
  const length = story.extended ? bytes.length + behind.length - MPLS.length : 0;
  return icmp({
    from: story.third ? ROUTER : to,
    to: from,
    family,
    type: family === 4 ? 11 : 3,
    rest: family === 4 ? (length >> 2) << 16 : (length >> 3) << 24,
    data: Uint8Array.of(...bytes, ...behind),
  });
}

/** A finished checksum that could be a partial one is taken for one: see `quotedForm`. */
function looksPartial(story: Story): boolean {
  const { flow, direction, data } = story;
  const { client, service, seenClient, server } = flow;
  if (flow.protocol === 'icmp') return false;
  const packet = packetOf(
    direction === 0
      ? frameBetween(flow, seenClient, server, false, data)
      : frameBetween(flow, service, client, true, data),
  );
  return (
    get16(packet.bytes, packet.l4 + checksumOffset(packet)) % 0xffff === pseudoHeaderSum(packet) % 0xffff
  );
}

const OUTSIDE: Story = {
  flow: MASQUERADED,
  direction: 0,
  data: 40,
  ttl: 1,
  extra: 0,
  room: 1000,
  extended: false,
  third: true,
  hide: false,
};
const PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;
const FAMILIES = [4, 6] as const;

function storyOf(family: 4 | 6, protocol: Flow['protocol'], more: Partial<Story> = {}): Story {
  return { ...OUTSIDE, ...more, flow: { ...MASQUERADED, family, protocol } };
}

function read(packet: Packet, zone = ZONE_OUTSIDE): { fault: number; words: Int32Array } {
  const words = new Int32Array(TUPLE_LENGTH + 1).fill(0x77);
  return { fault: readQuotation(packet, zone, words, 1), words: words.slice(1) };
}

/** `change` may touch the message, whose checksum is made right again. */
function changed(story: Story, change: (bytes: Uint8Array, quote: number) => void): Packet {
  const packet = packetOf(errorFrame(story));
  change(packet.bytes, packet.l4 + 8);
  fillTransportChecksum(packet);
  return packet;
}

describe('reading a quotation', () => {
  test('the tuple is that of the packets that go the way of the error', () => {
    fc.assert(
      fc.property(anyStory, (story) => {
        const back = story.direction ^ 1;
        const { fault, words } = read(packetOf(errorFrame(story)), back === 0 ? ZONE_INSIDE : ZONE_OUTSIDE);
        // One word of options is too short for an IPv6 header; there the packet is not what the story says.
        fc.pre(!(story.flow.family === 6 && story.extra === 4));
        expect(fault).toBe(0);
        const ref = refOf(back);
        expect(words).toEqual(
          tuplesOf(story.flow).slice(ref * TUPLE_WORDS, ref * TUPLE_WORDS + TUPLE_LENGTH),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test('the sequence number of a quoted segment', () => {
    for (const family of FAMILIES) {
      for (const room of [8, 20, 1000]) {
        const story = storyOf(family, 'tcp', { room });
        expect(quotedTcpSequence(packetOf(errorFrame(story)))).toBe(0x89abcdef | 0);
      }
      expect(quotedTcpSequence(packetOf(errorFrame(storyOf(family, 'udp'))))).toBe(0);
    }
  });

  test('5508-3: a wrong checksum of the error', () => {
    for (const family of FAMILIES) {
      const packet = packetOf(errorFrame(storyOf(family, 'udp')));
      packet.bytes[packet.end - 1]! ^= 1;
      expect(read(packet).fault).toBe(DropReason.ICMP_CSUM);
    }
  });

  test('a partial checksum of the error is finished', () => {
    for (const family of FAMILIES) {
      const frame = errorFrame(storyOf(family, 'udp'));
      const packet = packetOf(frame);
      makePartial(packet);
      expect(read(packet).fault).toBe(0);
      expect(frameOf(packet)).toEqual(frame);
      expect(needsChecksum(packet.bytes, packet.at - VNET_LEN)).toBe(false);
    }
  });

  test('5508-3a: a wrong checksum of the quoted IPv4 header', () => {
    const packet = changed(OUTSIDE, (bytes, quote) => {
      bytes[quote + 8]! ^= 1;
    });
    expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
  });

  test('5508-3c: a wrong checksum of the quoted transport header does not matter', () => {
    const packet = changed(OUTSIDE, (bytes, quote) => {
      bytes[quote + 36]! ^= 1;
    });
    expect(read(packet).fault).toBe(0);
  });

  test('a length below that of a quotation with extensions is none (RFC 4884 §4)', () => {
    const packet = changed(OUTSIDE, (bytes, quote) => {
      bytes[quote - 3] = 31;
    });
    expect(read(packet).fault).toBe(0);
  });

  test('errors about errors and about other messages than queries', () => {
    for (const family of FAMILIES) {
      for (const type of family === 4 ? [3, 4, 5, 9, 11, 12, 17] : [1, 2, 3, 4, 127, 130, 133, 137]) {
        const packet = changed(storyOf(family, 'icmp'), (bytes, quote) => {
          bytes[quote + (family === 4 ? IPV4_LEN : IPV6_LEN)] = type;
        });
        expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_UNRELATED);
      }
    }
  });

  test('errors about a fragment: the first has ports, the others do not', () => {
    for (const family of FAMILIES) {
      const { seenClient, server } = MASQUERADED;
      const whole = udp({ from: seenClient.station, to: server.station, family, dstPort: 80, data: 3000 });
      const [first, second] = fragments(whole, 1500);
      const about = (piece: Uint8Array) =>
        icmp({
          from: ROUTER,
          to: seenClient.station,
          family,
          type: family === 4 ? 11 : 3,
          data: piece.subarray(ETH_LEN, ETH_LEN + 100),
        });
      expect(read(packetOf(about(first!))).fault).toBe(0);
      expect(read(packetOf(about(second!))).fault).toBe(DropReason.ICMP_ERROR_UNRELATED);
    }
  });

  test('an error in fragments is not read before it is put together', () => {
    const [first] = fragments(errorFrame({ ...OUTSIDE, data: 600 }), 576);
    const packet = packetOf(first!);
    expect(isIcmpErrorPacket(packet)).toBe(true);
    expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
  });

  test('an error to somebody who did not send the packet', () => {
    for (const family of FAMILIES) {
      const story = storyOf(family, 'udp');
      const { bytes } = quotation(story, packets(story).seen);
      const type = family === 4 ? 11 : 3;
      const packet = packetOf(
        icmp({ from: ROUTER, to: MASQUERADED.server.station, family, type, data: bytes }),
      );
      expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_UNRELATED);
    }
  });

  test('which messages are errors', () => {
    const ipv4: number[] = [];
    const ipv6: number[] = [];
    const { from, to } = ends(OUTSIDE, true);
    for (let type = 0; type < 256; type++) {
      if (isIcmpErrorPacket(packetOf(icmp({ from, to, family: 4, type, data: 60 })))) ipv4.push(type);
      if (isIcmpErrorPacket(packetOf(icmp({ from, to, family: 6, type, data: 60 })))) ipv6.push(type);
    }
    expect(ipv4).toEqual([3, 4, 5, 11, 12]);
    expect(ipv6).toEqual(Array.from({ length: 128 }, (_, type) => type));
    expect(isIcmpErrorPacket(packetOf(udp({ from, to, dstPort: 1, data: 3 })))).toBe(false);
    const [, second] = fragments(errorFrame({ ...OUTSIDE, data: 1200 }), 576);
    expect(isIcmpErrorPacket(packetOf(second!))).toBe(false);
  });

  test('5508-10: every type of error but source quench (RFC 6633) and redirect', () => {
    for (const [type, fault] of [
      [3, 0],
      [4, DropReason.ICMP_UNHANDLED],
      [5, DropReason.ICMP_UNHANDLED],
      [11, 0],
      [12, 0],
    ] as const) {
      const packet = changed(OUTSIDE, (bytes, quote) => {
        bytes[quote - 8] = type;
      });
      expect(read(packet).fault).toBe(fault);
    }
    for (const type of [1, 2, 3, 4, 5, 100, 127]) {
      const packet = changed(storyOf(6, 'tcp'), (bytes, quote) => {
        bytes[quote - 8] = type;
        set16(bytes, quote - 2, 1280);
      });
      expect(read(packet).fault).toBe(0);
    }
  });

  test('a claimed MTU that no link has', () => {
    for (const [family, mtu, fault] of [
      [4, 0, 0],
      [4, 67, DropReason.ICMP_ERROR_UNRELATED],
      [4, 68, 0],
      [4, 551, 0],
      [4, 552, 0],
      [6, 0, DropReason.ICMP_ERROR_UNRELATED],
      [6, 1279, DropReason.ICMP_ERROR_UNRELATED],
      [6, 1280, 0],
      [6, 0x7fffffff, 0],
    ] as const) {
      const packet = changed(storyOf(family, 'tcp'), (bytes, quote) => {
        bytes[quote - 8] = family === 4 ? 3 : 2;
        bytes[quote - 7] = family === 4 ? 4 : 0;
        set16(bytes, quote - 4, mtu >>> 16);
        set16(bytes, quote - 2, mtu);
      });
      expect(claimedMtu(packet)).toBe(mtu);
      expect(read(packet).fault).toBe(fault);
    }
    expect(claimedMtu(packetOf(errorFrame(OUTSIDE)))).toBe(-1);
    expect(claimedMtu(packetOf(errorFrame(storyOf(6, 'udp'))))).toBe(-1);
    const unlimited = changed(storyOf(6, 'tcp'), (bytes, quote) => {
      bytes.set([2, 0, 0, 0, 0xff, 0, 0, 0], quote - 8);
    });
    expect(claimedMtu(unlimited)).toBe(0x7fffffff);
    expect(read(unlimited).fault).toBe(0);
  });
});

describe('bad quotations', () => {
  test('of every length: a reason or the tuple, and never from bytes behind the packet', () => {
    for (const family of FAMILIES) {
      for (const protocol of PROTOCOLS) {
        for (const extra of [0, 24, 40]) {
          const story = storyOf(family, protocol, { extra });
          const { seen } = packets(story);
          const needed = (family === 4 ? IPV4_LEN : IPV6_LEN) + extra + 8;
          for (let length = 0; length <= seen.length; length++) {
            const frame = icmp({
              from: ROUTER,
              to: MASQUERADED.seenClient.station,
              family,
              type: family === 4 ? 11 : 3,
              data: seen.subarray(0, length),
            });
            // Behind the packet lies what would make the quotation whole.
            const packet = packetOf(frame);
            packet.bytes.set(seen.subarray(length).subarray(0, 32), packet.end);
            const { fault } = read(packet);
            expect([length, fault]).toEqual([length, length < needed ? DropReason.ICMP_ERROR_MALFORMED : 0]);
          }
        }
      }
    }
  });

  test('that say that they are shorter than what has to be in them', () => {
    for (let total = 0; total < 28; total++) {
      const packet = changed(OUTSIDE, (bytes, quote) => {
        set16(bytes, quote + IPV4_TOTAL_LENGTH, total);
        fillIpv4Checksum(bytes, quote);
      });
      expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
    }
    for (let payload = 0; payload < 8; payload++) {
      const packet = changed(storyOf(6, 'udp'), (bytes, quote) => {
        set16(bytes, quote + IPV6_PAYLOAD_LENGTH, payload);
      });
      expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
    }
  });

  test('of another IP version, with an impossible header length', () => {
    for (const first of [0x05, 0x35, 0x55, 0x65, 0x40, 0x41, 0x44, 0x4f]) {
      const packet = changed({ ...OUTSIDE, room: 8 }, (bytes, quote) => {
        bytes[quote] = first;
      });
      expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
    }
    for (const first of [0x40, 0x45, 0x50, 0x70]) {
      const packet = changed(storyOf(6, 'udp'), (bytes, quote) => {
        bytes[quote] = first;
      });
      expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
    }
  });

  test('with more extension headers than anybody sends', () => {
    const chain = new Uint8Array(8 * 20 + 8);
    for (let i = 0; i < 20; i++) chain.set([IPV6_EXT_DESTINATION, 0, 1, 4], 8 * i);
    const packet = changed(storyOf(6, 'udp', { data: 200 }), (bytes, quote) => {
      bytes[quote + IPV6_NEXT_HEADER] = IPV6_EXT_DESTINATION;
      bytes.set(chain, quote + IPV6_LEN);
    });
    expect(read(packet).fault).toBe(DropReason.ICMP_ERROR_MALFORMED);
  });

  test('whatever is in them: the answer depends on the packet alone, and nothing outside it is written', () => {
    const reasons: number[] = [
      0,
      DropReason.ICMP_UNHANDLED,
      DropReason.ICMP_ERROR_MALFORMED,
      DropReason.ICMP_ERROR_UNRELATED,
    ];
    const mutations = fc.array(
      fc.record({ at: fc.nat(120), value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 44, 51, 60, 255)) }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(anyStory, mutations, fc.boolean(), (story, mutations, fixed) => {
        const frame = errorFrame(story);
        const [first, second] = [0x00, 0xff].map((garbage) => {
          const packet = packetOf(frame, garbage);
          const { bytes, l4, end } = packet;
          for (const { at, value } of mutations) if (l4 + 4 + at < end) bytes[l4 + 4 + at] = value;
          // So that more than the quoted header's checksum is tried.
          if (fixed && story.flow.family === 4 && l4 + 8 + 60 <= end) fillIpv4Checksum(bytes, l4 + 8);
          fillTransportChecksum(packet);
          const { fault, words } = read(packet);
          expect(reasons).toContain(fault);
          if (fault === 0) {
            translateError(packet, tuplesOf(story.flow), refOf(story.direction ^ 1), story.hide);
            expect(transportChecksumOk(packet)).toBe(true);
            expect(parse(packet)).toBe(Malformed.NONE);
          }
          const outside = [...bytes.slice(0, 32), ...bytes.slice(packet.at + packet.length)];
          expect(outside.every((byte) => byte === garbage)).toBe(true);
          return { fault, words, frame: frameOf(packet), sequence: quotedTcpSequence(packet) };
        });
        expect(first).toEqual(second);
      }),
      { numRuns: 800 },
    );
  });
});

describe('translating an error', () => {
  test('5508-4, 5508-5, 5508-3b, 5508-3d: the quotation is, byte for byte, what the receiver sent', () => {
    fc.assert(
      fc.property(anyStory, (story) => {
        fc.pre(!(story.flow.family === 6 && story.extra === 4) && !looksPartial(story));
        const packet = packetOf(errorFrame(story));
        expect(read(packet).fault).toBe(0);
        translateError(packet, tuplesOf(story.flow), refOf(story.direction ^ 1), story.hide);

        const { bytes, behind } = quotation(story, packets(story).sent);
        expect(packet.bytes.slice(packet.l4 + 8, packet.end)).toEqual(Uint8Array.of(...bytes, ...behind));
        const sender = ends(story, false);
        const from = story.third && !story.hide ? ROUTER : sender.to;
        // All of it, with the checksums that its maker would have given it.
        const { family } = story.flow;
        const type = packet.bytes[packet.l4]!;
        const rest = (get16(packet.bytes, packet.l4 + 4) << 16) | get16(packet.bytes, packet.l4 + 6);
        const data = packet.bytes.slice(packet.l4 + 8, packet.end);
        const wanted = icmp({ from, to: sender.from, family, type, rest, data });
        expect(frameOf(packet).subarray(ETH_LEN)).toEqual(wanted.subarray(ETH_LEN));
      }),
      { numRuns: 800 },
    );
  });

  test('a quoted checksum that is still partial comes back as the sender left it', () => {
    for (const family of FAMILIES) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const story = storyOf(family, protocol);
        const { client, service, seenClient, server } = story.flow;
        const make = (from: Endpoint, to: Endpoint) => {
          const packet = packetOf(frameBetween(story.flow, from, to, false, story.data, story.ttl));
          makePartial(packet);
          return packet.bytes.slice(packet.l3, packet.end);
        };
        const quote = make(seenClient, server);
        const type = family === 4 ? 11 : 3;
        const packet = packetOf(icmp({ from: ROUTER, to: seenClient.station, family, type, data: quote }));
        expect(read(packet).fault).toBe(0);
        translateError(packet, tuplesOf(story.flow), refOf(1), false);
        expect(packet.bytes.slice(packet.l4 + 8, packet.end)).toEqual(make(client, service));
        expect(transportChecksumOk(packet)).toBe(true);
      }
    }
  });

  test('IP-11: a quoted datagram without a checksum stays without one', () => {
    const packet = changed(storyOf(4, 'udp'), (bytes, quote) => set16(bytes, quote + 26, 0));
    expect(read(packet).fault).toBe(0);
    translateError(packet, tuplesOf({ ...MASQUERADED, protocol: 'udp' }), refOf(1), false);
    expect(get16(packet.bytes, packet.l4 + 8 + 26)).toBe(0);
    expect(get16(packet.bytes, packet.l4 + 8 + 20)).toBe(MASQUERADED.client.port);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  test('5508-4c: type and code stay', () => {
    for (const type of [3, 11, 12]) {
      for (let code = 0; code < 16; code++) {
        const packet = changed(OUTSIDE, (bytes, quote) => {
          bytes[quote - 8] = type;
          bytes[quote - 7] = code;
          set16(bytes, quote - 2, 1400);
        });
        expect(read(packet).fault).toBe(0);
        translateError(packet, tuplesOf(MASQUERADED), refOf(1), false);
        expect([...packet.bytes.slice(packet.l4, packet.l4 + 2)]).toEqual([type, code]);
        expect(get16(packet.bytes, packet.l4 + 6)).toBe(1400);
        expect(transportChecksumOk(packet)).toBe(true);
      }
    }
  });
});
