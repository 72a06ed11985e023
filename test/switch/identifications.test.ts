import { expect, test } from 'vitest';
import { icmpEcho, type Station, udp } from '../../src/testing/frames.ts';
import { Arena } from '../../switch/frame.ts';
import { Identifications } from '../../switch/identifications.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';
import { VNET_GSO_UDP_L4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { C1, D1 } from './gateway-bed.ts';

function bed() {
  const arena = new Arena({ small: 2, big: 2 });
  const identifications = new Identifications(new Random(3));
  /** What a frame has become; -1 when it was left alone. */
  const renumbered = (bytes: Uint8Array, segment = 0): number => {
    const frame = arena.allocate(bytes.length)!;
    frame.bytes.set(bytes, frame.at);
    frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
    if (segment > 0) writeVnet(frame.bytes, frame.at - VNET_LEN, 0, VNET_GSO_UDP_L4, 42, segment, 0, 0);
    expect(parse(frame)).toBe(Malformed.NONE);
    identifications.renumber(frame);
    // The header checksum is right.
    expect(parse(frame)).toBe(Malformed.NONE);
    const after = frame.bytes.slice(frame.at, frame.at + bytes.length);
    arena.release(frame);
    if (bytes.every((byte, at) => byte === after[at])) return -1;
    return (after[18] << 8) | after[19];
  };
  return { arena, identifications, renumbered };
}

const OTHER: Station = { ...C1, ipv4: '10.0.0.99' };

test('7857-10: all identifications of a source, destination and protocol pass before one comes again', () => {
  const { renumbered } = bed();
  const frame = udp({ from: C1, to: D1, dstPort: 9, identification: 7 });
  const first = renumbered(frame);
  for (let count = 1; count < 65_536; count++) {
    const expected = (first + count) & 0xffff;
    expect(renumbered(frame)).toBe(expected === 7 ? -1 : expected);
  }
  expect(renumbered(frame)).toBe(first);
});

test('7857-10: others count for themselves, from where nobody knows', () => {
  const { renumbered } = bed();
  const frame = udp({ from: C1, to: D1, dstPort: 9 });
  const first = renumbered(frame);
  const other = renumbered(udp({ from: OTHER, to: D1, dstPort: 9 }));
  const protocol = renumbered(icmpEcho({ from: C1, to: D1 }));
  expect(new Set([first, other, protocol]).size).toBe(3);
  expect(renumbered(frame)).toBe((first + 1) & 0xffff);
});

test('RFC 6864 §4.1: what nobody fragments keeps what it has', () => {
  const { renumbered } = bed();
  expect(renumbered(udp({ from: C1, to: D1, dstPort: 9, dontFragment: true }))).toBe(-1);
  expect(renumbered(udp({ from: C1, to: D1, dstPort: 9, family: 6 }))).toBe(-1);
});

test('every packet of a GSO frame has its own', () => {
  const { renumbered } = bed();
  const first = renumbered(udp({ from: C1, to: D1, dstPort: 9, data: 5000 }), 1000);
  expect(renumbered(udp({ from: C1, to: D1, dstPort: 9 }))).toBe((first + 5) & 0xffff);
});

test('what came in fragments gets another one, also with DF, also IPv6', () => {
  const { arena, identifications } = bed();
  for (const family of [4, 6] as const) {
    const frame = arena.allocate(2000)!;
    const bytes = udp({ from: C1, to: D1, dstPort: 9, family, dontFragment: true, data: 8 });
    frame.bytes.set(bytes, frame.at);
    frame.length = bytes.length;
    parse(frame);
    frame.largestFragment = 1500;
    frame.fragmentIdentification = 1;
    identifications.renumber(frame);
    expect(parse(frame)).toBe(Malformed.NONE);
    if (family === 4) expect(frame.bytes.slice(frame.at, frame.at + bytes.length)).not.toEqual(bytes);
    else expect(frame.fragmentIdentification).not.toBe(1);
    arena.release(frame);
  }
});
