import { execFileSync } from 'node:child_process';
import koffi from 'koffi';
import { EPOLLERR, Epoll } from '../../src/device/epoll.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { IcmpErrors } from '../../src/uplink/icmp-errors.ts';
import type { Segment } from '../../src/uplink/segment.ts';
import { discardReason, type Transmit } from '../../switch/device.ts';
import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { parse } from '../../wire/parse.ts';
import { clearVnet, VNET_LEN } from '../../wire/virtio-net.ts';
import { netnsPath, Sandboxes } from './sandbox.ts';

/** The two stations between the deck and the uplink, as frames for tests are made with. */
export const DECK = { mac: '02:42:c0:00:00:02', ipv4: '192.0.0.2', ipv6: 'fd74:6170:6465:ffff::2' };
export const DEVICE = { mac: '02:42:c0:00:00:01', ipv4: '192.0.0.1', ipv6: 'fd74:6170:6465:ffff::1' };
export const SEGMENT: Segment = {
  deck: {
    mac: { hi: 0x0242, lo: 0xc0000002 | 0 },
    ipv4: 0xc0000002 | 0,
    ipv6: [0xfd746170 | 0, 0x6465ffff, 0, 2],
  },
  device: {
    mac: { hi: 0x0242, lo: 0xc0000001 | 0 },
    ipv4: 0xc0000001 | 0,
    ipv6: [0xfd746170 | 0, 0x6465ffff, 0, 1],
  },
};

/** Why a device did not send a frame, by name. */
export function reasonOf(status: Transmit): string {
  return DROP_REASON_NAMES[discardReason(status)] ?? `no reason (${status})`;
}

/** Somebody outside, as what the deck sends to. */
export const FAR = { mac: DEVICE.mac, ipv4: '10.2.0.2', ipv6: 'fd02::2' };
export const ROUTER = { mac: DEVICE.mac, ipv4: '10.1.0.1', ipv6: 'fd01::1' };

/**
 * Three namespaces in a row: `host`, whose sockets are used (10.1.0.2, fd01::2), `router` (10.1.0.1 and 10.2.0.1, fd01::1
 * and fd02::1), and `far` (10.2.0.2, fd02::2), which is reached by a link with a MTU of 1400.
 */
export class OutsideWorld {
  readonly host: string;
  readonly router: string;
  readonly far: string;
  readonly #sandboxes = new Sandboxes();

