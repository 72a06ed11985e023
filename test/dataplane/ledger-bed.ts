import fc from 'fast-check';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import {
  arpReply,
  arpRequest,
  fragments,
  icmpEcho,
  neighborSolicitation,
  type Station,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { type Device, Transmit } from '../../switch/device.ts';
import type { Frame } from '../../switch/frame.ts';
import { set16 } from '../../wire/bytes.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

// Everything that can happen to a data plane between two frames, in any order.

export const NETWORKS = 2;
const PORTS = 5;

function station(network: number, host: number): Required<Station> {
  const hex = host.toString(16).padStart(2, '0');
  return {
    mac: `02:42:0a:0${network}:00:${hex}`,
    ipv4: `10.${network}.0.${host}`,
    ipv6: `fd0${network}::${hex}`,
  };
}

const mood = fc.constantFrom('well', 'well', 'well', 'blocked', 'down', 'throws', 'gone');
type Mood = 'well' | 'blocked' | 'down' | 'throws' | 'gone';

/** A device whose end behaves as it is told. */
class Moody implements Device {
  readonly fd = -1;
  readonly offload: boolean;
  readonly inner: MemoryDevice;
  mood: Mood = 'well';

  constructor(dataplane: Dataplane, offload: boolean) {
    this.offload = offload;
    this.inner = new MemoryDevice(dataplane.arena, { offload, discard: true });
  }

  get gone(): boolean {
    return this.mood === 'gone';
  }

  receive(...args: Parameters<Device['receive']>) {
    return this.inner.receive(...args);
  }

  transmit(...args: Parameters<Device['transmit']>): Transmit {
    switch (this.mood) {
      case 'blocked':
        return Transmit.BLOCKED;
      case 'down':
        return Transmit.REFUSED;
      case 'gone':
        return Transmit.GONE;
      case 'throws':
        throw new Error('a defect');
      default:
        return this.inner.transmit(...args);
    }
  }

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.inner.close();
  }
}

/** One that takes frames together; its mood may change between two of them. */
class MoodyTogether extends Moody {
  transmitBatch(frames: readonly Frame[], count: number, outcomes: Transmit[], now: number): void {
    for (let i = 0; i < count; i++) outcomes[i] = this.transmit(frames[i]!, now);
  }
}

const at = fc.record({ network: fc.nat(NETWORKS - 1), port: fc.nat(PORTS - 1) });
const kind = fc.constantFrom('echo', 'udp', 'long', 'pieces', 'tcp', 'gso', 'ask', 'answer', 'solicit');
export const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      what: fc.constant('frame'),
      from: at,
      to: at,
      kind,
      via: fc.boolean(),
      family: fc.constantFrom(4, 6),
    }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('mood'), from: at, mood }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('flush'), from: at }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('wait'),
      milliseconds: fc.constantFrom(1, 999, 1000, 5000, 31_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('remove'), from: at }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('add'),
      from: at,
      known: fc.boolean(),
      offload: fc.boolean(),
      isolated: fc.boolean(),
      together: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('network'), network: fc.nat(NETWORKS - 1) }) },
);
// biome-ignore lint/suspicious/noExplicitAny: a union of records, told apart by `what`
export type Step = any;

export class Bed {
  readonly dataplane = new Dataplane({
    seed: 1,
    arena: { small: 10, big: 4 },
    ports: 32,
    conntrack: { capacity: 8, quota: 5 },
  });
  readonly networks: (number | undefined)[] = [];
  readonly ports = new Map<string, { id: number; device: Moody }>();
  now = 0;

  constructor() {
    for (let network = 0; network < NETWORKS; network++) {
      this.addNetwork(network);
      for (let port = 0; port < PORTS - 1; port++) {
        this.add({
          from: { network, port },
          known: port === 0,
          offload: port !== 1,
          isolated: false,
          together: port < 2,
        });
      }
    }
  }

  addNetwork(network: number): void {
    this.networks[network] = this.dataplane.addNetwork({
      macHi: 0x0242,
      macLo: (10 << 24) | (network << 16) | 1 | 0,
      ipv4: { address: (10 << 24) | (network << 16) | 1, prefix: 16 },
      ipv6: { address: [0xfd000000 | (network << 16), 0, 0, 1], prefix: 64 },
      mtu: network === 0 ? 1500 : 1280,
    });
  }

