import { type Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { BIG_SLOT, HEADROOM } from '../../switch/frame.ts';
import { clearVnet, VNET_LEN } from '../../wire/virtio-net.ts';
import { CaptureError } from '../capture/capture-error.ts';
import { type CaptureRecord, PacketFlags } from '../capture/capture-record.ts';
import { LinkType, linkTypeName } from '../capture/link-type.ts';
import type { PcapngWriter } from '../capture/pcapng-writer.ts';

const MAX_FRAME = BIG_SLOT - HEADROOM;

const OUTBOUND = { flags: PacketFlags.OUTBOUND };

export interface PcapDeviceOptions {
  /** What the data plane receives: `readCaptureSync` or `parseCapture`. Nothing by default. */
  input?: Iterable<CaptureRecord>;
  /** Name of the input in error messages. */
  file?: string;
  /** Where transmitted frames go, and as which of its interfaces; they are only counted by default. */
  output?: PcapngWriter;
  outputInterface?: number;
  /**
   * The capture's time (nanoseconds since 1970-01-01 UTC) that is 0 in virtual time; by default that of the
   * first record. Several captures of one event share one.
   */
  epoch?: bigint;
  /**
   * Told of records that cannot be replayed; they are left out. Without it, the first one is thrown, by the
   * constructor or by `receive`.
   */
  warn?: (problem: CaptureError) => void;
}

/**
 * A device whose other end is capture files, in virtual time: a captured frame is received when as much time has
 * passed since the epoch as in the capture, never before the frame that stands before it in the file; what is
 * transmitted is written with the time of its transmission. It knows no offload.
 */
export class PcapDevice implements Device {
  readonly fd = -1;
  readonly offload = false;
  readonly gone = false;
  /** Frames received by the data plane and transmitted by it. */
  received = 0;
  sent = 0;
  /** Records left out: not Ethernet, or longer than a slot. */
  skipped = 0;

  readonly #records: Iterator<CaptureRecord> | undefined;
  readonly #file: string;
  readonly #output: PcapngWriter | undefined;
  readonly #outputInterface: number;
  readonly #warn: ((problem: CaptureError) => void) | undefined;
  #epoch: bigint | undefined;
  #next: CaptureRecord | undefined;
  /** When `#next` is due or, without one, `#fault` is to be thrown. */
  #due = Number.POSITIVE_INFINITY;
  #fault: unknown;

  /** @throws CaptureError when the first record cannot be read or replayed; see `PcapDeviceOptions.warn` */
  constructor(options: PcapDeviceOptions = {}) {
    this.#records = options.input?.[Symbol.iterator]();
    this.#file = options.file ?? 'capture';
    this.#output = options.output;
    this.#outputInterface = options.outputInterface ?? 0;
    this.#epoch = options.epoch;
    this.#warn = options.warn;
    this.#advance(Number.NEGATIVE_INFINITY);
  }

  /** The capture's time that is 0 in virtual time; undefined when there is neither input nor a given epoch. */
  get epoch(): bigint | undefined {
    return this.#epoch;
  }

  /** @throws CaptureError when the next record cannot be read or replayed; see `PcapDeviceOptions.warn` */
  receive(arena: Arena, now: number): Frame | null {
    if (this.#due > now) return null;
    const record = this.#next;
    if (record === undefined) throw this.#takeFault();
    const length = replayedLength(record);
    const frame = arena.allocate(length);
    if (frame === undefined) return null;
    frame.bytes.set(record.data.subarray(0, length), frame.at);
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    this.received++;
    const due = this.#due;
    try {
      this.#advance(due);
    } catch (error) {
      // This frame is whole and is used; the fault behind it is told when it is its turn.
      this.#fault = error;
      this.#due = due;
    }
    return frame;
  }

  transmit(frame: Frame, now: number): Transmit {
    this.sent++;
    this.#output?.write(
      this.#outputInterface,
      (this.#epoch ?? 0n) + BigInt(Math.round(now * 1e6)),
      frame.bytes,
      frame.at,
      frame.length,
      OUTBOUND,
    );
    return Transmit.SENT;
  }

  /** When the next frame is due. */
  deadline(): number {
    return this.#due;
  }

  /** Closes the input. The writer is its owner's to close. */
  close(): void {
    this.#next = undefined;
    this.#due = Number.POSITIVE_INFINITY;
    this.#records?.return?.();
  }

  #takeFault(): unknown {
    this.#due = Number.POSITIVE_INFINITY;
    return this.#fault;
  }

  /** Finds the next record that can be replayed, due no earlier than `notBefore`. */
  #advance(notBefore: number): void {
    this.#next = undefined;
    this.#due = Number.POSITIVE_INFINITY;
    if (this.#records === undefined) return;
    for (let step = this.#records.next(); !step.done; step = this.#records.next()) {
      const record = step.value;
      this.#epoch ??= record.timestamp;
      if (!this.#replayable(record)) continue;
      this.#next = record;
      this.#due = Math.max(notBefore, Number(record.timestamp - this.#epoch) / 1e6);
      return;
    }
  }

  #replayable(record: CaptureRecord): boolean {
    if (record.linkType !== LinkType.ETHERNET) {
      const why = `its link type is ${linkTypeName(record.linkType)}, and only ETHERNET, ${LinkType.ETHERNET}, can be replayed`;
      const advice = 'capture on one Ethernet interface instead (tcpdump -i eth0)';
      return this.#skip(new CaptureError(this.#file, record.offset, 'not an Ethernet frame', why, advice));
    }
    if (replayedLength(record) > MAX_FRAME) {
      const why = `it has ${record.capturedLength} bytes, and a frame at most ${MAX_FRAME}`;
      const advice = 'leave it out with editcap';
      return this.#skip(new CaptureError(this.#file, record.offset, 'frame too long', why, advice));
    }
    return true;
  }

  #skip(problem: CaptureError): false {
    this.skipped++;
    if (this.#warn === undefined) throw problem;
    this.#warn(problem);
    return false;
  }
}

/** The captured bytes without the frame check sequence, which is not the switch's to see. */
export function replayedLength(record: CaptureRecord): number {
  const whole = Math.max(0, record.originalLength - record.fcsLength);
  return record.fcsLength === 0 ? record.capturedLength : Math.min(record.capturedLength, whole);
}
