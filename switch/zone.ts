import type { Carrier } from '../wire/carrier.ts';
import { encodeDnsName, hashDnsName, isSameDnsName, isUnderDnsName } from '../wire/dns.ts';

/** A name and its addresses: int32s, and four int32 words each. The same name may occur more than once. */
export interface ZoneName {
  readonly name: string;
  readonly ipv4: readonly number[];
  readonly ipv6: readonly (readonly number[])[];
}

function name(text: string): Uint8Array {
  return encodeDnsName(text)!;
}

/**
 * Names that mean something here, or nothing anywhere: nobody outside is ever asked about what is under them. Of the deck and of Docker,
 * whose names in "internal" are private; and of RFC 6761 §6.3, §6.4 and RFC 7686 §2.
 */
const LOCAL_SUFFIXES = ['tapdeck.internal', 'docker.internal', 'localhost', 'invalid', 'onion'].map(name);
const IN_ADDR_ARPA = name('in-addr.arpa');
const IP6_ARPA = name('ip6.arpa');

/** Whether a plain name is one about which nobody outside is to be asked. */
export function isLocalName(bytes: Uint8Array, at: number, end: number): boolean {
  for (const suffix of LOCAL_SUFFIXES) if (isUnderDnsName(bytes, at, end, suffix)) return true;
  return false;
}

interface Entry {
  readonly name: Uint8Array;
  readonly ipv4: number[];
  readonly ipv6: number[];
  /** The name to which the address in this name leads, or null. */
  pointer: Uint8Array | null;
}

/**
 * The names of a network, made once and then only read: a hash table of names in wire form. Its keys are the operator's and not
 * those of who asks.
 *
 * Every address leads back to a name (`in-addr.arpa`, `ip6.arpa`): the first one that has it. What lies between a name and the
 * suffix that makes it local exists, without records (RFC 8020 §2: below what does not exist there is nothing).
 */
export class Zone {
  /** What it was made of. */
  readonly names: readonly ZoneName[];
  readonly #key: number;
  /** Entry + 1 by slot, 0 where there is none; at most half full. */
  readonly #slots: Int32Array;
  readonly #hashes: Int32Array;
  /** All names in wire form, and where the one of each entry begins; one more than there are entries. */
  readonly #bytes: Uint8Array;
  readonly #starts: Int32Array;
  /** All IPv4 addresses, and where those of each entry begin; the same for IPv6, four words each. */
  readonly #ipv4: Int32Array;
  readonly #ipv4Starts: Int32Array;
  readonly #ipv6: Int32Array;
  readonly #ipv6Starts: Int32Array;
  /** The names to which addresses lead, and where that of each entry begins. */
  readonly #pointers: Uint8Array;
  readonly #pointerStarts: Int32Array;
  /** How often each entry was answered: where the next answer begins. */
  readonly #turns: Uint32Array;

  /** Throws RangeError for a name that cannot be one. */
  constructor(names: readonly ZoneName[], key = 0) {
    const entries = Array.from(entriesOf(names).values());
    this.names = names;
    this.#key = key;
    this.#bytes = joined(entries.map((entry) => entry.name));
    this.#starts = starts(entries.map((entry) => entry.name.length));
    this.#ipv4 = Int32Array.from(entries.flatMap((entry) => entry.ipv4));
    this.#ipv4Starts = starts(entries.map((entry) => entry.ipv4.length));
    this.#ipv6 = Int32Array.from(entries.flatMap((entry) => entry.ipv6));
    this.#ipv6Starts = starts(entries.map((entry) => entry.ipv6.length));
    this.#pointers = joined(entries.map((entry) => entry.pointer ?? new Uint8Array()));
    this.#pointerStarts = starts(entries.map((entry) => entry.pointer?.length ?? 0));
    this.#turns = new Uint32Array(entries.length);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(entries.length * 2 + 1)));
    this.#hashes = Int32Array.from(entries, (entry) => hashDnsName(key, entry.name, 0, entry.name.length));
    for (let i = 0; i < entries.length; i++) {
      let slot = this.#hashes[i] & (this.#slots.length - 1);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = i + 1;
    }
  }

