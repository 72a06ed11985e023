import { Action, ROW_ARGUMENTS, ROW_PACKET, ROW_WORDS, rowAction } from '../../switch/trace.ts';

/** Rows that are remembered: of dropped packets, and of the whole ways of all packets, some ten rows each. */
const ROWS = 4096;
const LONG = 262_144;

/** Which packets are meant: what is left out is any. Addresses are four words. */
export interface PastFilter {
  src?: readonly number[];
  dst?: readonly number[];
  srcPort?: number;
  dstPort?: number;
  /** IP protocol. */
  protocol?: number;
  packet?: number;
}

/**
 * The rows written last, the oldest overwritten by the newest. The verdicts on dropped packets are always among them; the whole
 * way of every packet is, while somebody has asked for it.
 */
export class Past {
  #rows = new Int32Array(ROWS * ROW_WORDS);
  /** Rows ever written. */
  #written = 0;

  /** Whether it remembers whole ways. */
  get isLong(): boolean {
    return this.#rows.length > ROWS * ROW_WORDS;
  }

  /** Remembers the whole way of every packet from now on, or only drops; what was there is forgotten. */
  set isLong(isLong: boolean) {
    if (isLong === this.isLong) return;
    this.#rows = new Int32Array((isLong ? LONG : ROWS) * ROW_WORDS);
    this.#written = 0;
  }

  row(row: Int32Array): void {
    const rows = this.#rows;
    const at = (this.#written % (rows.length / ROW_WORDS)) * ROW_WORDS;
    for (let i = 0; i < ROW_WORDS; i++) rows[at + i] = row[i]!;
    this.#written++;
  }

  /**
   * The rows of the latest `most` packets that match, oldest first, `ROW_WORDS` words each. A packet matches by any row that
   * names whom it is from and for: as it came in, or as it was when its verdict was spoken.
   */
  list(filter: PastFilter, most: number): Int32Array {
    const rows = this.#rows;
    const capacity = rows.length / ROW_WORDS;
    const first = Math.max(0, this.#written - capacity);
    const wanted = new Set<number>();
    for (let i = this.#written - 1; i >= first && wanted.size < most; i--) {
      const at = (i % capacity) * ROW_WORDS;
      if (namesEnds(rows, at) && matches(rows, at, filter)) wanted.add(rows[at + ROW_PACKET]!);
    }
    const found: number[] = [];
    for (let i = first; i < this.#written; i++) {
      const at = (i % capacity) * ROW_WORDS;
      if (wanted.has(rows[at + ROW_PACKET]!)) found.push(at);
    }
    const list = new Int32Array(found.length * ROW_WORDS);
    for (const [i, at] of found.entries()) list.set(rows.subarray(at, at + ROW_WORDS), i * ROW_WORDS);
    return list;
  }
}

/** Whether the row's arguments are ENDS: whom the packet is from and for. */
function namesEnds(rows: Int32Array, at: number): boolean {
  const action = rowAction(rows, at);
  return action === Action.VERDICT || action === Action.RECEIVED || action === Action.MADE;
}

function matches(rows: Int32Array, at: number, filter: PastFilter): boolean {
  const from = at + ROW_ARGUMENTS;
  const ports = rows[from + 8]!;
  return (
    isAddress(rows, from, filter.src) &&
    isAddress(rows, from + 4, filter.dst) &&
    (filter.srcPort === undefined || ports >>> 16 === filter.srcPort) &&
    (filter.dstPort === undefined || (ports & 0xffff) === filter.dstPort) &&
    (filter.protocol === undefined || ((rows[from + 9]! >> 16) & 0xff) === filter.protocol) &&
    (filter.packet === undefined || rows[at + ROW_PACKET] === filter.packet)
  );
}

function isAddress(rows: Int32Array, at: number, address: readonly number[] | undefined): boolean {
  return address === undefined || address.every((word, i) => rows[at + i] === word);
}
