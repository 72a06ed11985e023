import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethType } from '../../wire/ethernet.ts';
import {
  IPV4_DF,
  IPV4_LEN,
  ipv4Fragment,
  setIpv4Checksum,
  setIpv4Fragment,
  setIpv4Identification,
} from '../../wire/ipv4.ts';
import { CaptureSource } from './capture-source.ts';
import { firstDifference, frameDifference, frameLine } from './frame-difference.ts';
import type { ScenarioOutput } from './scenario.ts';
import { referenced } from './scenario-input.ts';

/** Frames looked at behind a difference, to see whether one is missing or one too many. */
const LOOKAHEAD = 16;

interface SeenFrame {
  /** Virtual nanoseconds. */
  time: number;
  bytes: Uint8Array;
}

/** A difference between what a port sent and what it was to send. */
export interface OutputDifference {
  /** Virtual milliseconds. */
  at: number;
  words: string;
}

/**
 * Compares the frames that a port sends with a capture, one by one as they come: bytes, order and (unless the
 * capture was recorded elsewhere) time.
 */
export class OutputCheck {
  readonly #port: string;
  readonly #times: boolean;
  readonly #anyIdentification: boolean;
  readonly #expected: SeenFrame[] = [];
  /** Frames that agreed. */
  #agreed = 0;
  /** From the first frame on that did not agree. */
  readonly #rest: SeenFrame[] = [];
  #late: OutputDifference | undefined;

  /** @param output where the expected frames are; undefined when the port is to send nothing */
  constructor(port: string, output: ScenarioOutput | undefined) {
    this.#port = port;
    this.#times = output !== undefined && !output.recorded;
    this.#anyIdentification = output?.anyIdentification ?? false;
    if (!output) return;
    const only = referenced(output);
    const source = new CaptureSource(output.path, { file: output.file, ...(only && { only }) });
    source.align(0n);
    const { view } = source;
    for (; source.more; source.next()) {
      this.#expected.push({
        time: Number(view.timestamp),
        bytes: view.bytes.slice(view.at, view.at + source.length),
      });
    }
  }

  see(now: number, bytes: Uint8Array, at: number, length: number): void {
    const time = nanoseconds(now);
    const frame = bytes.subarray(at, at + length);
    const expected = this.#expected[this.#agreed];
    if (this.#rest.length > 0 || !expected || !this.#agree(expected.bytes, frame)) {
      if (this.#rest.length < LOOKAHEAD) this.#rest.push({ time, bytes: frame.slice() });
      return;
    }
    this.#agreed++;
    if (this.#times && time !== expected.time && !this.#late) {
      this.#late = {
        at: now,
        words: `port ${this.#port}, frame ${this.#agreed} came out at ${seconds(time)}, not at ${seconds(expected.time)}:\n  ${frameLine(frame)}`,
      };
    }
  }

  /** The first difference, after the last frame. */
  finish(): OutputDifference | undefined {
    const byBytes = this.#bytesDifference();
    if (!byBytes || (this.#late && this.#late.at <= byBytes.at)) return this.#late ?? byBytes;
    return byBytes;
  }

  #agree(expected: Uint8Array, actual: Uint8Array): boolean {
    if (firstDifference(expected, actual) < 0) return true;
    if (!this.#anyIdentification) return false;
    return firstDifference(withoutIdentification(expected), withoutIdentification(actual)) < 0;
  }

  #bytesDifference(): OutputDifference | undefined {
    const number = this.#agreed + 1;
    const expected = this.#expected.slice(this.#agreed, this.#agreed + LOOKAHEAD);
    const [wanted] = expected;
    const [came] = this.#rest;
    const place = `port ${this.#port}, frame ${number}`;
    if (!wanted && !came) return undefined;
    const missing = came && expected.findIndex(({ bytes }) => this.#agree(bytes, came.bytes));
    const extra = wanted && this.#rest.findIndex(({ bytes }) => this.#agree(wanted.bytes, bytes));
    if (wanted && (!came || (missing !== undefined && missing > 0))) {
      const when = this.#times ? ` at ${seconds(wanted.time)}` : '';
      const next = came ? `; the frame that came out next is expected ${ordinal(missing!)} later` : '';
      return {
        at: came ? Math.min(came.time, wanted.time) / 1e6 : wanted.time / 1e6,
        words: `${place} is missing: expected${when}, it did not come out${next}\n  ${frameLine(wanted.bytes)}`,
      };
    }
    if (!came) return undefined;
    const at = came.time / 1e6;
    if (!wanted || (extra !== undefined && extra > 0)) {
      const none = this.#expected.length === 0 ? ', which is to send nothing' : '';
      const next = wanted ? `; the expected frame comes ${ordinal(extra!)} later` : '';
      return {
        at,
        words: `port ${this.#port}${none}: one frame too many came out at ${seconds(came.time)}, as frame ${number}${next}\n  ${frameLine(came.bytes)}`,
      };
    }
    return {
      at,
      words: [
        `${place} differs, at ${seconds(came.time)}`,
        `  expected  ${frameLine(wanted.bytes)}`,
        `  came out  ${frameLine(came.bytes)}`,
        frameDifference(wanted.bytes, came.bytes),
      ].join('\n'),
    };
  }
}

/** A copy without what its sender chose freely. */
function withoutIdentification(frame: Uint8Array): Uint8Array {
  const copy = frame.slice();
  if (frame.length < ETH_LEN + IPV4_LEN) return copy;
  if (ethType(frame, 0) === ETHERTYPE_IPV6) {
    copy[ETH_LEN + 1]! &= 0xf0;
    copy.fill(0, ETH_LEN + 2, ETH_LEN + 4);
  }
  if (ethType(frame, 0) !== ETHERTYPE_IPV4) return copy;
  setIpv4Identification(copy, ETH_LEN, 0);
  setIpv4Fragment(copy, ETH_LEN, ipv4Fragment(copy, ETH_LEN) & ~IPV4_DF);
  setIpv4Checksum(copy, ETH_LEN, 0);
  return copy;
}

/** Virtual milliseconds as whole nanoseconds: the resolution of captures. */
export function nanoseconds(now: number): number {
  return Math.round(now * 1e6);
}

function seconds(time: number): string {
  return `${(time / 1e9).toFixed(9).replace(/0{1,6}$/, '')} s`;
}

function ordinal(count: number): string {
  return count === 1 ? 'one frame' : `${count} frames`;
}
