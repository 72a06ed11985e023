import { describe, expect, test } from 'vitest';
import {
  arpProbe,
  arpReply,
  arpRequest,
  ethernet,
  fragments,
  icmp,
  icmpEcho,
  neighborAdvertisement,
  neighborSolicitation,
  type Station,
  tagged,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';

const a: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };
const b: Station = { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' };

function parsed(frame: Uint8Array): Packet {
  const packet = new Packet(frame);
  packet.length = frame.length;
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

describe.each([4, 6] as const)('frames of family %i', (family) => {
  test.each([
    ['echo request', icmpEcho({ from: a, to: b, family })],
    ['echo reply without data', icmpEcho({ from: a, to: b, family, reply: true, data: 0 })],
    ['ICMP error', icmp({ from: a, to: b, family, type: 3, code: 1, data: 'about' })],
    ['UDP of odd length', udp({ from: a, to: b, family, dstPort: 53, data: 'odd' })],
    ['TCP SYN with MSS', tcp({ from: a, to: b, family, dstPort: 80, mss: 1460 })],
    ['TCP data', tcp({ from: a, to: b, family, dstPort: 80, flags: 'PA', sequence: 2 ** 31, data: 1001 })],
  ])('%s: well-formed, right checksum, no padding', (_, frame) => {
    const packet = parsed(frame);
    expect(transportChecksumOk(packet)).toBe(true);
    expect(packet.end).toBe(frame.length);
    expect(packet.l4).toBeGreaterThan(0);
  });

  test('every UDP checksum that sums up to zero is written as ffff', () => {
    // One of 65,536 values of the payload makes the sum zero.
    let zeros = 0;
    for (let value = 0; value < 65536; value++) {
      const frame = udp({ from: a, to: b, family, dstPort: 53, data: Uint8Array.of(value >> 8, value) });
      const at = family === 4 ? 40 : 60;
      if ((frame[at]! | frame[at + 1]!) === 0) expect.fail(`payload ${value} has no checksum`);
      if (frame[at] === 0xff && frame[at + 1] === 0xff) zeros++;
    }
    expect(zeros).toBe(1);
  });

  test('fragments are well-formed, fit, and carry the packet', () => {
    const whole = udp({ from: a, to: b, family, dstPort: 9, data: 4000 });
    const header = family === 4 ? 34 : 54;
    const data: number[] = [];
    for (const piece of fragments(whole, 1500)) {
      const packet = parsed(piece);
      expect(piece.length).toBeLessThanOrEqual(1514);
      expect(packet.fragmentOffset).toBe(data.length);
      data.push(...piece.subarray(family === 4 ? 34 : 62));
      expect(packet.moreFragments).toBe(data.length < whole.length - header);
    }
    expect(Uint8Array.from(data)).toEqual(whole.subarray(header));
  });
});

test('ARP, ND and tags are well-formed', () => {
  for (const frame of [
    arpRequest({ from: a, ask: '10.0.0.1' }),
    arpProbe({ from: a, ask: '10.0.0.1' }),
    arpReply({ from: a, to: b }),
    ethernet({ from: a.mac, to: b.mac, type: 0x88b5, data: 46 }),
  ]) {
    parsed(frame);
  }
  for (const frame of [
    neighborSolicitation({ from: a, ask: 'fd00::b' }),
    neighborAdvertisement({ from: a, to: b }),
  ]) {
    expect(transportChecksumOk(parsed(frame))).toBe(true);
  }
  expect(parsed(tagged(udp({ from: a, to: b, dstPort: 9 }), 5, 3)).vlan).toBe((3 << 13) | 5);
});

test('what is no address is refused by its own words', () => {
  expect(() => arpRequest({ from: a, ask: '10.0.0' })).toThrow("'10.0.0' is not an IPv4 address");
  expect(() => icmpEcho({ from: { ...a, mac: '02:42' }, to: b })).toThrow("'02:42' is not a MAC");
  expect(() => icmpEcho({ from: { mac: a.mac }, to: b, family: 6 })).toThrow('has no IPv6 address');
  expect(() => tcp({ from: a, to: b, dstPort: 1, flags: 'SX' })).toThrow("'X' is no TCP flag");
});