  carry(carrier: Carrier): void {
    carrier.column(this.#turns);
  }

  /** Names that it knows, those that lead back from addresses included. */
  get size(): number {
    return this.#hashes.length;
  }

  /** The entry of a plain name, or -1. */
  find(bytes: Uint8Array, at: number, end: number): number {
    const hash = hashDnsName(this.#key, bytes, at, end);
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot] - 1;
      const start = this.#starts[entry];
      const length = this.#starts[entry + 1] - start;
      if (this.#hashes[entry] !== hash || length !== end - at) continue;
      if (isSameDnsName(bytes, at, this.#bytes, start, length)) return entry;
    }
    return -1;
  }

  /** How many IPv4 addresses an entry has. */
  countIpv4(entry: number): number {
    return this.#ipv4Starts[entry + 1] - this.#ipv4Starts[entry];
  }

  countIpv6(entry: number): number {
    return (this.#ipv6Starts[entry + 1] - this.#ipv6Starts[entry]) >> 2;
  }

  /** The IPv4 address of an entry, 0 <= index < `countIpv4`. */
  ipv4(entry: number, index: number): number {
    return this.#ipv4[this.#ipv4Starts[entry] + index];
  }

  /** A word of an IPv6 address of an entry. */
  ipv6(entry: number, index: number, word: number): number {
    return this.#ipv6[this.#ipv6Starts[entry] + 4 * index + word];
  }

  /** With which address the next answer begins: another one every time. */
  turn(entry: number): number {
    return this.#turns[entry]++;
  }

  /** Octets of the name to which the address in an entry's name leads, 0 when it is no address. */
  pointerLength(entry: number): number {
    return this.#pointerStarts[entry + 1] - this.#pointerStarts[entry];
  }

  /** Writes that name; answers the offset behind it. */
  writePointer(entry: number, out: Uint8Array, at: number): number {
    const end = this.#pointerStarts[entry + 1];
    let next = at;
    for (let i = this.#pointerStarts[entry]; i < end; i++) out[next++] = this.#pointers[i];
    return next;
  }
}

/** Entries by their names in text, in lower case and without a final dot: of these, each stands for one name in wire form. */
function entriesOf(names: readonly ZoneName[]): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  const entryOf = (text: string, bytes: Uint8Array): Entry => {
    const known = entries.get(text);
    if (known !== undefined) return known;
    const entry: Entry = { name: bytes, ipv4: [], ipv6: [], pointer: null };
    entries.set(text, entry);
    return entry;
  };
  // Addresses that lead to a name already: most of them have several.
  const leading = new Set<number | string>();
  const lead = (text: string, bytes: Uint8Array) => {
    entryOf(text, name(text)).pointer ??= bytes;
  };
  for (const { name: given, ipv4, ipv6 } of names) {
    const bytes = encodeDnsName(given);
    if (bytes === undefined || bytes.length === 1) throw new RangeError(`${given} is no name`);
    const text = (given.endsWith('.') ? given.slice(0, -1) : given).toLowerCase();
    const entry = entryOf(text, bytes);
    for (const address of ipv4) {
      if (!entry.ipv4.includes(address)) entry.ipv4.push(address);
      if (leading.has(address)) continue;
      leading.add(address);
      lead(reverseIpv4(address), bytes);
    }
    for (const address of ipv6) {
      const [w0, w1, w2, w3] = address as [number, number, number, number];
      if (!hasIpv6(entry.ipv6, w0, w1, w2, w3)) entry.ipv6.push(w0, w1, w2, w3);
      const key = `${w0},${w1},${w2},${w3}`;
      if (leading.has(key)) continue;
      leading.add(key);
      lead(reverseIpv6(address), bytes);
    }
    // A label takes as many octets as it and its dot take characters.
    for (let at = 1 + bytes[0]; bytes[at] !== 0; at += 1 + bytes[at]) {
      if (isLocalName(bytes, at, bytes.length)) entryOf(text.slice(at), bytes.slice(at));
    }
  }
  return entries;
}

function hasIpv6(words: readonly number[], w0: number, w1: number, w2: number, w3: number): boolean {
  for (let i = 0; i < words.length; i += 4) {
    if (words[i] === w0 && words[i + 1] === w1 && words[i + 2] === w2 && words[i + 3] === w3) return true;
  }
  return false;
}

function reverseIpv4(address: number): string {
  return `${address & 255}.${(address >>> 8) & 255}.${(address >>> 16) & 255}.${address >>> 24}.in-addr.arpa`;
}

function reverseIpv6(words: readonly number[]): string {
  let text = '';
  for (let i = 3; i >= 0; i--) {
    for (let shift = 0; shift < 32; shift += 4) text += `${((words[i]! >>> shift) & 15).toString(16)}.`;
  }
  return `${text}ip6.arpa`;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function starts(lengths: readonly number[]): Int32Array {
  const sums = new Int32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) sums[i + 1] = sums[i]! + length;
  return sums;
}

/** What a name of `in-addr.arpa` or `ip6.arpa` stands for: reused, so that no question makes an object. */
export class ReverseName {
  family: 4 | 6 = 4;
  /** Bits of the address that the name has; the others are 0. */
  bits = 0;
  readonly words = new Int32Array(4);

  /** Reads a plain name; false when it is none of these. IPv4 addresses are in the first word. */
  read(bytes: Uint8Array, at: number, end: number): boolean {
    if (isUnderDnsName(bytes, at, end, IN_ADDR_ARPA))
      return this.#read(4, bytes, at, end - IN_ADDR_ARPA.length);
    if (isUnderDnsName(bytes, at, end, IP6_ARPA)) return this.#read(6, bytes, at, end - IP6_ARPA.length);
    return false;
  }

  /** Labels up to `end` are the parts of the address, the last one first: octets (RFC 1035 §3.5), nibbles (RFC 3596 §2.5). */
  #read(family: 4 | 6, bytes: Uint8Array, at: number, end: number): boolean {
    const { words } = this;
    this.family = family;
    this.bits = 0;
    words.fill(0);
    const width = family === 4 ? 8 : 4;
    let parts = 0;
    for (let label = at; label < end; label += 1 + bytes[label]) parts++;
    if (parts > (family === 4 ? 4 : 32)) return false;
    let bit = parts * width;
    this.bits = bit;
    for (let label = at; label < end; label += 1 + bytes[label]) {
      const part = family === 4 ? octet(bytes, label) : nibble(bytes, label);
      if (part < 0) return false;
      bit -= width;
      words[bit >> 5] |= part << (32 - width - (bit & 31));
    }
    return true;
  }
}

/** The decimal number of a label, 0 to 255; -1 when it is none. */
function octet(bytes: Uint8Array, label: number): number {
  const length = bytes[label];
  if (length > 3 || length === 0) return -1;
  let value = 0;
  for (let i = label + 1; i <= label + length; i++) {
    if (bytes[i] < 0x30 || bytes[i] > 0x39) return -1;
    value = value * 10 + bytes[i] - 0x30;
  }
  return value > 255 ? -1 : value;
}

/** The hexadecimal digit of a label; -1 when it is none. */
function nibble(bytes: Uint8Array, label: number): number {
  if (bytes[label] !== 1) return -1;
  const digit = bytes[label + 1];
  if (digit >= 0x30 && digit <= 0x39) return digit - 0x30;
  const letter = digit | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
