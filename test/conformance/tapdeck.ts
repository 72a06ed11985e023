import { parseInterfaceAddress } from '../../src/control/address.ts';
import { Subnets } from '../../src/control/ipam.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import type { Frame } from '../../switch/frame.ts';
import { parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';
import { set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { parseEthernet } from '../../wire/parse.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { completeChecksum } from '../../wire/segmentation.ts';
import { TCP_CHECKSUM } from '../../wire/tcp.ts';
import { UDP_CHECKSUM } from '../../wire/udp.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_NONE, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { Datagram } from './datagram.ts';
import { type Geography, PREFIX4, PREFIX6, type Segment } from './geography.ts';
import type { Flow, FrameListener, Subject, Wire } from './subject.ts';

/** The data plane between ports in memory, in virtual time: nothing but frames and a clock that is moved by hand. */
export const TAPDECK: Subject = {
  name: 'tapdeck',
  open: async (geography, onFrame) => new TapdeckWire(geography, onFrame),
};

class TapdeckWire implements Wire {
  readonly virtual = true;
  readonly #dataplane: Dataplane;
  readonly #ports = new Map<string, { id: number; device: MemoryDevice }>();
  readonly #onFrame: FrameListener;
  readonly #exceptions: unknown[] = [];
  /** Frames that have left the data plane and are not yet with their station. */
  #underWay: [string, Uint8Array][] = [];
  #now = 0;

  constructor({ stations, decks, router4, router6, layout }: Geography, onFrame: FrameListener) {
    this.#onFrame = onFrame;
    // As the control plane does before anything is made.
    const subnets = new Subnets();
    for (const { segment, ipv4, ipv6 } of Object.values(decks)) {
      subnets.take(parseInterfaceAddress(`${ipv4[0]}/${PREFIX4}`).subnet, segment);
      subnets.take(parseInterfaceAddress(`${ipv6[0]}/${PREFIX6}`).subnet, segment);
    }
    const { capacity, quota, timeouts, filtering } = layout;
    const dataplane = new Dataplane({
      seed: 20_001,
      conntrack: {
        ...(capacity === undefined ? {} : { capacity }),
        ...(quota === undefined ? {} : { quota }),
        ...(timeouts === undefined ? {} : { timeouts }),
      },
      onException: (error) => this.#exceptions.push(error),
    });
    this.#dataplane = dataplane;
    const segment = (name: Segment) => {
      const { mac, ipv4, ipv6, mtu } = decks[name];
      const { hi, lo } = parseMac(mac)!;
      return {
        macHi: hi,
        macLo: lo,
        ipv4: { address: parseIpv4(ipv4[0]!)!, prefix: PREFIX4 },
        ipv6: { address: parseIpv6(ipv6[0]!)!, prefix: PREFIX6 },
        mtu,
      };
    };
    const uplink = dataplane.addUplink({
      ...segment('uplink'),
      ipv4Pool: decks.uplink.ipv4.slice(1).map((address) => parseIpv4(address)!),
      ipv6Pool: decks.uplink.ipv6.slice(1).map((address) => parseIpv6(address)!),
      gateway4: router4 === null ? null : parseIpv4(router4)!,
      gateway6: router6 === null ? null : parseIpv6(router6)!,
      ...(filtering === undefined ? {} : { filtering }),
    });
    const networks: Record<Segment, number> = {
      A: dataplane.addNetwork({ ...segment('A'), uplink }),
      B: dataplane.addNetwork({ ...segment('B'), uplink }),
      uplink,
    };
    for (const { name, segment, mac, ipv4, ipv6 } of stations) {
      const inside = segment !== 'uplink';
      // Outside is a device without offload, so that what leaves is seen as a wire would have it.
      const device = new MemoryDevice(dataplane.arena, { offload: inside, capacity: 1024 });
      const known = inside && {
        mac: parseMac(mac)!,
        ipv4: parseIpv4(ipv4[0]!)!,
        ipv6: parseIpv6(ipv6[0]!)!,
      };
      const id = dataplane.addPort(device, { network: networks[segment], ...known }, 0);
      this.#ports.set(name, { id, device });
    }
    for (const { protocol, port, to } of layout.publish ?? []) {
      const [name, target] = to.split(':');
      const station = stations.find((one) => one.name === name)!;
      for (const address of [parseIpv4(station.ipv4[0]!)!, parseIpv6(station.ipv6[0]!)!]) {
        dataplane.publish({
          network: networks[station.segment],
          address,
          protocol: protocol === 'tcp' ? PROTO_TCP : PROTO_UDP,
          target: Number(target),
          from: port,
          to: port,
          host: null,
        });
      }
    }
  }

  now(): number {
    return this.#now;
  }

  send(station: string, frame: Uint8Array, partial = false): void {
    const { id, device } = this.#ports.get(station)!;
    const [bytes, header] = partial ? withPartialChecksum(frame) : [frame, undefined];
    if (!device.injectBytes(bytes, header)) throw new Error('the arena has no room for the frame');
    this.#dataplane.poll(id, 1, this.#now);
    this.#collect();
  }

  async settle(): Promise<void> {
    while (this.#underWay.length > 0) {
      const batch = this.#underWay;
      this.#underWay = [];
      for (const [station, frame] of batch) this.#onFrame(station, frame);
    }
    this.#checkDefects();
  }

  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await this.settle();
    for (let due = this.#dataplane.deadline(); due <= end; due = this.#dataplane.deadline()) {
      this.#now = Math.max(this.#now, due);
      this.#dataplane.expire(this.#now);
      this.#collect();
      await this.settle();
    }
    this.#now = end;
  }

  async flows(): Promise<Flow[]> {
    return this.#dataplane.flows({}, this.#now).map(({ original, reply, icmp, ...flow }) => ({
      protocol: flow.protocol,
      family: flow.family,
      state: flow.state,
      src: original.src,
      dst: original.dst,
      srcPort: icmp?.id ?? original.srcPort,
      dstPort: original.dstPort,
      replySrc: reply.src,
      replyDst: reply.dst,
      remaining: flow.remaining,
      unreplied: flow.unreplied,
      assured: flow.assured,
    }));
  }

  async close(): Promise<void> {
    await this.settle();
    const { ports, originated, copies, sent, consumed, held, drops } = this.#dataplane.ledger.snapshot();
    const off = ports + originated + copies - sent - consumed - held - drops.reduce((sum, n) => sum + n, 0);
    if (off !== 0) throw new Error(`the ledger is off by ${off} frames: a defect of tapdeck`);
  }

  #collect(): void {
    for (const [name, { device }] of this.#ports) {
      for (let frame = device.take(); frame !== null; frame = device.take()) {
        this.#underWay.push([name, finished(frame)]);
        this.#dataplane.arena.release(frame);
      }
    }
  }

  #checkDefects(): void {
    const [error] = this.#exceptions;
    if (error !== undefined) throw error;
  }
}

/** The frame's bytes as a receiver sees them: with the checksum that was left to it. */
export function finished(frame: Frame): Uint8Array {
  parseEthernet(frame);
  completeChecksum(frame);
  return frame.bytes.slice(frame.at, frame.at + frame.length);
}

/** A copy of a UDP or TCP frame as a sender with checksum offload hands it over, with its virtio-net header. */
export function withPartialChecksum(frame: Uint8Array): [frame: Uint8Array, header: Uint8Array] {
  const bytes = frame.slice();
  const { l4, protocol, family } = new Datagram(bytes.subarray(ETH_LEN));
  const length = bytes.length - ETH_LEN - l4;
  const offset = protocol === PROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
  const pseudo = family === 4 ? pseudoSumIpv4 : pseudoSumIpv6;
  set16(bytes, ETH_LEN + l4 + offset, fold(pseudo(bytes, ETH_LEN, protocol, length)));
  const header = new Uint8Array(VNET_LEN);
  writeVnet(header, 0, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, ETH_LEN + l4, offset);
  return [bytes, header];
}
