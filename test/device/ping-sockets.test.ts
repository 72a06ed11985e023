import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readQuotation } from '../../nat/icmp-error.ts';
import { AF_INET } from '../../src/device/inet.ts';
import { inNamespace, newNamespace } from '../../src/device/netns.ts';
import { socket } from '../../src/device/syscall.ts';
import { icmp, icmpEcho, type Station } from '../../src/testing/frames.ts';
import { PingMode, PingSockets } from '../../src/uplink/ping-sockets.ts';
import type { Frame } from '../../switch/frame.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { Random } from '../../wire/random.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { VNET_F_NEEDS_CSUM, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import {
  Bench,
  DECK,
  DEVICE,
  FAR,
  OutsideWorld,
  ROUTER,
  reasonOf,
  SEGMENT,
  withoutDescriptors,
} from './outside-world.ts';
import { openDescriptors, pings } from './sandbox.ts';

let world: OutsideWorld;
let bench: Bench;
let sockets: PingSockets;
let log: string[];
/** Why requests were not sent. */
const dropped: string[] = [];

beforeAll(() => {
  world = new OutsideWorld();
});
afterAll(() => world.remove());
beforeEach(() => {
  bench = new Bench();
  sockets = make();
});
afterEach(() => {
  sockets.close();
  bench.close();
  expect(dropped.splice(0)).toEqual([]);
});

function make(more: { capacity?: number; socket?: typeof socket } = {}): PingSockets {
  log = [];
  return new PingSockets({
    segment: SEGMENT,
    epoll: bench.epoll,
    tag: (row) => row,
    errors: bench.errors,
    random: new Random(1),
    log: (line) => log.push(line),
    ...more,
  });
}

function station(family: 4 | 6, { mac, ipv4, ipv6 }: typeof DECK): Station {
  return family === 4 ? { mac, ipv4 } : { mac, ipv6 };
}

interface Request {
  to?: Station;
  identifier?: number;
  sequence?: number;
  data?: number | string;
  ttl?: number;
  dontFragment?: boolean;
  largestFragment?: number;
  origin?: number;
}

function send(family: 4 | 6, { largestFragment = 0, origin = 0, ...more }: Request = {}, now = 0): void {
  const frame = bench.frame(
    icmpEcho({ from: station(family, DECK), to: station(family, FAR), identifier: 77, ...more }),
  );
  frame.largestFragment = largestFragment;
  frame.origin = origin;
  const before = frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length);
  const status = world.in(world.host, () => sockets.transmit(frame, now));
  if (status !== 0) dropped.push(reasonOf(status));
  expect(frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length)).toEqual(before);
  bench.arena.release(frame);
}

function addresses({ bytes, l3, etherType }: Frame): string {
  if (etherType === ETHERTYPE_IPV4) {
    return `${formatIpv4(get32(bytes, l3 + 12))} > ${formatIpv4(get32(bytes, l3 + 16))}`;
  }
  const at = (from: number) =>
    formatIpv6(get32(bytes, from), get32(bytes, from + 4), get32(bytes, from + 8), get32(bytes, from + 12));
  return `${at(l3 + 8)} > ${at(l3 + 24)}`;
}

/** `10.2.0.2 > 192.0.0.2 reply 77/1`, or an error's type and code; its checksums are right. */
function hear(wait?: number): { line: string; data: Buffer; frame: Frame } | null {
  const frame = bench.receive(sockets, wait);
  if (frame === null) return null;
  expect(transportChecksumOk(frame)).toBe(true);
  const { bytes, l4, end } = frame;
  const type = bytes[l4]!;
  const what =
    type === 0 || type === 129
      ? `reply ${get16(bytes, l4 + 4)}/${get16(bytes, l4 + 6)}`
      : `error ${type}/${bytes[l4 + 1]}`;
  bench.arena.release(frame);
  return {
    line: `${addresses(frame)} ${what}`,
    data: Buffer.from(bytes.subarray(l4 + 8, end)),
    frame,
  };
}

