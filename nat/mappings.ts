import { type Carrier, carryList, carryMap } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import { type HashKey, hashN } from '../wire/hash.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../wire/protocol.ts';
import type { Random } from '../wire/random.ts';
import { bucketCount, type ChainRows, unchain } from './chain.ts';
import { Hosts } from './hosts.ts';
import { Peers } from './peers.ts';
import { hasPorts, PortPool, portGroup } from './port-pool.ts';
import { Rows } from './rows.ts';
import {
  destinationPort,
  IPV4_MAPPED,
  kindIsIpv6,
  kindProtocol,
  kindZone,
  sourcePort,
  TUPLE_DST,
  TUPLE_KIND,
  TUPLE_PORTS,
  TUPLE_SRC,
  tupleKind,
} from './tuple.ts';

/** Negative results of `map`. */
export const MAPPING_FULL = -1;
export const PORTS_EXHAUSTED = -2;
/** The uplink has no address of the tuple's IP version. */
export const NO_EXTERNAL_ADDRESS = -3;

const NONE = -1;

// Words of a row. The first six are the inside key: the row of an endpoint is found by the hash of them.
const INSIDE = 0; // four words of address
const KIND = 4; // protocol, IP version, zone of the endpoint
const ENDPOINT = 5; // uplink << 16 | inside port
const HOST = 6; // row of the inside host, which has the external address
const PORT = 7; // external port
const REFERENCES = 8; // flows that hold the mapping
const NEXT_INSIDE = 9; // next row of the same inside bucket + 1, or 0; next free row + 1 in a free one
const NEXT_OUTSIDE = 10; // next row of the same outside bucket + 1, or 0
const STATE = 11; // bits below; 0 in a free row
const STRIDE = 12;
const KEY_WORDS = 6;

// Bits of STATE.
const USED = 1;
/** In both tables, so that it is found. */
const LINKED = 2;
/** The external port goes back to the pool with the mapping. */
const HOLDS_PORT = 4;

/** The external addresses of one uplink, as indices. */
interface Uplink {
  readonly ipv4: number[];
  readonly ipv6: number[];
}

export interface MappingsConfig {
  /** Most mappings at one time. */
  capacity: number;
  /** Most flows at one time, by which the tables beside the rows are measured; as many as mappings when left out. */
  flows?: number;
  key: HashKey;
  random: Random;
  /** How many times what it leaves free a host may have of the ports; 8 when left out, Infinity for no limit. */
  share?: number;
}

const DEFAULT_SHARE = 8;

/**
 * Endpoint-independent mappings (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1): an inside endpoint (zone, protocol,
 * address, port or ICMP identifier) has one external address and port on an uplink, whomever it speaks to, for as long as
 * a flow holds it. Chained hashes with a keyed hash over one array of rows; found by either side.
 *
 * An inside host keeps to one of the uplink's addresses, for all its ports and protocols, also when that address has no
 * port left (paired pooling: RFC 4787 REQ-2, RFC 7857 §4). Protocols without ports share the address, with port 0.
 *
 * A host may have `share` times as many ports of a class as it leaves free (dynamic thresholds, Choudhury and Hahne 1998):
 * with 8, one alone gets 8 of 9 ports, two get more than Linux has ephemeral ports each, and one that takes all that it
 * can get leaves thousands to the next.
 */
export class Mappings {
  readonly capacity: number;
  readonly #random: Random;
  readonly #share: number;
  readonly #key: HashKey;
  readonly #key0: number;
  readonly #key1: number;
  readonly #table: Rows;
  readonly #rows: Int32Array;
  // Row + 1; 0 for none: a big array that is not filled is not touched.
  readonly #inside: Int32Array;
  readonly #outside: Int32Array;
  readonly #kept: ChainRows;
  readonly #mask: number;
  readonly #hosts: Hosts;
  readonly #peers: Peers;
  /** The key that is being looked for. */
  readonly #sought = new Int32Array(KEY_WORDS);

  readonly #uplinks = new Map<number, Uplink>();
  // Of each external address: its words, its pool, how many hosts keep to it, its uplink or NONE when that is gone.
  #addresses = new Int32Array(0);
  readonly #pools: PortPool[] = [];
  readonly #uses: number[] = [];
  readonly #owners: number[] = [];
  /** Of retired mappings: external port, as `retiredKey` has it, to row. */
  readonly #retired = new Map<number, number>();

