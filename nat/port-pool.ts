import { type Carrier, carryFlag } from '../wire/carrier.ts';
import { type HashKey, hash2 } from '../wire/hash.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import type { Random } from '../wire/random.ts';

const PORTS = 65536;
/** Ports below are the well-known ones, which a translated port stays among or stays out of (RFC 4787 REQ-3 a). */
const WELL_KNOWN = 1024;
// Bits are counted by blocks of 1,024 ports, so that the first block is the well-known ports and the others are the rest.
const BLOCK_WORDS = 32;
const BLOCKS = 64;
// In a word of the bitmap, even ports are the even bits.
const EVEN = 0x55555555;
const ODD = 0xaaaaaaaa | 0;
const ALL = -1;

/** Whether the protocol has ports, or identifiers in their place (ICMP queries), that a translation may change. */
export function hasPorts(protocol: number): boolean {
  return (
    protocol === PROTO_TCP || protocol === PROTO_UDP || protocol === PROTO_ICMP || protocol === PROTO_ICMPV6
  );
}

/** Sets of ports within which a translation chooses: see `portGroup`. */
export const PORT_GROUPS = 7;

/**
 * The set of ports from which a port like this one is translated: by class (RFC 4787 REQ-3 a), for UDP by parity too
 * (REQ-4); -1 for protocols without ports.
 */
export function portGroup(protocol: number, port: number): number {
  switch (protocol) {
    case PROTO_TCP:
      return port < WELL_KNOWN ? 0 : 1;
    case PROTO_UDP:
      return (port < WELL_KNOWN ? 2 : 4) + (port & 1);
    case PROTO_ICMP:
    case PROTO_ICMPV6:
      return 6;
    default:
      return -1;
  }
}

/** One protocol's ports: a bit for each that is taken, and how many are free per block and parity. */
interface Ports {
  readonly taken: Int32Array;
  /** Free even ports of block n at 2n, odd ones at 2n + 1; those of all blocks at the end. */
  readonly free: Int32Array;
  /** Ports that are free when nothing is taken. */
  readonly all: number;
}
const FREE_ALL = 2 * BLOCKS;

/**
 * Which ports of one external address are taken: by mappings, by publishes, by services of the deck. All of them take
 * from the same pool, so that no port ever serves two (RFC 4787 REQ-3, RFC 5382 REQ-7: no port overloading; CVE-2021-3773).
 *
 * `allocate` draws a number and takes the free port of that rank: every free port of the class is equally likely
 * (RFC 6056 §3.2, RFC 7857 §9), however full the pool is, in bounded time. The draws go through a keyed hash: who sees
 * the ports that he is given cannot compute the generator's state and from it the ports of others.
 */
export class PortPool {
  readonly #key0: number;
  readonly #key1: number;
  // Most addresses see one or two of them; a bitmap is 8 KiB.
  #tcp: Ports | null = null;
  #udp: Ports | null = null;
  #icmp: Ports | null = null;

  constructor(key: HashKey) {
    this.#key0 = key[0];
    this.#key1 = key[1];
  }

  carry(carrier: Carrier): void {
    this.#tcp = carryPorts(carrier, this.#tcp, false);
    this.#udp = carryPorts(carrier, this.#udp, false);
    this.#icmp = carryPorts(carrier, this.#icmp, true);
  }

  /** Takes this port; false when it is taken already, and for port 0 of TCP and UDP, which is none (RFC 6335 §6). */
  take(protocol: number, port: number): boolean {
    const ports = this.#of(protocol);
    if (isTaken(ports, port)) return false;
    mark(ports, port);
    return true;
  }