const MODES = [
  ['ping sockets', '0 2147483647', PingMode.PING],
  ['a raw socket', '1 0', PingMode.RAW],
] as const;
const CASES = MODES.flatMap(([name, range, mode]) => [
  [name, 4, range, mode] as const,
  [name, 6, range, mode] as const,
]);

describe.each(CASES)('by %s over IPv%d', (_, family, range, mode) => {
  const deck = family === 4 ? DECK.ipv4 : DECK.ipv6;
  const device = family === 4 ? DEVICE.ipv4 : DEVICE.ipv6;
  const far = family === 4 ? FAR.ipv4 : FAR.ipv6;
  const router = family === 4 ? ROUTER.ipv4 : ROUTER.ipv6;
  const header = family === 4 ? 28 : 48;

  beforeEach(() => world.sysctl(world.host, `net.ipv4.ping_group_range=${range}`));

  it('requests are answered by whom they are for', () => {
    send(family, { sequence: 3, data: 'round trip', ttl: 60 });
    const reply = hear()!;
    expect(reply.line).toBe(`${far} > ${deck} reply 77/3`);
    expect(reply.data.toString()).toBe('round trip');
    // The router has taken one.
    expect(reply.frame.bytes[reply.frame.l3 + (family === 4 ? 8 : 7)]).toBe(63);
    expect(family === 4 ? sockets.modeIpv4 : sockets.modeIpv6).toBe(mode);
    expect(log).toEqual([]);
  });

  it('each identifier hears its own replies', () => {
    for (let i = 0; i < 5; i++) send(family, { identifier: 500 + i, sequence: i, data: `${i}` });
    const lines = Array.from({ length: 5 }, () => hear()!.line).sort();
    expect(lines).toEqual(Array.from({ length: 5 }, (_, i) => `${far} > ${deck} reply ${500 + i}/${i}`));
    expect(sockets.size).toBe(5);
  });

  it("does not hear the host's own pings", async () => {
    send(family);
    hear();
    await pings(world.host, 3, far);
    expect(hear(50)).toBeNull();
  });

  it.each([0, 1, 1400 - header, 9000, 65535 - header])('carries %d bytes', (length) => {
    // One datagram is lost where the host learns that its pieces have to be smaller.
    const largestFragment = family === 4 ? 0 : 1280;
    send(family, { data: length, dontFragment: false, largestFragment });
    const reply = hear()!;
    expect(reply.line).toBe(`${far} > ${deck} reply 77/1`);
    // A reply may be cut as its request was.
    expect(reply.frame.largestFragment).toBe(largestFragment);
    expect(reply.data.equals(Uint8Array.from({ length }, (_, i) => (i + (i >> 8)) & 0xff))).toBe(true);
  });

  it('finishes a checksum that the sender has not', () => {
    const frame = bench.frame(icmpEcho({ from: station(family, DECK), to: station(family, FAR), data: 'x' }));
    const { bytes, at, l3, l4, end } = frame;
    // What NEEDS_CSUM wants in the field: the pseudo-header's sum, which ICMP has not.
    let partial = 0;
    if (family === 6) {
      for (let i = l3 + 8; i < l3 + 40; i += 2) partial += get16(bytes, i);
      partial += 58 + end - l4;
      partial = (partial & 0xffff) + (partial >>> 16);
    }
    set16(bytes, l4 + 2, partial);
    writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, 0, 0, 0, l4 - at, 2);
    world.in(world.host, () => sockets.transmit(frame, 0));
    bench.arena.release(frame);
    expect(hear()!.line).toBe(`${far} > ${deck} reply 1/1`);
  });

  it('shows the way, hop by hop', () => {
    send(family, { ttl: 1, sequence: 9, data: 'probe' });
    const error = bench.receive(sockets)!;
    expect(addresses(error)).toBe(`${router} > ${deck}`);
    const { bytes, l4, end } = error;
    expect([bytes[l4], bytes[l4 + 1]]).toEqual(family === 4 ? [11, 0] : [3, 0]);
    // What it quotes is what the deck sent.
    expect(readQuotation(error, 1, new Int32Array(10), 0)).toBe(0);
    const inner = l4 + 8 + header - 8;
    expect(get16(bytes, inner + 4)).toBe(77);
    expect(get16(bytes, inner + 6)).toBe(9);
    expect(Buffer.from(bytes.subarray(inner + 8, end)).toString()).toBe('probe');
    bench.arena.release(error);
    expect(sockets.errorsReceived).toBe(1);
    send(family, { ttl: 2 });
    expect(hear()!.line).toBe(`${far} > ${deck} reply 77/1`);
  });

  it('sends what follows an error, and loses nothing', () => {
    for (let i = 0; i < 4; i++) {
      send(family, { ttl: 1, sequence: 10 + i });
      bench.failing();
      send(family, { sequence: 20 + i });
    }
    const lines = Array.from({ length: 8 }, () => hear()!.line);
    expect(lines.filter((line) => line.includes('reply'))).toEqual(
      [20, 21, 22, 23].map((sequence) => `${far} > ${deck} reply 77/${sequence}`),
    );
    expect(lines.filter((line) => line.includes('error'))).toHaveLength(4);
  });

  it('says how long a request may be that must not be cut', () => {
    world.forgetPaths();
    for (const who of [router, device]) {
      send(family, { data: 1450, dontFragment: true });
      const error = hear()!;
      expect(error.line).toBe(`${who} > ${deck} error ${family === 4 ? '3/4' : '2/0'}`);
      expect(get32(error.frame.bytes, error.frame.l4 + 4)).toBe(1400);
    }
    expect(dropped.splice(0)).toEqual(['SOCKET_ERROR']);
  });

  it('says that there is no way', () => {
    const frame = bench.frame(icmpEcho({ from: station(family, DECK), to: station(family, FAR) }));
    const namespace = newNamespace('nowhere');
    try {
      expect(reasonOf(inNamespace(namespace, () => sockets.transmit(frame, 0)))).toBe('SOCKET_ERROR');
    } finally {
      namespace.close();
      bench.arena.release(frame);
    }
    expect(hear()!.line).toBe(`${device} > ${deck} error ${family === 4 ? '3/0' : '1/0'}`);
  });

  it("reaches the host's loopback as its neighbor, and nowhere else", () => {
    send(family, { to: station(family, DEVICE) });
    expect(hear()!.line).toBe(`${device} > ${deck} reply 77/1`);
    const bad =
      family === 4
        ? ['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255']
        : ['::1', '::', 'ff02::1', 'fe80::1'];
    for (const address of bad) {
      send(family, {
        to: family === 4 ? { mac: DEVICE.mac, ipv4: address } : { mac: DEVICE.mac, ipv6: address },
      });
    }
    expect(sockets.refused).toBe(bad.length);
    expect(dropped.splice(0)).toEqual(bad.map(() => 'IP_MARTIAN_DESTINATION'));
    expect(hear(50)).toBeNull();
  });

  it('sends requests alone', () => {
    const sent = (type: number, code = 0) => {
      const frame = bench.frame(
        icmp({ from: station(family, DECK), to: station(family, FAR), type, code, data: 60 }),
      );
      dropped.push(reasonOf(world.in(world.host, () => sockets.transmit(frame, 0))));
      bench.arena.release(frame);
    };
    // A reply, a request of an unknown code, an error, something else.
    const request = family === 4 ? 8 : 128;
    for (const type of family === 4 ? [0, 3, 13] : [129, 1, 143]) sent(type);
    sent(request, 1);
    expect(sockets.refused).toBe(4);
    expect(dropped.splice(0)).toEqual([
      'ICMP_UNHANDLED',
      'ICMP_UNHANDLED',
      'ICMP_UNHANDLED',
      'ICMP_UNHANDLED',
    ]);
    expect(sockets.size).toBe(0);
  });

  it('ends 60 s after the last request', () => {
    const before = openDescriptors();
    send(family, { identifier: 1 }, 0);
    send(family, { identifier: 2 }, 30_000);
    expect(sockets.deadline).toBeLessThanOrEqual(61_000);
    sockets.expire(59_999);
    expect(sockets.size).toBe(2);
    sockets.expire(61_000);
    expect(sockets.size).toBe(1);
    sockets.expire(91_000);
    expect(sockets.size).toBe(0);
    sockets.close();
    expect(openDescriptors()).toBe(before);
  });

  it('has not all identifiers for one who wants them', () => {
    sockets = make({ capacity: 5 });
    for (let i = 0; i < 9; i++) send(family, { identifier: i, origin: 1 });
    expect(dropped.splice(0)).toEqual(Array.from({ length: 5 }, () => 'SOCKET_EXHAUSTED'));
    send(family, { identifier: 20, origin: 2 });
    expect([sockets.size, dropped.splice(0)]).toEqual([5, []]);
    sockets.close();
    expect(sockets.size).toBe(0);
  });

  it('tells when there are as many identifiers as there may be, or no descriptor', () => {
    sockets = make({ capacity: 2 });
    for (let i = 0; i < 3; i++) send(family, { identifier: i });
    const lines = Array.from({ length: 3 }, () => hear()!.line);
    expect(lines).toContain(`${device} > ${deck} error ${family === 4 ? '3/13' : '1/1'}`);
    expect(sockets.exhausted).toBe(1);
    expect(dropped.splice(0)).toEqual(['SOCKET_EXHAUSTED']);
    sockets.close();
    sockets = make();
    const frame = bench.frame(icmpEcho({ from: station(family, DECK), to: station(family, FAR) }));
    world.in(world.host, () => withoutDescriptors(() => sockets.transmit(frame, 0)));
    bench.arena.release(frame);
    expect(hear()!.line).toBe(`${device} > ${deck} error ${family === 4 ? '3/13' : '1/1'}`);
    expect(sockets.exhausted).toBe(1);
    // It was no refusal of the host's: the next one is tried.
    send(family);
    expect(hear()!.line).toBe(`${far} > ${deck} reply 77/1`);
  });
});

