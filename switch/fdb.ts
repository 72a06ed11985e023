import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import { type HashKey, hash2 } from '../wire/hash.ts';
import type { PortId } from './frame.ts';
import type { Ports } from './ports.ts';

/** Milliseconds after which an address that was not seen again is forgotten (IEEE 802.1Q table 8-6; Linux's default too). */
export const DEFAULT_AGEING = 300_000;

// A row of the table is four words, so that one lookup touches one cache line of it.
const KEY_HI = 0; // network << 16 | first 16 bits of the MAC
const KEY_LO = 1; // last 32 bits of the MAC
const PORT = 2; // port << 1 | static
const NEXT = 3; // next row of the same bucket, or -1; next free row in a free one
const STRIDE = 4;
const NONE = -1;

/** One entry, as listed for people and programs. */
export interface FdbEntry {
  network: number;
  macHi: number;
  macLo: number;
  port: PortId;
  /** Static entries belong to attached endpoints and gateways; they neither age nor move. */
  static: boolean;
  /** Milliseconds since the address was last seen as a source; 0 for static entries. */
  age: number;
}

/** What `learn` found out about a source address. */
export const Learned = {
  /** Known on this port, or learned now, or moved here. */
  OK: 0,
  /** A static entry says that the address belongs to another port. */
  FOREIGN: 1,
  /** The table, the network or the port has no room for one more; the frame itself may pass. */
  FULL: 2,
} as const;
export type Learned = (typeof Learned)[keyof typeof Learned];

/**
 * Filtering database of all bridges of a deck: (network, MAC) → port. Chained hash over typed arrays with a
 * keyed hash, so that nobody can aim at one bucket. Capacity is fixed; when it is reached new addresses are
 * not learned (802.1Q §8.7), known ones keep working, and the frames are flooded.
 */
export class Fdb {
  readonly capacity: number;
  /** Milliseconds; settable at run time. */
  ageing = DEFAULT_AGEING;
  /** When `expire` is next worth calling, ms; Infinity while nothing can age. */
  deadline = Number.POSITIVE_INFINITY;
  /** How often an address was not learned for want of room. */
  overflows = 0;
  readonly #ports: Ports;
  readonly #rows: Int32Array;
  readonly #seen: Float64Array;
  readonly #buckets: Int32Array;
  readonly #kept: CopiedRows;
  /** Per port, the rows of the source and the destination of its last frame: the next one's, most often. */
  readonly #sources: Int32Array;
  readonly #destinations: Int32Array;
  readonly #mask: number;
  readonly #key0: number;
  readonly #key1: number;
  /** Rows from here on were never used. */
  #high = 0;
  #freeRow = NONE;
  #size = 0;
  /** Learned (not static) entries per network, and how many each may have. */
  readonly #networkLearned: Int32Array;
  readonly #networkLimit: number;

  /**
   * @param capacity rows for all networks together, a power of two
   * @param networkLimit learned addresses per network (BR-11; Open vSwitch has 8,192 too)
   * @param key of the hash
   */
  constructor(ports: Ports, key: HashKey, capacity = 65536, networkLimit = 8192, networks = 4096) {
    this.#ports = ports;
    this.capacity = capacity;
    this.#rows = new Int32Array(capacity * STRIDE).fill(NONE);
    this.#sources = new Int32Array(ports.capacity);
    this.#destinations = new Int32Array(ports.capacity);
    this.#seen = new Float64Array(capacity);
    this.#buckets = new Int32Array(capacity * 2).fill(NONE);
    this.#kept = new CopiedRows({ column: this.#buckets, stride: 1 });
    this.#mask = capacity * 2 - 1;
    this.#key0 = key[0];
    this.#key1 = key[1];
    this.#networkLearned = new Int32Array(networks);
    this.#networkLimit = networkLimit;
  }

