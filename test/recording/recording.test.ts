import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { FaultyDevice, parseFaults } from '../../src/device/faulty.ts';
import { DeviceArena } from '../../src/recording/device-arena.ts';
import {
  FILE_HEADER,
  inFile,
  Kind,
  MAGIC,
  RECORD_HEADER,
  TRAILER,
  TRAILER_MAGIC,
} from '../../src/recording/format.ts';
import { encodeValueRecord } from '../../src/recording/log.ts';
import { Player } from '../../src/recording/player.ts';
import { RecordingError } from '../../src/recording/recording-error.ts';
import { packTables, StateWriter } from '../../src/recording/state-carrier.ts';
import { TableCopy } from '../../src/recording/table-copy.ts';
import { ReplayDevice } from '../../src/replay/replay-device.ts';
import {
  arpReply,
  arpRequest,
  fragments,
  icmpEcho,
  type Station,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { type Device, Transmit } from '../../switch/device.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import { parseIpv4, parseMac } from '../../wire/address.ts';
import { play, TestRecording, withFile } from './recorded.ts';

type Host = Station & { ipv4: string };
const GATEWAY: Host = { mac: '02:42:0a:01:00:01', ipv4: '10.1.0.1' };
const OUT: Host = { mac: '02:42:c0:00:02:01', ipv4: '192.0.2.1' };
const DECK: Host = { mac: '02:42:c0:00:02:02', ipv4: '192.0.2.2' };
const STATIONS: readonly Host[] = [2, 3, 4, 5].map((i) => ({
  mac: `02:42:0a:01:00:0${i}`,
  ipv4: `10.1.0.${i}`,
}));

/** A device that also takes several frames at once, refuses some, and keeps some for a while. */
class MoodyDevice implements Device {
  readonly fd = -1;
  readonly gone = false;
  readonly offload = false;
  readonly transmitBatch: Device['transmitBatch'];
  readonly #end = new ReplayDevice(() => {});
  readonly #kept: Frame[] = [];
  readonly #arena: DeviceArena;
  #count = 0;
  mood = 0;

  constructor(arena: DeviceArena, batches: boolean) {
    this.#arena = arena;
    if (batches) {
      this.transmitBatch = (frames, count, outcomes) => {
        for (let i = 0; i < count; i++) outcomes[i] = this.transmit(frames[i]!);
      };
    }
  }

  offer(bytes: Uint8Array): void {
    this.#end.offer(bytes, 0, bytes.length);
  }

  receive(arena: DeviceArena, now: number): Frame | null {
    if (this.#kept.length > 4) this.#arena.release(this.#kept.shift()!);
    return this.#end.receive(arena, now);
  }

  transmit(frame: Frame): Transmit {
    const what = (this.#count++ * 7 + this.mood) % 11;
    if (this.mood === 0) return Transmit.SENT;
    if (what === 0) throw new Error('a bad day');
    if (what < 3) return Transmit.BLOCKED;
    if (what < 4) return Transmit.REFUSED;
    if (what < 6) {
      const kept = this.#arena.park(frame);
      if (kept) this.#kept.push(kept);
    }
    return Transmit.SENT;
  }

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  close(): void {
    for (const frame of this.#kept.splice(0)) this.#arena.release(frame);
  }
}

const step = fc.record({
  what: fc.constantFrom(
    ...Array<'frame'>(16).fill('frame'),
    ...(['attach', 'detach', 'publish', 'unpublish', 'rules', 'names', 'answer', 'wait', 'mood'] as const),
    ...(['flush', 'close', 'network', 'record'] as const),
  ),
  numbers: fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 }),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A data plane with few slots, and somebody who does things to it. */
class Bed {
  readonly options = {
    seed: 7,
    arena: { small: 24, big: 12 },
    ports: 64,
    conntrack: { capacity: 12, quota: 6 },
  };
  readonly dataplane = new Dataplane(this.options);
  readonly arena = new DeviceArena(this.dataplane.arena);
  readonly #devices = new Map<PortId, { device: Device; end: MoodyDevice }>();
  readonly #uplink: number;
  readonly #network: number;
  readonly #publishes: number[] = [];
  #now = 0;
  recording: TestRecording | null = null;

  constructor() {
    this.#uplink = this.dataplane.addUplink({
      macHi: mac(DECK).hi,
      macLo: mac(DECK).lo,
      ipv4: { address: parseIpv4('192.0.2.2')!, prefix: 24 },
      ipv6: null,
      gateway4: parseIpv4('192.0.2.1')!,
      mtu: 1500,
    });
    this.#network = this.dataplane.addNetwork({
      macHi: mac(GATEWAY).hi,
      macLo: mac(GATEWAY).lo,
      ipv4: { address: parseIpv4('10.1.0.1')!, prefix: 24 },
      ipv6: null,
      mtu: 9000,
      uplink: this.#uplink,
    });
    this.#attach(this.#uplink, undefined, 0);
  }

  record(): void {
    this.recording ??= new TestRecording(this.dataplane, this.options, 1 << 22, this.arena);
  }

  do({ what, numbers }: Step): void {
    const { dataplane } = this;
    const [first = 0, second = 0, third = 0] = numbers;
    try {
      switch (what) {
        case 'frame':
          this.#frame(numbers);
          return;
        case 'attach':
          this.#attach(this.#network, STATIONS[first % STATIONS.length], second);
          return;
        case 'detach': {
          const port = this.#port(first);
          if (this.#devices.size === 1) return;
          this.#devices.delete(port);
          dataplane.removePort(port, this.#now)?.close();
          return;
        }
        case 'publish':
          this.#publishes.push(
            dataplane.publish({
              network: this.#network,
              address: parseIpv4(STATIONS[first % STATIONS.length]!.ipv4)!,
              protocol: second & 1 ? 6 : 17,
              target: 80,
              from: 8000 + (third % 3),
              to: 8000 + (third % 3),
              host: null,
            }),
          );
          return;
        case 'unpublish':
          dataplane.unpublish(this.#publishes.shift() ?? 99, this.#now);
          return;
        case 'rules':
          dataplane.setUserRules(
            first & 1
              ? [{ id: 1, action: 'REJECT', protocol: 17, dports: { from: 53, to: 53 + (second % 99) } }]
              : [],
          );
          return;
        case 'names':
          dataplane.setNames(this.#network, [
            { name: 'web', ipv4: [parseIpv4('10.1.0.2')!, first], ipv6: [] },
          ]);
          return;
        case 'answer':
          dataplane.answerQuery(first % 64, Uint8Array.from(numbers), this.#now);
          return;
        case 'wait':
          this.#now += [1, 20, 300, 5000, 400_000][first % 5]!;
          if (dataplane.deadline() <= this.#now) dataplane.expire(this.#now);
          return;
        case 'mood':
          this.#devices.get(this.#port(first))!.end.mood = second % 4;
          return;
        case 'flush':
          dataplane.egress.flush(this.#port(first), this.#now);
          return;
        case 'close':
          dataplane.closeFlows(first & 1 ? {} : { protocol: 17 }, this.#now);
          return;
        case 'network':
          dataplane.removeNetwork(
            dataplane.addNetwork({ macHi: 0x0242, macLo: first, ipv4: null, ipv6: null, mtu: 1500 }),
            this.#now,
          );
          return;
        case 'record':
          this.record();
      }
    } catch (error) {
      // Impossible commands are part of it: what is refused changes nothing.
      if (!(error instanceof RangeError)) throw error;
    }
  }

  #attach(network: number, station: Host | undefined, kind: number): void {
    const end = new MoodyDevice(this.arena, kind % 3 === 0);
    const device =
      kind % 4 === 1 ? new FaultyDevice(end, this.arena, parseFaults('delay=3ms,loss=10%,seed=1')) : end;
    const known = station && kind % 5 !== 0;
    const port = this.dataplane.addPort(
      device,
      { network, ...(known && { mac: mac(station), ipv4: parseIpv4(station.ipv4)! }) },
      this.#now,
    );
    this.#devices.set(port, { device, end });
  }

  #port(number: number): PortId {
    const ports = [...this.#devices.keys()];
    return ports[number % ports.length]!;
  }

  #frame([which = 0, kind = 0, a = 0, b = 0, size = 0]: readonly number[]): void {
    const port = this.#port(which);
    const fromOutside = this.dataplane.ports.network[port] === this.#uplink;
    const from = fromOutside ? OUT : STATIONS[a % STATIONS.length]!;
    const via = fromOutside ? DECK : GATEWAY;
    const to = fromOutside ? DECK : [OUT, GATEWAY, ...STATIONS, { ...OUT, ipv4: '192.0.2.77' }][b % 7]!;
    const ends = { from, to, via: { mac: via.mac } };
    const ports = { srcPort: 5000 + (a % 5), dstPort: [53, 80, 8000, 8001, 8002, 1024 + (b % 9)][b % 6]! };
    const frames: Uint8Array[] = [];
    switch (kind % 7) {
      case 0:
        frames.push(size & 1 ? arpReply({ from, to: via }) : arpRequest({ from, ask: to.ipv4 }));
        break;
      case 1:
        frames.push(icmpEcho({ ...ends, identifier: a % 5, sequence: b }));
        break;
      case 2:
        frames.push(tcp({ ...ends, ...ports, flags: ['S', 'SA', 'A', 'R', 'FA'][size % 5]! }));
        break;
      case 3:
        frames.push(
          ...fragments(udp({ ...ends, ...ports, data: 2000 + (size % 2000) }), 1000).slice(0, 1 + (size % 4)),
        );
        break;
      default:
        frames.push(udp({ ...ends, ...ports, data: size % 3000 }));
    }
    for (const bytes of frames) {
      this.#devices.get(port)!.end.offer(bytes);
      this.dataplane.poll(port, 1 + (size % 9000), this.#now);
    }
    this.dataplane.egress.blocked.length = 0;
  }
}

function mac({ mac }: Station): { hi: number; lo: number } {
  return parseMac(mac)!;
}

describe('a recording of anything', () => {
  test('plays to the same frames and tables', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 150 }), fc.nat(40), (steps, begin) => {
        const bed = new Bed();
        for (const [i, each] of steps.entries()) {
          if (i === begin) bed.record();
          bed.do(each);
        }
        bed.record();
        const end = bed.recording!.stop();
        expect(play(bed.recording!.file)).toEqual(end);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a copy of the tables', () => {
  test('is of the instant at which it began, whatever happens until it is complete', () => {
    fc.assert(
      fc.property(
        fc.array(
          step.filter(({ what }) => what !== 'record'),
          { minLength: 40, maxLength: 150 },
        ),
        fc.integer({ min: 5, max: 60 }),
        fc.array(fc.nat(150), { maxLength: 12 }),
        (steps, begin, advances) => {
          const bed = new Bed();
          const { dataplane } = bed;
          for (const each of steps.slice(0, begin)) bed.do(each);
          const writer = new StateWriter();
          dataplane.carry(writer, none);
          // Rows are copied one by one, so that none is right only because it lies beside another.
          const copy = new TableCopy(dataplane, { block: 1 });
          for (const [i, each] of steps.slice(begin).entries()) {
            bed.do(each);
            for (const _ of advances.filter((at) => at === i)) copy.advance(() => false);
          }
          expect(Buffer.compare(packTables(copy.finish()), writer.finish())).toBe(0);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('is one at a time', () => {
    const { dataplane } = new Bed();
    const copy = new TableCopy(dataplane);
    expect(() => new TableCopy(dataplane)).toThrow('a copy of the tables is being made already');
    const tables = packTables(copy.finish());
    expect(Buffer.compare(packTables(new TableCopy(dataplane).finish()), tables)).toBe(0);
  });
});

function none(): never {
  throw new Error('its devices are not asked for');
}

/** A short recording, in one piece. */
function sample(): Uint8Array {
  const bed = new Bed();
  bed.record();
  for (let i = 0; i < 30; i++) {
    bed.do({ what: i % 9 === 0 ? 'attach' : 'frame', numbers: [i, i * 3, i * 5, i, i * 100, 0, 0, 0] });
  }
  bed.recording!.stop();
  return Buffer.concat(bed.recording!.file);
}

describe('a file', () => {
  // Not a Buffer, whose `slice` is no copy.
  const whole = new Uint8Array(sample());
  const framesOf = (bytes: Uint8Array) =>
    withFile([bytes], (file) => {
      const player = new Player(file);
      try {
        player.run();
        return player.frames;
      } finally {
        player.close();
      }
    });

  test('that was cut anywhere is played as far as it goes, and says where', () => {
    expect(framesOf(whole)).toBeGreaterThan(20);
    let most = 0;
    for (let length = 0; length < whole.length; length += 997) {
      withFile([whole.subarray(0, length)], (file) => {
        let error: unknown;
        let frames = 0;
        try {
          const player = new Player(file);
          try {
            player.run();
          } finally {
            frames = player.frames;
            player.close();
          }
        } catch (caught) {
          error = caught;
        }
        // Without an error it ends between two records.
        if (error !== undefined) expect(error).toBeInstanceOf(RecordingError);
        if (error !== undefined) expect(String(error)).toMatch(/test\.tdr: byte \d+: /);
        expect(frames).toBeGreaterThanOrEqual(most);
        most = frames;
      });
    }
  });

  test('of a newer version is refused by name', () => {
    const newer = whole.slice();
    new DataView(newer.buffer, newer.byteOffset).setUint32(MAGIC.length, 9, true);
    withFile([newer], (file) => {
      expect(() => new Player(file)).toThrow(
        'byte 8: it is of format 9, by a newer tapdeck; this one plays format 2: play it with the one that made it',
      );
    });
  });

  test('that is something else, or damaged, is refused', () => {
    withFile([new Uint8Array(100)], (file) =>
      expect(() => new Player(file)).toThrow('byte 0: it is no recording'),
    );
    withFile([], (file) => expect(() => new Player(file)).toThrow('byte 0: it ends in its first bytes'));
    const frames = framesOf(whole);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = whole.slice();
        damaged[Math.max(at, FILE_HEADER)]! ^= change;
        // Only what says nothing may differ: the bytes that fill up a record, and the way to the last one.
        try {
          expect(framesOf(damaged)).toBe(frames);
        } catch (error) {
          expect(error).toBeInstanceOf(RecordingError);
        }
      }),
      { numRuns: 100 },
    );
    // Links of a table that lead in a circle would be followed for ever.
    const lengthAt = (at: number) => new DataView(whole.buffer, whole.byteOffset).getUint32(at, true);
    const state = FILE_HEADER + inFile(lengthAt(FILE_HEADER));
    for (let at = state + RECORD_HEADER; at < state + lengthAt(state); at += 999) {
      const damaged = whole.slice();
      damaged[at]! ^= 1;
      expect(() => framesOf(damaged)).toThrow(
        `byte ${state}: a record is damaged; what was before it was used`,
      );
    }
  });

  test('that begins with a lie, or ends with one, is refused as what it is', () => {
    const { began } = withFile([whole], (file) => {
      const player = new Player(file);
      player.close();
      return player.header;
    });
    const first = new DataView(whole.buffer, whole.byteOffset).getUint32(FILE_HEADER, true);
    const rest = whole.subarray(FILE_HEADER + inFile(first));
    for (const header of [null, {}, { began, options: { conntrack: { capacity: 1e12 } }, ports: [] }]) {
      const lie = encodeValueRecord(Kind.HEADER, began, header);
      withFile([whole.subarray(0, FILE_HEADER), lie, rest], (file) =>
        expect(() => new Player(file)).toThrow(RecordingError),
      );
    }
    const { options, ports } = withFile([whole], (file) => {
      const player = new Player(file);
      player.close();
      return player.header;
    });
    const red = encodeValueRecord(Kind.HEADER, began, {
      began,
      options,
      ports,
      tapdeck: '\x1b[31m',
      date: '\x07',
    });
    withFile([whole.subarray(0, FILE_HEADER), red, rest], (file) => {
      const player = new Player(file);
      player.close();
      expect(player.header).toMatchObject({ tapdeck: '?[31m', date: '?' });
    });
    // A record and a trailer of a gigabyte and more, for which no memory is taken.
    const long = whole.slice();
    new DataView(long.buffer, long.byteOffset).setUint32(FILE_HEADER, 0x3fff_fff0, true);
    withFile([long], (file) => expect(() => new Player(file)).toThrow('in the middle of a record'));
    const trailer = new Uint8Array(TRAILER);
    const view = new DataView(trailer.buffer);
    view.setUint32(0, 0xf000_0000, true);
    view.setUint32(4, TRAILER_MAGIC, true);
    withFile([whole, trailer], (file) => {
      truncateSync(file, 2 ** 32);
      const fd = openSync(file, 'r+');
      writeSync(fd, trailer, 0, TRAILER, 2 ** 32 - TRAILER);
      closeSync(fd);
      new Player(file).close();
    });
  });

  test('ends where the ring was full, and what is before that can be played', () => {
    const bed = new Bed();
    bed.recording = new TestRecording(bed.dataplane, bed.options, 1 << 12, bed.arena);
    for (let i = 0; i < 100; i++) bed.do({ what: 'frame', numbers: [0, 5, i, i, 100, 0, 0, 0] });
    expect(bed.recording.log.isOver).toBe(true);
    const end = bed.recording.stop();
    expect(end.tables).toBeNull();
    expect(end.received).toBeGreaterThan(0);
    expect(play(bed.recording.file)).toMatchObject({ received: end.received });
  });
});
