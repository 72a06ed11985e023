import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import { dockerMac } from '../../wire/address.ts';
import { ETH_LEN, ETHERTYPE_IPV4, writeEthernet } from '../../wire/ethernet.ts';
import { IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';
import { TCP_ACK, TCP_CHECKSUM, TCP_LEN, writeTcp } from '../../wire/tcp.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { writeUdp } from '../../wire/udp.ts';
import { clearVnet, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';

const SUBNET = 0x0a000000;

/** The address of station `i` of the bed: 10.0.1.0 and up. */
function address(i: number): number {
  return (SUBNET + 256 + i) | 0;
}

/** A data plane with `ports` memory devices on one network, one station behind each, and nothing else. */
export class Bed {
  readonly dataplane: Dataplane;
  readonly ports: PortId[] = [];
  readonly devices: MemoryDevice[] = [];

  constructor(ports: number, frames: { small: number; big: number } = { small: ports + 64, big: 8 }) {
    this.dataplane = new Dataplane({ seed: 1, arena: frames });
    const gateway = dockerMac(SUBNET + 1);
    const network = this.dataplane.addNetwork({
      macHi: gateway.hi,
      macLo: gateway.lo,
      ipv4: { address: SUBNET + 1, prefix: 16 },
      ipv6: null,
      mtu: 65520,
    });
    for (let i = 0; i < ports; i++) {
      const device = new MemoryDevice(this.dataplane.arena, { discard: true, capacity: 1 });
      this.devices.push(device);
      this.ports.push(
        this.dataplane.addPort(device, { network, mac: dockerMac(address(i)), ipv4: address(i) }, 0),
      );
    }
  }

  /** A UDP frame of `length` bytes from station `from` to station `to`, in a slot of its own that is never freed. */
  udp(from: number, to: number, length: number): Frame {
    const frame = this.#ethernet(from, to, length);
    const { bytes, at } = frame;
    const l4 = writeIpv4(bytes, at + ETH_LEN, length - ETH_LEN, PROTO_UDP, 64, address(from), address(to));
    writeUdp(bytes, l4, 5000, 5001, length - ETH_LEN - IPV4_LEN);
    parse(frame);
    fillTransportChecksum(frame);
    return frame;
  }

  /** A TCP GSO frame of `length` bytes that stands for segments of 1,448, its checksum partial, as a TAP gives it. */
  gso(from: number, to: number, length: number): Frame {
    const frame = this.#ethernet(from, to, length);
    const { bytes, at } = frame;
    const l4 = writeIpv4(bytes, at + ETH_LEN, length - ETH_LEN, PROTO_TCP, 64, address(from), address(to));
    writeTcp(bytes, l4, 5000, 5001, 1, 1, TCP_ACK, 65535);
    const headers = ETH_LEN + IPV4_LEN + TCP_LEN;
    writeVnet(bytes, at - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, headers, 1448, l4 - at, TCP_CHECKSUM);
    return frame;
  }

  /** Any frame, in a slot of its own that is never freed. */
  bytes(bytes: Uint8Array): Frame {
    const frame = this.dataplane.arena.allocate(bytes.length)!;
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    frame.bytes.set(bytes, frame.at);
    return frame;
  }

  /** Lets the data plane receive the frame, which the bed keeps. */
  receive(frame: Frame, port: PortId, now: number): void {
    this.dataplane.arena.retain(frame);
    this.dataplane.receive(port, frame, now);
  }

  #ethernet(from: number, to: number, length: number): Frame {
    const frame = this.dataplane.arena.allocate(length);
    if (!frame) throw new RangeError('the bed needs a larger arena');
    const { bytes, at } = frame;
    const [source, destination] = [dockerMac(address(from)), dockerMac(address(to))];
    clearVnet(bytes, at - VNET_LEN);
    bytes.fill(0x5a, at, at + length);
    writeEthernet(bytes, at, destination.hi, destination.lo, source.hi, source.lo, ETHERTYPE_IPV4);
    return frame;
  }
}

/** For each of `count` stations another one, each chosen once: a permutation without fixed points. */
export function pairs(count: number, seed = 7): number[] {
  const random = new Random(seed);
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
