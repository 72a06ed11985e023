import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { get16, set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4 } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../../wire/ethernet.ts';
import { fragmentCount, writeFragment } from '../../wire/fragmentation.ts';
import {
  fillIpv4Checksum,
  IPV4_DF,
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OPT_COPIED,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderLength,
  ipv4Identification,
  setIpv4Fragment,
  writeIpv4,
} from '../../wire/ipv4.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
import { fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { UDP_CHECKSUM, UDP_LEN, writeUdp } from '../../wire/udp.ts';
import {
  clearVnet,
  needsChecksum,
  VNET_F_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import {
  ARP,
  AT,
  FRAGMENT4_LAST,
  frameOf,
  garbage,
  packetOf,
  same,
  UDP4,
  UDP6,
  untouched,
} from './samples.ts';

/** A UDP datagram over IPv4 with these options and this payload, padded with options' end to whole words. */
function datagram(options: readonly number[], payload: Uint8Array): Packet {
  const header = IPV4_LEN + ((options.length + 3) & ~3);
  const total = header + UDP_LEN + payload.length;
  const packet = new Packet(garbage(AT + ETH_LEN + total + 16));
  const { bytes } = packet;
  packet.at = AT;
  packet.length = ETH_LEN + total;
  clearVnet(bytes, AT - VNET_LEN);
  const l3 = writeEthernet(bytes, AT, 0x0242, 3, 0x0242, 2, ETHERTYPE_IPV4);
  writeIpv4(bytes, l3, total, PROTO_UDP, 64, 0x0a000002, 0x0a000003, 0x4242);
  bytes[l3] = 0x40 | (header >> 2);
  bytes.fill(0, l3 + IPV4_LEN, l3 + header);
  bytes.set(options, l3 + IPV4_LEN);
  fillIpv4Checksum(bytes, l3);
  bytes.set(payload, writeUdp(bytes, l3 + header, 40000, 7, UDP_LEN + payload.length));
  expect(parse(packet)).toBe(Malformed.NONE);
  fillTransportChecksum(packet);
  return packet;
}

function fragments(packet: Packet, mtu: number): Packet[] {
  const count = fragmentCount(packet, mtu);
  return Array.from({ length: count }, (_, index) => {
    const target = new Packet(garbage(AT + (packet.l3 - packet.at) + mtu + 8));
    target.at = AT;
    writeFragment(packet, mtu, index, target);
    expect(target.end - target.l3).toBeLessThanOrEqual(mtu);
    expect(untouched(target.bytes, 0, AT - VNET_LEN)).toBe(true);
    expect(same(target.bytes.subarray(AT - VNET_LEN, AT), new Uint8Array(VNET_LEN))).toBe(true);
    expect(untouched(target.bytes, AT + target.length, target.bytes.length)).toBe(true);
    return target;
  });
}

/** Reassembly by the book (RFC 791 §3.2), for tests: the header of the first, the data of all. */
function reassemble(pieces: readonly Packet[]): Uint8Array {
  const first = pieces.find((piece) => piece.fragmentOffset === 0)!;
  const last = pieces.find((piece) => !piece.moreFragments)!;
  const header = first.l3 - first.at + ipv4HeaderLength(first.bytes, first.l3);
  const data = (piece: Packet) =>
    piece.bytes.slice(piece.l3 + ipv4HeaderLength(piece.bytes, piece.l3), piece.end);
  const length = last.fragmentOffset + data(last).length;
  const frame = new Uint8Array(header + length);
  const seen = new Uint8Array(length);
  frame.set(first.bytes.slice(first.at, first.at + header));
  for (const piece of pieces) {
    for (const [i, byte] of data(piece).entries()) {
      frame[header + piece.fragmentOffset + i] = byte;
      seen[piece.fragmentOffset + i]!++;
    }
  }
  expect(seen.every((count) => count === 1)).toBe(true);
  const l3 = first.l3 - first.at;
  set16(frame, l3 + IPV4_TOTAL_LENGTH, frame.length - l3);
  set16(frame, l3 + IPV4_FRAGMENT, 0);
  fillIpv4Checksum(frame, l3);
  return frame;
}

/** Option lists that are well-formed: NOPs, options with and without the copied flag, perhaps an end. */
const options = fc
  .array(
    fc.oneof(
      fc.constant([1]),
      fc
        .tuple(fc.constantFrom(7, 68, 130, 148, 222), fc.uint8Array({ maxLength: 8 }))
        .map(([type, value]) => [type, value.length + 2, ...value]),
    ),
    { maxLength: 6 },
  )
  .map((list) => list.flat())
  .filter((list) => list.length <= 40);

describe('fragmentation', () => {
  it('then reassembly is the identity, for any options and any order', () => {
    fc.assert(
      fc.property(
        options,
        fc.uint8Array({ maxLength: 1500, size: 'max' }),
        fc.integer({ min: 68, max: 600 }),
        fc.boolean(),
        (options, payload, mtu, backwards) => {
          const packet = datagram(options, payload);
          const whole = frameOf(packet);
          const pieces = fragments(packet, mtu);
          expect(pieces.length > 1).toBe(packet.end - packet.l3 > mtu);
          for (const [index, piece] of pieces.entries()) {
            const found = { ...piece, bytes: null };
            expect(parse(piece)).toBe(Malformed.NONE);
            expect({ ...piece, bytes: null }).toEqual(found);
            expect(ipv4Identification(piece.bytes, piece.l3)).toBe(0x4242);
            expect(piece.moreFragments).toBe(index < pieces.length - 1);
          }
          if (backwards) pieces.reverse();
          expect(same(reassemble(pieces), whole)).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('fills each fragment but the last as far as 8 bytes allow', () => {
    const pieces = fragments(datagram([], new Uint8Array(3000)), 1500);
    expect(pieces.map((piece) => piece.end - piece.l3)).toEqual([1500, 1500, 68]);
    expect(pieces.map((piece) => piece.fragmentOffset)).toEqual([0, 1480, 2960]);
    const odd = fragments(datagram([], new Uint8Array(3000)), 1499);
    expect(odd.map((piece) => piece.end - piece.l3)).toEqual([1492, 1492, 84]);
  });

  it('copies the options with the copied flag into all fragments (RFC 791 §3.1)', () => {
    const optionBytes = [1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1, 130, 3, 9];
    const pieces = fragments(datagram(optionBytes, new Uint8Array(300)), 100);
    const found = pieces.map((piece) => {
      const end = piece.l3 + ipv4HeaderLength(piece.bytes, piece.l3);
      return [...piece.bytes.slice(piece.l3 + IPV4_LEN, end)];
    });
    expect(found[0]).toEqual(optionBytes);
    expect(pieces.length).toBeGreaterThan(3);
    for (const later of found.slice(1)) expect(later).toEqual([148, 4, 0, 0, 130, 3, 9, 0]);
    expect(148 & IPV4_OPT_COPIED).not.toBe(0);
  });

  it('of a fragment goes on from its offset, and remembers that more follow', () => {
    const packet = datagram([], new Uint8Array(392));
    setIpv4Fragment(packet.bytes, packet.l3, IPV4_MF | 100);
    fillIpv4Checksum(packet.bytes, packet.l3);
    expect(parse(packet)).toBe(Malformed.NONE);
    const pieces = fragments(packet, 220);
    expect(pieces.map((piece) => [piece.fragmentOffset, piece.moreFragments, piece.l4])).toEqual([
      [800, true, 0],
      [1000, true, 0],
    ]);
  });

  it('of a packet that fits is a copy', () => {
    for (const sample of [UDP4, FRAGMENT4_LAST]) {
      const packet = packetOf(sample);
      parse(packet);
      expect(fragmentCount(packet, 1500)).toBe(1);
      expect(frameOf(fragments(packet, packet.end - packet.l3)[0]!)).toEqual(sample);
    }
  });

  it('is forbidden by DF, by a MTU below 68, and to anything but IPv4', () => {
    const packet = datagram([], new Uint8Array(200));
    expect(fragmentCount(packet, 67)).toBe(0);
    expect(fragmentCount(packet, 68)).toBeGreaterThan(1);
    setIpv4Fragment(packet.bytes, packet.l3, IPV4_DF);
    fillIpv4Checksum(packet.bytes, packet.l3);
    parse(packet);
    expect(fragmentCount(packet, 100)).toBe(0);
    for (const sample of [UDP6, ARP]) {
      const other = packetOf(sample);
      parse(other);
      expect(fragmentCount(other, 68)).toBe(0);
    }
  });

  it('finishes a partial checksum first, and leaves GSO frames to segmentation', () => {
    const packet = datagram([], new Uint8Array(200).fill(3));
    const whole = frameOf(packet);
    const { bytes, l3, l4 } = packet;
    set16(bytes, l4 + UDP_CHECKSUM, fold(pseudoSumIpv4(bytes, l3, PROTO_UDP, packet.end - l4)));
    writeVnet(bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_UDP_L4, 0, 100, l4 - AT, UDP_CHECKSUM);
    expect(fragmentCount(packet, 100)).toBe(0);
    expect(needsChecksum(bytes, AT - VNET_LEN)).toBe(true);
    writeVnet(bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, l4 - AT, UDP_CHECKSUM);
    const pieces = fragments(packet, 100);
    expect(reassemble(pieces)).toEqual(whole);
    expect(transportChecksumOk(packet)).toBe(true);
    expect(needsChecksum(bytes, AT - VNET_LEN)).toBe(false);
  });

  it('at the smallest MTU with the longest header, puts 8 bytes into the first', () => {
    const packet = datagram(new Array(40).fill(1), new Uint8Array(64).fill(5));
    const pieces = fragments(packet, 68);
    expect(pieces.map((piece) => piece.end - piece.l3)).toEqual([68, 68, 36]);
    expect(get16(pieces[0]!.bytes, pieces[0]!.l3 + IPV4_TOTAL_LENGTH)).toBe(68);
  });
});
