import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { closeStaging, openTap } from '../../src/device/attach.ts';
import { Epoll } from '../../src/device/epoll.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { PacketDevice } from '../../src/device/packet.ts';
import {
  type OpenPacketSocket,
  openPacket,
  type PacketTarget,
  SHORT_VNET_LEN,
} from '../../src/device/packet-socket.ts';
import { TapDevice } from '../../src/device/tap.ts';
import { type Device, Transmit } from '../../switch/device.ts';
import { Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import {
  csumOffset,
  csumStart,
  gsoSize,
  gsoType,
  needsChecksum,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_LEN,
} from '../../wire/virtio-net.ts';
import { forward } from './forwarder.ts';
import { ip, netnsPath, openDescriptors, pings, runIn, Sandboxes } from './sandbox.ts';

// The interface is `up0` of one namespace, which stands for the host's; behind it is `eth0` of another, 10.0.0.3.
// We are 10.0.0.2 with a MAC of our own, the host is 10.0.0.1.

const MAC = '02:42:0a:00:00:02';
const sandboxes = new Sandboxes();
const devices: Device[] = [];
let arena: Arena;
let host: string;
let far: string;

beforeEach(async () => {
  arena = new Arena({ small: 4, big: 4 });
  host = sandboxes.add('host');
  far = sandboxes.add('far');
  const run = (name: string, ...commands: string[]) =>
    execFileSync('ip', ['-n', name, '-batch', '-'], { input: commands.join('\n') });
  run(
    host,
    `link add up0 type veth peer name eth0 netns ${far}`,
    'addr add 10.0.0.1/24 dev up0',
    'link set up0 up',
  );
  run(far, 'addr add 10.0.0.3/24 dev eth0', 'addr add fd00::3/64 dev eth0 nodad', 'link set eth0 up');
  // A worker of the kernel's has to say that the end which was up first has a carrier now; until then it loses what it is to send.
  await expect.poll(() => ip(host, 'link', 'show', 'up0')[0].operstate, { interval: 1 }).toBe('UP');
});
afterEach(() => {
  for (const device of devices.splice(0)) device.close();
  closeStaging();
  sandboxes.removeAll();
});

function target(more: Partial<PacketTarget> = {}): PacketTarget {
  return {
    ifname: 'up0',
    netns: netnsPath(host),
    mac: MAC,
    addresses: ['10.0.0.2/24', 'fd00::2/64'],
    ...more,
  };
}

function add<D extends Device>(device: D): D {
  devices.push(device);
  return device;
}

function open(headerLength?: number): PacketDevice {
  return add(new PacketDevice(openPacket(target(), headerLength)));
}

/** A namespace with our addresses and MAC, by a TAP: what we are to the far side. */
function container(mtu = 1500): [name: string, device: TapDevice] {
  const name = sandboxes.add('inside');
  const addresses = ['10.0.0.2/24', 'fd00::2/64'];
  const tap = openTap({ netns: netnsPath(name), ifname: 'eth0', mac: MAC, mtu, addresses });
  return [name, add(new TapDevice(tap))];
}

/** A frame of the EtherType for experiments (IEEE 802 0x88b5), with an empty virtio-net header. */
function frameTo(mac: string, length = 60, extra: readonly number[] = []): Frame {
  const frame = arena.allocate(length)!;
  frame.length = length;
  frame.bytes.fill(0, frame.at - VNET_LEN, frame.at + length);
  const to = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  frame.bytes.set([...to, 2, 0, 0, 0, 0, 9, ...extra, 0x88, 0xb5], frame.at);
  return frame;
}

/** What is waiting of the EtherType for experiments, by destination; everything is taken. */
function heard(device: Device, now = 0): string[] {
  const macs: string[] = [];
  for (let frame = device.receive(arena, now); frame !== null; frame = device.receive(arena, now)) {
    const { bytes, at } = frame;
    const type = (bytes[at + 12]! << 8) | bytes[at + 13]!;
    const mac = Buffer.from(bytes.subarray(at, at + 6))
      .toString('hex')
      .replace(/..\B/g, '$&:');
    if (type === 0x88b5) macs.push(mac);
    arena.release(frame);
  }
  return macs;
}

/** So many of them, waited for, and what has come with them. */
function awaited(device: Device, count: number): string[] {
  const macs = heard(device);
  for (const end = performance.now() + 30_000; macs.length < count && performance.now() < end; )
    macs.push(...heard(device));
  return macs;
}

/** The other end of the wire. */
function farSide(): PacketDevice {
  return add(
    new PacketDevice(openPacket({ ifname: 'eth0', netns: netnsPath(far), mac: '02:00:00:00:00:09' })),
  );
}

/** The kernel's virtio-net header is of 12 bytes since Linux 6.4, before that of 10: both ways are tried. */
const HEADERS = [
  ['the long header', VNET_LEN],
  ['the short header', SHORT_VNET_LEN],
] as const;

describe('traffic', () => {
  it.each(HEADERS)('with %s frames go both ways: ping over IPv4 and IPv6', async (_, header) => {
    const [inside, tap] = container();
    const pair = [tap, open(header)] as const;
    const seen = new Set<number>();
    await forward(
      pair,
      Promise.all([
        pings(inside, 3, '-s', '1400', '10.0.0.3'),
        // Found by neighbor solicitation, which goes to a group.
        pings(far, 3, '-s', '1400', 'fd00::2'),
      ]),
      ({ length }) => seen.add(length),
    );
    // With the headers of Ethernet, IP and ICMP.
    expect([...seen]).toEqual(expect.arrayContaining([1400 + 14 + 20 + 8, 1400 + 14 + 40 + 8]));
  });

  it.each(
    HEADERS.flatMap(([name, header]) => [
      [name, header, '10.0.0.3', VNET_GSO_TCPV4, 34] as const,
      [name, header, 'fd00::3', VNET_GSO_TCPV6, 54] as const,
    ]),
  )(
    'with %s (%d) TCP to %s goes and comes as segments larger than the MTU, with partial checksums',
    async (_, header, address, type, l4) => {
      const [inside, tap] = container();
      const device = open(header);
      // Sends back what it gets, all of it, and ends.
      const server = `const server = require('net').createServer((c) => { server.close(); c.pipe(c); }).listen(7000, '::')`;
      const client = `let n = 0; const go = () => require('net').connect(7000, '${address}')
      .on('error', () => setTimeout(go, 50)).on('data', (d) => { n += d.length; }).on('end', () => console.log(n))
      .on('connect', function () { this.end(Buffer.alloc(4e6, 7)); }); go()`;
      const longest = [0, 0];
      const kinds = new Set<string>();
      const seen = (frame: Frame, from: number) => {
        const { bytes, at, length } = frame;
        const vnet = at - VNET_LEN;
        longest[from] = Math.max(longest[from]!, length);
        if (length <= 1514) return;
        const checksum = `${needsChecksum(bytes, vnet)} ${csumStart(bytes, vnet)} ${csumOffset(bytes, vnet)}`;
        kinds.add(`${gsoType(bytes, vnet)} ${gsoSize(bytes, vnet)} ${checksum}`);
      };
      const [, sink] = await forward(
        [watched(tap, (frame) => seen(frame, 0)), watched(device, (frame) => seen(frame, 1))],
        Promise.all([
          runIn(far, process.execPath, '-e', server),
          runIn(inside, process.execPath, '-e', client),
        ]),
      );
      expect(sink.output.trim()).toBe('4000000');
      // How long they get is the kernel's affair: the slower we are, the shorter.
      expect(Math.min(...longest)).toBeGreaterThan(1514);
      // MTU 1500 less the headers and 12 bytes of timestamps; less for a sender that has missed something and says so (SACK).
      const size = 1500 - (l4 - 14) - 32;
      const kind = (options: number) => `${type} ${size - options} true ${l4} 16`;
      expect(kinds).toContain(kind(0));
      expect([kind(0), kind(12), kind(20), kind(28)]).toEqual(expect.arrayContaining([...kinds]));
      expect(device.unreadable).toBe(0);
    },
  );

  it('is beside the host, whose own goes on and does not reach us', async () => {
    const device = open();
    await pings(host, 2, '10.0.0.3');
    const ours: string[] = [];
    for (let frame = device.receive(arena, 0); frame !== null; frame = device.receive(arena, 0)) {
      const { bytes, at } = frame;
      // IPv4: the pings or their answers.
      if (bytes[at + 12] === 8 && bytes[at + 13] === 0)
        ours.push(Buffer.from(bytes.subarray(at, at + 34)).toString('hex'));
      arena.release(frame);
    }
    expect(ours).toEqual([]);
  });

  it('that we hear is to us and to groups', () => {
    const device = open();
    const wire = farSide();
    const { free } = arena;
    const others = ['02:42:0a:00:00:03', '02:42:0a:00:01:02', '02:43:0a:00:00:02'];
    for (const mac of [MAC, ...others, 'ff:ff:ff:ff:ff:ff', '33:33:ff:00:00:02', MAC]) {
      const frame = frameTo(mac);
      expect(wire.transmit(frame, 0)).toBe(Transmit.SENT);
      arena.release(frame);
    }
    expect(awaited(device, 4)).toEqual([MAC, 'ff:ff:ff:ff:ff:ff', '33:33:ff:00:00:02', MAC]);
    expect(arena.free).toBe(free);
  });

  it('of a VLAN is not ours, with a priority it is', () => {
    const device = open();
    const wire = farSide();
    for (const tag of [
      [0x81, 0, 0, 7],
      [0x81, 0, 0xe0, 0],
    ]) {
      const frame = frameTo(MAC, 64, tag);
      expect(wire.transmit(frame, 0)).toBe(Transmit.SENT);
      arena.release(frame);
    }
    expect(awaited(device, 1)).toEqual([MAC]);
  });
});

/** The device, with a look at what it receives. */
function watched(device: Device, look: (frame: Frame) => void): Device {
  return new Proxy(device, {
    get(from, key) {
      if (key === 'receive') {
        return (...args: Parameters<Device['receive']>) => {
          const frame = from.receive(...args);
          if (frame !== null) look(frame);
          return frame;
        };
      }
      const value = Reflect.get(from, key, from);
      return typeof value === 'function' ? value.bind(from) : value;
    },
  });
}

describe('PacketDevice', () => {
  it.each(HEADERS)(
    'with %s reads behind the headroom, and gives the slot back when nothing waits',
    (_, header) => {
      const device = open(header);
      const wire = farSide();
      const { free } = arena;
      heard(device);
      expect(arena.free).toBe(free);
      const sent = frameTo(MAC, 100);
      expect(wire.transmit(sent, 0)).toBe(Transmit.SENT);
      arena.release(sent);
      const next = () => {
        for (const slot of arena.frames) slot.bytes.fill(0xa5, slot.base, slot.limit);
        return device.receive(arena, 0);
      };
      // The kernel's own reports come as they please.
      let frame = next();
      for (const end = performance.now() + 30_000; performance.now() < end; frame = next()) {
        if (frame?.bytes[frame.at + 12] === 0x88) break;
        if (frame !== null) arena.release(frame);
      }
      const { bytes, at, base, limit, length, references } = frame!;
      expect([at - base, limit - base, length, references]).toEqual([HEADROOM, BIG_SLOT, 100, 1]);
      expect([...bytes.subarray(at - VNET_LEN, at)]).toEqual(new Array(VNET_LEN).fill(0));
      expect(Buffer.from(bytes.subarray(at, at + 14)).toString('hex')).toBe('02420a00000202000000000988b5');
      expect([bytes[at + 99], bytes[at + 100]]).toEqual([0, 0xa5]);
    },
  );

  it.each(HEADERS)('with %s takes what `frame.at` says, also in the middle of a slot', (_, header) => {
    const device = open(header);
    const wire = farSide();
    const frame = frameTo('02:00:00:00:00:09', 100);
    frame.bytes.fill(0xa5, frame.at + 100, frame.limit);
    const copy = arena.allocate(1000)!;
    copy.bytes.fill(0xa5, copy.base, copy.limit);
    copy.at += 100;
    copy.bytes.copyWithin(copy.at - VNET_LEN, frame.at - VNET_LEN, frame.at + 100);
    copy.length = 100;
    expect(device.transmit(frame, 0)).toBe(Transmit.SENT);
    expect(device.transmit(copy, 0)).toBe(Transmit.SENT);
    expect(awaited(wire, 2)).toEqual(['02:00:00:00:00:09', '02:00:00:00:00:09']);
  });

  it('refuses what is longer than the interface takes, and what is no frame', () => {
    const device = open();
    expect(device.mtu).toBe(1500);
    expect(device.transmit(frameTo(MAC, 1514), 0)).toBe(Transmit.SENT);
    expect(device.transmit(frameTo(MAC, 1519), 0)).toBe(Transmit.REFUSED);
    const lying = frameTo(MAC);
    // NEEDS_CSUM far behind the end.
    lying.bytes.set([1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], lying.at - VNET_LEN);
    expect(device.transmit(lying, 0)).toBe(Transmit.INVALID);
    expect(device.gone).toBe(false);
  });

  it('waits while the interface is down, and goes on when it is up again', () => {
    const device = open();
    const wire = farSide();
    const link = (state: string) => execFileSync('ip', ['-n', host, 'link', 'set', 'up0', state]);
    expect(device.deadline()).toBe(Number.POSITIVE_INFINITY);
    link('down');
    heard(device);
    expect([device.gone, device.deadline()]).toEqual([false, 500]);
    expect(device.transmit(frameTo(MAC), 0)).toBe(Transmit.REFUSED);
    // What was under way when it went down may come yet, and does not mean that it is up.
    heard(device, 499);
    expect(device.deadline()).toBe(500);
    heard(device, 600);
    expect([device.gone, device.deadline()]).toEqual([false, 1100]);
    link('up');
    const frame = frameTo(MAC);
    // The carrier of a veth comes a moment later.
    while (heard(device, 601).length === 0) expect(wire.transmit(frame, 601)).not.toBe(Transmit.GONE);
    heard(device, 1100);
    expect([device.gone, device.deadline()]).toEqual([false, Number.POSITIVE_INFINITY]);
  });

  it('is gone when the interface is, also behind frames that came before', () => {
    const device = open();
    const wire = farSide();
    const frame = frameTo(MAC);
    while (heard(device).length === 0) wire.transmit(frame, 0);
    for (let i = 0; i < 10; i++) wire.transmit(frame, 0);
    execFileSync('ip', ['-n', host, 'link', 'set', 'up0', 'down']);
    heard(device, 0);
    execFileSync('ip', ['-n', host, 'link', 'del', 'up0']);
    heard(device, 499);
    heard(device, 500);
    expect([device.gone, device.ending]).toEqual([true, 'ENETDOWN']);
  });

  it('is gone when the interface is', () => {
    const device = open();
    const { free } = arena;
    const epoll = new Epoll();
    try {
      epoll.add(device.fd, 7);
      execFileSync('ip', ['-n', far, 'link', 'del', 'eth0']);
      for (let now = 0; !device.gone; now += 500) {
        expect(epoll.wait(30_000)).toBe(1);
        const frame = device.receive(arena, now);
        if (frame) arena.release(frame);
      }
    } finally {
      epoll.close();
    }
    expect(device.ending).toBe('ENETDOWN');
    expect([device.deadline(), arena.free]).toEqual([Number.NEGATIVE_INFINITY, free]);
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.transmit(frameTo(MAC), 0)).toBe(Transmit.GONE);
  });

  it('is gone also when it was told of the end too early', () => {
    const device = open();
    execFileSync('ip', ['-n', host, 'link', 'set', 'up0', 'down']);
    heard(device);
    expect(device.gone).toBe(false);
    execFileSync('ip', ['-n', host, 'link', 'del', 'up0']);
    heard(device, 100);
    expect(device.gone).toBe(false);
    heard(device, device.deadline());
    expect(device.gone).toBe(true);
  });

  it('learns of its end also by sending', () => {
    const device = open();
    execFileSync('ip', ['-n', host, 'link', 'del', 'up0']);
    expect(device.transmit(frameTo(MAC), 0)).toBe(Transmit.GONE);
    expect([device.gone, device.ending, device.deadline()]).toEqual([
      true,
      'ENXIO',
      Number.NEGATIVE_INFINITY,
    ]);
  });

  it('can be closed twice, leaves the interface as it was, and is then gone', () => {
    const promiscuity = () => ip(host, '-d', 'link', 'show', 'up0')[0].promiscuity as number;
    const before = promiscuity();
    const device = open();
    device.close();
    device.close();
    expect([device.gone, device.deadline()]).toEqual([true, Number.POSITIVE_INFINITY]);
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.transmit(frameTo(MAC), 0)).toBe(Transmit.GONE);
    expect(promiscuity()).toBe(before);
  });

  it('receives nothing when all slots are taken', () => {
    const device = open();
    const held: Frame[] = [];
    for (let frame = arena.allocate(BIG_SLOT - HEADROOM); frame; frame = arena.allocate(BIG_SLOT - HEADROOM))
      held.push(frame);
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.gone).toBe(false);
    for (const frame of held) arena.release(frame);
  });
});

