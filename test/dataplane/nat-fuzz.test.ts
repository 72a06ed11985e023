import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Mappings } from '../../nat/mappings.ts';
import {
  fragments,
  type IpOptions,
  icmp,
  icmpEcho,
  ip,
  type Station,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { SERVICES } from '../../switch/services.ts';
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import { get16, set16, set32 } from '../../wire/bytes.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ethSrcHi, ethSrcLo } from '../../wire/ethernet.ts';
import { ipv4Dst, ipv4Src } from '../../wire/ipv4.ts';
import { ipv6Dst, ipv6Src } from '../../wire/ipv6.ts';
import type { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { expectNoLeak, packetOf } from '../switch/gateway-bed.ts';
import { C1, C2, D1, EXT1, EXT2, GA, GB, natBed, R, UP, VIA_GA, VIA_GB, VIA_UP } from './nat-bed.ts';

/** Milliseconds for a test that makes many decks, on a machine that has other things to do. */
const PATIENCE = 60_000;

const PORTS = ['c1', 'c2', 'd1', 'ext'] as const;
type Port = (typeof PORTS)[number];
/** Who speaks by each port, and the router there. */
const SPEAKERS: Record<Port, { as: readonly Required<Station>[]; via: { mac: string } }> = {
  c1: { as: [C1], via: VIA_GA },
  c2: { as: [C2], via: VIA_GA },
  d1: { as: [D1], via: VIA_GB },
  ext: { as: [EXT1, EXT2, R], via: VIA_UP },
};
const NOBODY = { mac: R.mac, ipv4: '198.51.100.77', ipv6: '2001:db8:0:1::77' };
const INSIDE: readonly Required<Station>[] = [EXT1, EXT1, EXT1, EXT2, UP, UP, C1, C2, D1, GA, GB, NOBODY];
const OUTSIDE: readonly Required<Station>[] = [UP, UP, UP, UP, GA, C1];
const NUMBERS = [5000, 5001, 80, 8080, 53, 8, 13, 128, 0];
const FLAGS = ['S', 'S', 'SA', 'A', 'PA', 'FA', 'R', 'RA'];

/** What happens next; the numbers choose among what there is then. */
const step = fc.record({
  what: fc.constantFrom(
    ...Array<'new'>(10).fill('new'),
    ...Array<'answer'>(12).fill('answer'),
    ...(['error', 'error', 'error', 'publish', 'publish', 'unpublish'] as const),
    ...(['plug', 'renew', 'delete', 'wait', 'block'] as const),
  ),
  port: fc.constantFrom(...PORTS),
  numbers: fc.array(fc.nat(0xffff), { minLength: 16, maxLength: 16 }),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A deck and somebody who does steps on it. */
class Bench {
  readonly deck: MemoryDeck;
  /** What the deck has sent lately: by a port, a translated frame. */
  readonly #sent: { port: Port; frame: Uint8Array }[] = [];
  readonly #publishes: number[] = [];
  #numbers: readonly number[] = [];
  #at = 0;

  constructor(deck: MemoryDeck) {
    this.deck = deck;
  }

  do({ what, port, numbers }: Step): void {
    this.#numbers = numbers;
    this.#at = 0;
    const { deck } = this;
    const { dataplane } = deck.virtual;
    const isAttached = deck.virtual.ports.get(port)!.id >= 0;
    switch (what) {
      case 'new':
      case 'answer':
      case 'error': {
        if (!isAttached) return;
        const frame = what === 'new' ? this.#first(port) : this.#reaction(port, what === 'error');
        if (frame !== undefined) this.#receive(port, frame);
        break;
      }
      case 'publish':
        this.#publish();
        break;
      case 'unpublish': {
        const [id] = this.#publishes.splice(this.#next(this.#publishes.length), 1);
        if (id !== undefined) deck.unpublish(id);
        break;
      }
      case 'plug':
        if (isAttached) deck.detach(port);
        if (!isAttached || this.#next(4) > 0) deck.attach(port);
        break;
      case 'renew': {
        if (deck.virtual.ports.get('d1')!.id >= 0) deck.detach('d1');
        const id = deck.virtual.networkId('b');
        dataplane.removeNetwork(id, deck.now);
        const { macHi, macLo } = NETWORK_B;
        expect(
          dataplane.addNetwork({ ...NETWORK_B, macHi, macLo, uplink: deck.virtual.networkId('up') }),
        ).toBe(id);
        break;
      }
      case 'delete':
        dataplane.closeFlows(this.#pick([{}, { protocol: 17 }, { family: 6 }]), deck.now);
        break;
      case 'block':
        if (!isAttached) return;
        if (deck.virtual.ports.get(port)!.end.blocked) deck.virtual.unblock(port);
        else deck.virtual.block(port);
        break;
      default:
        deck.advance(this.#pick([1, 1000, 5000, 61_000, 301_000, 8_000_000]));
    }
    this.check();
  }

  /** Everything ends; nothing of it is left. */
  end(): void {
    const { deck } = this;
    for (const { id, end, name } of deck.virtual.ports.values())
      if (id >= 0 && end.blocked) deck.virtual.unblock(name);
    for (const id of this.#publishes) deck.unpublish(id);
    deck.advance(20_000_000);
    this.check();
    expect(deck.flows()).toEqual([]);
    expectNoLeak(deck);
  }

  /** Nothing threw, the account balances, and what was sent is for whom it was sent to. */
  check(): void {
    const { exceptions, dataplane } = this.deck.virtual;
    if (exceptions[0]) throw exceptions[0].error;
    expect(dataplane.ledger.imbalance()).toBe(0);
    for (const port of PORTS) for (const frame of this.deck.take(port)) this.#see(port, frame);
  }

  #see(port: Port, frame: Uint8Array): void {
    const packet = packetOf(frame);
    const { bytes, at } = packet;
    expect(parse(packet)).toBe(0);
    if (packet.etherType === ETHERTYPE_ARP) return;
    const mac = formatMac(ethSrcHi(bytes, at), ethSrcLo(bytes, at));
    // Bridged: whoever wrote it is answerable for it.
    if (![GA.mac, GB.mac, UP.mac].includes(mac)) return;
    const [src, dst] = addresses(packet);
    // The deck speaks for itself, to whoever's frame it answers.
    if ([GA, GB].some(({ ipv4, ipv6 }) => src === ipv4 || src === ipv6) || src.startsWith('fe80')) return;
    if (dst.startsWith('ff02')) return;
    if (port === 'ext') expect([UP.ipv4, UP.ipv6]).toContain(src);
    else expect([SPEAKERS[port].as[0]!.ipv4, SPEAKERS[port].as[0]!.ipv6]).toContain(dst);
    this.#sent.push({ port, frame });
    if (this.#sent.length > 30) this.#sent.shift();
  }

  #receive(port: Port, frame: Uint8Array): void {
    const pieces = this.#next(8) === 0 && frame.length > 120 ? fragments(frame, 120) : [frame];
    if (this.#next(2) === 0) pieces.reverse();
    for (const piece of pieces) {
      this.deck.virtual.receive(this.deck.virtual.ports.get(port)!, piece);
      this.check();
    }
  }

  #publish(): void {
    const [port, { as }] = this.#pick(Object.entries(SPEAKERS).slice(0, 3));
    const { mac, ipv4, ipv6 } = as[0]!;
    const station = this.#next(2) === 0 ? { mac, ipv4 } : { mac, ipv6 };
    const from = this.#next(2) === 0 ? this.#pick([80, 8080, 53]) : this.#port() || 1;
    const options = {
      station,
      network: port === 'd1' ? 'b' : 'a',
      from,
      to: Math.min(from + this.#pick([0, 0, 5]), 65_000),
      protocol: this.#pick(['tcp', 'udp'] as const),
    };
    try {
      this.#publishes.push(...this.deck.publish({ ...options, target: 80 }));
    } catch (error) {
      // It is published already.
      expect(error).toBeInstanceOf(RangeError);
    }
  }

  /** Somebody speaks unasked. */
  #first(port: Port): Uint8Array {
    const { as, via } = SPEAKERS[port];
    const from = this.#pick(as);
    const to = this.#pick(port === 'ext' ? OUTSIDE : INSIDE);
    const family = this.#next(2) === 0 ? 4 : 6;
    const options: IpOptions = { from, to, via, family, ttl: this.#pick([64, 64, 64, 64, 64, 1, 2]) };
    const ends = { ...options, srcPort: this.#port(), dstPort: this.#port(), data: this.#pick([0, 9, 300]) };
    switch (this.#next(8)) {
      case 0:
        return udp(ends);
      case 1:
        return tcp({
          ...ends,
          flags: this.#pick(FLAGS),
          sequence: this.#next(2),
          acknowledgment: this.#next(2),
        });
      case 2:
        return icmpEcho({ ...options, identifier: this.#port(), reply: this.#next(4) === 0, data: 200 });
      case 3:
        return ip(options, this.#pick([47, 50, 132]), 30);
      case 4:
        return icmp({ ...options, type: this.#pick([13, 14, 8, 0, 128, 129]), rest: this.#port() << 16 });
      default:
        return udp({ ...ends, srcPort: 5000 + this.#next(3), dstPort: 5000 });
    }
  }

  /** Whoever got a frame answers it, or complains about it. */
  #reaction(port: Port, isError: boolean): Uint8Array | undefined {
    const mine = this.#sent.filter((sent) => sent.port === port);
    if (mine.length === 0) return;
    const { frame } = this.#pick(mine);
    const packet = packetOf(frame);
    parse(packet);
    if (packet.l4 === 0) return;
    return isError ? this.#complaint(port, frame, packet) : this.#answer(frame, packet);
  }

  #complaint(port: Port, frame: Uint8Array, packet: Packet): Uint8Array {
    const { as, via } = SPEAKERS[port];
    const isIpv4 = packet.etherType === ETHERTYPE_IPV4;
    const [src] = addresses(packet);
    const to = { mac: via.mac, [isIpv4 ? 'ipv4' : 'ipv6']: src };
    const quotation = frame.slice(14, 14 + this.#pick([frame.length, frame.length, 48, 28, 20, 7]));
    if (this.#next(4) === 0) quotation[this.#next(quotation.length)]! ^= 1 << this.#next(8);
    return icmp({
      from: this.#pick(as),
      to,
      via,
      family: isIpv4 ? 4 : 6,
      type: this.#pick(isIpv4 ? [3, 11, 12, 5] : [1, 2, 3, 4]),
      code: this.#next(5),
      rest: this.#pick([0, 1280, 68, 0x20000000]),
      data: quotation,
    });
  }

  #answer(frame: Uint8Array, packet: Packet): Uint8Array {
    const { bytes, at, l3, l4, protocol } = packet;
    swap(bytes, at, 6);
    if (packet.etherType === ETHERTYPE_IPV4) swap(bytes, l3 + 12, 4);
    else swap(bytes, l3 + 8, 16);
    if (protocol === PROTO_TCP || protocol === PROTO_UDP) {
      swap(bytes, l4, 2);
      // Or somebody else does: filtering is asked.
      if (this.#next(3) === 0) set16(bytes, l4, 1 + this.#next(60_000));
    }
    if (protocol === PROTO_TCP) {
      swap(bytes, l4 + 4, 4);
      const isSyn = bytes[l4 + 13] === 2;
      if (isSyn) set32(bytes, l4 + 8, new DataView(bytes.buffer).getInt32(l4 + 8) + 1);
      bytes[l4 + 13] = isSyn ? this.#pick([0x12, 0x12, 0x14]) : this.#pick([0x10, 0x11, 0x04]);
    }
    if (protocol === PROTO_ICMP && bytes[l4] === 8) bytes[l4] = 0;
    if (protocol === PROTO_ICMPV6 && bytes[l4] === 128) bytes[l4] = 129;
    if (protocol === PROTO_UDP) set16(bytes, l4 + 6, 0);
    fillTransportChecksum(packet);
    if (this.#next(8) === 0) bytes[l3 + this.#next(frame.length - 14)]! ^= 1 << this.#next(8);
    return bytes.slice(VNET_LEN);
  }

  /** A port, often one that the deck has chosen. */
  #port(): number {
    const last = this.#sent.at(-1 - this.#next(4));
    if (last === undefined || this.#next(2) === 0) return this.#pick(NUMBERS);
    return get16(last.frame, last.frame[12] === 8 ? 34 : 54);
  }

  #next(below: number): number {
    return this.#numbers[this.#at++ % this.#numbers.length]! % Math.max(below, 1);
  }

  #pick<T>(of: readonly T[]): T {
    return of[this.#next(of.length)]!;
  }
}

/** Exchanges two neighbouring fields of `length` bytes. */
function swap(bytes: Uint8Array, at: number, length: number): void {
  const first = bytes.slice(at, at + length);
  bytes.copyWithin(at, at + length, at + 2 * length);
  bytes.set(first, at + length);
}

function addresses({ bytes, l3, etherType }: Packet): [string, string] {
  if (etherType === ETHERTYPE_IPV4) return [formatIpv4(ipv4Src(bytes, l3)), formatIpv4(ipv4Dst(bytes, l3))];
  const text = (read: typeof ipv6Src) =>
    formatIpv6(read(bytes, l3, 0), read(bytes, l3, 1), read(bytes, l3, 2), read(bytes, l3, 3));
  return [text(ipv6Src), text(ipv6Dst)];
}

/** As `natBed` makes it. */
const NETWORK_B = {
  macHi: 0x0242,
  macLo: 0x0a010001,
  ipv4: { address: 0x0a010001, prefix: 24 },
  ipv6: { address: [0xfd010000 | 0, 0, 0, 1], prefix: 64 },
  mtu: 65520,
};

describe('translation under whatever may happen', () => {
  const tables = new Set<Mappings>();
  beforeEach(() => {
    const { map } = Mappings.prototype;
    vi.spyOn(Mappings.prototype, 'map').mockImplementation(function (this: Mappings, ...of) {
      tables.add(this);
      return map.apply(this, of);
    });
    return () => vi.restoreAllMocks();
  });

  test(
    'nothing throws, nothing goes to the wrong one, and when all is over nothing is left',
    () => {
      const property = fc.property(
        fc.array(step, { minLength: 60, maxLength: 120, size: 'max' }),
        fc.constantFrom(1, 1, 2, 8, 64),
        fc.constantFrom('endpoint-independent', 'address-dependent', 'address-and-port-dependent'),
        (steps, capacity, filtering) => {
          tables.clear();
          const bench = new Bench(
            natBed({ conntrack: { capacity, quota: Math.max(1, capacity >> 1) }, uplink: { filtering } }),
          );
          for (const each of steps) bench.do(each);
          bench.end();
          for (const table of tables) {
            expect(table.size).toBe(0);
            // Addresses of the uplink and of two networks, of both IP versions.
            for (let address = 0; address < 6; address++) {
              for (const protocol of [PROTO_ICMP, PROTO_TCP, PROTO_UDP]) {
                // On its own addresses a gateway listens itself.
                const own = address < 2 ? [] : SERVICES.filter((service) => service.protocol === protocol);
                expect(table.pool(address).count(protocol)).toBe(own.length);
              }
            }
          }
        },
      );
      fc.assert(property, { numRuns: 200 });
    },
    PATIENCE,
  );
});
