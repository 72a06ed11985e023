import type { Carrier } from '../wire/carrier.ts';
import { PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { destinationPort, kindIsIpv6, kindProtocol, TUPLE_DST, TUPLE_KIND, TUPLE_PORTS } from './tuple.ts';

/** Ports of the deck, as two publishes cannot both have them. */
export interface DeckPorts {
  protocol: number;
  family: 4 | 6;
  /** The one address of the deck that is published, four words as in a tuple; null for all of them. */
  host: readonly number[] | null;
  from: number;
  to: number;
}

/** Published ports: `from` to `to` of the deck are `target`, `target + 1`, ... of an endpoint. */
export interface Publish extends DeckPorts {
  /** Names the publish. */
  id: number;
  /** The endpoint's network, and its address there: four words, IPv4 as in a tuple. */
  network: number;
  address: readonly number[];
  target: number;
  /** With `host` null: whether the gateways are left out. */
  uplinkOnly: boolean;
}

const NONE = -1;
// Words of a sorted entry: the host's address, first and last port, the publish's row.
const FROM = 4;
const TO = 5;
const ROW = 6;
const STRIDE = 7;
/** What the entries of wildcards have for a host. */
const ANY_HOST = new Int32Array(4);

/** The publishes of one protocol and IP version, sorted by host and first port; ranges of one host do not overlap. */
interface Index {
  hosts: Int32Array;
  wildcards: Int32Array;
}

/**
 * The table of published ports. A range is one entry. A lookup is two binary searches over sorted words, whatever the
 * number of ports.
 *
 * Rows are small integers that a publish keeps until it is removed.
 */
export class Publishes {
  readonly #rows: (Publish | null)[] = [];
  // What the packet path reads of a row.
  #ids: Int32Array = new Int32Array(0);
  #networks: Int32Array = new Int32Array(0);
  #addresses: Int32Array = new Int32Array(0);
  /** Port of the endpoint less port of the deck. */
  #offsets: Int32Array = new Int32Array(0);
  // Of TCP and UDP, IPv4 and IPv6.
  readonly #indices: Index[] = Array.from({ length: 4 }, () => ({
    hosts: new Int32Array(0),
    wildcards: new Int32Array(0),
  }));

  carry(carrier: Carrier): void {
    const rows = carrier.plain(this.#rows);
    this.#rows.splice(0, this.#rows.length, ...rows);
    this.#ids = carrier.grown(this.#ids);
    this.#networks = carrier.grown(this.#networks);
    this.#addresses = carrier.grown(this.#addresses);
    this.#offsets = carrier.grown(this.#offsets);
    for (const index of this.#indices) {
      index.hosts = carrier.grown(index.hosts);
      index.wildcards = carrier.grown(index.wildcards);
    }
  }

  get size(): number {
    return this.#rows.reduce((size, row) => (row === null ? size : size + 1), 0);
  }

  /**
   * Adds a publish. Where one for a host address and one for all addresses have a port both, the former is found.
   * @returns its row
   * @throws RangeError for impossible ports, another protocol than TCP and UDP, an id that is in use, and ports that
   *   another publish has for the same host
   */
  add(publish: Publish): number {
    const { id, protocol, from, to, target } = publish;
    if (protocol !== PROTO_TCP && protocol !== PROTO_UDP)
      throw new RangeError(`protocol ${protocol} has no ports to publish`);
    if (!isRange(from, to)) throw new RangeError(`ports ${from} to ${to} are no range of 1 to 65535`);
    if (!isRange(target, target + to - from))
      throw new RangeError(`ports ${target} to ${target + to - from} are no range of 1 to 65535`);
    if (this.row(id) !== NONE) throw new RangeError(`publish ${id} is there already`);
    const other = this.#rows.find((row) => row !== null && overlaps(row, publish) && sameHost(row, publish));
    if (other) throw new RangeError(`ports ${from} to ${to} overlap those of publish ${other.id}`);
    let row = this.#rows.indexOf(null);
    if (row === NONE) row = this.#rows.length;
    this.#rows[row] = { ...publish };
    this.#write(row, publish);
    const index = this.#indexOf(publish);
    const entry = Int32Array.of(...(publish.host ?? ANY_HOST), from, to, row);
    if (publish.host === null) index.wildcards = inserted(index.wildcards, entry);
    else index.hosts = inserted(index.hosts, entry);
    return row;
  }

  /** Removes a publish; false when there is none of that id. */
  remove(id: number): boolean {
    const row = this.row(id);
    if (row === NONE) return false;
    const publish = this.#rows[row]!;
    this.#rows[row] = null;
    const index = this.#indexOf(publish);
    if (publish.host === null) index.wildcards = without(index.wildcards, row);
    else index.hosts = without(index.hosts, row);
    return true;
  }

  /** The row of a publish, or -1. */
  row(id: number): number {
    return this.#rows.findIndex((row) => row !== null && row.id === id);
  }

  /** The publish of a row, for listings; undefined for a free row. */
  at(row: number): Readonly<Publish> | undefined {
    return this.#rows[row] ?? undefined;
  }

  /** All publishes, in no order that means anything. */
  list(): Readonly<Publish>[] {
    return this.#rows.filter((row) => row !== null);
  }

  /**
   * The id of a publish that this one cannot be beside: one with a port of it, of the same protocol and IP version, on the
   * same host address or on all where either has all, as two sockets could not be bound; -1 when there is none.
   */
  conflict(publish: DeckPorts): number {
    const other = this.#rows.find(
      (row) =>
        row !== null &&
        overlaps(row, publish) &&
        (row.host === null || publish.host === null || sameHost(row, publish)),
    );
    return other?.id ?? NONE;
  }

  /** The row of the publish of the destination of the tuple at `words[at]`: of the address, else of all; or -1. */
  find(words: Int32Array, at: number): number {
    const kind = words[at + TUPLE_KIND];
    const protocol = kindProtocol(kind);
    if (protocol !== PROTO_TCP && protocol !== PROTO_UDP) return NONE;
    const { hosts, wildcards } = this.#indices[which(protocol, kindIsIpv6(kind))];
    const port = destinationPort(words[at + TUPLE_PORTS]);
    const row = search(hosts, words, at + TUPLE_DST, port);
    return row === NONE ? searchPort(wildcards, port) : row;
  }

  /** The publish's id. */
  id(row: number): number {
    return this.#ids[row];
  }

  /** The endpoint's network. */
  network(row: number): number {
    return this.#networks[row];
  }

  /** The endpoint's port for a port of the deck. */
  targetPort(row: number, port: number): number {
    return port + this.#offsets[row];
  }

  /** Copies the four words of the endpoint's address to `words[at]`. */
  copyAddress(row: number, words: Int32Array, at: number): void {
    for (let i = 0; i < 4; i++) words[at + i] = this.#addresses[4 * row + i];
  }

  #indexOf({ protocol, family }: Publish): Index {
    return this.#indices[which(protocol, family === 6)];
  }

  /** Writes the columns of a row. */
  #write(row: number, { id, network, address, target, from }: Publish): void {
    if (row >= this.#ids.length) {
      const rows = Math.max(16, 2 * this.#ids.length);
      this.#ids = grown(this.#ids, rows);
      this.#networks = grown(this.#networks, rows);
      this.#addresses = grown(this.#addresses, 4 * rows);
      this.#offsets = grown(this.#offsets, rows);
    }
    this.#ids[row] = id;
    this.#networks[row] = network;
    this.#addresses.set(address, 4 * row);
    this.#offsets[row] = target - from;
  }
}

