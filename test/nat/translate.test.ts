import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { restore, translate } from '../../nat/translate.ts';
import { fragments } from '../../src/testing/frames.ts';
import { get16, set16 } from '../../wire/bytes.ts';
import { checksum } from '../../wire/checksum.ts';
import { ICMP_CHECKSUM } from '../../wire/icmp.ts';
import { completeChecksum } from '../../wire/segmentation.ts';
import { checksumOffset, transportChecksumOk } from '../../wire/transport.ts';
import { UDP_CHECKSUM } from '../../wire/udp.ts';
import {
  VNET_F_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import {
  anyFlow,
  type Flow,
  frameOf,
  MASQUERADED,
  makePartial,
  packetOf,
  pseudoHeaderSum,
  received,
  refOf,
  sent,
  tuplesOf,
} from './flow.ts';

const direction = fc.constantFrom(0, 1);
/** Lengths, and zeros, with which checksums come to 0 and 0xffff more often. */
const data = fc.oneof(
  fc.nat(100),
  fc.nat(40).map((length) => new Uint8Array(length)),
  fc.uint8Array({ maxLength: 60 }),
);

describe('translating', () => {
  test('CK-1: the packet is, byte for byte, the one that would have been sent with the new addresses and ports', () => {
    fc.assert(
      fc.property(anyFlow, direction, data, (flow, direction, data) => {
        const packet = packetOf(sent(flow, direction, data));
        translate(packet, tuplesOf(flow), refOf(direction));
        expect(frameOf(packet)).toEqual(received(flow, direction, data));
      }),
      { numRuns: 800 },
    );
  });

  test('restoring gives back what came in', () => {
    fc.assert(
      fc.property(anyFlow, direction, data, (flow, direction, data) => {
        const before = sent(flow, direction, data);
        const packet = packetOf(before);
        const tuples = tuplesOf(flow);
        translate(packet, tuples, refOf(direction));
        restore(packet, tuples, refOf(direction));
        expect(frameOf(packet)).toEqual(before);
      }),
      { numRuns: 1000 },
    );
  });

  test('CK-2: a wrong transport checksum is still wrong afterwards, and comes back as it was', () => {
    fc.assert(
      fc.property(
        anyFlow,
        direction,
        data,
        fc.integer({ min: 1, max: 0xfffe }),
        (flow, direction, data, error) => {
          const packet = packetOf(sent(flow, direction, data));
          const field = packet.l4 + checksumOffset(packet);
          const wrong = get16(packet.bytes, field) ^ error;
          // 0 is "none" for UDP, and both zeros are one number.
          fc.pre(wrong !== 0 && wrong !== 0xffff);
          set16(packet.bytes, field, wrong);
          fc.pre(!transportChecksumOk(packet));
          const tuples = tuplesOf(flow);
          translate(packet, tuples, refOf(direction));
          fc.pre(get16(packet.bytes, field) !== 0);
          expect(transportChecksumOk(packet)).toBe(false);
          restore(packet, tuples, refOf(direction));
          expect(get16(packet.bytes, field)).toBe(wrong);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('CK-3: a partial checksum is right when it is finished', () => {
    fc.assert(
      fc.property(anyFlow, direction, data, fc.boolean(), (flow, direction, data, back) => {
        const packet = packetOf(sent(flow, direction, data));
        makePartial(packet);
        const tuples = tuplesOf(flow);
        translate(packet, tuples, refOf(direction));
        if (back) restore(packet, tuples, refOf(direction));
        expect(completeChecksum(packet)).toBe(true);
        expect(frameOf(packet)).toEqual((back ? sent : received)(flow, direction, data));
      }),
      { numRuns: 1000 },
    );
  });

  test('the partial checksum of a 64 KiB GSO frame takes the addresses, not the ports', () => {
    const packet = packetOf(sent(MASQUERADED, 0, 64_000));
    makePartial(packet);
    const { bytes, at, l4, end } = packet;
    bytes[at - VNET_LEN + 1] = VNET_GSO_TCPV4;
    const payload = bytes.slice(packet.payload, end);
    translate(packet, tuplesOf(MASQUERADED), refOf(0));
    expect(get16(bytes, l4 + checksumOffset(packet)) % 0xffff).toBe(pseudoHeaderSum(packet) % 0xffff);
    expect(get16(bytes, l4)).toBe(61000);
    expect(bytes.slice(packet.payload, end)).toEqual(payload);
  });

  test('a partial checksum further in does not concern the packet around it', () => {
    const flow: Flow = { ...MASQUERADED, protocol: 'udp' };
    const packet = packetOf(sent(flow, 0, 100));
    const { bytes, at, payload } = packet;
    writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, payload + 34 - at, UDP_CHECKSUM);
    translate(packet, tuplesOf(flow), refOf(0));
    expect(frameOf(packet)).toEqual(received(flow, 0, 100));
  });

  test('IP-11: UDP without a checksum stays without one', () => {
    const flow: Flow = { ...MASQUERADED, protocol: 'udp' };
    const packet = packetOf(sent(flow, 0, 8));
    set16(packet.bytes, packet.l4 + UDP_CHECKSUM, 0);
    translate(packet, tuplesOf(flow), refOf(0));
    expect(get16(packet.bytes, packet.l4 + UDP_CHECKSUM)).toBe(0);
    expect(get16(packet.bytes, packet.l4)).toBe(61000);
  });

  test('IP-11: a UDP checksum that comes to 0 is sent as 0xffff', () => {
    const flow: Flow = { ...MASQUERADED, protocol: 'udp' };
    // Two bytes of data that make the checksum 0 once the port is the new one.
    const probe = packetOf(received(flow, 0, new Uint8Array(2)));
    const missing = get16(probe.bytes, probe.l4 + UDP_CHECKSUM);
    const packet = packetOf(sent(flow, 0, Uint8Array.of(missing >> 8, missing & 0xff)));
    translate(packet, tuplesOf(flow), refOf(0));
    expect(get16(packet.bytes, packet.l4 + UDP_CHECKSUM)).toBe(0xffff);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  test('an echo reply of nothing but zeros has the checksum 0xffff', () => {
    const at = (endpoint: Flow['client'], port: number) => ({ ...endpoint, port });
    const { client, service, seenClient, server } = MASQUERADED;
    const flow: Flow = {
      family: 4,
      protocol: 'icmp',
      client: at(client, 0),
      service: at(service, 0),
      seenClient: at(seenClient, 5),
      server: at(server, 0),
    };
    const packet = packetOf(sent(flow, 1, new Uint8Array(4)));
    set16(packet.bytes, packet.l4 + 6, 0);
    set16(packet.bytes, packet.l4 + ICMP_CHECKSUM, 0);
    set16(packet.bytes, packet.l4 + ICMP_CHECKSUM, checksum(packet.bytes, packet.l4, 12));
    translate(packet, tuplesOf(flow), refOf(1));
    expect([...packet.bytes.slice(packet.l4, packet.end)]).toEqual([
      0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  test('fragments: the first takes addresses and ports, the others addresses; the whole is right', () => {
    for (const family of [4, 6] as const) {
      const flow: Flow = { ...MASQUERADED, family, protocol: 'udp' };
      const tuples = tuplesOf(flow);
      const wanted = fragments(received(flow, 0, 3000), 1500);
      const pieces = fragments(sent(flow, 0, 3000), 1500).map((piece) => packetOf(piece));
      expect(pieces.length).toBe(3);
      pieces.forEach((piece, i) => {
        translate(piece, tuples, refOf(0));
        expect(frameOf(piece)).toEqual(wanted[i]);
      });
    }
  });

  test('nothing is written outside the frame', () => {
    fc.assert(
      fc.property(anyFlow, direction, fc.nat(30), (flow, direction, data) => {
        const packet = packetOf(sent(flow, direction, data));
        translate(packet, tuplesOf(flow), refOf(direction));
        const { bytes, at, length } = packet;
        expect([...bytes.slice(0, 32), ...bytes.slice(at + length)].every((byte) => byte === 0xa5)).toBe(
          true,
        );
      }),
    );
  });
});