  constructor({ capacity, flows = capacity, key, random, share = DEFAULT_SHARE }: MappingsConfig) {
    this.capacity = capacity;
    this.#random = random;
    this.#share = share;
    this.#key = key;
    this.#key0 = key[0];
    this.#key1 = key[1];
    this.#table = new Rows(capacity, STRIDE, NEXT_INSIDE);
    this.#rows = this.#table.words;
    const buckets = bucketCount(flows);
    this.#inside = new Int32Array(buckets);
    this.#outside = new Int32Array(buckets);
    this.#kept = {
      buckets: new CopiedRows({ column: this.#inside, stride: 1 }, { column: this.#outside, stride: 1 }),
      rows: this.#table.copied,
    };
    this.#mask = buckets - 1;
    this.#hosts = new Hosts(key, capacity);
    this.#peers = new Peers(key, flows);
  }

  carry(carrier: Carrier): void {
    this.#table.carry(carrier);
    carrier.rows(this.#kept.buckets, this.#table.size === 0 ? 0 : this.#inside.length);
    this.#hosts.carry(carrier);
    this.#peers.carry(carrier);
    carryMap(carrier, this.#uplinks);
    this.#addresses = carrier.grown(this.#addresses);
    const pools = carrier.number(this.#pools.length);
    for (let i = 0; i < pools; i++) {
      this.#pools[i] ??= new PortPool(this.#key);
      this.#pools[i].carry(carrier);
    }
    carryList(carrier, this.#uses);
    carryList(carrier, this.#owners);
    carryMap(carrier, this.#retired);
  }

  /** Mappings that live, retired ones too. */
  get size(): number {
    return this.#table.size;
  }

  /** Rows from here on were never used. */
  get high(): number {
    return this.#table.high;
  }

  /**
   * Adds an external address to an uplink, or finds it there.
   * @param words four words, IPv4 as in a tuple (0, 0, 0xffff, address)
   * @returns its index
   */
  addAddress(uplink: number, words: readonly number[]): number {
    let addresses = this.#uplinks.get(uplink);
    if (addresses === undefined) {
      addresses = { ipv4: [], ipv6: [] };
      this.#uplinks.set(uplink, addresses);
    }
    const list = isIpv4(words, 0) ? addresses.ipv4 : addresses.ipv6;
    for (const index of list)
      if (words.every((word, i) => this.#addresses[4 * index + i] === word)) return index;
    let index = this.#owners.findIndex((owner, i) => owner === NONE && this.#uses[i] === 0);
    if (index === NONE) {
      index = this.#pools.length;
      const grown = new Int32Array(4 * (index + 1));
      grown.set(this.#addresses);
      this.#addresses = grown;
    }
    this.#addresses.set(words, 4 * index);
    this.#pools[index] = new PortPool(this.#key);
    this.#uses[index] = 0;
    this.#owners[index] = uplink;
    list.push(index);
    return index;
  }

  /**
   * Forgets an uplink's addresses. Mappings that flows still hold are not found any more and go with those flows; close
   * these first.
   */
  removeUplink(uplink: number): void {
    const addresses = this.#uplinks.get(uplink);
    if (addresses === undefined) return;
    this.#uplinks.delete(uplink);
    for (const index of [...addresses.ipv4, ...addresses.ipv6]) this.#owners[index] = NONE;
    this.#hosts.removeUplink(uplink);
    for (let row = 0; row < this.#table.high; row++) {
      const at = row * STRIDE;
      if (this.#rows[at + STATE] === 0 || this.#rows[at + ENDPOINT] >>> 16 !== uplink) continue;
      if (this.#rows[at + STATE] & LINKED) this.#unlink(row);
      this.#retired.delete(this.#retiredKeyOf(row));
      this.#kept.rows.keep(row);
      this.#rows[at + STATE] = USED;
    }
  }

  /** The ports of an external address, by the index that `addAddress` answered. */
  pool(address: number): PortPool {
    return this.#pools[address];
  }

  /**
   * The mapping, on an uplink, of the source of the tuple at `words[at]`: found, or made. One that was made lives only by
   * `retain`: do that before anything else, and `release` if nothing came of it.
   * @returns its row; or MAPPING_FULL, NO_EXTERNAL_ADDRESS, or PORTS_EXHAUSTED: no port of the class (for UDP, and parity)
   *   is free, or the host has its share of them
   */
  map(words: Int32Array, at: number, uplink: number): number {
    const kind = words[at + TUPLE_KIND];
    const protocol = kindProtocol(kind);
    const port = hasPorts(protocol) ? sourcePort(words[at + TUPLE_PORTS]) : 0;
    const bucket = this.#seek(words, at + TUPLE_SRC, kind, (uplink << 16) | port);
    const rows = this.#rows;
    for (let next = this.#inside[bucket]; next !== 0; ) {
      const here = (next - 1) * STRIDE;
      if (this.#isSought(here)) return next - 1;
      next = rows[here + NEXT_INSIDE];
    }
    return this.#make(bucket, kind, protocol, port, uplink);
  }

  /**
   * The mapping, on an uplink, of the destination of the tuple at `words[at]`, or -1. ICMP queries have no port at the
   * side of who is asked, so that they lead to no mapping.
   */
  findExternal(words: Int32Array, at: number, uplink: number): number {
    const kind = words[at + TUPLE_KIND];
    const protocol = kindProtocol(kind);
    if (protocol === PROTO_ICMP || protocol === PROTO_ICMPV6) return NONE;
    if (hasPorts(protocol))
      return this.#external(words, at + TUPLE_DST, kind, uplink, destinationPort(words[at + TUPLE_PORTS]));
    // Endpoints share the address of a protocol without ports. To one alone it leads, of several to none.
    const row = this.#external(words, at + TUPLE_DST, kind, uplink, 0);
    if (row === NONE) return NONE;
    return this.#next(row, words, at + TUPLE_DST, kind, uplink, 0) === NONE ? row : NONE;
  }

  /** A flow holds the mapping. */
  retain(row: number): void {
    this.#kept.rows.keep(row);
    this.#rows[row * STRIDE + REFERENCES]++;
  }

  /** A flow holds it no more: with the last one the mapping and its port are free. Its peers must have been removed. */
  release(row: number): void {
    const rows = this.#rows;
    const at = row * STRIDE;
    this.#kept.rows.keep(row);
    if (--rows[at + REFERENCES] > 0) return;
    const state = rows[at + STATE];
    const address = this.address(row);
    if (state & LINKED) this.#unlink(row);
    else if (this.#retired.size > 0) this.#unretire(row);
    const protocol = kindProtocol(rows[at + KIND]);
    if (state & HOLDS_PORT) this.#pools[address].free(protocol, rows[at + PORT]);
    const group = portGroup(protocol, rows[at + ENDPOINT] & 0xffff);
    if (this.#hosts.lose(rows[at + HOST], group)) this.#uses[address]--;
    rows[at + STATE] = 0;
    this.#table.give(row);
  }

  /** Whether any flow holds the mapping: false for a free row. */
  isLive(row: number): boolean {
    return this.#rows[row * STRIDE + STATE] !== 0;
  }

  /** Whether one flow alone holds the mapping. */
  isHeldOnce(row: number): boolean {
    return this.#rows[row * STRIDE + REFERENCES] === 1;
  }

  /** Index of the mapping's external address. */
  address(row: number): number {
    return this.#hosts.address(this.#rows[row * STRIDE + HOST]);
  }

  /** The mapping's external port or identifier; 0 for protocols without. */
  externalPort(row: number): number {
    return this.#rows[row * STRIDE + PORT];
  }

  /** Copies the four words of the mapping's external address to `words[at]`. */
  copyExternal(row: number, words: Int32Array, at: number): void {
    const from = 4 * this.address(row);
    for (let i = 0; i < 4; i++) words[at + i] = this.#addresses[from + i];
  }

  /** The port or identifier of the inside endpoint; 0 for protocols without. */
  insidePort(row: number): number {
    return this.#rows[row * STRIDE + ENDPOINT] & 0xffff;
  }

  /** The zone (network) of the inside endpoint. */
  insideZone(row: number): number {
    return kindZone(this.#rows[row * STRIDE + KIND]);
  }

  /** Copies the four words of the inside endpoint's address to `words[at]`. */
  copyInside(row: number, words: Int32Array, at: number): void {
    const from = row * STRIDE + INSIDE;
    for (let i = 0; i < 4; i++) words[at + i] = this.#rows[from + i];
  }

  uplink(row: number): number {
    return this.#rows[row * STRIDE + ENDPOINT] >>> 16;
  }

  /**
   * Notes that the endpoint speaks to the remote address at `words[at]`, four words, so that address-dependent filtering
   * lets it answer (RFC 4787 §5). Counted: one `removePeer` for each. False when there is no room to remember it.
   */
  addPeer(row: number, words: Int32Array, at: number): boolean {
    return this.#peers.add(row, words, at);
  }

  removePeer(row: number, words: Int32Array, at: number): void {
    this.#peers.remove(row, words, at);
  }

  hasPeer(row: number, words: Int32Array, at: number): boolean {
    return this.#peers.has(row, words, at);
  }

  /**
   * Takes an external port away from the mapping that has it, for a publish. The mapping is not found any more, by neither
   * side, but lives on for its flows. The port stays taken, for the publish; `unclaim` gives it back.
   * @returns false when no mapping has it: it is free, or something else took it
   */
  retire(address: number, protocol: number, port: number): boolean {
    const row = this.#holder(address, protocol, port);
    if (row === NONE) return false;
    const at = row * STRIDE;
    if (this.#rows[at + STATE] & LINKED) {
      this.#unlink(row);
      this.#retired.set(retiredKey(address, protocol, port), row);
    }
    this.#kept.rows.keep(row);
    this.#rows[at + STATE] = USED;
    return true;
  }

  /**
   * Takes the ports `from` to `to` of an external address for a publish or service: free ones out of the pool, mapped ones
   * from their mappings. All or none.
   * @returns -1, or the first port that something else has
   */
  claim(address: number, protocol: number, from: number, to: number): number {
    const pool = this.#pools[address];
    for (let port = from; port <= to; port++)
      if (pool.isTaken(protocol, port) && this.#holder(address, protocol, port) === NONE) return port;
    for (let port = from; port <= to; port++)
      if (!pool.take(protocol, port)) this.retire(address, protocol, port);
    return NONE;
  }

  /**
   * Gives back what `claim` or `retire` took. A port that flows of a retired mapping still use is free when they are over.
   */
  unclaim(address: number, protocol: number, from: number, to: number): void {
    const pool = this.#pools[address];
    for (let port = from; port <= to; port++) {
      const row = this.#retired.size > 0 ? this.#retired.get(retiredKey(address, protocol, port)) : undefined;
      if (row === undefined) pool.free(protocol, port);
      else {
        this.#kept.rows.keep(row);
        this.#rows[row * STRIDE + STATE] |= HOLDS_PORT;
      }
    }
  }

  /** Writes the key to `#sought` and answers its bucket. */
  #seek(words: Int32Array, at: number, kind: number, endpoint: number): number {
    const sought = this.#sought;
    sought[0] = words[at];
    sought[1] = words[at + 1];
    sought[2] = words[at + 2];
    sought[3] = words[at + 3];
    sought[KIND] = kind;
    sought[ENDPOINT] = endpoint;
    return hashN(this.#key0, this.#key1, sought, 0, KEY_WORDS) & this.#mask;
  }

  #isSought(here: number): boolean {
    const rows = this.#rows;
    const sought = this.#sought;
    return (
      rows[here + ENDPOINT] === sought[ENDPOINT] &&
      rows[here + 3] === sought[3] &&
      rows[here + KIND] === sought[KIND] &&
      rows[here + 2] === sought[2] &&
      rows[here + 1] === sought[1] &&
      rows[here] === sought[0]
    );
  }

  /** A mapping for the endpoint in `#sought`, which has none. */
  #make(bucket: number, kind: number, protocol: number, inside: number, uplink: number): number {
    if (this.#table.size === this.capacity) return MAPPING_FULL;
    const sought = this.#sought;
    const zone = hostZone(kind);
    let host = this.#hosts.find(sought, INSIDE, zone, uplink);
    const address = host === NONE ? this.#choose(kind, uplink) : this.#hosts.address(host);
    if (address === NONE) return NO_EXTERNAL_ADDRESS;
    const group = portGroup(protocol, inside);
    let port = 0;
    if (group !== NONE) {
      const pool = this.#pools[address];
      const own = host === NONE ? 0 : this.#hosts.ports(host, group);
      if (own >= this.#share * pool.available(protocol, inside)) return PORTS_EXHAUSTED;
      port = pool.allocate(protocol, inside, this.#random);
      if (port < 0) return PORTS_EXHAUSTED;
    }
    if (host === NONE) {
      host = this.#hosts.add(sought, INSIDE, zone, uplink, address);
      this.#uses[address]++;
    }
    this.#hosts.gain(host, group);
    const rows = this.#rows;
    const row = this.#table.take();
    this.#kept.buckets.keep(bucket);
    const at = row * STRIDE;
    for (let i = 0; i < KEY_WORDS; i++) rows[at + i] = sought[i];
    rows[at + HOST] = host;
    rows[at + PORT] = port;
    rows[at + REFERENCES] = 0;
    rows[at + STATE] = group !== NONE ? USED | LINKED | HOLDS_PORT : USED | LINKED;
    rows[at + NEXT_INSIDE] = this.#inside[bucket];
    this.#inside[bucket] = row + 1;
    const outside = this.#seek(this.#addresses, 4 * address, externalKind(kind), (uplink << 16) | port);
    this.#kept.buckets.keep(outside);
    rows[at + NEXT_OUTSIDE] = this.#outside[outside];
    this.#outside[outside] = row + 1;
    return row;
  }

  /** Index of an external address for the host in `#sought`, which has none: by chance, but the same one each time. */
  #choose(kind: number, uplink: number): number {
    const addresses = this.#uplinks.get(uplink);
    if (addresses === undefined) return NONE;
    const list = kindIsIpv6(kind) ? addresses.ipv6 : addresses.ipv4;
    if (list.length <= 1) return list.length === 0 ? NONE : list[0];
    const sought = this.#sought;
    sought[KIND] = hostZone(kind);
    const hash = hashN(this.#key1, this.#key0, sought, 0, KIND + 1) >>> 0;
    sought[KIND] = kind;
    return list[hash % list.length];
  }

  /** The first row of an external address and port, or NONE. */
  #external(words: Int32Array, at: number, kind: number, uplink: number, port: number): number {
    const bucket = this.#seek(words, at, externalKind(kind), (uplink << 16) | port);
    return this.#firstOf(this.#outside[bucket], words, at, kind, uplink, port);
  }

  /** The next one after `row`. */
  #next(row: number, words: Int32Array, at: number, kind: number, uplink: number, port: number): number {
    return this.#firstOf(this.#rows[row * STRIDE + NEXT_OUTSIDE], words, at, kind, uplink, port);
  }

  #firstOf(next: number, words: Int32Array, at: number, kind: number, uplink: number, port: number): number {
    const rows = this.#rows;
    const addresses = this.#addresses;
    for (; next !== 0; next = rows[(next - 1) * STRIDE + NEXT_OUTSIDE]) {
      const here = (next - 1) * STRIDE;
      if (rows[here + PORT] !== port || rows[here + ENDPOINT] >>> 16 !== uplink) continue;
      if (externalKind(rows[here + KIND]) !== externalKind(kind)) continue;
      const address = 4 * this.#hosts.address(rows[here + HOST]);
      if (
        addresses[address + 3] === words[at + 3] &&
        addresses[address + 2] === words[at + 2] &&
        addresses[address + 1] === words[at + 1] &&
        addresses[address] === words[at]
      )
        return next - 1;
    }
    return NONE;
  }

  /**
   * The mapping that has the port of an external address, or NONE. It may be one that was retired for a publish that has
   * ended since, and is still held by flows of the time before.
   */
  #holder(address: number, protocol: number, port: number): number {
    const addresses = this.#addresses;
    const at = 4 * address;
    const kind = tupleKind(protocol, !isIpv4(addresses, at), 0);
    const row = this.#external(addresses, at, kind, this.#owners[address], port);
    if (row !== NONE) return row;
    const retired = this.#retired.get(retiredKey(address, protocol, port)) ?? NONE;
    return retired !== NONE && this.#rows[retired * STRIDE + STATE] & HOLDS_PORT ? retired : NONE;
  }

  #unlink(row: number): void {
    const rows = this.#rows;
    const at = row * STRIDE;
    const inside = this.#seek(rows, at + INSIDE, rows[at + KIND], rows[at + ENDPOINT]);
    unchain(this.#inside, inside, rows, row, STRIDE, NEXT_INSIDE, this.#kept);
    const endpoint = (rows[at + ENDPOINT] & 0xffff0000) | rows[at + PORT];
    const outside = this.#seek(
      this.#addresses,
      4 * this.address(row),
      externalKind(rows[at + KIND]),
      endpoint,
    );
    unchain(this.#outside, outside, rows, row, STRIDE, NEXT_OUTSIDE, this.#kept);
  }

  #retiredKeyOf(row: number): number {
    const at = row * STRIDE;
    return retiredKey(this.address(row), kindProtocol(this.#rows[at + KIND]), this.#rows[at + PORT]);
  }

  #unretire(row: number): void {
    const key = this.#retiredKeyOf(row);
    if (this.#retired.get(key) === row) this.#retired.delete(key);
  }
}

/** Whether the four words at `words[at]` are an IPv4 address, as tuples have it. */
function isIpv4(words: ArrayLike<number>, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === IPV4_MAPPED;
}

/** A kind without its protocol. */
function hostZone(kind: number): number {
  return tupleKind(0, kindIsIpv6(kind), kindZone(kind));
}

/** A kind without its zone: outside, the zone of an endpoint means nothing. */
function externalKind(kind: number): number {
  return tupleKind(kindProtocol(kind), kindIsIpv6(kind), 0);
}

function retiredKey(address: number, protocol: number, port: number): number {
  return (address * 256 + protocol) * 65536 + port;
}
