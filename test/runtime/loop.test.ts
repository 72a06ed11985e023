import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { EventFd } from '../../src/device/eventfd.ts';
import { Loop } from '../../src/runtime/loop.ts';
import { type Device, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame, PortId } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';

// The loop over real epoll and descriptors that need no privilege, with a clock of its own: nothing here waits.

/** A device on an eventfd, which is readable from the beginning while `readable`, and writable always. */
class Wire implements Device {
  readonly offload = true;
  readonly bell = new EventFd();
  readonly received: number[] = [];
  readonly sent: Frame[] = [];
  gone = false;
  blocked = 0;
  due = Number.POSITIVE_INFINITY;
  closed = false;
  /** What `receive` gives; undefined for nothing. */
  source: () => Uint8Array | undefined = () => undefined;
  onTransmit = (): void => {};

  get fd(): number {
    return this.bell.fd;
  }

  receive(arena: Arena, now: number): Frame | null {
    const bytes = this.gone ? undefined : this.source();
    const frame = bytes && arena.allocate(bytes.length);
    if (!bytes || !frame) {
      this.bell.drain();
      return null;
    }
    this.received.push(now);
    frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
    frame.bytes.set(bytes, frame.at);
    return frame;
  }

  transmit(frame: Frame): Transmit {
    this.onTransmit();
    if (this.gone) return Transmit.GONE;
    if (this.blocked > 0) {
      this.blocked--;
      return Transmit.BLOCKED;
    }
    this.sent.push(frame);
    return Transmit.SENT;
  }

  deadline(): number {
    return this.due;
  }

  close(): void {
    this.closed = true;
    this.bell.close();
  }
}

const HI = 0x0242;
/** Clock readings after which a test that does not end by itself has failed. */
const MOST_READINGS = 200_000;

function frameOf(from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, HI);
  view.setUint32(2, to);
  view.setUint16(6, HI);
  view.setUint32(8, from);
  view.setUint16(12, 0x88b5);
  return bytes;
}

let now: number;
let readings: number;
let bell: EventFd;
let dataplane: Dataplane;
let loop: Loop;
let wires: Wire[];
let ports: PortId[];
let commands: () => void;
let gone: PortId[];

beforeEach(() => {
  now = 0;
  readings = 0;
  wires = [];
  ports = [];
  gone = [];
  commands = () => {};
  bell = new EventFd();
  dataplane = new Dataplane({ ports: 128 });
  dataplane.addNetwork({ macHi: HI, macLo: 0x0a000001, ipv4: null, ipv6: null, mtu: 1500 });
  loop = new Loop(
    dataplane,
    bell,
    {
      wake: () => commands(),
      gone: (port) => {
        gone.push(port);
        remove(port);
        stopWhenIdle();
      },
    },
    () => {
      if (++readings > MOST_READINGS) {
        loop.stop();
        throw new Error('the loop does not come to its end');
      }
      now += 0.001;
      return now;
    },
  );
});

afterEach(() => {
  for (const wire of wires) if (!wire.closed) wire.close();
  bell.close();
});

/** A port with a station whose MAC is its number, from 1 on. */
function add(timed = false): Wire {
  const wire = new Wire();
  const lo = wires.push(wire);
  const port = dataplane.addPort(wire, { network: 0, mac: { hi: HI, lo } }, now);
  ports.push(port);
  loop.add(port, wire, timed);
  return wire;
}

function remove(port: PortId): void {
  const device = dataplane.removePort(port, now);
  if (!device) return;
  loop.remove(port, device);
  device.close();
}

/** Rings for a command that ends the loop. */
function stopWhenIdle(): void {
  commands = () => loop.stop();
  bell.signal();
}

