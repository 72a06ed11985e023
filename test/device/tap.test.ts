import { execFileSync } from 'node:child_process';
import { release } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { closeStaging, openTap, type TapTarget } from '../../src/device/attach.ts';
import { EPOLLERR, Epoll } from '../../src/device/epoll.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { addressOf, close, sendmsg, setsockopt, socket } from '../../src/device/syscall.ts';
import { TapDevice } from '../../src/device/tap.ts';
import { BATCH, Transmit } from '../../switch/device.ts';
import { Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import {
  csumOffset,
  csumStart,
  gsoSize,
  gsoType,
  needsChecksum,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_LEN,
} from '../../wire/virtio-net.ts';
import { forward } from './forwarder.ts';
import { netnsPath, pings, runIn, Sandboxes } from './sandbox.ts';

const sandboxes = new Sandboxes();
const devices: TapDevice[] = [];
let arena: Arena;

beforeEach(() => {
  arena = new Arena({ small: 4, big: 4 });
});
afterEach(() => {
  for (const device of devices.splice(0)) device.close();
  closeStaging();
  sandboxes.removeAll();
});

function attach(name: string, host: number, more: Partial<TapTarget> = {}): TapDevice {
  const device = new TapDevice(
    openTap({
      netns: netnsPath(name),
      ifname: 'eth0',
      mac: `02:42:0a:00:00:0${host}`,
      addresses: [`10.0.0.${host}/24`, `fd00::${host}/64`],
      ...more,
    }),
  );
  devices.push(device);
  return device;
}

/** Takes and throws away what the kernel sends by itself (MLD reports, router solicitations). */
function drain(device: TapDevice): void {
  for (let frame = device.receive(arena, 0); frame !== null; frame = device.receive(arena, 0))
    arena.release(frame);
}

/** A broadcast frame of an EtherType for experiments (IEEE 802 0x88b5), with an empty virtio-net header. */
function broadcast(length: number): Frame {
  const frame = arena.allocate(length)!;
  frame.length = length;
  frame.bytes.fill(0, frame.at - VNET_LEN, frame.at + length);
  frame.bytes.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5], frame.at);
  return frame;
}

function received(name: string): { packets: number; bytes: number } {
  const output = execFileSync('ip', ['-n', name, '-j', '-s', 'link', 'show', 'eth0'], { encoding: 'utf8' });
  return JSON.parse(output)[0].stats64.rx;
}

