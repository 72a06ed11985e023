import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readQuotation } from '../../nat/icmp-error.ts';
import { AF_INET, AF_INET6 } from '../../src/device/inet.ts';
import { inNamespace, newNamespace } from '../../src/device/netns.ts';
import { bind, close, O_CLOEXEC, O_NONBLOCK, setsockopt, socket } from '../../src/device/syscall.ts';
import { icmp, type Station, udp } from '../../src/testing/frames.ts';
import { DatagramMessage } from '../../src/uplink/datagram-message.ts';
import { Descriptors } from '../../src/uplink/descriptors.ts';
import { type UdpOptions, UdpSockets } from '../../src/uplink/udp-sockets.ts';
import { Transmit } from '../../switch/device.ts';
import type { Frame } from '../../switch/frame.ts';
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import { completeChecksum } from '../../wire/segmentation.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import {
  gsoSize,
  gsoType,
  VNET_F_NEEDS_CSUM,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
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
import { openDescriptors } from './sandbox.ts';

let world: OutsideWorld;
let bench: Bench;
let sockets: UdpSockets;
const peers: Peer[] = [];
/** Why datagrams were not sent. */
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
  for (const peer of peers.splice(0)) peer.close();
  expect(dropped.splice(0)).toEqual([]);
});

function make(more: Partial<UdpOptions> = {}): UdpSockets {
  return new UdpSockets({
    segment: SEGMENT,
    epoll: bench.epoll,
    tag: (row) => row,
    errors: bench.errors,
    ...more,
  });
}

/** A UDP socket of somebody outside. */
class Peer {
  readonly fd: number;
  readonly message = new DatagramMessage();
  readonly #bytes = new Uint8Array(65536);
  readonly #isIpv6: boolean;