/** Of the columns that a lookup reads, longer copies. */
function grown(column: Int32Array, length: number): Int32Array {
  const longer = new Int32Array(length);
  longer.set(column);
  return longer;
}

/** The entries with one more, in order. */
function inserted(entries: Int32Array, entry: Int32Array): Int32Array {
  const at = STRIDE * rank(entries, entry, 0, entry[FROM]);
  const longer = new Int32Array(entries.length + STRIDE);
  longer.set(entries.subarray(0, at));
  longer.set(entry, at);
  longer.set(entries.subarray(at), at + STRIDE);
  return longer;
}

/** The entries without that of a row. */
function without(entries: Int32Array, row: number): Int32Array {
  let at = 0;
  while (entries[at + ROW] !== row) at += STRIDE;
  const shorter = new Int32Array(entries.length - STRIDE);
  shorter.set(entries.subarray(0, at));
  shorter.set(entries.subarray(at + STRIDE), at);
  return shorter;
}

function which(protocol: number, isIpv6: boolean): number {
  return (protocol === PROTO_UDP ? 1 : 0) + (isIpv6 ? 2 : 0);
}

function isRange(from: number, to: number): boolean {
  return Number.isInteger(from) && Number.isInteger(to) && 1 <= from && from <= to && to <= 65535;
}

function overlaps(a: DeckPorts, b: DeckPorts): boolean {
  return a.protocol === b.protocol && a.family === b.family && a.from <= b.to && b.from <= a.to;
}

function sameHost(a: Pick<Publish, 'host'>, b: Pick<Publish, 'host'>): boolean {
  if (a.host === null || b.host === null) return a.host === b.host;
  return a.host.every((word, i) => word === b.host![i]);
}

/** The row of the entry that has the port of the host at `words[at]`, or NONE. */
function search(entries: Int32Array, words: Int32Array, at: number, port: number): number {
  // What may have it is the last entry that is not behind (host, port).
  const here = (rank(entries, words, at, port) - 1) * STRIDE;
  if (here < 0) return NONE;
  for (let i = 0; i < 4; i++) if (entries[here + i] !== words[at + i]) return NONE;
  return port <= entries[here + TO] ? entries[here + ROW] : NONE;
}

/** As `search`, where all entries are of one host. */
function searchPort(entries: Int32Array, port: number): number {
  let low = 0;
  let high = entries.length / STRIDE;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle * STRIDE + FROM] > port) high = middle;
    else low = middle + 1;
  }
  const here = (low - 1) * STRIDE;
  return low > 0 && port <= entries[here + TO] ? entries[here + ROW] : NONE;
}

/** How many entries are not behind (host, port), in order of host and first port. */
function rank(entries: Int32Array, words: Int32Array, at: number, port: number): number {
  let low = 0;
  let high = entries.length / STRIDE;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBehind(entries, middle * STRIDE, words, at, port)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function isBehind(entries: Int32Array, here: number, words: Int32Array, at: number, port: number): boolean {
  for (let i = 0; i < 4; i++) {
    const word = entries[here + i];
    if (word !== words[at + i]) return word > words[at + i];
  }
  return entries[here + FROM] > port;
}