describe('loop', () => {
  test('a command is taken while all ports are busy, and soon', () => {
    for (let i = 0; i < 50; i++) {
      add().source = () => {
        now += 0.01;
        return frameOf(i + 1, ((i + 1) % 50) + 1);
      };
    }
    for (const wire of wires) wire.bell.signal();
    let asked = 0;
    let answered = 0;
    const first = wires[0]!;
    const { source } = first;
    first.source = () => {
      if (now > 100 && asked === 0) {
        asked = now;
        bell.signal();
      }
      return source();
    };
    commands = () => {
      answered = now;
      loop.stop();
    };
    loop.run();
    // A turn of all is 50 times 64 frames of 0.01 ms.
    expect(answered - asked).toBeLessThan(2 * 33);
  });

  test('a cold port does not wait for many turns of the busy ones', () => {
    for (let i = 0; i < 50; i++) {
      add().source = () => {
        now += 0.01;
        return frameOf(i + 1, ((i + 1) % 50) + 1);
      };
    }
    const late = add();
    for (const wire of wires.slice(0, 50)) wire.bell.signal();
    const first = wires[0]!;
    const { source } = first;
    let rung = 0;
    first.source = () => {
      if (now > 100 && rung === 0) {
        rung = now;
        late.bell.signal();
      }
      return source();
    };
    late.source = () => {
      loop.stop();
      return late.received.length === 0 ? frameOf(51, 1) : undefined;
    };
    loop.run();
    expect(late.received).toHaveLength(1);
    expect(late.received[0]! - rung).toBeLessThan(3 * 33);
  });

  test('the thread may go where it likes afterwards', () => {
    const allowed = () => /Cpus_allowed:\s*(\S+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'))![1];
    const before = allowed();
    let left = 2000;
    const a = add();
    add();
    a.source = () => {
      if (left-- === 0) stopWhenIdle();
      return frameOf(1, 2);
    };
    a.bell.signal();
    loop.run();
    expect(allowed()).toBe(before);
  });

  test('busy ports have their turns one after the other', () => {
    for (let i = 0; i < 3; i++) add().source = () => frameOf(i + 1, ((i + 1) % 3) + 1);
    for (const wire of wires) wire.bell.signal();
    const counts = () => wires.map((wire) => wire.received.length);
    wires[1]!.onTransmit = () => {
      if (counts()[0]! > 1000) loop.stop();
    };
    loop.run();
    expect(Math.max(...counts()) - Math.min(...counts())).toBeLessThanOrEqual(2 * 64);
  });

  test.each(['cold', 'hot'])('a device that vanishes while its port is %s is taken away, once', (state) => {
    const a = add();
    const b = add();
    let left = state === 'hot' ? 3 : 0;
    a.source = () => {
      if (left-- > 0) return frameOf(1, 2);
      a.gone = true;
      return undefined;
    };
    a.bell.signal();
    loop.run();
    expect(gone).toEqual([ports[0]]);
    expect([a.closed, b.closed]).toEqual([true, false]);
    expect(dataplane.ledger.imbalance()).toBe(0);
  });

  test('a device that vanishes when it is written to is taken away by its next event', () => {
    const a = add();
    const b = add();
    let left = 1;
    a.source = () => (left-- > 0 ? frameOf(1, 2) : undefined);
    b.onTransmit = () => {
      // As a TAP: the interface is no more, and the descriptor says so.
      b.gone = true;
      b.bell.signal();
    };
    a.bell.signal();
    loop.run();
    expect(gone).toEqual([ports[1]]);
    expect(dataplane.ledger.drops[DropReason.PORT_GONE]).toBe(1);
  });

  test('frames that a device had no room for follow in order when it has', () => {
    const a = add();
    const b = add();
    b.blocked = 5;
    let left = 10;
    a.source = () => {
      if (left === 0) return undefined;
      const bytes = frameOf(1, 2);
      bytes[20] = left--;
      return bytes;
    };
    const order: number[] = [];
    const { transmit } = b;
    b.transmit = (frame) => {
      const status = transmit.call(b, frame);
      if (status === Transmit.SENT) {
        order.push(frame.bytes[frame.at + 20]!);
        if (order.length === 10) stopWhenIdle();
      }
      return status;
    };
    a.bell.signal();
    loop.run();
    expect(order).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(dataplane.ledger).toMatchObject({ sent: 10, held: 0 });
  });

  test('a device with work of its own is asked when that is due, and not before', () => {
    const a = add(true);
    // The clock of this test stands still while the loop sleeps: each reading is a microsecond.
    a.due = 0.3;
    let asked = 0;
    a.source = () => {
      asked = now;
      a.due = Number.POSITIVE_INFINITY;
      loop.stop();
      return undefined;
    };
    loop.run();
    expect(asked).toBeGreaterThanOrEqual(0.3);
  });

  test.each(['by being asked', 'by being sent to'])(
    'a device with work of its own that vanishes %s is taken away, without a word from epoll',
    (how) => {
      const a = add();
      const b = add(true);
      if (how === 'by being asked') b.due = 0.3;
      b.source = () => {
        b.gone = true;
        return undefined;
      };
      b.onTransmit = () => {
        b.gone = true;
        b.due = Number.NEGATIVE_INFINITY;
      };
      let left = how === 'by being sent to' ? 1 : 0;
      a.source = () => (left-- > 0 ? frameOf(1, 2) : undefined);
      a.bell.signal();
      loop.run();
      expect(gone).toEqual([ports[1]]);
      expect([a.closed, b.closed]).toEqual([false, true]);
    },
  );

  test('the timer is looked at between turns, also when nothing else is due', () => {
    const fired: number[] = [];
    const timer = {
      deadline: 0.2,
      expire(at: number) {
        fired.push(at);
        timer.deadline = fired.length < 3 ? at + 0.2 : Number.POSITIVE_INFINITY;
        if (fired.length === 3) stopWhenIdle();
      },
    };
    const timed = new Loop(
      dataplane,
      bell,
      { wake: () => timed.stop(), gone: () => {} },
      () => (now += 0.001),
      [timer],
    );
    timed.run();
    expect(fired).toHaveLength(3);
    for (const [i, at] of fired.entries()) expect(at).toBeGreaterThanOrEqual(0.2 * (i + 1));
  });

  test('a port that is removed while another is served is not asked again', () => {
    const a = add();
    const b = add();
    let asked = 0;
    b.source = () => {
      asked++;
      return undefined;
    };
    let left = 2;
    a.source = () => {
      if (left-- === 2) {
        commands = () => {
          remove(ports[1]!);
          asked = 0;
          commands = () => loop.stop();
          bell.signal();
        };
        bell.signal();
      }
      return left >= 0 ? frameOf(1, 2) : undefined;
    };
    a.bell.signal();
    b.bell.signal();
    loop.run();
    expect(asked).toBe(0);
    expect(dataplane.ledger.imbalance()).toBe(0);
  });
});
