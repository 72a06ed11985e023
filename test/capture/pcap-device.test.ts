import { describe, expect, it } from 'vitest';
import type { CaptureError } from '../../src/capture/capture-error.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { parseCapture } from '../../src/capture/read-capture.ts';
import { PcapDevice, type PcapDeviceOptions } from '../../src/device/pcap.ts';
import { Transmit } from '../../switch/device.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { kept, MemorySink, pcapngFile, type Written } from './captures.ts';
import { Blocks, join } from './pcapng-blocks.ts';

const START = 1_700_000_000_123_456_789n;
const MS = 1_000_000n;

function written(after: bigint, length = 60): Written {
  return { timestamp: START + after, data: new Uint8Array(length).fill(length), originalLength: length };
}

function device(frames: Written[], options: PcapDeviceOptions = {}): PcapDevice {
  return new PcapDevice({ input: parseCapture(pcapngFile(frames)), ...options });
}

/** Lets virtual time pass from deadline to deadline, and says what came when. */
function play(input: PcapDevice, arena: Arena): [time: number, length: number][] {
  const events: [number, number][] = [];
  while (input.deadline() !== Number.POSITIVE_INFINITY) {
    const now = Math.max(0, input.deadline());
    for (let frame = input.receive(arena, now); frame !== null; frame = input.receive(arena, now)) {
      events.push([now, frame.length]);
      arena.release(frame);
    }
  }
  return events;
}