  add({ from: { network, port }, known, offload, isolated, together }: Step): void {
    const number = this.networks[network];
    if (number === undefined || this.ports.has(`${network}/${port}`)) return;
    const host = port + 2;
    const device = new (together ? MoodyTogether : Moody)(this.dataplane, offload);
    const lo = (10 << 24) | (network << 16) | host | 0;
    const spec = {
      network: number,
      isolated,
      ...(known && {
        mac: { hi: 0x0242, lo },
        ipv4: (10 << 24) | (network << 16) | host,
        ipv6: [0xfd000000 | (network << 16), 0, 0, host],
      }),
    };
    this.ports.set(`${network}/${port}`, { id: this.dataplane.addPort(device, spec, this.now), device });
  }

  remove({ network, port }: { network: number; port: number }): void {
    const record = this.ports.get(`${network}/${port}`);
    if (!record) return;
    this.ports.delete(`${network}/${port}`);
    this.dataplane.removePort(record.id, this.now)!.close();
  }

  removeNetwork(network: number): void {
    const number = this.networks[network];
    if (number === undefined) {
      this.addNetwork(network);
      return;
    }
    for (let port = 0; port < PORTS; port++) this.remove({ network, port });
    this.dataplane.removeNetwork(number, this.now);
    this.networks[network] = undefined;
  }

  frame({ from, to, kind, via, family }: Step): void {
    const record = this.ports.get(`${from.network}/${from.port}`);
    if (!record) return;
    const me = station(from.network, from.port + 2);
    const other = station(to.network, via && to.port === 0 ? 1 : to.port + 2);
    const gateway = station(from.network, 1);
    const options = { from: me, to: other, family, ...(via && { via: gateway }) };
    const inject = (bytes: Uint8Array, header?: Uint8Array) => {
      record.device.inner.injectBytes(bytes, header);
      this.dataplane.poll(record.id, 1e9, this.now);
    };
    switch (kind) {
      case 'echo':
        inject(icmpEcho({ ...options, data: 100 }));
        break;
      case 'udp':
        inject(udp({ ...options, dstPort: 9, data: 10 }));
        break;
      case 'long':
        inject(udp({ ...options, dstPort: 9, data: 1400 }));
        break;
      case 'pieces':
        for (const piece of fragments(icmpEcho({ from: me, to: gateway, data: 4000 }), 1500)) {
          if (!via || (piece[20]! & 0x20) !== 0) inject(piece);
        }
        return;
      case 'tcp':
        inject(tcp({ ...options, dstPort: 9 }));
        break;
      case 'gso': {
        const frame = tcp({
          from: me,
          to: other,
          ...(via && { via: gateway }),
          dstPort: 9,
          flags: 'A',
          data: 5000,
        });
        const header = new Uint8Array(VNET_LEN);
        set16(frame, 34 + 16, 0);
        writeVnet(header, 0, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 1000, 34, 16);
        inject(frame, header);
        break;
      }
      case 'ask':
        inject(arpRequest({ from: me, ask: other.ipv4 }));
        break;
      case 'answer':
        inject(arpReply({ from: me, to: gateway }));
        break;
      default:
        inject(neighborSolicitation({ from: me, ask: other.ipv6 }));
        break;
    }
  }

  take(step: Step): void {
    const { dataplane } = this;
    switch (step.what) {
      case 'frame':
        this.frame(step);
        break;
      case 'mood': {
        const record = this.ports.get(`${step.from.network}/${step.from.port}`);
        if (record) record.device.mood = step.mood;
        break;
      }
      case 'flush': {
        const record = this.ports.get(`${step.from.network}/${step.from.port}`);
        if (record) dataplane.egress.flush(record.id, this.now);
        break;
      }
      case 'wait':
        for (const end = this.now + step.milliseconds; ; ) {
          const due = dataplane.deadline();
          this.now = Math.max(this.now, Math.min(due, end));
          if (due > end) return;
          dataplane.expire(this.now);
        }
      case 'remove':
        this.remove(step.from);
        break;
      case 'add':
        this.add(step);
        break;
      default:
        this.removeNetwork(step.network);
        break;
    }
  }
}