  carry(carrier: Carrier): void {
    this.ageing = carrier.number(this.ageing);
    this.deadline = carrier.number(this.deadline);
    this.overflows = carrier.number(this.overflows);
    this.#high = carrier.number(this.#high);
    this.#freeRow = carrier.number(this.#freeRow);
    this.#size = carrier.number(this.#size);
    carrier.column(this.#rows, this.#high * STRIDE);
    carrier.column(this.#seen, this.#high);
    carrier.rows(this.#kept, this.#size === 0 ? 0 : this.#buckets.length);
    carrier.column(this.#networkLearned);
  }

  get size(): number {
    return this.#size;
  }

  /** The port behind which the address is, or -1. An entry past its age is no entry, swept or not. */
  lookup(network: number, macHi: number, macLo: number, now: number): PortId {
    return this.#portOf(this.#find((network << 16) | macHi, macLo), now);
  }

  /** `lookup` for the destination of a frame that came in by `ingress`: most often that of the frame before. */
  lookupFrom(ingress: PortId, network: number, macHi: number, macLo: number, now: number): PortId {
    const keyHi = (network << 16) | macHi;
    let row = this.#destinations[ingress]!;
    if (!this.#holds(row, keyHi, macLo)) {
      row = this.#find(keyHi, macLo);
      if (row !== NONE) this.#destinations[ingress] = row;
    }
    return this.#portOf(row, now);
  }

  /** Notes that the address was seen as a source on `port` (802.1Q §8.7); a station that moved is re-learned at once. */
  learn(network: number, macHi: number, macLo: number, port: PortId, now: number): Learned {
    const keyHi = (network << 16) | macHi;
    const rows = this.#rows;
    let row = this.#sources[port]!;
    if (!this.#holds(row, keyHi, macLo)) row = this.#find(keyHi, macLo);
    if (row !== NONE) {
      this.#sources[port] = row;
      const at = row * STRIDE;
      const was = rows[at + PORT]!;
      if (was === port << 1) {
        this.#seen[row] = now;
        return Learned.OK;
      }
      if (was & 1) return was >> 1 === port ? Learned.OK : Learned.FOREIGN;
      if (this.#ports.learned[port]! >= this.#ports.learnLimit[port]!) {
        this.overflows++;
        return Learned.FULL;
      }
      this.#ports.learned[was >> 1]!--;
      this.#ports.learned[port]!++;
      rows[at + PORT] = port << 1;
      this.#seen[row] = now;
      return Learned.OK;
    }
    const full =
      this.#size === this.capacity ||
      this.#networkLearned[network]! >= this.#networkLimit ||
      this.#ports.learned[port]! >= this.#ports.learnLimit[port]!;
    if (full) {
      this.overflows++;
      return Learned.FULL;
    }
    this.#ports.learned[port]!++;
    this.#networkLearned[network]!++;
    this.#insert(keyHi, macLo, port << 1, now);
    if (this.deadline === Number.POSITIVE_INFINITY) this.deadline = now + this.ageing;
    return Learned.OK;
  }

  /**
   * Adds or replaces a static entry. When the table is full, the learned address that was not seen for longest makes room:
   * who floods us with addresses must not keep an endpoint from its own. False when all entries are static.
   */
  addStatic(network: number, macHi: number, macLo: number, port: PortId): boolean {
    this.remove(network, macHi, macLo);
    if (this.#size === this.capacity && !this.#makeRoom()) return false;
    const keyHi = (network << 16) | macHi;
    this.#insert(keyHi, macLo, (port << 1) | 1, 0);
    return true;
  }

  /** Removes one entry, if it is there. */
  remove(network: number, macHi: number, macLo: number): void {
    const row = this.#find((network << 16) | macHi, macLo);
    if (row !== NONE) this.#remove(row);
  }

  /** Forgets every address behind `port` (BR-7). */
  flushPort(port: PortId): void {
    for (let row = 0; row < this.#high; row++) {
      if (this.#rows[row * STRIDE + PORT]! >> 1 === port) this.#remove(row);
    }
  }

  /** Sweeps what has aged out and sets the next deadline. */
  expire(now: number): void {
    let oldest = Number.POSITIVE_INFINITY;
    for (let row = 0; row < this.#high; row++) {
      const port = this.#rows[row * STRIDE + PORT]!;
      if (port < 0 || port & 1) continue;
      const seen = this.#seen[row]!;
      if (now - seen >= this.ageing) this.#remove(row);
      else if (seen < oldest) oldest = seen;
    }
    // An entry that is refreshed meanwhile costs one sweep too many, at most one a second.
    this.deadline = Math.max(oldest + this.ageing, now + 1000);
  }

  /** All entries that have not aged out, in no order that means anything. */
  list(now: number): FdbEntry[] {
    const entries: FdbEntry[] = [];
    for (let row = 0; row < this.#high; row++) {
      const at = row * STRIDE;
      const port = this.#rows[at + PORT]!;
      if (port < 0) continue;
      const isStatic = (port & 1) === 1;
      const age = isStatic ? 0 : now - this.#seen[row]!;
      if (age >= this.ageing) continue;
      entries.push({
        network: this.#rows[at + KEY_HI]! >>> 16,
        macHi: this.#rows[at + KEY_HI]! & 0xffff,
        macLo: this.#rows[at + KEY_LO]!,
        port: port >> 1,
        static: isStatic,
        age,
      });
    }
    return entries;
  }

  #makeRoom(): boolean {
    let oldest = NONE;
    for (let row = 0; row < this.#high; row++) {
      const port = this.#rows[row * STRIDE + PORT]!;
      if (port < 0 || port & 1) continue;
      if (oldest === NONE || this.#seen[row]! < this.#seen[oldest]!) oldest = row;
    }
    if (oldest !== NONE) this.#remove(oldest);
    return oldest !== NONE;
  }

  #bucket(keyHi: number, keyLo: number): number {
    return hash2(this.#key0, this.#key1, keyHi, keyLo) & this.#mask;
  }

  /** Whether the row is that of the address: what a remembered row must be asked before it is used. */
  #holds(row: number, keyHi: number, keyLo: number): boolean {
    const at = row * STRIDE;
    const rows = this.#rows;
    return rows[at + KEY_LO] === keyLo && rows[at + KEY_HI] === keyHi && rows[at + PORT]! >= 0;
  }

  #find(keyHi: number, keyLo: number): number {
    const rows = this.#rows;
    let row = this.#buckets[this.#bucket(keyHi, keyLo)]!;
    while (row !== NONE) {
      const at = row * STRIDE;
      if (rows[at + KEY_LO] === keyLo && rows[at + KEY_HI] === keyHi) break;
      row = rows[at + NEXT]!;
    }
    return row;
  }

  #portOf(row: number, now: number): PortId {
    if (row === NONE) return -1;
    const port = this.#rows[row * STRIDE + PORT]!;
    if ((port & 1) === 0 && now - this.#seen[row]! >= this.ageing) return -1;
    return port >> 1;
  }

  #insert(keyHi: number, keyLo: number, port: number, now: number): void {
    const rows = this.#rows;
    const bucket = this.#bucket(keyHi, keyLo);
    let row = this.#freeRow;
    if (row === NONE) row = this.#high++;
    else this.#freeRow = rows[row * STRIDE + NEXT]!;
    const at = row * STRIDE;
    rows[at + KEY_HI] = keyHi;
    rows[at + KEY_LO] = keyLo;
    rows[at + PORT] = port;
    rows[at + NEXT] = this.#buckets[bucket]!;
    this.#seen[row] = now;
    this.#kept.keep(bucket);
    this.#buckets[bucket] = row;
    this.#size++;
  }

  #remove(row: number): void {
    const rows = this.#rows;
    const at = row * STRIDE;
    const bucket = this.#bucket(rows[at + KEY_HI]!, rows[at + KEY_LO]!);
    if (this.#buckets[bucket] === row) {
      this.#kept.keep(bucket);
      this.#buckets[bucket] = rows[at + NEXT]!;
    } else {
      let before = this.#buckets[bucket]!;
      while (rows[before * STRIDE + NEXT] !== row) before = rows[before * STRIDE + NEXT]!;
      rows[before * STRIDE + NEXT] = rows[at + NEXT]!;
    }
    const port = rows[at + PORT]!;
    if ((port & 1) === 0) {
      this.#ports.learned[port >> 1]!--;
      this.#networkLearned[rows[at + KEY_HI]! >>> 16]!--;
    }
    rows[at + PORT] = NONE;
    rows[at + NEXT] = this.#freeRow;
    this.#freeRow = row;
    this.#size--;
  }
}