describe('pcap device', () => {
  const arena = new Arena({ small: 16, big: 2 });

  it('gives each frame at its time after the first, bytes and all', () => {
    const input = device([written(0n, 60), written(1n * MS + 1n, 61), written(5n * MS, 62)]);
    arena.bytes.fill(0xa5);
    expect(input).toMatchObject({ fd: -1, offload: false, gone: false, epoch: START });
    expect(input.receive(arena, -1)).toBeNull();
    const first = input.receive(arena, 0) as Frame;
    expect(arena.bytes.slice(first.at - VNET_LEN, first.at + 60)).toEqual(
      Uint8Array.from([...new Uint8Array(VNET_LEN), ...new Uint8Array(60).fill(60)]),
    );
    arena.release(first);
    expect(input.receive(arena, 1)).toBeNull();
    expect(play(input, arena)).toEqual([
      [1.000001, 61],
      [5, 62],
    ]);
    expect(input.received).toBe(3);
    expect(arena.free).toBe(18);
  });

  it('keeps the order of the file where its times go backwards', () => {
    const input = device([
      written(0n, 60),
      written(9n * MS, 61),
      written(2n * MS, 62),
      written(10n * MS, 63),
    ]);
    expect(play(input, arena)).toEqual([
      [0, 60],
      [9, 61],
      [9, 62],
      [10, 63],
    ]);
  });

  it('counts from a given epoch, so that captures of one event keep step', () => {
    expect(play(device([written(0n)], { epoch: START - 3n * MS }), arena)).toEqual([[3, 60]]);
    // What was captured before comes at the beginning.
    expect(play(device([written(0n), written(8n * MS)], { epoch: START + 5n * MS }), arena)).toEqual([
      [0, 60],
      [3, 60],
    ]);
  });

  it('waits for a free slot', () => {
    const small = new Arena({ small: 1, big: 0 });
    const input = device([written(0n), written(0n)]);
    const first = input.receive(small, 0) as Frame;
    expect(input.receive(small, 0)).toBeNull();
    expect(input.deadline()).toBe(0);
    small.release(first);
    expect(input.receive(small, 0)).toBe(first);
  });

  it('leaves out the frame check sequence of whole frames', () => {
    const b = new Blocks(true);
    const fcs = b.interface([[13, Uint8Array.of(4)]]);
    const cut = b.packet(0, 0n, new Uint8Array(50));
    // 64 bytes on the wire, of which 50 were captured: nothing of the FCS is there.
    new DataView(cut.buffer).setUint32(24, 64, true);
    const input = new PcapDevice({
      input: parseCapture(join(b.section(), fcs, b.packet(0, 0n, new Uint8Array(64)), cut)),
    });
    expect(play(input, arena)).toEqual([
      [0, 60],
      [0, 50],
    ]);
  });

  describe('what cannot be replayed', () => {
    const b = new Blocks(true);
    const mixed = join(
      b.section(),
      b.interface(),
      b.interface([], { linkType: 276 }),
      b.packet(0, 0n, new Uint8Array(60)),
      b.packet(1, 0n, new Uint8Array(61)),
      b.packet(0, 0n, new Uint8Array(70_000)),
      b.packet(0, 0n, new Uint8Array(62)),
    );

    it('is left out and told', () => {
      const problems: CaptureError[] = [];
      const input = new PcapDevice({
        input: parseCapture(mixed),
        warn: (problem) => problems.push(problem),
        file: 'f',
      });
      expect(play(input, arena).map(([, length]) => length)).toEqual([60, 62]);
      expect(input.skipped).toBe(2);
      expect(problems.map(({ message }) => message)).toEqual([
        'f: byte 160: not an Ethernet frame: its link type is LINUX_SLL2 (Linux "any" interface), 276, and only ETHERNET, 1, can be replayed; capture on one Ethernet interface instead (tcpdump -i eth0)',
        'f: byte 256: frame too long: it has 70000 bytes, and a frame at most 67328; leave it out with editcap',
      ]);
    });

    it('is thrown when nobody is told, after the frames before it', () => {
      const input = new PcapDevice({ input: parseCapture(mixed) });
      const first = input.receive(arena, 0);
      expect(first).toMatchObject({ length: 60 });
      arena.release(first!);
      expect(() => input.receive(arena, 0)).toThrow('LINUX_SLL2');
      expect(input.deadline()).toBe(Number.POSITIVE_INFINITY);
      expect(input.receive(arena, 0)).toBeNull();
    });

    it('is thrown at once when it is the first', () => {
      const raw = join(b.section(), b.interface([], { linkType: 101 }), b.packet(0, 0n, new Uint8Array(60)));
      expect(() => new PcapDevice({ input: parseCapture(raw) })).toThrow('RAW (IP without link layer), 101');
    });

    it('includes damage of the file', () => {
      const input = new PcapDevice({ input: parseCapture(mixed.slice(0, 200)) });
      arena.release(input.receive(arena, 0)!);
      expect(() => input.receive(arena, 0)).toThrow('cut off');
    });
  });

  it('writes what is transmitted, with the time of the transmission', () => {
    const sink = new MemorySink();
    const output = new PcapngWriter(sink.write);
    output.addInterface({ name: 'other' });
    const outputInterface = output.addInterface({ name: 'web' });
    const both = device([written(0n), written(3n * MS + 7n, 61)], { output, outputInterface });
    for (let i = 0; i < 2; i++) {
      const now = both.deadline();
      const frame = both.receive(arena, now)!;
      expect(both.transmit(frame, now)).toBe(Transmit.SENT);
      arena.release(frame);
    }
    const records = Array.from(parseCapture(sink.bytes), kept);
    expect(records).toMatchObject([
      { interfaceName: 'web', timestamp: START, capturedLength: 60, flags: 2 },
      { interfaceName: 'web', timestamp: START + 3n * MS + 7n, capturedLength: 61, flags: 2 },
    ]);
    expect(both.sent).toBe(2);
  });

  it('closes its input, and receives nothing then', () => {
    const input = parseCapture(pcapngFile([written(0n), written(1n)]));
    const closed = new PcapDevice({ input });
    closed.close();
    expect(closed.receive(arena, 1000)).toBeNull();
    expect(closed.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(input.next().done).toBe(true);
  });

  it('receives nothing without an input', () => {
    const idle = new PcapDevice();
    expect(idle.receive(arena, 0)).toBeNull();
    expect(idle.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(idle.epoch).toBeUndefined();
  });
});
