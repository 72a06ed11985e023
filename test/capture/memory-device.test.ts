import { describe, expect, it } from 'vitest';
import { MemoryDevice } from '../../src/device/memory.ts';
import { Transmit } from '../../switch/device.ts';
import { Arena } from '../../switch/frame.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

function setUp(size = { small: 8, big: 2 }): { arena: Arena; slots: number } {
  const arena = new Arena(size);
  return { arena, slots: arena.free };
}

describe('memory device', () => {
  it('hands over the very frame that was injected, in order and with its reference', () => {
    const { arena, slots } = setUp();
    const device = new MemoryDevice(arena);
    const frames = [60, 61, 62].map((length) => arena.allocate(length)!);
    for (const frame of frames) expect(device.inject(frame)).toBe(true);
    expect(device.waiting).toBe(3);
    expect(device.deadline()).toBe(Number.NEGATIVE_INFINITY);
    for (const frame of frames) {
      const received = device.receive(arena, 0);
      expect(received).toBe(frame);
      expect(received!.references).toBe(1);
      arena.release(received!);
    }
    expect(device.receive(arena, 0)).toBeNull();
    expect(device.deadline()).toBe(Number.POSITIVE_INFINITY);
    expect(device.received).toBe(3);
    expect(arena.free).toBe(slots);
  });

  it('copies injected bytes behind a virtio-net header', () => {
    const { arena } = setUp();
    arena.bytes.fill(0xa5);
    const device = new MemoryDevice(arena);
    const bytes = Uint8Array.from({ length: 60 }, (_, i) => i);
    const header = Uint8Array.from({ length: VNET_LEN }, (_, i) => 100 + i);
    expect(device.injectBytes(bytes)).toBe(true);
    expect(device.injectBytes(bytes, header)).toBe(true);
    for (const before of [new Uint8Array(VNET_LEN), header]) {
      const frame = device.receive(arena, 0)!;
      expect(arena.bytes.slice(frame.at, frame.at + frame.length)).toEqual(bytes);
      expect(arena.bytes.slice(frame.at - VNET_LEN, frame.at)).toEqual(before);
    }
  });

  it('refuses to take in more than its capacity, or than the arena has', () => {
    const { arena } = setUp({ small: 3, big: 0 });
    const device = new MemoryDevice(arena, { capacity: 2 });
    expect(device.injectBytes(new Uint8Array(60))).toBe(true);
    expect(device.injectBytes(new Uint8Array(60))).toBe(true);
    expect(device.injectBytes(new Uint8Array(60))).toBe(false);
    const frame = arena.allocate(60)!;
    expect(device.inject(frame)).toBe(false);
    // Still the caller's.
    expect(frame.references).toBe(1);
    const other = new MemoryDevice(arena);
    expect(other.injectBytes(new Uint8Array(60))).toBe(false);
    arena.release(frame);
    expect(other.injectBytes(new Uint8Array(70_000))).toBe(false);
  });

  it('keeps transmitted frames until they are taken, and blocks while no more fit in', () => {
    const { arena, slots } = setUp();
    const device = new MemoryDevice(arena, { capacity: 2 });
    const frames = [60, 61, 62].map((length) => arena.allocate(length)!);
    const statuses = frames.map((frame) => device.transmit(frame, 0));
    expect(statuses).toEqual([Transmit.SENT, Transmit.SENT, Transmit.BLOCKED]);
    expect(frames.map(({ references }) => references)).toEqual([2, 2, 1]);
    expect(device).toMatchObject({ sent: 2, sentBytes: 121, blocked: 1, untaken: 2 });
    expect(device.take()).toBe(frames[0]);
    expect(device.transmit(frames[2]!, 0)).toBe(Transmit.SENT);
    expect(device.take()).toBe(frames[1]);
    expect(device.takeBytes()).toHaveLength(62);
    expect(device.take()).toBeNull();
    expect(device.takeBytes()).toBeNull();
    for (const frame of [frames[0]!, frames[1]!]) arena.release(frame);
    for (const frame of frames) arena.release(frame);
    expect(arena.free).toBe(slots);
  });

  it('counts without keeping or blocking when it discards', () => {
    const { arena } = setUp();
    const device = new MemoryDevice(arena, { discard: true, capacity: 1 });
    const frame = arena.allocate(60)!;
    for (let i = 0; i < 100; i++) expect(device.transmit(frame, 0)).toBe(Transmit.SENT);
    expect(frame.references).toBe(1);
    expect(device).toMatchObject({ sent: 100, sentBytes: 6000, untaken: 0 });
    expect(device.take()).toBeNull();
  });

  it('refuses what it cannot take: too long, or unfinished without offload', () => {
    const { arena } = setUp();
    const device = new MemoryDevice(arena, { offload: false, maxLength: 100 });
    expect(device.offload).toBe(false);
    const frame = arena.allocate(100)!;
    const vnet = frame.at - VNET_LEN;
    const status = (flags: number, type: number) => {
      writeVnet(frame.bytes, vnet, flags, type, 0, 0, 0, 0);
      return device.transmit(frame, 0);
    };
    expect(status(0, 0)).toBe(Transmit.SENT);
    expect(status(VNET_F_NEEDS_CSUM, 0)).toBe(Transmit.REFUSED);
    expect(status(0, VNET_GSO_TCPV4)).toBe(Transmit.REFUSED);
    frame.length = 101;
    expect(status(0, 0)).toBe(Transmit.REFUSED);
    expect(device).toMatchObject({ sent: 1, refused: 3 });
  });

  it('gives everything back when it vanishes or is closed', () => {
    for (const end of ['vanish', 'close'] as const) {
      const { arena, slots } = setUp();
      const device = new MemoryDevice(arena);
      device.injectBytes(new Uint8Array(60));
      const frame = arena.allocate(60)!;
      device.transmit(frame, 0);
      device[end]();
      expect(device.gone).toBe(true);
      expect(device.receive(arena, 0)).toBeNull();
      expect(device.transmit(frame, 0)).toBe(Transmit.GONE);
      expect(device.injectBytes(new Uint8Array(60))).toBe(false);
      arena.release(frame);
      expect(arena.free).toBe(slots);
    }
  });
});