  constructor() {
    this.host = this.#sandboxes.add('host');
    this.router = this.#sandboxes.add('router');
    this.far = this.#sandboxes.add('far');
    try {
      this.#build();
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  #build(): void {
    const { host, router, far } = this;
    const lines = (name: string, ...commands: string[]) =>
      execFileSync('ip', ['-n', name, '-batch', '-'], { input: commands.join('\n') });
    const set = (name: string, ...settings: string[]) =>
      execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', ...settings]);
    // Addresses are there at once, those of links too.
    for (const name of [host, router, far]) set(name, 'net.ipv6.conf.default.accept_dad=0');
    lines(
      router,
      `link add near0 type veth peer name up0 netns ${host}`,
      `link add far0 mtu 1400 type veth peer name up0 mtu 1400 netns ${far}`,
    );
    set(router, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    // An ICMP error for each probe, and no second of silence after the sixth; nor are any counted among the 1,000 a second that
    // kernels before Linux 6.13 let all namespaces together have.
    const unlimited = ['net.ipv4.icmp_ratemask=0', 'net.ipv6.icmp.ratelimit=0', 'net.ipv6.icmp.ratemask=255'];
    for (const name of [host, router, far]) set(name, ...unlimited);
    lines(
      router,
      'addr add 10.1.0.1/24 dev near0',
      'addr add fd01::1/64 dev near0 nodad',
      'addr add 10.2.0.1/24 dev far0',
      'addr add fd02::1/64 dev far0 nodad',
      'link set near0 up',
      'link set far0 up',
    );
    lines(
      host,
      'link set lo up',
      'addr add 10.1.0.2/24 dev up0',
      'addr add fd01::2/64 dev up0 nodad',
      'link set up0 up',
      'route add default via 10.1.0.1',
      'route add default via fd01::1',
    );
    lines(
      far,
      'addr add 10.2.0.2/24 dev up0',
      'addr add fd02::2/64 dev up0 nodad',
      'link set up0 up',
      'route add default via 10.2.0.1',
      'route add default via fd02::1',
    );
    // Everybody has found their neighbors.
    for (const address of [FAR.ipv4, FAR.ipv6]) {
      execFileSync('ip', ['netns', 'exec', host, 'ping', '-q', '-c', '1', '-w', '30', address]);
    }
  }

  /** Runs `work` with this thread in one of the namespaces: the sockets that it makes are there. */
  in<T>(name: string, work: () => T): T {
    const namespace = openNamespace(netnsPath(name));
    try {
      return inNamespace(namespace, work);
    } finally {
      namespace.close();
    }
  }

  sysctl(name: string, setting: string): void {
    execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', setting]);
  }

  /** The host forgets what it has learned about MTUs. */
  forgetPaths(): void {
    for (const family of ['-4', '-6']) {
      execFileSync('ip', ['-n', this.host, family, 'route', 'flush', 'cache']);
    }
  }

  remove(): void {
    this.#sandboxes.removeAll();
  }
}

/** What an uplink's device does with sockets of one kind: watches them, and receives what they have. */
export class Bench {
  readonly arena = new Arena({ small: 64, big: 64 });
  readonly epoll = new Epoll();
  readonly errors = new IcmpErrors(SEGMENT);

  /** Bytes as a frame of the arena; the caller releases it. */
  frame(bytes: Uint8Array): Frame {
    const frame = this.arena.allocate(bytes.length)!;
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    frame.bytes.set(bytes, frame.at);
    frame.length = bytes.length;
    if (parse(frame) !== 0) throw new Error('the test made a bad frame');
    return frame;
  }

  /**
   * The next frame that the sockets or their errors have, parsed; the caller releases it. null when none comes within
   * `wait` milliseconds, during all of which this process may have been kept from looking: so it looks once more.
   */
  receive(
    sockets: { receive(arena: Arena, now: number, row: number, events?: number): Frame | null },
    wait = 30_000,
  ): Frame | null {
    const end = performance.now() + wait;
    for (;;) {
      const isLast = performance.now() >= end;
      let frame = this.errors.next(this.arena);
      const ready = frame === null ? this.epoll.wait(Math.max(0, Math.min(50, end - performance.now()))) : 0;
      for (let i = 0; i < ready && frame === null; i++) {
        frame = sockets.receive(this.arena, 0, this.epoll.tag(i), this.epoll.events(i));
      }
      if (frame !== null) {
        if (parse(frame) !== 0) throw new Error('a bad frame was received');
        return frame;
      }
      if (isLast) return null;
    }
  }

  /** Waits until an error is pending at one of the sockets, and leaves it there. */
  failing(): void {
    for (const end = performance.now() + 30_000; performance.now() < end; ) {
      const ready = this.epoll.wait(50);
      for (let i = 0; i < ready; i++) if ((this.epoll.events(i) & EPOLLERR) !== 0) return;
    }
    throw new Error('no error came');
  }

  close(): void {
    this.epoll.close();
  }
}

const libc = koffi.load(null);
const getrlimit = libc.func('int getrlimit(int, void *)');
const setrlimit = libc.func('int setrlimit(int, void *)');
const RLIMIT_NOFILE = 7;

/** Runs `work`, during which this process can open nothing (EMFILE). */
export function withoutDescriptors(work: () => void): void {
  const limit = new BigUint64Array(2);
  getrlimit(RLIMIT_NOFILE, limit);
  setrlimit(RLIMIT_NOFILE, BigUint64Array.of(0n, limit[1]!));
  try {
    work();
  } finally {
    setrlimit(RLIMIT_NOFILE, limit);
  }
}