  constructor(where: string, address: string, port: number) {
    const ipv4 = parseIpv4(address);
    this.#isIpv6 = ipv4 === undefined;
    this.#name(address, port);
    this.fd = world.in(where, () =>
      socket(this.#isIpv6 ? AF_INET6 : AF_INET, 2 | O_NONBLOCK | O_CLOEXEC, 17),
    );
    // Also that it may hear its own broadcasts.
    setsockopt(this.fd, 1, 6, Int32Array.of(1), 4);
    if (bind(this.fd, this.message.name, 28) < 0) throw new Error(`cannot bind ${address}:${port}`);
    // TTL and type of service of what it hears.
    if (this.#isIpv6) for (const option of [51, 66]) setsockopt(this.fd, 41, option, Int32Array.of(1), 4);
    else for (const option of [12, 13]) setsockopt(this.fd, 0, option, Int32Array.of(1), 4);
    peers.push(this);
  }

  #name(address: string, port: number): void {
    const { name, nameView } = this.message;
    name.fill(0);
    nameView.setUint16(0, this.#isIpv6 ? AF_INET6 : AF_INET, true);
    nameView.setUint16(2, port);
    if (this.#isIpv6)
      for (const [i, word] of parseIpv6(address)!.entries()) nameView.setInt32(8 + 4 * i, word);
    else nameView.setInt32(4, parseIpv4(address)!);
  }

  /** The next datagram; a copy. */
  async hear(): Promise<Uint8Array> {
    for (const end = performance.now() + 30_000; performance.now() < end; ) {
      const count = this.message.receive(this.fd, this.#bytes, 0, 65536);
      if (count >= 0) return this.#bytes.slice(0, count);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error('nothing was heard');
  }

  /** To whom it heard last, or to somebody else; as several datagrams when a size is given. */
  say(text: string | Uint8Array, to?: { address: string; port: number }, size = 0): number {
    if (to !== undefined) this.#name(to.address, to.port);
    const bytes = Buffer.from(text as string);
    const copy = new Uint8Array(bytes.length + 1);
    copy.set(bytes);
    const control = size > 0 ? this.message.addSegment(0, size) : 0;
    return this.message.send(this.fd, this.#isIpv6 ? 28 : 16, copy, 0, bytes.length, control);
  }

  /** The port of whom it heard last. */
  get port(): number {
    return this.message.nameView.getUint16(2);
  }

  close(): void {
    close(this.fd);
  }
}

const FAMILIES = [
  ['IPv4', 4, FAR.ipv4, '10.1.0.2', '127.0.0.1'],
  ['IPv6', 6, FAR.ipv6, 'fd01::2', '::1'],
] as const;

function station(family: 4 | 6, { mac, ipv4, ipv6 }: typeof DECK): Station {
  return family === 4 ? { mac, ipv4 } : { mac, ipv6 };
}

interface Sending {
  to?: Station;
  from?: Station;
  srcPort?: number;
  dstPort?: number;
  data?: string | number;
  ttl?: number;
  tos?: number;
  dontFragment?: boolean;
  largestFragment?: number;
  origin?: number;
}

/** A datagram of the deck's to somebody outside. */
function send(family: 4 | 6, more: Sending = {}): Transmit {
  const { tos = 0, largestFragment = 0, origin = 0, ...options } = more;
  const bytes = udp({
    from: station(family, DECK),
    to: station(family, FAR),
    srcPort: 40000,
    dstPort: 7000,
    dontFragment: true,
    ...options,
  });
  if (tos !== 0 && family === 4) {
    bytes[15] = tos;
    fillIpv4Checksum(bytes, 14);
  } else if (tos !== 0) set16(bytes, 14, 0x6000 | (tos << 4));
  const frame = bench.frame(bytes);
  frame.largestFragment = largestFragment;
  frame.origin = origin;
  const before = frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length);
  const status = world.in(world.host, () => sockets.transmit(frame, 0));
  if (status !== Transmit.SENT) dropped.push(reasonOf(status));
  // Whoever floods has others who read the same bytes.
  expect(frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length)).toEqual(before);
  bench.arena.release(frame);
  return status;
}

/** `10.2.0.2:7000 > 192.0.0.2:40000` */
function line(frame: Frame): string {
  const { bytes, l3, l4 } = frame;
  const [src, dst] =
    frame.etherType === ETHERTYPE_IPV4
      ? [formatIpv4(get32(bytes, l3 + 12)), formatIpv4(get32(bytes, l3 + 16))]
      : [ipv6At(bytes, l3 + 8), ipv6At(bytes, l3 + 24)];
  if (frame.protocol !== 17) return `${src} > ${dst} icmp ${bytes[l4]}/${bytes[l4 + 1]}`;
  return `${src}:${get16(bytes, l4)} > ${dst}:${get16(bytes, l4 + 2)}`;
}

function ipv6At(bytes: Uint8Array, at: number): string {
  return formatIpv6(get32(bytes, at), get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12));
}

/** The next frame's line and payload; its checksums are right. */
function hear(wait?: number): { line: string; text: string; frame: Frame } | null {
  const frame = bench.receive(sockets, wait);
  if (frame === null) return null;
  expect(completeChecksum(frame)).toBe(true);
  expect(transportChecksumOk(frame)).toBe(true);
  const text = Buffer.from(frame.bytes.subarray(frame.payload, frame.end)).toString('latin1');
  bench.arena.release(frame);
  return { line: line(frame), text, frame };
}

describe.each(FAMILIES)('UDP over %s', (_, family, far, host, loopback) => {
  const deck = family === 4 ? DECK.ipv4 : DECK.ipv6;
  const device = family === 4 ? DEVICE.ipv4 : DEVICE.ipv6;
  const router = family === 4 ? ROUTER.ipv4 : ROUTER.ipv6;
  const header = family === 4 ? 28 : 48;

  it('goes out and answers come back, with TTL and type of service', async () => {
    const peer = new Peer(world.far, far, 7000);
    expect(send(family, { data: 'question', ttl: 63, tos: 0xba })).toBe(Transmit.SENT);
    expect(Buffer.from(await peer.hear()).toString()).toBe('question');
    expect(peer.message.ttl).toBe(62);
    expect(peer.message.tos).toBe(0xba);
    setsockopt(peer.fd, family === 4 ? 0 : 41, family === 4 ? 1 : 67, Int32Array.of(0x2e), 4);
    peer.say('answer');
    const answer = hear()!;
    expect(answer).toMatchObject({ line: `${far}:7000 > ${deck}:40000`, text: 'answer' });
    const { bytes, l3 } = answer.frame;
    expect(family === 4 ? bytes[l3 + 1] : (get16(bytes, l3) >> 4) & 0xff).toBe(0x2e);
    expect(bytes[l3 + (family === 4 ? 8 : 7)]).toBe(63);
    // The next datagram has others again.
    send(family, { data: '', ttl: 9 });
    expect(await peer.hear()).toHaveLength(0);
    expect(peer.message.ttl).toBe(8);
    expect(peer.message.tos).toBe(0);
  });

  it('has one socket for one port, to whomever it speaks', async () => {
    const one = new Peer(world.far, far, 7000);
    const two = new Peer(world.router, router, 7001);
    send(family, { data: 'a' });
    send(family, { data: 'b', to: station(family, ROUTER), dstPort: 7001 });
    await one.hear();
    await two.hear();
    expect(two.port).toBe(one.port);
    expect(sockets.size).toBe(1);
    // And whoever knows it may send: the deck filters.
    const three = new Peer(world.router, router, 7002);
    three.say('c', { address: host, port: one.port });
    expect(hear()).toMatchObject({ line: `${router}:7002 > ${deck}:40000`, text: 'c' });
    send(family, { data: 'd', srcPort: 40001 });
    await one.hear();
    expect(one.port).not.toBe(two.port);
    expect(sockets.size).toBe(2);
  });

  it.each([0, 1, 1400 - header, 9000, 65535 - (family === 4 ? header : 8)])(
    'carries %d bytes both ways, in pieces where the sender may cut',
    async (length) => {
      const peer = new Peer(world.far, far, 7000);
      send(family, { data: length, dontFragment: false, largestFragment: family === 4 ? 0 : 1280 });
      const heard = await peer.hear();
      expect(heard).toEqual(Uint8Array.from({ length }, (_, i) => (i + (i >> 8)) & 0xff));
      expect(peer.say(heard)).toBe(length);
      const answer = hear()!;
      expect(Buffer.from(answer.text, 'latin1').equals(heard)).toBe(true);
      expect(get16(answer.frame.bytes, answer.frame.l4 + 4)).toBe(length + 8);
      // What is longer than the segment's MTU may be cut by the deck.
      expect(answer.frame.largestFragment).toBe(family === 6 && length + header > 65520 ? 65520 : 0);
    },
  );

  it('tells of a port that nobody listens on, as the one who said so', () => {
    send(family, { data: 'anybody?', dstPort: 7999 });
    const error = bench.receive(sockets)!;
    expect(line(error)).toBe(`${far} > ${deck} icmp ${family === 4 ? '3/3' : '1/4'}`);
    // What it quotes is what the deck sent: its own tuple, backwards.
    const words = new Int32Array(10);
    expect(readQuotation(error, 1, words, 0)).toBe(0);
    const { bytes, l4, end } = error;
    const inner = l4 + 8;
    expect(get16(bytes, inner + header - 8)).toBe(40000);
    expect(get16(bytes, inner + header - 6)).toBe(7999);
    expect(get16(bytes, inner + header - 4)).toBe(8 + 8);
    expect(Buffer.from(bytes.subarray(inner + header, end)).toString()).toBe('anybody?');
    bench.arena.release(error);
    expect(sockets.errorsReceived).toBe(1);
    expect(hear(100)).toBeNull();
  });

  it('sends what follows an error, and loses nothing', async () => {
    const peer = new Peer(world.far, far, 7000);
    for (let i = 0; i < 5; i++) {
      send(family, { data: 'x', dstPort: 7990 + i });
      // The error is there before the next datagram is sent, and is told first.
      bench.failing();
      send(family, { data: `y${i}` });
      expect(Buffer.from(await peer.hear()).toString()).toBe(`y${i}`);
    }
    expect(sockets.errorsReceived).toBe(5);
    for (let i = 0; i < 5; i++) expect(hear()!.line).toMatch(/icmp/);
  });

  it('shows the way, hop by hop', () => {
    send(family, { ttl: 1, dstPort: 33434 });
    expect(hear()!.line).toBe(`${router} > ${deck} icmp ${family === 4 ? '11/0' : '3/0'}`);
    send(family, { ttl: 2, dstPort: 33435 });
    expect(hear()!.line).toBe(`${far} > ${deck} icmp ${family === 4 ? '3/3' : '1/4'}`);
  });

  it('says how long a datagram may be that must not be cut', async () => {
    const peer = new Peer(world.far, far, 7000);
    world.forgetPaths();
    // The first is refused by the router, the second by the host, which has learned it.
    for (const who of [router, device]) {
      send(family, { data: 1450 });
      const error = hear()!;
      expect(error.line).toBe(`${who} > ${deck} icmp ${family === 4 ? '3/4' : '2/0'}`);
      const { bytes, l4 } = error.frame;
      expect(get32(bytes, l4 + 4)).toBe(1400);
      expect(get16(bytes, l4 + 8 + header - 8)).toBe(40000);
    }
    expect(dropped.splice(0)).toEqual(['SOCKET_ERROR']);
    send(family, { data: 1400 - header });
    expect(await peer.hear()).toHaveLength(1400 - header);
    expect(hear(50)).toBeNull();
  });

  it('says that the host has no way to a network', () => {
    const nowhere = { mac: DEVICE.mac, ipv4: '203.0.113.9', ipv6: '2001:db8::9' };
    // Its router has none either.
    send(family, { to: station(family, nowhere), data: 'x' });
    expect(hear()!.line).toBe(`${router} > ${deck} icmp ${family === 4 ? '3/0' : '1/0'}`);
    // A host that has no interface up.
    const frame = bench.frame(udp({ from: station(family, DECK), to: station(family, nowhere), dstPort: 1 }));
    const lonely = make();
    const namespace = newNamespace('nowhere');
    try {
      expect(reasonOf(inNamespace(namespace, () => lonely.transmit(frame, 0)))).toBe('SOCKET_ERROR');
    } finally {
      namespace.close();
      lonely.close();
      bench.arena.release(frame);
    }
    expect(hear()!.line).toBe(`${device} > ${deck} icmp ${family === 4 ? '3/0' : '1/0'}`);
  });

  it('keeps groups and impossible addresses inside', () => {
    const bad =
      family === 4
        ? ['224.0.0.251', '255.255.255.255', '127.0.0.1', '127.9.9.9', '0.0.0.0', '0.1.2.3']
        : ['ff02::fb', 'ff0e::1', '::1', '::', '::ffff:127.0.0.1', '::ffff:10.2.0.2', 'fe80::1'];
    for (const address of bad) {
      const to = family === 4 ? { mac: DEVICE.mac, ipv4: address } : { mac: DEVICE.mac, ipv6: address };
      send(family, { to });
    }
    expect(sockets.refused).toBe(bad.length);
    expect(dropped.splice(0)).toEqual(bad.map(() => 'IP_MARTIAN_DESTINATION'));
    expect(sockets.size).toBe(0);
  });

  it('sends several datagrams by one call, and takes them so', async () => {
    const peer = new Peer(world.far, far, 7000);
    const size = 1300;
    const total = size * 20 + 17;
    const bytes = udp({
      from: station(family, DECK),
      to: station(family, FAR),
      srcPort: 40000,
      dstPort: 7000,
      data: total,
    });
    const frame = bench.frame(bytes);
    const { l3, l4, at } = frame;
    const sum =
      family === 4
        ? pseudoSumIpv4(frame.bytes, l3, 17, total + 8)
        : pseudoSumIpv6(frame.bytes, l3, 17, total + 8);
    set16(frame.bytes, l4 + 6, fold(sum));
    writeVnet(frame.bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_UDP_L4, l4 + 8 - at, size, l4 - at, 6);
    world.in(world.host, () => sockets.transmit(frame, 0));
    const data = Buffer.from(frame.bytes.subarray(frame.payload, frame.end));
    const heard: Buffer[] = [];
    for (let i = 0; i < 21; i++) heard.push(Buffer.from(await peer.hear()));
    expect(heard.map((part) => part.length)).toEqual([...new Array(20).fill(size), 17]);
    expect(Buffer.concat(heard).equals(data)).toBe(true);
    bench.arena.release(frame);
    // Back: whether the kernel puts them together is its own affair; the bytes and their borders are not.
    expect(peer.say(data, undefined, size)).toBe(total);
    const parts: Buffer[] = [];
    while (Buffer.concat(parts).length < total) {
      const answer = bench.receive(sockets)!;
      const payload = Buffer.from(answer.bytes.subarray(answer.payload, answer.end));
      const vnet = answer.at - VNET_LEN;
      if (gsoType(answer.bytes, vnet) === VNET_GSO_UDP_L4) expect(gsoSize(answer.bytes, vnet)).toBe(size);
      else expect([size, 17]).toContain(payload.length);
      expect(completeChecksum(answer)).toBe(true);
      parts.push(payload);
      bench.arena.release(answer);
    }
    expect(Buffer.concat(parts).equals(data)).toBe(true);
  });

  it('sends datagrams one by one when the path takes none of them whole', () => {
    const size = 1450;
    const bytes = udp({
      from: station(family, DECK),
      to: station(family, ROUTER),
      srcPort: 40000,
      dstPort: 7000,
      data: size * 3,
      dontFragment: true,
    });
    // Longer than the host's own interface, so that its kernel refuses: the first answer says so.
    const long = udp({
      from: station(family, DECK),
      to: station(family, FAR),
      srcPort: 40000,
      dstPort: 7000,
      data: size * 3,
      dontFragment: true,
    });
    world.forgetPaths();
    send(family, { data: 1450 });
    hear();
    for (const [frameBytes, refused] of [
      [bytes, 0],
      [long, 1],
    ] as const) {
      const frame = bench.frame(frameBytes);
      const { l4, at } = frame;
      writeVnet(
        frame.bytes,
        at - VNET_LEN,
        VNET_F_NEEDS_CSUM,
        VNET_GSO_UDP_L4,
        l4 + 8 - at,
        size,
        l4 - at,
        6,
      );
      const before = sockets.unsent;
      const status = world.in(world.host, () => sockets.transmit(frame, 0));
      bench.arena.release(frame);
      expect(status === Transmit.SENT).toBe(refused === 0);
      expect(sockets.unsent - before).toBe(refused);
    }
    const lines: string[] = [];
    for (let next = hear(300); next !== null; next = hear(100)) lines.push(next.line);
    expect(lines).toContain(`${device} > ${deck} icmp ${family === 4 ? '3/4' : '2/0'}`);
  });

  it("publishes a port: clients keep their addresses, answers come from the host's", async () => {
    world.in(world.host, () =>
      sockets.publish(7, { family, host: null, ifname: null, from: 8053, to: 8054 }),
    );
    expect(sockets.size).toBe(2);
    const client = new Peer(world.far, far, 7000);
    client.say('hello', { address: host, port: 8053 });
    expect(hear()).toMatchObject({ line: `${far}:7000 > ${host}:8053`, text: 'hello' });
    const from = family === 4 ? { mac: DECK.mac, ipv4: host } : { mac: DECK.mac, ipv6: host };
    send(family, { from, srcPort: 8053, data: 'welcome' });
    expect(Buffer.from(await client.hear()).toString()).toBe('welcome');
    expect(client.port).toBe(8053);
    // From the host's loopback.
    const local = new Peer(world.host, loopback, 7003);
    local.say('here', { address: loopback, port: 8054 });
    expect(hear()).toMatchObject({ line: `${device}:7003 > ${loopback}:8054`, text: 'here' });
    const back = family === 4 ? { mac: DECK.mac, ipv4: loopback } : { mac: DECK.mac, ipv6: loopback };
    send(family, { from: back, to: station(family, DEVICE), srcPort: 8054, dstPort: 7003, data: 'there' });
    expect(Buffer.from(await local.hear()).toString()).toBe('there');
    // An error about an answer names the published port.
    send(family, { from, srcPort: 8053, dstPort: 7777, data: 'gone?' });
    expect(hear()!.line).toBe(`${far} > ${host} icmp ${family === 4 ? '3/3' : '1/4'}`);
    sockets.unpublish(7);
    expect(sockets.size).toBe(0);
    client.say('late', { address: host, port: 8053 });
    expect(hear(100)).toBeNull();
    send(family, { from, srcPort: 8053, data: 'nobody' });
    expect(sockets.refused).toBe(1);
    expect(dropped.splice(0)).toEqual(['NO_SOCKET']);
  });

  it('publishes a port on one address, beside another on another', async () => {
    const words = (text: string) => parseIpv4(text) ?? parseIpv6(text)!;
    world.in(world.host, () => {
      sockets.publish(1, { family, host: words(host), ifname: null, from: 8055, to: 8055 });
      sockets.publish(2, { family, host: words(loopback), ifname: null, from: 8055, to: 8055 });
      expect(() =>
        sockets.publish(3, { family, host: words(host), ifname: null, from: 8050, to: 8055 }),
      ).toThrow(/another program|EADDRINUSE/);
    });
    expect(sockets.size).toBe(2);
    const far7 = new Peer(world.far, far, 7000);
    far7.say('a', { address: host, port: 8055 });
    expect(hear()!.line).toBe(`${far}:7000 > ${host}:8055`);
    const local = new Peer(world.host, loopback, 7000);
    local.say('b', { address: loopback, port: 8055 });
    expect(hear()!.line).toBe(`${device}:7000 > ${loopback}:8055`);
  });

  it("reaches the host's loopback as its neighbor, and nowhere else", async () => {
    const local = new Peer(world.host, loopback, 7004);
    send(family, { to: station(family, DEVICE), dstPort: 7004, data: 'in' });
    expect(Buffer.from(await local.hear()).toString()).toBe('in');
    local.say('out');
    expect(hear()).toMatchObject({ line: `${device}:7004 > ${deck}:40000`, text: 'out' });
    send(family, { to: station(family, DEVICE), dstPort: 7998, data: 'x' });
    expect(hear()!.line).toBe(`${device} > ${deck} icmp ${family === 4 ? '3/3' : '1/4'}`);
  });
});

describe('IPv6 datagrams from outside', () => {
  /** What the deck says about a datagram from outside to a port: it is longer than 1,400 bytes. */
  function tooBig(to: string, port: number): void {
    const quoted = udp({
      from: station(6, FAR),
      to: { mac: DECK.mac, ipv6: to },
      srcPort: 7000,
      dstPort: port,
      data: 1400,
    });
    const frame = bench.frame(
      icmp({
        from: station(6, DECK),
        to: station(6, FAR),
        type: 2,
        rest: 1400,
        data: quoted.subarray(14, 14 + 1232),
      }),
    );
    sockets.tooBig(frame);
    bench.arena.release(frame);
  }

  it('may be cut where the deck says that they are too big', async () => {
    const peer = new Peer(world.router, ROUTER.ipv6, 7000);
    send(6, { to: station(6, ROUTER), dontFragment: false });
    await peer.hear();
    const limits: number[] = [];
    const say = (length: number) => {
      peer.say('x'.repeat(length));
      limits.push(hear()!.frame.largestFragment);
    };
    say(1400);
    tooBig(DECK.ipv6, 40000);
    say(1352);
    say(1353);
    say(20000);
    expect(limits).toEqual([0, 0, 1400, 1400]);
  });

  it('may be cut on their way to a published port', () => {
    world.in(world.host, () =>
      sockets.publish(7, { family: 6, host: null, ifname: null, from: 8060, to: 8060 }),
    );
    const client = new Peer(world.router, ROUTER.ipv6, 7000);
    tooBig('fd01::2', 8060);
    // Nobody's port, and another protocol's error: nothing happens.
    tooBig('fd01::2', 8061);
    tooBig(DECK.ipv6, 8060);
    client.say('x'.repeat(2000), { address: 'fd01::2', port: 8060 });
    expect(hear()!.frame.largestFragment).toBe(1400);
  });
});

describe('UDP sockets', () => {
  it('answer the client on the loopback that asked, whichever of 127/8 it is', async () => {
    world.in(world.host, () =>
      sockets.publish(7, { family: 4, host: null, ifname: null, from: 8056, to: 8056 }),
    );
    const client = new Peer(world.host, '127.0.0.5', 7005);
    client.say('hello', { address: '127.0.0.1', port: 8056 });
    expect(hear()!.line).toBe('192.0.0.1:7005 > 127.0.0.1:8056');
    const from = { mac: DECK.mac, ipv4: '127.0.0.1' };
    send(4, { from, to: station(4, DEVICE), srcPort: 8056, dstPort: 7005, data: 'you' });
    expect(Buffer.from(await client.hear()).toString()).toBe('you');
  });

  it('leave broadcasts to the host', () => {
    world.in(world.host, () =>
      sockets.publish(7, { family: 4, host: null, ifname: null, from: 8057, to: 8057 }),
    );
    const router = new Peer(world.router, '0.0.0.0', 7006);
    router.say('all', { address: '10.1.0.255', port: 8057 });
    router.say('one', { address: '10.1.0.2', port: 8057 });
    expect(hear()!.text).toBe('one');
    expect(sockets.refused).toBe(1);
  });

  it('end 300 s after the last datagram from inside, those that only ask name servers 30 s after', () => {
    const at = (now: number, srcPort: number, dstPort: number) => {
      const frame = bench.frame(udp({ from: station(4, DECK), to: station(4, FAR), srcPort, dstPort }));
      world.in(world.host, () => sockets.transmit(frame, now));
      bench.arena.release(frame);
    };
    expect(sockets.deadline).toBe(Number.POSITIVE_INFINITY);
    at(0, 1, 53);
    at(0, 2, 53);
    at(0, 3, 7000);
    at(10_000, 2, 7000);
    expect(sockets.size).toBe(3);
    sockets.expire(30_000);
    expect(sockets.size).toBe(3);
    expect(sockets.deadline).toBeGreaterThan(30_000);
    expect(sockets.deadline).toBeLessThanOrEqual(31_000);
    sockets.expire(31_000);
    expect(sockets.size).toBe(2);
    at(200_000, 3, 7000);
    sockets.expire(309_999);
    expect(sockets.size).toBe(2);
    sockets.expire(311_000);
    expect(sockets.size).toBe(1);
    sockets.expire(501_000);
    expect(sockets.size).toBe(0);
    expect(sockets.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  it('tell when there are as many as there may be, and old ones go on', async () => {
    sockets = make({ capacity: 2 });
    const peer = new Peer(world.far, FAR.ipv4, 7000);
    for (let i = 0; i < 3; i++) send(4, { srcPort: 40000 + i, data: `${i}` });
    expect(sockets.size).toBe(2);
    expect(sockets.exhausted).toBe(1);
    expect(dropped.splice(0)).toEqual(['SOCKET_EXHAUSTED']);
    expect(hear()!.line).toBe('192.0.0.1 > 192.0.0.2 icmp 3/13');
    send(4, { srcPort: 40001, data: 'again' });
    const heard = [await peer.hear(), await peer.hear(), await peer.hear()];
    expect(heard.map((bytes) => Buffer.from(bytes).toString())).toEqual(['0', '1', 'again']);
  });

  it('tell when the process has no descriptor left, and old ones go on', async () => {
    const peer = new Peer(world.far, FAR.ipv4, 7000);
    send(4, { data: 'old' });
    const frames = [40001, 40000].map((srcPort) =>
      bench.frame(udp({ from: station(4, DECK), to: station(4, FAR), srcPort, dstPort: 7000, data: 'late' })),
    );
    world.in(world.host, () =>
      withoutDescriptors(() => {
        expect(reasonOf(sockets.transmit(frames[0]!, 0))).toBe('SOCKET_EXHAUSTED');
        expect(sockets.transmit(frames[1]!, 0)).toBe(Transmit.SENT);
      }),
    );
    expect(sockets.exhausted).toBe(1);
    expect(sockets.size).toBe(1);
    expect(hear()!.line).toBe('192.0.0.1 > 192.0.0.2 icmp 3/13');
    expect(hear(50)).toBeNull();
    const heard = [await peer.hear(), await peer.hear()];
    expect(heard.map((bytes) => Buffer.from(bytes).toString())).toEqual(['old', 'late']);
    send(4, { srcPort: 40001, data: 'now' });
    expect(Buffer.from(await peer.hear()).toString()).toBe('now');
    for (const frame of frames) bench.arena.release(frame);
  });

  it('give up questions to name servers that nobody waits for any more, when there is no room', () => {
    sockets = make({ capacity: 3 });
    const at = (now: number, srcPort: number, dstPort: number) => {
      const frame = bench.frame(udp({ from: station(4, DECK), to: station(4, FAR), srcPort, dstPort }));
      sockets.transmit(frame, now);
      bench.arena.release(frame);
    };
    world.in(world.host, () => {
      at(0, 1, 53);
      at(1000, 2, 53);
      at(2000, 3, 7000);
      at(4000, 4, 7000);
      expect(sockets.exhausted).toBe(1);
      at(5500, 5, 7000);
    });
    expect(sockets.exhausted).toBe(1);
    expect(sockets.size).toBe(3);
  });

  it('tell when the host has no such IP version', () => {
    // What socket(2) answers then: the errno is that of a call with a family that no host has.
    sockets = make({ socket: (_family, type, protocol) => socket(45, type, protocol) });
    send(4);
    send(6);
    expect([hear()!.line, hear()!.line]).toEqual([
      '192.0.0.1 > 192.0.0.2 icmp 3/0',
      'fd74:6170:6465:ffff::1 > fd74:6170:6465:ffff::2 icmp 1/0',
    ]);
    expect(dropped.splice(0)).toEqual(['SOCKET_ERROR', 'SOCKET_ERROR']);
    expect(sockets.size).toBe(0);
  });

  it('tell when a socket cannot be watched, and leave none open', () => {
    const before = openDescriptors();
    const watch = vi.spyOn(bench.epoll, 'add').mockImplementation(() => {
      throw new Error('ENOSPC');
    });
    send(4);
    expect(hear()!.line).toBe('192.0.0.1 > 192.0.0.2 icmp 3/13');
    expect(sockets.exhausted).toBe(1);
    expect(dropped.splice(0)).toEqual(['SOCKET_EXHAUSTED']);
    expect(() =>
      world.in(world.host, () =>
        sockets.publish(7, { family: 4, host: null, ifname: null, from: 8070, to: 8071 }),
      ),
    ).toThrow(/max_user_watches/);
    watch.mockRestore();
    expect(sockets.size).toBe(0);
    expect(openDescriptors()).toBe(before);
    send(4);
    expect(sockets.size).toBe(1);
  });

  it('leave descriptors to others', () => {
    const descriptors = new Descriptors(3);
    descriptors.used = 1;
    sockets = make({ descriptors });
    for (let i = 0; i < 3; i++) send(4, { srcPort: 40000 + i });
    expect(sockets.size).toBe(2);
    expect(dropped.splice(0)).toEqual(['SOCKET_EXHAUSTED']);
    expect(hear()!.line).toBe('192.0.0.1 > 192.0.0.2 icmp 3/13');
    descriptors.used--;
    send(4, { srcPort: 40002 });
    expect(sockets.size).toBe(3);
    sockets.close();
    expect(descriptors.used).toBe(0);
  });

  it('are not all for whoever wants them all', () => {
    sockets = make({ capacity: 10 });
    const ask = (origin: number, from: number, count: number) => {
      for (let i = 0; i < count; i++) send(4, { origin, srcPort: from + i, dstPort: 53 });
      return dropped.splice(0).length;
    };
    expect(ask(0, 40000, 20)).toBe(12);
    expect([ask(1, 41000, 1), ask(2, 42000, 1), ask(1, 41001, 1)]).toEqual([0, 0, 1]);
    // But what nobody waits for any more is no reason to refuse one.
    const late = bench.frame(
      udp({ from: station(4, DECK), to: station(4, FAR), srcPort: 43000, dstPort: 53 }),
    );
    expect(world.in(world.host, () => sockets.transmit(late, 6000))).toBe(Transmit.SENT);
    bench.arena.release(late);
    expect(sockets.size).toBe(10);
  });

  it('are all closed in the end', () => {
    const before = openDescriptors();
    for (let i = 0; i < 50; i++) send(4, { srcPort: 1000 + i });
    expect(openDescriptors()).toBe(before + 50);
    sockets.close();
    expect(openDescriptors()).toBe(before);
    expect(sockets.size).toBe(0);
  });
});
