import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describe as describeFrame } from '../../wire/describe.ts';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
} from '../../wire/ethernet.ts';
import { fragmentCount } from '../../wire/fragmentation.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import { findIpv6Extension } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { ndOk } from '../../wire/nd.ts';
import { Packet } from '../../wire/packet.ts';
import { parse, parseEthernet, parseNetwork } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { completeChecksum, segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import { tcpMss } from '../../wire/tcp.ts';
import { clampMss, fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { checkVnet, VNET_LEN } from '../../wire/virtio-net.ts';
import { AT, frameOf, packetOf, SAMPLES, same, UDP4 } from './samples.ts';

const names = Object.keys(SAMPLES);

/** Length of the fixed part of a transport header whose fields are read without further checks. */
const FIXED: Readonly<Record<number, number>> = {
  [PROTO_TCP]: 20,
  [PROTO_UDP]: 8,
  [PROTO_ICMP]: 8,
  [PROTO_ICMPV6]: 8,
};

/** What `parse` promises for any bytes. */
function expectSafe(packet: Packet, malformed: Malformed): void {
  const first = packet.at;
  const last = packet.at + packet.length;
  const offsets = [packet.l3, packet.end];
  if (packet.l4 !== 0) offsets.push(packet.l4);
  if (packet.payload !== 0) offsets.push(packet.payload);
  if (packet.fragmentHeader !== 0) offsets.push(packet.fragmentHeader + 8);
  expect(offsets.filter((offset) => offset < first || offset > last)).toEqual([]);
  expect(packet.l3).toBeLessThanOrEqual(packet.end);
  if (malformed !== Malformed.NONE) {
    expect(packet.l4).toBe(0);
    return;
  }
  if (packet.l4 === 0) {
    expect(packet.payload).toBe(0);
    if (packet.protocol >= 0) expect(packet.fragmentOffset).toBeGreaterThan(0);
    return;
  }
  expect(packet.fragmentOffset).toBe(0);
  expect(packet.l4).toBeGreaterThan(packet.l3);
  expect(packet.payload).toBeGreaterThanOrEqual(packet.l4 + (FIXED[packet.protocol] ?? 0));
  expect(packet.payload).toBeLessThanOrEqual(packet.end);
}

/** Everything that may be called with a packet of any bytes, or with one that was found well-formed. */
function exercise(packet: Packet): void {
  const before = packet.bytes.slice();
  expect(typeof describeFrame(packet)).toBe('string');
  const malformed = parse(packet);
  expectSafe(packet, malformed);
  expect(parseEthernet(packet) || parseNetwork(packet)).toBe(malformed);
  if (malformed === Malformed.NONE) {
    checkVnet(packet);
    transportChecksumOk(packet);
    ndOk(packet);
    if (packet.protocol === PROTO_TCP && packet.l4 !== 0) tcpMss(packet.bytes, packet.l4);
    if (packet.etherType === ETHERTYPE_IPV6) findIpv6Extension(packet, 43);
  }
  expect(same(packet.bytes, before)).toBe(true);

  // From here on bytes are written: inside the frame and its virtio-net header only.
  expect(segmentLength(packet)).toBeLessThanOrEqual(packet.length);
  const count = segmentCount(packet);
  const target = new Packet(new Uint8Array(VNET_LEN + packet.length));
  target.at = VNET_LEN;
  for (let index = 0; index < Math.min(count, 3); index++) {
    writeSegment(packet, index, target);
    expect(target.length).toBeLessThanOrEqual(packet.length);
  }
  completeChecksum(packet);
  if (parse(packet) === Malformed.NONE) {
    fillTransportChecksum(packet);
    expect(transportChecksumOk(packet)).toBe(true);
    clampMss(packet, 100);
    fragmentCount(packet, 100);
  }
  const first = packet.at - VNET_LEN;
  const last = packet.at + packet.length;
  expect(same(packet.bytes.subarray(0, first), before.subarray(0, first))).toBe(true);
  expect(same(packet.bytes.subarray(last), before.subarray(last))).toBe(true);
}

describe('every sample', () => {
  it.each(names)('%s is well-formed, with right checksums', (name) => {
    const packet = packetOf(SAMPLES[name]!);
    expect(parse(packet)).toBe(Malformed.NONE);
    expectSafe(packet, Malformed.NONE);
    expect(transportChecksumOk(packet)).toBe(true);
    expect(frameOf(packet)).toEqual(SAMPLES[name]);
  });

  it.each(names)('%s cut anywhere is safe, and malformed where its packet is cut', (name) => {
    const sample = SAMPLES[name]!;
    const whole = packetOf(sample);
    parse(whole);
    const internet = [ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6].includes(whole.etherType);
    for (let length = 0; length < sample.length; length++) {
      const packet = packetOf(sample.slice(0, length));
      exercise(packetOf(sample.slice(0, length)));
      const malformed = parse(packet);
      if (length < ETH_LEN) expect(malformed).toBe(Malformed.PKT_TOO_SMALL);
      else if (internet && length < whole.end - AT) expect(malformed).not.toBe(Malformed.NONE);
      else expect(malformed).toBe(Malformed.NONE);
    }
  });
});

describe('any bytes', () => {
  const vnet = fc.uint8Array({ minLength: VNET_LEN, maxLength: VNET_LEN });

  it('at random', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), vnet, (frame, header) => {
        const packet = packetOf(frame);
        packet.bytes.set(header, AT - VNET_LEN);
        exercise(packet);
      }),
      { numRuns: 500 },
    );
  });

  it('at random behind an EtherType that is known', () => {
    const type = fc.constantFrom(ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP, ETHERTYPE_VLAN);
    const start = fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x00);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 200 }),
        type,
        start,
        vnet,
        (frame, type, start, header) => {
          frame.set([type >> 8, type & 255, start], 12);
          const packet = packetOf(frame);
          packet.bytes.set(header, AT - VNET_LEN);
          exercise(packet);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('of a sample with bytes changed, cut and grown, header checksum made right', () => {
    const change = fc.tuple(
      fc.nat(130),
      fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 8, 0x7f, 0x80, 0xff)),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: -40, max: 40 }),
        vnet,
        fc.boolean(),
        (name, changes, growth, header, plain) => {
          const sample = SAMPLES[name]!;
          const frame = new Uint8Array(Math.max(0, sample.length + growth));
          frame.set(sample.slice(0, frame.length));
          for (const [at, value] of changes) if (at < frame.length) frame[at] = value;
          // Without this nearly every change of an IPv4 header would end at its checksum.
          if (frame[12] === 0x08 && frame[13] === 0x00) fillIpv4Checksum(frame, ETH_LEN);
          const packet = packetOf(frame);
          if (!plain) packet.bytes.set(header, AT - VNET_LEN);
          exercise(packet);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('at the very end of a buffer', () => {
    const sample = UDP4;
    for (let length = 0; length <= sample.length; length++) {
      const bytes = new Uint8Array(VNET_LEN + length);
      bytes.set(sample.slice(0, length), VNET_LEN);
      const packet = new Packet(bytes);
      packet.at = VNET_LEN;
      packet.length = length;
      expectSafe(packet, parse(packet));
      describeFrame(packet);
    }
  });
});

describe('the answers', () => {
  it('are numbered densely, so that they can index counters', () => {
    const values = Object.values(Malformed);
    expect([...values].sort((a, b) => a - b)).toEqual(values.map((_, index) => index));
  });

  it('leave no offset of the frame before', () => {
    for (const first of names) {
      const packet = packetOf(SAMPLES[first]!, 200);
      parse(packet);
      for (const second of names) {
        packet.bytes.set(SAMPLES[second]!, AT);
        packet.length = SAMPLES[second]!.length;
        parse(packet);
        const fresh = packetOf(SAMPLES[second]!);
        parse(fresh);
        expect({ ...packet, bytes: null }).toEqual({ ...fresh, bytes: null });
      }
    }
  });
});