describe('between two namespaces', () => {
  it.each([1500, 65520])('frames go both ways at MTU %d: ping over IPv4 and IPv6', async (mtu) => {
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    const pair = [attach(a, 2, { mtu }), attach(b, 3, { mtu })] as const;
    const size = String(mtu - 100);
    let longest = 0;
    await forward(
      pair,
      Promise.all([
        pings(a, 3, '-M', 'do', '-s', size, '10.0.0.3'),
        pings(b, 3, '-M', 'do', '-s', size, 'fd00::2'),
      ]),
      ({ length }) => {
        longest = Math.max(longest, length);
      },
    );
    // With the headers of Ethernet, IPv6 and ICMP.
    expect(longest).toBe(mtu - 100 + 14 + 40 + 8);
  });

  it.each([
    ['10.0.0.3', VNET_GSO_TCPV4, 34],
    ['fd00::3', VNET_GSO_TCPV6, 54],
  ])('TCP to %s goes as segments larger than the MTU, with partial checksums', async (address, type, l4) => {
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    const pair = [attach(a, 2), attach(b, 3)] as const;
    const server = `const server = require('net').createServer((c) => { server.close(); let n = 0;
      c.on('data', (d) => { n += d.length; }).on('end', () => console.log(n)); }).listen(7000, '::')`;
    const client = `const go = () => require('net').connect(7000, '${address}')
      .on('error', () => setTimeout(go, 50)).on('connect', function () { this.end(Buffer.alloc(4e6, 7)); }); go()`;
    const types = new Set<number>();
    const checksums = new Set<string>();
    const sizes = new Set<number>();
    const [sink, source] = await forward(
      pair,
      Promise.all([runIn(b, process.execPath, '-e', server), runIn(a, process.execPath, '-e', client)]),
      ({ bytes, at, length }) => {
        const vnet = at - VNET_LEN;
        if (length <= 1514) return;
        types.add(gsoType(bytes, vnet));
        sizes.add(gsoSize(bytes, vnet));
        checksums.add(`${needsChecksum(bytes, vnet)} ${csumStart(bytes, vnet)} ${csumOffset(bytes, vnet)}`);
      },
    );
    expect([sink.output.trim(), source.output]).toEqual(['4000000', '']);
    // How long they get is the kernel's affair: the slower we are, the shorter.
    expect([...types]).toEqual([type]);
    expect([...checksums]).toEqual([`true ${l4} 16`]);
    // MTU 1500 less the headers and 12 bytes of timestamps.
    expect([...sizes]).toEqual([1500 - (l4 - 14) - 32]);
  });

  it('UDP goes as one frame of many datagrams, where the kernel can', async () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    execFileSync('ip', [
      '-n',
      name,
      'neigh',
      'add',
      '10.0.0.3',
      'lladdr',
      '02:42:0a:00:00:03',
      'dev',
      'eth0',
    ]);
    const namespace = openNamespace(netnsPath(name));
    const fd = inNamespace(namespace, () => socket(2, 2, 0));
    namespace.close();
    drain(device);
    try {
      // setsockopt(SOL_UDP, UDP_SEGMENT, 1000), then 5,000 bytes in one sendmsg.
      expect(setsockopt(fd, 17, 103, new Int32Array([1000]), 4)).toBe(0);
      const to = Uint8Array.of(2, 0, 0x1b, 0x58, 10, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0);
      const payload = new Uint8Array(5000);
      const iovec = BigUint64Array.of(addressOf(payload), 5000n);
      expect(sendmsg(fd, BigUint64Array.of(addressOf(to), 16n, addressOf(iovec), 1n, 0n, 0n, 0n), 0)).toBe(
        5000,
      );
      expect(to.length + payload.length + iovec.length).toBe(5018);
    } finally {
      close(fd);
    }
    const lengths: number[] = [];
    const kinds = new Set<string>();
    const carried = () => lengths.reduce((sum, length) => sum + length - 42, 0);
    while (carried() < 5000) {
      const frame = device.receive(arena, 0);
      // While another CPU sends by the interface, ours waits for it.
      if (frame === null) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const { bytes, at } = frame;
      // IPv4 UDP; the kernel's own reports are none.
      if (bytes[at + 12] === 8 && bytes[at + 13] === 0 && bytes[at + 23] === 17) {
        lengths.push(frame.length);
        kinds.add(`${gsoType(bytes, at - VNET_LEN)} ${gsoSize(bytes, at - VNET_LEN)}`);
      }
      arena.release(frame);
    }
    const [major, minor] = release().split('.').map(Number) as [number, number];
    const segments = major > 6 || (major === 6 && minor >= 2);
    expect(lengths).toEqual(segments ? [5042] : [1042, 1042, 1042, 1042, 1042]);
    expect([...kinds]).toEqual([segments ? `${VNET_GSO_UDP_L4} 1000` : '0 0']);
  });
});

