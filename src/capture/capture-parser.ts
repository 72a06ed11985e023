import { CaptureError } from './capture-error.ts';
import { type CaptureDecoder, CaptureInput, type ReadOptions } from './capture-input.ts';
import type { CaptureInterface, CaptureRecord, RecordView } from './capture-record.ts';
import { PcapDecoder } from './pcap-decoder.ts';
import { PcapngDecoder } from './pcapng-decoder.ts';

export type CaptureFormat = 'pcap' | 'pcap-ns' | 'pcapng';

// First four bytes of a file, read as a big-endian number.
const PCAP = 0xa1b2_c3d4;
const PCAP_SWAPPED = 0xd4c3_b2a1;
const PCAP_NS = 0xa1b2_3c4d;
const PCAP_NS_SWAPPED = 0x4d3c_b2a1;
const PCAPNG = 0x0a0d_0d0a;

/** Files that people have in good faith, and how to make a capture of them. */
const RELATIVES: readonly { magic: number; mask: number; what: string; advice: string }[] = [
  { magic: 0x1f8b_0000, mask: 0xffff_0000, what: 'compressed by gzip', advice: 'decompress it with gunzip' },
  { magic: 0x28b5_2ffd, mask: -1, what: 'compressed by zstd', advice: 'decompress it with unzstd' },
  { magic: 0x0422_4d18, mask: -1, what: 'compressed by lz4', advice: 'decompress it with unlz4' },
  { magic: 0xa1b2_cd34, mask: -1, what: 'a modified pcap', advice: 'convert it with editcap -F pcapng' },
  { magic: 0x34cd_b2a1, mask: -1, what: 'a modified pcap', advice: 'convert it with editcap -F pcapng' },
  { magic: 0x736e_6f6f, mask: -1, what: 'a snoop capture', advice: 'convert it with editcap -F pcapng' },
];

/**
 * A push parser for capture files: classic pcap with microseconds or nanoseconds, and pcapng, each in both byte
 * orders, told apart by their first bytes. Chunks of any size go in, records come out; what is held in memory
 * is one incomplete record and one chunk.
 *
 * ```ts
 * parser.push(chunk);
 * for (let record = parser.next(); record !== undefined; record = parser.next()) use(record);
 * ```
 */
export class CaptureParser {
  readonly #input: CaptureInput;
  #format: CaptureFormat | undefined;
  #decoder: CaptureDecoder | undefined;

  constructor(options: ReadOptions = {}) {
    this.#input = new CaptureInput(options);
  }

  /** Undefined until four bytes have come. */
  get format(): CaptureFormat | undefined {
    return this.#format;
  }

  /** The interfaces of the section being read; complete only at its end, for they may be described at any time. */
  get interfaces(): readonly CaptureInterface[] {
    return this.#decoder?.interfaces ?? [];
  }

  /** Addresses and the names the file gives them (pcapng). */
  get names(): ReadonlyMap<string, readonly string[]> {
    return this.#decoder instanceof PcapngDecoder ? this.#decoder.names : new Map();
  }

  /** The application that wrote the section being read, as it says (pcapng). */
  get application(): string | undefined {
    return this.#decoder instanceof PcapngDecoder ? this.#decoder.application : undefined;
  }

  /** Comments on the section being read (pcapng). */
  get comments(): readonly string[] {
    return this.#decoder instanceof PcapngDecoder ? this.#decoder.comments : [];
  }

  /** Bytes of memory held for what has not been consumed. */
  get memory(): number {
    return this.#input.queue.bytes.length;
  }

  /** Whether no further record can come, whatever is pushed. */
  get stopped(): boolean {
    return this.#input.stopped;
  }

  /** The next bytes of the file; copied. The data of records given out before becomes invalid. */
  push(chunk: Uint8Array): void {
    if (!this.#input.stopped) this.#input.queue.push(chunk);
  }

  /** There are no more bytes. */
  end(): void {
    this.#input.ended = true;
  }

  /**
   * The next record, or undefined when more bytes are needed or, after `end`, when there is none.
   * @throws CaptureError when the file is not a capture; and for any other fault when nobody is to be warned.
   */
  next(): CaptureRecord | undefined {
    return this.advance() ? this.record() : undefined;
  }

  /** As `next`, but what is found is `view`, and no object is made of it. */
  advance(): boolean {
    const input = this.#input;
    if (input.stopped) return false;
    this.#decoder ??= this.#sniff();
    if (this.#decoder?.advance()) return true;
    if (input.ended && !input.stopped) this.#finish();
    return false;
  }

  /** The record that `advance` found: the same object for all. */
  get view(): RecordView {
    return this.#input.view;
  }

  /** An object of the record that `advance` found. */
  record(): CaptureRecord {
    return this.#input.view.record(this.#decoder?.recordComments() ?? []);
  }

  #sniff(): CaptureDecoder | undefined {
    const input = this.#input;
    const { queue } = input;
    if (queue.length < 4) return undefined;
    const magic = queue.view.getUint32(queue.start);
    switch (magic) {
      case PCAP:
      case PCAP_SWAPPED:
        this.#format = 'pcap';
        return new PcapDecoder(input, magic === PCAP_SWAPPED, false);
      case PCAP_NS:
      case PCAP_NS_SWAPPED:
        this.#format = 'pcap-ns';
        return new PcapDecoder(input, magic === PCAP_NS_SWAPPED, true);
      case PCAPNG:
        this.#format = 'pcapng';
        return new PcapngDecoder(input);
    }
    const relative = RELATIVES.find((known) => (magic & known.mask) === (known.magic | 0));
    const why =
      relative === undefined
        ? `it begins with 0x${magic.toString(16).padStart(8, '0')}, which is neither pcap nor pcapng`
        : `it is ${relative.what}`;
    throw this.#notACapture(why, relative?.advice ?? 'give a file that tcpdump or Wireshark has written');
  }

  #notACapture(why: string, advice: string): CaptureError {
    this.#input.stopped = true;
    return new CaptureError(this.#input.file, 0, 'not a capture', why, advice);
  }

  /** The file is at its end: is it the end of a record, too? */
  #finish(): void {
    const input = this.#input;
    const { queue } = input;
    if (this.#decoder === undefined) {
      const why = queue.length === 0 ? 'the file is empty' : `the file has only ${queue.length} bytes`;
      throw this.#notACapture(why, 'give a file that tcpdump or Wireshark has written');
    }
    const { begun } = this.#decoder;
    const cutOff = queue.offset + queue.length - begun;
    if (cutOff > 0) input.stop(begun, 'cut off', `the file ends ${cutOff} bytes into what begins here`);
  }
}
