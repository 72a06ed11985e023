import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Faults, FaultyDevice, NO_FAULTS } from '../../src/device/faulty.ts';
import { MemoryDevice, type MemoryDeviceOptions } from '../../src/device/memory.ts';
import { Transmit } from '../../switch/device.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { set16 } from '../../wire/bytes.ts';
import { checksum, fold, pseudoSumIpv4 } from '../../wire/checksum.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { segmentCount, writeSegment } from '../../wire/segmentation.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import {
  VNET_F_DATA_VALID,
  VNET_F_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';

const DIRECTIONS = ['receive', 'transmit'] as const;
type Direction = (typeof DIRECTIONS)[number];

/** A frame that came out, and when. */
interface Event {
  now: number;
  bytes: Uint8Array;
  frame: Frame;
}

/** A faulty line whose frames can be sent either way, with time as a number. */
class Line {
  readonly arena: Arena;
  readonly slots: number;
  readonly inner: MemoryDevice;
  readonly device: FaultyDevice;
  readonly events: Event[] = [];
  readonly #direction: Direction;

  constructor(
    direction: Direction,
    faults: Partial<Faults>,
    seed = 1,
    options: MemoryDeviceOptions = {},
    small = 256,
  ) {
    this.#direction = direction;
    this.arena = new Arena({ small, big: 8 });
    this.slots = this.arena.free;
    this.inner = new MemoryDevice(this.arena, { capacity: 4096, ...options });
    this.device = new FaultyDevice(this.inner, this.arena, {
      [direction]: { ...NO_FAULTS, ...faults },
      seed,
    });
  }

  get counters() {
    return this.device.counters[this.#direction];
  }

  /** Sends a frame that says its number. */
  send(number: number, now: number, length = 64): void {
    const frame = this.arena.allocate(length)!;
    frame.bytes.fill(0, frame.at - VNET_LEN, frame.at + length);
    frame.bytes[frame.at] = number >>> 8;
    frame.bytes[frame.at + 1] = number;
    this.sendFrame(frame, now);
  }

  sendFrame(frame: Frame, now: number): void {
    if (this.#direction === 'receive') expect(this.inner.inject(frame)).toBe(true);
    else {
      expect(this.device.transmit(frame, now)).toBe(Transmit.SENT);
      this.arena.release(frame);
    }
    this.collect(now);
  }

  /** Takes what comes out at `now`. */
  collect(now: number): void {
    for (let frame = this.#next(now); frame !== null; frame = this.#next(now)) {
      const bytes = frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length);
      this.events.push({ now, bytes, frame });
      this.arena.release(frame);
    }
  }

  /** Lets time pass until nothing waits. */
  finish(): void {
    for (let due = this.device.deadline(); due !== Number.POSITIVE_INFINITY; due = this.device.deadline()) {
      this.collect(due);
    }
  }

  numbers(): number[] {
    return this.events.map(({ bytes }) => (bytes[VNET_LEN]! << 8) | bytes[VNET_LEN + 1]!);
  }

  times(): number[] {
    return this.events.map(({ now }) => now);
  }

  #next(now: number): Frame | null {
    if (this.#direction === 'receive') return this.device.receive(this.arena, now);
    expect(this.device.receive(this.arena, now)).toBeNull();
    return this.inner.take();
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

const someFaults: fc.Arbitrary<Partial<Faults>> = fc.record({
  loss: fc.constantFrom(0, 0.1, 1),
  corrupt: fc.constantFrom(0, 0.3, 1),
  duplicate: fc.constantFrom(0, 0.3, 1),
  reorder: fc.constantFrom(0, 0.3, 1),
  distance: fc.integer({ min: 1, max: 5 }),
  hold: fc.constantFrom(0, 1, 10),
  delay: fc.constantFrom(0, 0.5, 7),
  jitter: fc.constantFrom(0, 0.25, 20),
  limit: fc.constantFrom(1, 3, 100),
});
/** Milliseconds from one frame to the next. */
const gaps = fc.array(fc.constantFrom(0, 0, 0.1, 1, 30), { maxLength: 60 });

function run(direction: Direction, faults: Partial<Faults>, seed: number, steps: readonly number[]): Line {
  const line = new Line(direction, faults, seed);
  let now = 0;
  for (const [i, gap] of steps.entries()) {
    now += gap;
    line.send(i, now);
  }
  return line;
}

describe.each(DIRECTIONS)('faulty device, %s', (direction) => {
  it('changes nothing without faults', () => {
    fc.assert(
      fc.property(gaps, (steps) => {
        const line = run(direction, {}, 0, steps);
        expect(line.numbers()).toEqual(upTo(steps.length));
        expect(line.device.deadline()).toBe(Number.POSITIVE_INFINITY);
        expect(line.arena.free).toBe(line.slots);
      }),
    );
  });

  it('does the same for the same seed and the same frames', () => {
    fc.assert(
      fc.property(someFaults, fc.integer(), gaps, (faults, seed, steps) => {
        const runs = [0, 1].map(() => {
          const line = run(direction, faults, seed, steps);
          line.finish();
          return { events: line.events.map(({ now, bytes }) => ({ now, bytes })), counters: line.counters };
        });
        expect(runs[1]).toEqual(runs[0]);
      }),
    );
  });

  it('does something else for another seed', () => {
    const outcomes = [1, 2, 3].map((seed) => {
      const line = new Line(direction, { loss: 0.5 }, seed);
      for (const i of upTo(64)) line.send(i, i);
      return line.numbers().join();
    });
    expect(new Set(outcomes).size).toBe(3);
  });

  it('loses track of no frame and no slot', () => {
    fc.assert(
      fc.property(someFaults, fc.integer(), gaps, fc.boolean(), (faults, seed, steps, close) => {
        const line = run(direction, faults, seed, steps);
        const balance = () => {
          const { frames, duplicated, passed, lost, overflowed } = line.counters;
          expect(frames).toBe(steps.length);
          expect(frames + duplicated).toBe(passed + lost + overflowed + line.device.held);
          expect(passed).toBe(line.events.length);
          expect(line.device.held).toBeLessThanOrEqual(faults.limit!);
        };
        balance();
        if (close) line.device.close();
        else {
          line.finish();
          balance();
          expect(line.device.held).toBe(0);
        }
        expect(line.arena.free).toBe(line.slots);
      }),
    );
  });

  it('comes close to the given shares', () => {
    const count = 20_000;
    const line = new Line(direction, { loss: 0.05, duplicate: 0.1, reorder: 0.25, corrupt: 0.02 });
    for (let i = 0; i < count; i++) line.send(i, i);
    line.finish();
    const { lost, duplicated, reordered, corrupted } = line.counters;
    // The seed is fixed, so this holds always or never; it is within four standard deviations.
    const near = (found: number, of: number, share: number) =>
      expect(Math.abs(found - of * share)).toBeLessThan(4 * Math.sqrt(of * share * (1 - share)));
    near(lost, count, 0.05);
    near(duplicated, count - lost, 0.1);
    near(reordered, count - lost, 0.25);
    near(corrupted, count - lost, 0.02);
  });

  it('decides about one fault without regard to the others', () => {
    const survivors = (faults: Partial<Faults>) => {
      const line = new Line(direction, { loss: 0.3, ...faults });
      for (const i of upTo(500)) line.send(i, i);
      line.finish();
      return [...new Set(line.numbers())].sort((a, b) => a - b);
    };
    const alone = survivors({});
    expect(survivors({ duplicate: 0.5, delay: 20, jitter: 20 })).toEqual(alone);
    expect(survivors({ reorder: 0.5 })).toEqual(alone);
  });

  it('delays every frame by the same time and says when it is due', () => {
    const line = new Line(direction, { delay: 10 });
    line.send(0, 0);
    line.send(1, 2.5);
    expect(line.device.deadline()).toBe(10);
    line.collect(9.999);
    expect(line.events).toEqual([]);
    line.collect(10);
    expect(line.numbers()).toEqual([0]);
    expect(line.device.deadline()).toBe(12.5);
    line.finish();
    expect(line.times()).toEqual([10, 12.5]);
  });

  it('varies the delay by the jitter, both ways and never into the past', () => {
    const spread = (delay: number, jitter: number) => {
      const line = new Line(direction, { delay, jitter });
      for (const i of upTo(2000)) {
        line.send(i, i * 100);
        line.finish();
      }
      const lags = line.events.map(({ now }, i) => now - line.numbers()[i]! * 100);
      return [Math.min(...lags), Math.max(...lags)] as const;
    };
    const [least, most] = spread(10, 2);
    expect(least).toBeGreaterThanOrEqual(8);
    expect(least).toBeLessThan(8.1);
    expect(most).toBeLessThanOrEqual(12);
    expect(most).toBeGreaterThan(11.9);
    expect(spread(1, 5)[0]).toBe(0);
  });

  it('lets frames overtake each other by jitter, and keeps their order without', () => {
    const order = (jitter: number) => {
      const line = new Line(direction, { delay: 10, jitter });
      for (const i of upTo(100)) line.send(i, i * 0.01);
      line.finish();
      return line.numbers();
    };
    expect(order(0)).toEqual(upTo(100));
    expect(order(5)).not.toEqual(upTo(100));
    expect(order(5).sort((a, b) => a - b)).toEqual(upTo(100));
  });

  it('holds a reordered frame back until so many have passed it', () => {
    const line = new Line(direction, { reorder: 0.2, distance: 3, hold: 1e6 });
    for (const i of upTo(400)) line.send(i, i);
    const numbers = line.numbers();
    expect(line.counters.reordered).toBeGreaterThan(40);
    let late = 0;
    for (const [place, number] of numbers.entries()) {
      const behind = numbers.slice(0, place).filter((other) => other > number).length;
      // Those that are late themselves do not count as passing.
      if (behind > 0) late++;
      expect(behind).toBeLessThanOrEqual(3);
    }
    expect(late).toBeGreaterThan(40);
  });

  it('lets a reordered frame go when its time is over, though none passes it', () => {
    const line = new Line(direction, { reorder: 1, hold: 10, delay: 5 });
    line.send(0, 0);
    line.send(1, 4);
    expect(line.device.deadline()).toBe(10);
    line.finish();
    // The delay of the line comes after the holding back.
    expect(line.numbers()).toEqual([0, 1]);
    expect(line.times()).toEqual([15, 19]);
  });

  it('gives the same order however often it is asked', () => {
    const outcome = (asked: number[]) => {
      const line = new Line(direction, { reorder: 0.5, hold: 7, delay: 3, jitter: 2 });
      for (const i of upTo(30)) {
        for (const part of asked) line.collect(i * 2 + part);
        line.send(i, i * 2 + 1.9);
      }
      line.finish();
      return line.numbers();
    };
    expect(outcome([0, 0.3, 0.7, 1.1, 1.8])).toEqual(outcome([]));
  });

  it('duplicates whole frames', () => {
    const line = new Line(direction, { duplicate: 1 });
    for (const i of upTo(3)) line.send(i, i);
    expect(line.numbers()).toEqual([0, 0, 1, 1, 2, 2]);
    expect(line.times()).toEqual([0, 0, 1, 1, 2, 2]);
  });

  it('loses what is more than its limit', () => {
    const line = new Line(direction, { delay: 10, limit: 3 });
    for (const i of upTo(5)) line.send(i, i);
    expect(line.counters.overflowed).toBe(2);
    line.finish();
    expect(line.numbers()).toEqual([0, 1, 2]);
  });

  it('holds no big slots when they become scarce', () => {
    const line = new Line(direction, { delay: 10 });
    for (const i of upTo(8)) line.send(i, 0, 9000);
    // Of eight, two are left for frames on their way, and one was in the hand.
    expect(line.counters.overflowed).toBe(3);
    line.finish();
    expect(line.numbers()).toEqual(upTo(5));
    expect(line.arena.free).toBe(line.slots);
  });

  it('flips exactly one bit of a corrupted frame, and all bits at some time', () => {
    const flipped = new Set<number>();
    const line = new Line(direction, { corrupt: 1 });
    for (const i of upTo(5000)) line.send(i, i);
    for (const [i, { bytes }] of line.events.entries()) {
      const expected = new Uint8Array(VNET_LEN + 64);
      expected[VNET_LEN] = i >>> 8;
      expected[VNET_LEN + 1] = i;
      const bits = differentBits(bytes, expected);
      expect(bits).toHaveLength(1);
      flipped.add(bits[0]! - VNET_LEN * 8);
    }
    expect(line.counters.corrupted).toBe(5000);
    expect([...flipped].sort((a, b) => a - b)).toEqual(upTo(64 * 8));
  });

  it('finishes a partial checksum before the bit is flipped, so that it shows', () => {
    for (let seed = 0; seed < 100; seed++) {
      const line = new Line(direction, { corrupt: 1 }, seed);
      const frame = tcpFrame(line.arena, 500);
      const finished = segmentsOf(line.arena, frame)[0]!;
      line.sendFrame(frame, 0);
      const [{ bytes }] = line.events as [Event];
      expect(differentBits(bytes, finished)).toHaveLength(1);
    }
  });

  it('lets nobody say of a corrupted frame that its checksum has been verified', () => {
    const line = new Line(direction, { corrupt: 1 });
    const frame = line.arena.allocate(64)!;
    writeVnet(frame.bytes, frame.at - VNET_LEN, VNET_F_DATA_VALID, VNET_GSO_NONE, 0, 0, 0, 0);
    line.sendFrame(frame, 0);
    expect(line.events[0]!.bytes.slice(0, VNET_LEN)).toEqual(new Uint8Array(VNET_LEN));
  });

  it('leaves frames with partial checksums alone that it does not corrupt', () => {
    const line = new Line(direction, { delay: 1 });
    const frame = tcpFrame(line.arena, 500);
    const before = frame.bytes.slice(frame.at - VNET_LEN, frame.at + frame.length);
    line.sendFrame(frame, 0);
    line.finish();
    expect(line.events[0]!.bytes).toEqual(before);
  });

  it('cuts GSO frames where it corrupts, and spoils one segment at a time', () => {
    const line = new Line(direction, { corrupt: 0.3 });
    const frame = tcpFrame(line.arena, 20_000, 1000);
    const segments = segmentsOf(line.arena, frame);
    expect(segments).toHaveLength(20);
    line.sendFrame(frame, 0);
    const damage = line.events.map(({ bytes }, i) => differentBits(bytes, segments[i]!).length);
    expect(damage).toHaveLength(20);
    expect(damage.filter((bits) => bits > 0)).toEqual(new Array(line.counters.corrupted).fill(1));
    expect(line.counters.corrupted).toBeGreaterThan(0);
    expect(line.counters.corrupted).toBeLessThan(20);
    expect(line.arena.free).toBe(line.slots);
  });

  it('loses GSO frames as a whole, or segment by segment when told so', () => {
    const outcome = (perSegment: boolean) => {
      const line = new Line(direction, { loss: 0.5, perSegment });
      for (const i of upTo(20)) line.sendFrame(tcpFrame(line.arena, 20_000, 1000), i);
      return line;
    };
    const whole = outcome(false);
    expect(whole.counters.frames).toBe(20);
    for (const { bytes } of whole.events) expect(bytes.length).toBeGreaterThan(20_000);
    const single = outcome(true);
    expect(single.counters.frames).toBe(400);
    expect(single.counters.lost).toBeGreaterThan(150);
    expect(single.counters.lost).toBeLessThan(250);
    for (const { bytes } of single.events) {
      const frame = single.arena.allocate(bytes.length - VNET_LEN)!;
      frame.bytes.set(bytes, frame.at - VNET_LEN);
      expect(parse(frame)).toBe(Malformed.NONE);
      expect(bytes[0]! & VNET_F_NEEDS_CSUM).toBe(0);
      expect(transportChecksumOk(frame)).toBe(true);
      single.arena.release(frame);
    }
  });

  it('finishes partial checksums where it cuts, and lets nobody vouch for them', () => {
    for (const flags of [VNET_F_NEEDS_CSUM, VNET_F_DATA_VALID]) {
      const line = new Line(direction, { perSegment: true });
      const frame = tcpFrame(line.arena, 500);
      const finished = segmentsOf(line.arena, frame)[0]!;
      if (flags === VNET_F_DATA_VALID) {
        frame.bytes.set(finished, frame.at - VNET_LEN);
        frame.bytes[frame.at - VNET_LEN] = flags;
      }
      line.sendFrame(frame, 0);
      expect(line.events.map(({ bytes }) => bytes)).toEqual([finished]);
    }
  });

  it('passes a GSO frame on that cannot be cut', () => {
    const line = new Line(direction, { perSegment: true });
    const frame = tcpFrame(line.arena, 5000, 1000);
    frame.bytes[frame.at + 14] = 0x15;
    line.sendFrame(frame, 0);
    expect(line.events.map(({ bytes }) => bytes.length)).toEqual([VNET_LEN + 54 + 5000]);
  });

  it('does without the copy for which there is no slot', () => {
    const line = new Line(direction, { corrupt: 1, duplicate: 1 });
    const frame = line.arena.allocate(64)!;
    frame.bytes.fill(0, frame.at - VNET_LEN, frame.at + 64);
    const others: Frame[] = [];
    for (let other = line.arena.allocate(1); other !== undefined; other = line.arena.allocate(1))
      others.push(other);
    line.sendFrame(frame, 0);
    expect(line.events.length).toBe(line.counters.passed);
    expect(line.counters.starved).toBe(1);
    expect(line.counters.passed).toBe(1 + line.counters.duplicated);
    for (const other of others) line.arena.release(other);
    expect(line.arena.free).toBe(line.slots);
  });
});

describe('faulty device', () => {
  it('is what the device is', () => {
    const arena = new Arena({ small: 4, big: 0 });
    for (const offload of [true, false]) {
      const inner = new MemoryDevice(arena, { offload });
      const device = new FaultyDevice(inner, arena, {});
      expect(device).toMatchObject({ fd: -1, offload, gone: false });
      inner.vanish();
      expect(device.gone).toBe(true);
      expect(device.transmit(arena.frames[0]!, 0)).toBe(Transmit.GONE);
      expect(device.receive(arena, 0)).toBeNull();
    }
  });

  it('changes no byte of a frame that others hold', () => {
    for (const direction of DIRECTIONS) {
      const line = new Line(direction, { corrupt: 1 });
      const frame = line.arena.allocate(64)!;
      frame.bytes.fill(7, frame.at - VNET_LEN, frame.at + 64);
      const before = frame.bytes.slice(frame.at - VNET_LEN, frame.at + 64);
      line.arena.retain(frame);
      line.sendFrame(frame, 0);
      expect(line.events).toHaveLength(1);
      expect(line.events[0]!.frame).not.toBe(frame);
      expect(frame.bytes.slice(frame.at - VNET_LEN, frame.at + 64)).toEqual(before);
      expect(frame.references).toBe(1);
    }
  });

  it('corrupts a received frame in place when nobody else holds it', () => {
    const line = new Line('receive', { corrupt: 1 });
    const frame = line.arena.allocate(64)!;
    line.sendFrame(frame, 0);
    expect(line.events[0]!.frame).toBe(frame);
  });

  it('gives received duplicates bytes of their own, for they are rewritten in place', () => {
    const line = new Line('receive', { duplicate: 1 });
    line.send(0, 0);
    expect(line.events[0]!.frame).not.toBe(line.events[1]!.frame);
  });

  it('treats the two directions as two lines', () => {
    const arena = new Arena({ small: 64, big: 0 });
    const inner = new MemoryDevice(arena);
    const both = { ...NO_FAULTS, loss: 0.5 };
    const device = new FaultyDevice(inner, arena, { receive: both, transmit: both, seed: 5 });
    const fates: string[] = [];
    for (let i = 0; i < 40; i++) {
      inner.injectBytes(new Uint8Array(60));
      const received = device.receive(arena, i);
      if (received !== null) arena.release(received);
      const frame = arena.allocate(60)!;
      device.transmit(frame, i);
      arena.release(frame);
      const sent = inner.take();
      if (sent !== null) arena.release(sent);
      fates.push(`${received !== null}${sent !== null}`);
    }
    // All four combinations occur.
    expect(new Set(fates).size).toBe(4);
    expect(device.counters.receive.frames).toBe(40);
    expect(device.counters.transmit.frames).toBe(40);
  });

  it('passes back-pressure on, and draws nothing for a frame that it does not take', () => {
    const line = new Line('transmit', { loss: 0.5 }, 3, { capacity: 1 });
    const open = new Line('transmit', { loss: 0.5 }, 3);
    for (const i of upTo(200)) open.send(i, i);
    const taken: number[] = [];
    let blocked = 0;
    for (const i of upTo(200)) {
      const frame = line.arena.allocate(64)!;
      frame.bytes[frame.at] = i;
      while (line.device.transmit(frame, i) === Transmit.BLOCKED) {
        blocked++;
        const sent = line.inner.take()!;
        taken.push(sent.bytes[sent.at]!);
        line.arena.release(sent);
      }
      line.arena.release(frame);
    }
    for (let sent = line.inner.take(); sent !== null || line.device.held > 0; sent = line.inner.take()) {
      if (sent !== null) {
        taken.push(sent.bytes[sent.at]!);
        line.arena.release(sent);
      }
      line.device.receive(line.arena, line.device.deadline());
    }
    expect(blocked).toBeGreaterThan(50);
    expect(taken).toEqual(open.numbers());
    expect(line.arena.free).toBe(line.slots);
  });

  it('tries a device again that had no room, and says when', () => {
    const line = new Line('transmit', {}, 1, { capacity: 1 });
    const [a, b] = [line.arena.allocate(60)!, line.arena.allocate(61)!];
    expect(line.device.transmit(a, 5)).toBe(Transmit.SENT);
    expect(line.device.transmit(b, 5)).toBe(Transmit.SENT);
    expect(line.device.held).toBe(1);
    expect(line.device.transmit(a, 5)).toBe(Transmit.BLOCKED);
    expect(line.device.deadline()).toBe(6);
    expect(line.inner.take()).toBe(a);
    line.device.receive(line.arena, 6);
    expect(line.inner.take()).toBe(b);
    expect(line.device.deadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it('counts what the device refuses after the line has taken it', () => {
    const line = new Line('transmit', { delay: 1 }, 1, { maxLength: 100 });
    line.send(0, 0, 200);
    line.send(1, 0, 60);
    line.finish();
    expect(line.numbers()).toEqual([1]);
    expect(line.device.refused).toBe(1);
  });

  it('gives others their turn while it loses everything', () => {
    const line = new Line('receive', { loss: 1 }, 1, {}, 1000);
    for (let i = 0; i < 1000; i++) line.inner.injectBytes(new Uint8Array(60));
    expect(line.device.receive(line.arena, 0)).toBeNull();
    expect(line.inner.waiting).toBeGreaterThan(700);
    expect(line.device.deadline()).toBe(Number.NEGATIVE_INFINITY);
    line.finish();
    expect(line.inner.waiting).toBe(0);
    expect(line.counters.lost).toBe(1000);
  });
});

/** Positions of the bits in which two arrays of the same length differ. */
function differentBits(a: Uint8Array, b: Uint8Array): number[] {
  expect(a.length).toBe(b.length);
  const bits: number[] = [];
  for (let i = 0; i < a.length * 8; i++) {
    if (((a[i >> 3]! ^ b[i >> 3]!) >> (i & 7)) & 1) bits.push(i);
  }
  return bits;
}

/** A TCP frame with a partial checksum; a GSO frame when a segment size is given. */
function tcpFrame(arena: Arena, payload: number, segment = 0): Frame {
  const length = 54 + payload;
  const frame = arena.allocate(length)!;
  const { bytes, at } = frame;
  bytes.fill(0, at, at + length);
  for (let i = 54; i < length; i++) bytes[at + i] = (i * 7) & 0xff;
  bytes.set([2, 0x42, 0xac, 0x11, 0, 3, 2, 0x42, 0xac, 0x11, 0, 2, 8, 0], at);
  bytes.set([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 172, 17, 0, 2, 172, 17, 0, 3], at + 14);
  set16(bytes, at + 16, 40 + payload);
  set16(bytes, at + 24, checksum(bytes, at + 14, 20));
  bytes.set([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0], at + 34);
  set16(bytes, at + 50, fold(pseudoSumIpv4(bytes, at + 14, 6, 20 + payload)));
  const type = segment === 0 ? VNET_GSO_NONE : VNET_GSO_TCPV4;
  writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, type, segment === 0 ? 0 : 54, segment, 34, 16);
  return frame;
}

/** The finished frames for which a frame stands, each behind its virtio-net header. */
function segmentsOf(arena: Arena, frame: Frame): Uint8Array[] {
  expect(parse(frame)).toBe(Malformed.NONE);
  return upTo(segmentCount(frame)).map((index) => {
    const segment = arena.allocate(1500)!;
    writeSegment(frame, index, segment);
    const bytes = segment.bytes.slice(segment.at - VNET_LEN, segment.at + segment.length);
    arena.release(segment);
    return bytes;
  });
}
