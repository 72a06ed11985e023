// Writes classic pcap, little-endian, for tools that do not read pcapng: draft-ietf-opsawg-pcap.
import type { Sink } from './block-writer.ts';
import { MAX_CAPTURED_LENGTH } from './capture-record.ts';
import { LinkType } from './link-type.ts';

const MAGIC_MICROSECONDS = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS = 0xa1b2_3c4d;
const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;

export interface PcapDescription {
  /** Times in nanoseconds; microseconds, which every reader knows, by default. */
  nanoseconds?: boolean;
  /** Ethernet by default. */
  linkType?: number;
  /** Most bytes written of a frame; 262,144 by default. */
  snapLength?: number;
}

/** Writes one classic pcap file; times are cut down to its unit. The same calls give the same bytes. */
export class PcapWriter {
  readonly #sink: Sink;
  readonly #nanoseconds: boolean;
  readonly #snapLength: number;
  #bytes = new Uint8Array(RECORD_HEADER_LENGTH + 2048);
  #view = new DataView(this.#bytes.buffer);

  constructor(sink: Sink, description: PcapDescription = {}) {
    this.#sink = sink;
    this.#nanoseconds = description.nanoseconds ?? false;
    this.#snapLength = description.snapLength ?? MAX_CAPTURED_LENGTH;
    const view = this.#view;
    view.setUint32(0, this.#nanoseconds ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, this.#snapLength, true);
    view.setUint32(20, description.linkType ?? LinkType.ETHERNET, true);
    sink(this.#bytes.subarray(0, FILE_HEADER_LENGTH));
  }

  /**
   * Writes `length` bytes from `at` on as one frame, shortened to the snapshot length.
   * @param timestamp nanoseconds since 1970-01-01 UTC
   * @throws RangeError when the time is before 1970 or after 2106
   */
  write(timestamp: bigint, bytes: Uint8Array, at: number, length: number, originalLength = length): void {
    const seconds = timestamp / 1_000_000_000n;
    if (timestamp < 0n || seconds > 0xffff_ffffn) {
      throw new RangeError(`timestamp ${timestamp} ns does not fit into a pcap file (1970 to 2106)`);
    }
    const fraction = Number(timestamp % 1_000_000_000n);
    const capturedLength = Math.min(length, this.#snapLength);
    const total = RECORD_HEADER_LENGTH + capturedLength;
    if (total > this.#bytes.length) {
      this.#bytes = new Uint8Array(total);
      this.#view = new DataView(this.#bytes.buffer);
    }
    const view = this.#view;
    view.setUint32(0, Number(seconds), true);
    view.setUint32(4, this.#nanoseconds ? fraction : Math.trunc(fraction / 1000), true);
    view.setUint32(8, capturedLength, true);
    view.setUint32(12, originalLength, true);
    this.#bytes.set(bytes.subarray(at, at + capturedLength), RECORD_HEADER_LENGTH);
    this.#sink(this.#bytes.subarray(0, total));
  }
}
