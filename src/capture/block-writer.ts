import * as ng from './pcapng-format.ts';

/** Takes written bytes; the view is valid only during the call. */
export type Sink = (bytes: Uint8Array) => void;

/** Longest value of an option. */
const MAX_OPTION = 0xffff;

/** Puts one pcapng block together in memory that is reused, and hands it to the sink. Little-endian. */
export class BlockWriter {
  readonly #sink: Sink;
  readonly #utf8 = new TextEncoder();
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  #hasOptions = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  begin(type: number): void {
    this.#length = 0;
    this.#hasOptions = false;
    this.u32(type);
    this.u32(0);
  }

  /** Completes both total lengths and the end of options, and writes the block. */
  finish(): void {
    if (this.#hasOptions) this.u32(ng.Opt.END);
    const total = this.#length + 4;
    this.u32(total);
    this.#view.setUint32(4, total, true);
    this.#sink(this.#bytes.subarray(0, total));
  }

  u16(value: number): void {
    // Taking room may make another view.
    const at = this.#take(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, value, true);
  }

  /** A time: its high half first, also in little-endian files. */
  time(timestamp: bigint): void {
    if (timestamp < 0n || timestamp > 0xffff_ffff_ffff_ffffn) {
      throw new RangeError(`timestamp ${timestamp} ns does not fit into 64 bits`);
    }
    this.u32(Number(timestamp >> 32n));
    this.u32(Number(timestamp & 0xffff_ffffn));
  }

  /** Bytes with padding to a multiple of 4. */
  padded(bytes: Uint8Array, at: number, length: number): void {
    const target = this.#take(ng.padded(length));
    this.#bytes.set(bytes.subarray(at, at + length), target);
    this.#bytes.fill(0, target + length, this.#length);
  }

  optionBytes(code: number, value: Uint8Array): void {
    this.#option(code, value.length);
    this.padded(value, 0, value.length);
  }

  optionU8(code: number, value: number): void {
    this.#option(code, 1);
    this.u32(value & 0xff);
  }

  optionU32(code: number, value: number): void {
    this.#option(code, 4);
    this.u32(value);
  }

  optionU64(code: number, value: bigint): void {
    this.#option(code, 8);
    this.u64(value);
  }

  optionTime(code: number, value: bigint): void {
    this.#option(code, 8);
    this.time(value);
  }

  /** A text in UTF-8, shortened to whole characters where it is longer than an option can be. */
  optionText(code: number, text: string): void {
    this.#hasOptions = true;
    this.record(code, undefined, text);
  }

  /** Code, length and value: `prefix`, if any, and behind it the text. Both options and name records are so. */
  record(code: number, prefix: Uint8Array | undefined, text: string): void {
    const head = this.#take(4);
    const before = prefix?.length ?? 0;
    if (prefix !== undefined) this.#bytes.set(prefix, this.#take(before));
    const target = this.#length;
    // UTF-8 needs at most 3 bytes for a UTF-16 unit.
    this.#take(Math.min(text.length * 3, MAX_OPTION - before));
    const { written } = this.#utf8.encodeInto(text, this.#bytes.subarray(target, this.#length));
    this.#length = head + 4 + ng.padded(before + written);
    this.#reserve();
    this.#bytes.fill(0, target + written, this.#length);
    this.#view.setUint16(head, code, true);
    this.#view.setUint16(head + 2, before + written, true);
  }

  #option(code: number, length: number): void {
    if (length > MAX_OPTION)
      throw new RangeError(`option ${code} of ${length} bytes is longer than ${MAX_OPTION}`);
    this.#hasOptions = true;
    this.u16(code);
    this.u16(length);
  }

  #take(count: number): number {
    const at = this.#length;
    this.#length += count;
    this.#reserve();
    return at;
  }

  #reserve(): void {
    if (this.#length <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