  isTaken(protocol: number, port: number): boolean {
    return isTaken(this.#of(protocol), port);
  }

  /**
   * Takes a free port at random. TCP and UDP: of the class of `inside`, 1–1023 or 1024–65535 (RFC 4787 REQ-3 a);
   * UDP: also of its parity (REQ-4). ICMP: any identifier.
   * @returns the port, or -1 when none is left: another class or parity is not fallen back on, because behaviour must not
   *   change with load (RFC 4787 REQ-11)
   */
  allocate(protocol: number, inside: number, random: Random): number {
    const ports = this.#of(protocol);
    const parity = protocol === PROTO_UDP ? (inside & 1 ? ODD : EVEN) : ALL;
    const total = freeOf(ports, protocol, inside, parity);
    if (total === 0) return -1;
    // A 32-bit fraction of at most 65,536 ports: no port is likelier than another by more than 2^-16 of its share.
    const number = hash2(this.#key0, this.#key1, random.nextInt32(), inside) >>> 0;
    const rank = ((number * total) / 0x1_0000_0000) | 0;
    const port = select(ports, first(protocol, inside), parity, rank);
    mark(ports, port);
    return port;
  }

  /** Ports that `allocate` could give to this inside port now. */
  available(protocol: number, inside: number): number {
    const parity = protocol === PROTO_UDP ? (inside & 1 ? ODD : EVEN) : ALL;
    return freeOf(this.#of(protocol), protocol, inside, parity);
  }

  /** Gives a port back; one that is not taken stays free. */
  free(protocol: number, port: number): void {
    const ports = this.#of(protocol);
    if (!isTaken(ports, port) || (port === 0 && ports.all < PORTS)) return;
    ports.taken[port >> 5] &= ~(1 << (port & 31));
    ports.free[2 * (port >> 10) + (port & 1)]++;
    ports.free[FREE_ALL + (port & 1)]++;
  }

  /** Ports that are taken. */
  count(protocol: number): number {
    const { all, free } = this.#of(protocol);
    return all - free[FREE_ALL] - free[FREE_ALL + 1];
  }

  #of(protocol: number): Ports {
    switch (protocol) {
      case PROTO_TCP:
        this.#tcp ??= emptyPorts(false);
        return this.#tcp;
      case PROTO_UDP:
        this.#udp ??= emptyPorts(false);
        return this.#udp;
      case PROTO_ICMP:
      case PROTO_ICMPV6:
        this.#icmp ??= emptyPorts(true);
        return this.#icmp;
      default:
        throw new RangeError(`protocol ${protocol} has no ports`);
    }
  }
}

function carryPorts(carrier: Carrier, before: Ports | null, hasZero: boolean): Ports | null {
  if (!carryFlag(carrier, before !== null)) return null;
  const ports = before ?? emptyPorts(hasZero);
  carrier.column(ports.taken);
  carrier.column(ports.free);
  return ports;
}

function emptyPorts(hasZero: boolean): Ports {
  const free = new Int32Array(FREE_ALL + 2).fill(PORTS / BLOCKS / 2, 0, FREE_ALL).fill(PORTS / 2, FREE_ALL);
  const ports = { taken: new Int32Array(PORTS / 32), free, all: hasZero ? PORTS : PORTS - 1 };
  if (!hasZero) mark(ports, 0);
  return ports;
}

function isTaken(ports: Ports, port: number): boolean {
  return (ports.taken[port >> 5] & (1 << (port & 31))) !== 0;
}

function mark(ports: Ports, port: number): void {
  ports.taken[port >> 5] |= 1 << (port & 31);
  ports.free[2 * (port >> 10) + (port & 1)]--;
  ports.free[FREE_ALL + (port & 1)]--;
}

/** The first block in which a port for `inside` may be. */
function first(protocol: number, inside: number): number {
  return (protocol === PROTO_TCP || protocol === PROTO_UDP) && inside >= WELL_KNOWN ? 1 : 0;
}

/** Free ports of the class of `inside`. */
function freeOf({ free }: Ports, protocol: number, inside: number, parity: number): number {
  const wellKnown = count(free, 0, parity);
  if (first(protocol, inside) === 1) return count(free, FREE_ALL, parity) - wellKnown;
  return protocol === PROTO_TCP || protocol === PROTO_UDP ? wellKnown : count(free, FREE_ALL, parity);
}

function count(free: Int32Array, at: number, parity: number): number {
  return (parity & 1 ? free[at] : 0) + (parity & 2 ? free[at + 1] : 0);
}

/** The free port of rank `rank` among those of `parity` from block `block` on. There are more than `rank` of them. */
function select({ taken, free }: Ports, block: number, parity: number, rank: number): number {
  for (let here = count(free, 2 * block, parity); rank >= here; here = count(free, 2 * block, parity)) {
    rank -= here;
    block++;
  }
  let word = block * BLOCK_WORDS;
  let bits = ~taken[word] & parity;
  for (let here = ones(bits); rank >= here; here = ones(bits)) {
    rank -= here;
    word++;
    bits = ~taken[word] & parity;
  }
  for (; rank > 0; rank--) bits &= bits - 1;
  return (word << 5) + 31 - Math.clz32(bits & -bits);
}

/** How many bits are set. */
function ones(bits: number): number {
  const pairs = bits - ((bits >>> 1) & EVEN);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