describe('TapDevice', () => {
  it('knows its interface', () => {
    const device = attach(sandboxes.add('a'), 2, { mtu: 9000 });
    expect(device).toMatchObject({
      ifname: 'eth0',
      mac: '02:42:0a:00:00:02',
      mtu: 9000,
      offload: true,
      gone: false,
    });
    expect(device.deadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it('reads into a big slot behind the headroom, and gives the slot back when nothing waits', async () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const { free } = arena;
    drain(device);
    expect(arena.free).toBe(free);
    // Nobody answers; the ARP request is what we want.
    await runIn(name, 'ping', '-c1', '-W', '0.01', '10.0.0.9');
    let frame = device.receive(arena, 0);
    // The kernel's own reports come as they please.
    while (frame !== null && frame.bytes[frame.at + 12] !== 8) {
      arena.release(frame);
      frame = device.receive(arena, 0);
    }
    const { bytes, at, base, limit, length, references } = frame!;
    expect([at - base, limit - base, length, references]).toEqual([HEADROOM, BIG_SLOT, 42, 1]);
    expect([...bytes.subarray(at - VNET_LEN, at)]).toEqual(new Array(VNET_LEN).fill(0));
    expect(Buffer.from(bytes.subarray(at, at + 14)).toString('hex')).toBe('ffffffffffff02420a0000020806');
    expect(arena.free).toBe(free - 1);
  });

  it('takes what `frame.at` says, also in the middle of a slot', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const before = received(name);
    const frame = broadcast(100);
    expect(device.transmit(frame, 0)).toBe(Transmit.SENT);
    const copy = arena.allocate(1000)!;
    // The same frame elsewhere in a slot, among bytes that are no frame.
    copy.bytes.fill(0xa5, copy.base, copy.limit);
    copy.at += 100;
    copy.bytes.copyWithin(copy.at - VNET_LEN, frame.at - VNET_LEN, frame.at + 100);
    copy.length = 100;
    expect(device.transmit(copy, 0)).toBe(Transmit.SENT);
    const after = received(name);
    expect([after.packets - before.packets, after.bytes - before.bytes]).toEqual([2, 200]);
  });

  it('works with several arenas', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const before = received(name).packets;
    for (let i = 0; i < 2; i++) {
      for (const each of [new Arena({ small: 1, big: 1 }), arena]) {
        arena = each;
        const frame = broadcast(60);
        expect(device.transmit(frame, 0)).toBe(Transmit.SENT);
        arena.release(frame);
      }
    }
    expect(received(name).packets - before).toBe(4);
  });

  it('takes many frames at once, in order, and says of each what became of it', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    arena = new Arena({ small: 2 * BATCH, big: 4 });
    const outcomes: Transmit[] = [];
    const before = received(name);
    const frames = Array.from({ length: BATCH }, (_, i) => broadcast(64 + i));
    // The last but one has a header that says nothing sensible: of a TCP segment that is none.
    frames[BATCH - 2]!.bytes[frames[BATCH - 2]!.at - VNET_LEN + 1] = 0x7f;
    device.transmitBatch(frames, BATCH, outcomes, 0);
    const wanted: Transmit[] = frames.map(() => Transmit.SENT);
    wanted[BATCH - 2] = Transmit.INVALID;
    expect(outcomes).toEqual(wanted);
    const after = received(name);
    expect(after.packets - before.packets).toBe(BATCH - 1);

    execFileSync('ip', ['-n', name, 'link', 'set', 'eth0', 'down']);
    device.transmitBatch(frames, 3, outcomes, 0);
    expect(outcomes.slice(0, 3)).toEqual([Transmit.REFUSED, Transmit.REFUSED, Transmit.REFUSED]);
    device.close();
    device.transmitBatch(frames, 2, outcomes, 0);
    expect(outcomes.slice(0, 2)).toEqual([Transmit.GONE, Transmit.GONE]);
  });

  it('refuses frames while the interface is down, and takes them when it is up again', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const frame = broadcast(60);
    execFileSync('ip', ['-n', name, 'link', 'set', 'eth0', 'down']);
    expect(device.transmit(frame, 0)).toBe(Transmit.REFUSED);
    drain(device);
    expect([device.gone, device.ending]).toEqual([false, '']);
    execFileSync('ip', ['-n', name, 'link', 'set', 'eth0', 'up']);
    expect(device.transmit(frame, 0)).toBe(Transmit.SENT);
  });

  it('refuses what is no frame', () => {
    const device = attach(sandboxes.add('a'), 2);
    expect(device.transmit(broadcast(13), 0)).toBe(Transmit.INVALID);
    const lying = broadcast(60);
    // NEEDS_CSUM far behind the end.
    lying.bytes.set([1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], lying.at - VNET_LEN);
    expect(device.transmit(lying, 0)).toBe(Transmit.INVALID);
    expect(device.gone).toBe(false);
  });

  it.each([
    ['its namespace ends', (name: string) => sandboxes.remove(name)],
    ['its interface is deleted', (name: string) => execFileSync('ip', ['-n', name, 'link', 'del', 'eth0'])],
  ])('is gone when %s', (_, end) => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const { free } = arena;
    const epoll = new Epoll();
    try {
      epoll.add(device.fd, 7);
      end(name);
      // Until then it may have frames, which the kernel sends by itself.
      while (!device.gone) {
        expect(epoll.wait(30_000)).toBe(1);
        drain(device);
      }
      expect([epoll.wait(0), epoll.tag(0), epoll.events(0) & EPOLLERR]).toEqual([1, 7, EPOLLERR]);
    } finally {
      epoll.close();
    }
    expect([device.gone, device.ending]).toEqual([true, 'EBADFD']);
    expect(arena.free).toBe(free);
    expect(device.transmit(broadcast(60), 0)).toBe(Transmit.GONE);
  });

  it('learns of its end also by sending', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    execFileSync('ip', ['-n', name, 'link', 'del', 'eth0']);
    expect(device.transmit(broadcast(60), 0)).toBe(Transmit.GONE);
    expect([device.gone, device.ending]).toEqual([true, 'EBADFD']);
  });

  it('can be closed twice, and is then gone', () => {
    const device = attach(sandboxes.add('a'), 2);
    device.close();
    device.close();
    expect(device.gone).toBe(true);
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.transmit(broadcast(60), 0)).toBe(Transmit.GONE);
  });

  it('receives nothing when all slots are taken', () => {
    const name = sandboxes.add('a');
    const device = attach(name, 2);
    const held: Frame[] = [];
    for (let frame = arena.allocate(BIG_SLOT - HEADROOM); frame; frame = arena.allocate(BIG_SLOT - HEADROOM))
      held.push(frame);
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.gone).toBe(false);
    for (const frame of held) arena.release(frame);
  });
});