describe('openPacket', () => {
  it('tells of the interface', () => {
    execFileSync('ip', ['-n', host, 'link', 'set', 'up0', 'mtu', '1280']);
    const socket: OpenPacketSocket = openPacket(target());
    add(new PacketDevice(socket));
    expect(socket).toMatchObject({
      ifname: 'up0',
      mtu: 1280,
      mac: ip(host, 'link', 'show', 'up0')[0].address,
    });
    expect([VNET_LEN, SHORT_VNET_LEN]).toContain(socket.headerLength);
  });

  it('works in the namespace where it is called, too', () => {
    const namespace = openNamespace(netnsPath(host));
    try {
      const { netns: _, ...here } = target();
      add(new PacketDevice(inNamespace(namespace, () => openPacket(here))));
    } finally {
      namespace.close();
    }
  });

  it.each([
    [
      'there is no such interface',
      { ifname: 'up9' },
      /^there is no interface up9 in .+; see `ip link` there$/,
    ],
    ['it is down', { ifname: 'down0' }, /^interface down0 of .+ is down; bring it up: ip link set down0 up$/],
    ['it is no Ethernet interface', { ifname: 'lo' }, /^interface lo of .+ is no Ethernet interface; .+$/],
    [
      'the address is the host’s',
      { addresses: ['10.0.0.1/24'] },
      /^address 10\.0\.0\.1\/24 is in use in .+$/,
    ],
    ['the name is none', { ifname: 'a/b' }, /'a\/b' cannot be an interface's name/],
    ['the MAC is a group’s', { mac: '01:00:5e:00:00:01' }, /is a group address/],
    ['the namespace is none', { netns: '/run/netns/nowhere-at-all' }, /there is no such namespace/],
  ] as const)('refuses in one line and leaves nothing open when %s', (_, wish, message) => {
    sandboxes.addLink(host, 'down0');
    execFileSync('ip', ['-n', host, 'link', 'set', 'lo', 'up']);
    const before = openDescriptors();
    expect(() => openPacket(target(wish))).toThrow(message);
    expect(openDescriptors()).toBe(before);
  });
});
