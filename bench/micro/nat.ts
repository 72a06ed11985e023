import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import { dockerMac } from '../../wire/address.ts';
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../../wire/ethernet.ts';
import { IPV4_DF, IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { TCP_ACK, TCP_CHECKSUM, TCP_LEN, writeTcp } from '../../wire/tcp.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { writeUdp } from '../../wire/udp.ts';
import { clearVnet, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { heapGrowth } from './allocation.ts';
import type { Figure } from './figure.ts';

const INSIDE = 0x0a000002;
const NEIGHBOR = 0x0a000003;
const GATEWAY = 0x0a000001;
const DECK = 0xc6336402 | 0;
const OUTSIDE = 0xc6336401 | 0;

/** Bytes that the way of a frame writes: everything in front of the payload. */
const HEADERS = 64;
const ROUNDS = 15;
const MOST_NS = 150;

/** A template: the frame as it comes in, again and again. */
interface Traffic {
  frame: Frame;
  port: PortId;
  /** Where the headers as they came in are kept. */
  kept: number;
  at: number;
}

/**
 * What an established connection through masquerade costs a frame, over what bridging it costs: the same frames between
 * two stations of a network, and out by an uplink. Frames are made again what they were before each pass, in both.
 */
class NatBed {
  readonly dataplane = new Dataplane({
    seed: 1,
    arena: { small: 64, big: 8 },
    conntrack: { capacity: 4096 },
  });
  readonly inside: PortId;
  readonly neighbor: PortId;
  readonly outside: PortId;
  /** The source port of the inside endpoint's UDP flow outside. */
  readonly mapped: number;
  #now = 0;

  constructor() {
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
    this.inside = this.#port(network, INSIDE);
    this.neighbor = this.#port(network, NEIGHBOR);
    this.outside = this.#port(uplink, OUTSIDE);
    this.pass([this.udp(INSIDE, OUTSIDE, 5000, 5001, GATEWAY, this.inside)], 1);
    this.mapped = this.dataplane.flows({}, 0)[0]!.reply.dstPort;
  }

  #port(network: number, ipv4: number): PortId {
    const device = new MemoryDevice(this.dataplane.arena, { discard: true, capacity: 1 });
    return this.dataplane.addPort(device, { network, mac: dockerMac(ipv4), ipv4 }, 0);
  }

  /** A 64-byte UDP frame that is to come in by a port. */
  udp(src: number, dst: number, srcPort: number, dstPort: number, via: number, port: PortId): Traffic {
    const frame = this.#frame(64, src, via);
    const { bytes, at } = frame;
    const l4 = writeIpv4(bytes, at + ETH_LEN, 64 - ETH_LEN, PROTO_UDP, 64, src, dst, 0, IPV4_DF);
    writeUdp(bytes, l4, srcPort, dstPort, 64 - ETH_LEN - IPV4_LEN);
    parse(frame);
    fillTransportChecksum(frame);
    return this.#keep(frame, port);
  }

  /** A TCP GSO frame that stands for segments of 1,448 bytes, its checksum partial: of a connection picked up on its way. */
  tcp(src: number, dst: number, length: number, via: number, port: PortId): Traffic {
    const frame = this.#frame(length, src, via);
    const { bytes, at } = frame;
    const l4 = writeIpv4(bytes, at + ETH_LEN, length - ETH_LEN, PROTO_TCP, 64, src, dst, 0, IPV4_DF);
    writeTcp(bytes, l4, 5000, 5001, 1, 1, TCP_ACK, 65535);
    const headers = ETH_LEN + IPV4_LEN + TCP_LEN;
    writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, headers, 1448, l4 - at, TCP_CHECKSUM);
    return this.#keep(frame, port);
  }

  /** Lets the frames come in by turns, `count` of them. */
  pass(traffic: readonly Traffic[], count: number): void {
    const { arena } = this.dataplane;
    for (let i = 0; i < count; i++) {
      if ((i & 63) === 0) this.#now++;
      const { frame, port, kept, at } = traffic[i % traffic.length]!;
      arena.bytes.copyWithin(at, kept, kept + HEADERS);
      arena.retain(frame);
      this.dataplane.receive(port, frame, this.#now);
    }
  }

  /** Nanoseconds per frame. */
  time(traffic: readonly Traffic[], count: number): number {
    const start = process.hrtime.bigint();
    this.pass(traffic, count);
    return Number(process.hrtime.bigint() - start) / count;
  }

  #frame(length: number, src: number, via: number): Frame {
    const frame = this.dataplane.arena.allocate(length)!;
    const [from, to] = [dockerMac(src), dockerMac(via)];
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    frame.bytes.fill(0x5a, frame.at, frame.at + length);
    writeEthernet(frame.bytes, frame.at, to.hi, to.lo, from.hi, from.lo, ETHERTYPE_IPV4);
    return frame;
  }

  #keep(frame: Frame, port: PortId): Traffic {
    const kept = this.dataplane.arena.allocate(HEADERS)!.at;
    frame.bytes.copyWithin(kept, frame.at, frame.at + HEADERS);
    return { frame, port, kept, at: frame.at };
  }
}

/** Cost of translation over bridging, and what it allocates. */
export async function natFigures(quick: boolean): Promise<Figure[]> {
  const bed = new NatBed();
  const bridged = [
    bed.udp(INSIDE, NEIGHBOR, 5000, 5001, NEIGHBOR, bed.inside),
    bed.udp(NEIGHBOR, INSIDE, 5001, 5000, INSIDE, bed.neighbor),
  ];
  const masqueraded = [
    bed.udp(INSIDE, OUTSIDE, 5000, 5001, GATEWAY, bed.inside),
    bed.udp(OUTSIDE, DECK, 5001, bed.mapped, DECK, bed.outside),
  ];
  const bulk = [bed.tcp(INSIDE, OUTSIDE, 65_000, GATEWAY, bed.inside)];
  const bulkBridged = [bed.tcp(INSIDE, NEIGHBOR, 65_000, NEIGHBOR, bed.inside)];
  const frames = quick ? 100_000 : 1_000_000;
  return [
    cost(bed, 'masquerade over bridging, 64-byte UDP both ways', masqueraded, bridged, frames),
    cost(bed, 'masquerade over bridging, 64 KiB TCP GSO', bulk, bulkBridged, frames),
    await heapGrowth('heap per translated frame', quick ? 1e6 : 1e7, (count) => bed.pass(masqueraded, count)),
  ];
}

/** The median of differences between neighboring runs, so that what slows the machine down slows both. */
function cost(
  bed: NatBed,
  name: string,
  translated: readonly Traffic[],
  bridged: readonly Traffic[],
  frames: number,
): Figure {
  const { ledger } = bed.dataplane;
  const before = ledger.sent;
  for (const traffic of [translated, bridged]) bed.pass(traffic, frames);
  if (ledger.sent - before !== 2 * frames) throw new Error(`${name}: frames were dropped`);
  const pairs = Array.from({ length: ROUNDS }, () => [
    bed.time(bridged, frames),
    bed.time(translated, frames),
  ]);
  const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
  const over = median(pairs.map(([plain, nat]) => nat! - plain!));
  return {
    name,
    value: `${over.toFixed(1)} ns`,
    detail: `bridged ${median(pairs.map(([plain]) => plain!)).toFixed(1)} ns, translated ${median(pairs.map(([, nat]) => nat!)).toFixed(1)} ns`,
    target: `≤ ${MOST_NS} ns`,
    met: over <= MOST_NS,
  };
}