describe('a host that permits neither', () => {
  it('has its containers ping in vain, and says so once', () => {
    // Nobody may have a ping socket, and what an ordinary user hears about a raw one (EPERM) is what icmp(7) says: EACCES.
    world.sysctl(world.host, 'net.ipv4.ping_group_range=1 0');
    let refusals = 0;
    sockets = make({
      socket: () => {
        refusals++;
        return socket(AF_INET, 2, 1);
      },
    });
    for (let i = 0; i < 3; i++) {
      send(4, { sequence: i });
      send(6, { sequence: i });
    }
    expect(sockets.forbidden).toBe(6);
    expect(dropped.splice(0)).toEqual(new Array(6).fill('PING_FORBIDDEN'));
    expect(refusals).toBe(4);
    expect(sockets.size).toBe(0);
    expect(log).toHaveLength(1);
    expect(log[0]).toContain('ping_group_range');
    expect(hear(50)).toBeNull();
  });
});

describe('ping sockets', () => {
  it('tell when a socket cannot be watched, and leave none open', () => {
    const before = openDescriptors();
    const watch = vi.spyOn(bench.epoll, 'add').mockImplementation(() => {
      throw new Error('ENOSPC');
    });
    send(4);
    expect(hear()!.line).toBe('192.0.0.1 > 192.0.0.2 error 3/13');
    expect(sockets.exhausted).toBe(1);
    expect(dropped.splice(0)).toEqual(['SOCKET_EXHAUSTED']);
    watch.mockRestore();
    expect(sockets.size).toBe(0);
    expect(openDescriptors()).toBe(before);
    send(4);
    expect(sockets.size).toBe(1);
  });
});
