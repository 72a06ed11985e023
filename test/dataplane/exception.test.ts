import { describe, expect, test } from 'vitest';
import type { PortSpec } from '../../src/dataplane/commands.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import { type Device, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame } from '../../switch/frame.ts';
import { VNET_F_NEEDS_CSUM, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

const HI = 0x0242;
const GATEWAY = 0x0a000001;

/** A frame from station `from` to station `to` (0: to all), `length` bytes long. */
function frameOf(from: number, to: number, length = 60): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, to === 0 ? 0xffff : HI);
  view.setUint32(2, to === 0 ? 0xffffffff : to);
  view.setUint16(6, HI);
  view.setUint32(8, from);
  view.setUint16(12, 0x88b5);
  return bytes;
}

/** A data plane of one network, with ports 1, 2, … whose stations have these numbers as MAC. */
function bed(devices: (dataplane: Dataplane) => Device[]) {
  const errors: unknown[] = [];
  const dataplane = new Dataplane({
    arena: { small: 64, big: 16 },
    ports: 16,
    onException: (error) => errors.push(error),
  });
  const ipv4 = { address: GATEWAY, prefix: 24 };
  const network = dataplane.addNetwork({ macHi: HI, macLo: GATEWAY, ipv4, ipv6: null, mtu: 1500 });
  const ports = devices(dataplane).map((device, index) => {
    const spec: PortSpec = { network, mac: { hi: HI, lo: index + 1 }, ipv4: (GATEWAY + 1 + index) | 0 };
    return dataplane.addPort(device, spec, 0);
  });
  return { dataplane, ports, errors };
}

/** A device that throws instead of taking the frames that `bad` says. */
function throwing(inner: MemoryDevice, bad: (frame: Frame) => boolean): Device {
  return {
    fd: -1,
    offload: inner.offload,
    gone: false,
    receive: (arena, now) => inner.receive(arena, now),
    transmit: (frame, now) => {
      if (bad(frame)) throw new Error('a defect');
      return inner.transmit(frame, now);
    },
    deadline: () => inner.deadline(),
    close: () => inner.close(),
  };
}

function expectNothingLost(dataplane: Dataplane): void {
  expect(dataplane.ledger.imbalance()).toBe(0);
  expect(dataplane.arena.free + dataplane.ledger.held).toBe(dataplane.arena.frames.length);
}

describe('an exception', () => {
  test('in a device costs the copy for that port alone', () => {
    const { dataplane, ports, errors } = bed(({ arena }) => [
      new MemoryDevice(arena),
      throwing(new MemoryDevice(arena, { discard: true }), () => true),
      new MemoryDevice(arena, { discard: true }),
    ]);
    const [a, b] = ports as [number, number, number];
    const source = dataplane.egress.device(a) as MemoryDevice;
    source.injectBytes(frameOf(1, 0));
    source.injectBytes(frameOf(1, 2));
    source.injectBytes(frameOf(1, 3));
    expect(dataplane.poll(a, 1e9, 0)).toBe(3);
    expect(errors).toHaveLength(2);
    expect(dataplane.ledger).toMatchObject({ sent: 2, copies: 1 });
    expect(dataplane.ledger.drops[DropReason.EXCEPTION]).toBe(2);
    const counters = dataplane.snapshot(0, { ports: true }).ports;
    expect(counters.find(({ port }) => port === b)).toMatchObject({ txFrames: 0, txDropped: 2 });
    expectNothingLost(dataplane);
  });

  test('in a device whose frames waited costs those frames, and the rest goes on', () => {
    let blocked = true;
    const { dataplane, ports, errors } = bed(({ arena }) => {
      const inner = new MemoryDevice(arena, { discard: true });
      const device = throwing(inner, (frame) => frame.length === 61);
      const { transmit } = device;
      device.transmit = (frame, now) => (blocked ? Transmit.BLOCKED : transmit(frame, now));
      return [new MemoryDevice(arena), device];
    });
    const [a, b] = ports as [number, number];
    const source = dataplane.egress.device(a) as MemoryDevice;
    for (const length of [60, 61, 62]) source.injectBytes(frameOf(1, 2, length));
    dataplane.poll(a, 1e9, 0);
    expect(dataplane.ledger.held).toBe(3);
    blocked = false;
    expect(dataplane.egress.flush(b, 1)).toBe(true);
    expect(errors).toHaveLength(1);
    expect(dataplane.ledger).toMatchObject({ sent: 2, held: 0 });
    expect(dataplane.ledger.drops[DropReason.EXCEPTION]).toBe(1);
    expectNothingLost(dataplane);
  });

  test('while frames are taken from a device is no frame', () => {
    const { dataplane, ports, errors } = bed(({ arena }) => {
      const device = throwing(new MemoryDevice(arena), () => false);
      device.receive = () => {
        throw new Error('a defect');
      };
      return [device];
    });
    expect(dataplane.poll(ports[0]!, 1e9, 0)).toBe(0);
    expect(errors).toHaveLength(1);
    expectNothingLost(dataplane);
  });

  test('in a timer does not bring the next one forward', () => {
    const { dataplane, errors } = bed(({ arena }) => [new MemoryDevice(arena)]);
    let calls = 0;
    dataplane.neighbors.deadline = 5;
    dataplane.neighbors.expire = () => {
      calls++;
      throw new Error('a defect');
    };
    expect(dataplane.expire(5)).toBe(1005);
    expect(dataplane.expire(6)).toBe(1005);
    expect(calls).toBe(1);
    expect(errors).toHaveLength(1);
    dataplane.expire(1005);
    expect(calls).toBe(2);
  });
});

test('a checksum that cannot be finished is not sent unfinished', () => {
  const { dataplane, ports } = bed(({ arena }) => [
    new MemoryDevice(arena),
    new MemoryDevice(arena, { offload: false, discard: true }),
  ]);
  const header = new Uint8Array(VNET_LEN);
  writeVnet(header, 0, VNET_F_NEEDS_CSUM, 0, 0, 0, 50, 16);
  (dataplane.egress.device(ports[0]!) as MemoryDevice).injectBytes(frameOf(1, 2), header);
  dataplane.poll(ports[0]!, 1e9, 0);
  expect(dataplane.ledger.drops[DropReason.VNET_INHDR]).toBe(1);
  expectNothingLost(dataplane);
});

test('who floods spends his own turn', () => {
  const { dataplane, ports } = bed(({ arena }) =>
    Array.from({ length: 9 }, (_, index) => new MemoryDevice(arena, { discard: index > 0 })),
  );
  const source = dataplane.egress.device(ports[0]!) as MemoryDevice;
  for (let i = 0; i < 16; i++) source.injectBytes(frameOf(1, 0));
  // Eight copies each: a frame and the seven beyond the first.
  expect(dataplane.poll(ports[0]!, 16 * 2048, 0)).toBe(2);
  for (let i = 0; i < 16; i++) source.injectBytes(frameOf(1, 2));
  while (source.waiting > 16) dataplane.poll(ports[0]!, 2048, 0);
  expect(dataplane.poll(ports[0]!, 16 * 2048, 0)).toBe(16);
});

test('a port without a MTU of its own has that of its network', () => {
  const { dataplane } = bed(() => []);
  const spec: PortSpec = { network: 0 };
  for (const mtu of [undefined, 1280]) {
    const given = { ...spec, mtu } as PortSpec;
    const port = dataplane.addPort(new MemoryDevice(dataplane.arena), given, 0);
    expect(dataplane.ports.mtu[port]).toBe(mtu ?? 1500);
  }
});
