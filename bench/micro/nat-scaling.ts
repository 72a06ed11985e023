import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import { dockerMac } from '../../wire/address.ts';
import { set16 } from '../../wire/bytes.ts';
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../../wire/ethernet.ts';
import { IPV4_DF, IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
import { UDP_CHECKSUM, UDP_DST_PORT, UDP_SRC_PORT, writeUdp } from '../../wire/udp.ts';
import { clearVnet, VNET_LEN } from '../../wire/virtio-net.ts';
import type { Figure } from './figure.ts';

const FEW = 1000;
const MANY = 262_144;
/** Frames of one connection in a row: those of one visit to a port. */
const TURN = 16;
const TARGET = 1.25;
const LENGTH = 64;
const HEADERS = ETH_LEN + IPV4_LEN + 8;
/** Connections of one source port, which is one mapping. */
const PER_MAPPING = 4096;

const INSIDE = 0x0a000002;
const GATEWAY = 0x0a000001;
const DECK = 0xc6336402 | 0;
const OUTSIDE = 0xc6336401 | 0;

/**
 * A 64-byte frame through masquerade with 262,144 connections against one with 1,000: everything that happens to it, from
 * `receive` on. In turns of 16 frames, as a port is served, and with another connection at random for each frame.
 */
export function natScaling(quick: boolean): Figure[] {
  const frames = quick ? 5e5 : 2e6;
  const rounds = quick ? 5 : 11;
  const few = new Connections(FEW);
  const many = new Connections(MANY);
  return [TURN, 1].map((turn) => {
    const costs: [number[], number[]] = [[], []];
    const ratios: number[] = [];
    few.run(frames, turn);
    many.run(frames, turn);
    for (let round = 0; round < rounds; round++) {
      const a = few.run(frames, turn);
      const b = many.run(frames, turn);
      costs[0].push(a);
      costs[1].push(b);
      ratios.push(b / a);
    }
    const ratio = median(ratios);
    const order = turn === 1 ? 'random order' : `${turn} frames a turn`;
    return {
      name: `masquerade, ${MANY.toLocaleString('en')} connections against ${FEW.toLocaleString('en')}, ${order}`,
      value: `${ratio.toFixed(2)} ×`,
      detail: `${median(costs[1]).toFixed(0)} ns against ${median(costs[0]).toFixed(0)} ns per frame`,
      // In random order it is how long the machine's memory takes, which is shown and no target.
      ...(turn === TURN && { target: `≤ ${TARGET} ×`, met: ratio <= TARGET }),
    };
  });
}

/** A data plane with an uplink, and `count` connections of one endpoint through it, so many of each of its ports. */
export class Connections {
  readonly dataplane = new Dataplane({
    seed: 1,
    arena: { small: 64, big: 8 },
    conntrack: { capacity: MANY, quota: MANY },
  });
  readonly #inside: PortId;
  readonly #frame: Frame;
  /** The headers as they come in. */
  readonly #headers: Uint8Array;
  readonly #count: number;
  readonly #perMapping: number;
  /** In an array: a number of 32 bits as a field would be a new object whenever it changes. */
  readonly #random = Uint32Array.of(1);
  #now = 0;

  constructor(count: number, perMapping = PER_MAPPING) {
    const gateway = dockerMac(GATEWAY);
    const deck = dockerMac(DECK);
    const uplink = this.dataplane.addUplink({
      macHi: deck.hi,
      macLo: deck.lo,
      ipv4: { address: DECK, prefix: 24 },
      ipv6: null,
      mtu: 65520,
    });
    const network = this.dataplane.addNetwork({
      macHi: gateway.hi,
      macLo: gateway.lo,
      ipv4: { address: GATEWAY, prefix: 16 },
      ipv6: null,
      mtu: 65520,
      uplink,
    });
    this.#inside = this.#port(network, INSIDE);
    this.#port(uplink, OUTSIDE);
    this.#frame = this.dataplane.arena.allocate(LENGTH)!;
    this.#headers = this.#write();
    this.#count = count;
    this.#perMapping = perMapping;
    for (let i = 0; i < count; i++) this.#receive(i, 1);
    const { ledger } = this.dataplane;
    if (ledger.sent !== count) throw new Error(`${count - ledger.sent} connections were not made`);
  }

  /** Nanoseconds per frame. */
  run(frames: number, turn: number): number {
    const start = process.hrtime.bigint();
    for (let sent = 0; sent < frames; sent += turn) {
      if ((sent & 0xfff) === 0) this.#now++;
      // xorshift32: what is chosen is not read from memory, which is what is measured.
      let x = this.#random[0]!;
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      this.#random[0] = x;
      this.#receive((x >>> 4) % this.#count, turn);
    }
    return Number(process.hrtime.bigint() - start) / frames;
  }

  /** Lets `times` frames of a connection come in. */
  #receive(connection: number, times: number): void {
    const { arena } = this.dataplane;
    const frame = this.#frame;
    const { bytes, at } = frame;
    const headers = this.#headers;
    const source = 1024 + Math.floor(connection / this.#perMapping);
    const destination = 1024 + (connection % this.#perMapping);
    for (let i = 0; i < times; i++) {
      for (let j = 0; j < HEADERS; j++) bytes[at + j] = headers[j]!;
      set16(bytes, at + ETH_LEN + IPV4_LEN + UDP_SRC_PORT, source);
      set16(bytes, at + ETH_LEN + IPV4_LEN + UDP_DST_PORT, destination);
      arena.retain(frame);
      this.dataplane.receive(this.#inside, frame, this.#now);
    }
  }

  /** Writes the frame, without a UDP checksum so that ports can change, and returns its headers. */
  #write(): Uint8Array {
    const { bytes, at } = this.#frame;
    const [from, to] = [dockerMac(INSIDE), dockerMac(GATEWAY)];
    clearVnet(bytes, at - VNET_LEN);
    bytes.fill(0x5a, at, at + LENGTH);
    writeEthernet(bytes, at, to.hi, to.lo, from.hi, from.lo, ETHERTYPE_IPV4);
    const l4 = writeIpv4(bytes, at + ETH_LEN, LENGTH - ETH_LEN, PROTO_UDP, 64, INSIDE, OUTSIDE, 0, IPV4_DF);
    writeUdp(bytes, l4, 0, 0, LENGTH - ETH_LEN - IPV4_LEN);
    set16(bytes, l4 + UDP_CHECKSUM, 0);
    return bytes.slice(at, at + HEADERS);
  }

  #port(network: number, ipv4: number): PortId {
    const device = new MemoryDevice(this.dataplane.arena, { discard: true, capacity: 1 });
    return this.dataplane.addPort(device, { network, mac: dockerMac(ipv4), ipv4 }, 0);
  }
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
