import { set16 } from '../wire/bytes.ts';
import { type Carrier, carryFlag } from '../wire/carrier.ts';
import type { PortId } from './frame.ts';

/** Bytes that wait to be read as questions, and so our window: a question has few hundred. */
export const INPUT = 2048;

export const StreamState = { FREE: 0, SYN_RECEIVED: 1, ESTABLISHED: 2 } as const;

/** A TCP connection over which names are asked for: a row of `NameStreams`, made once and used for many. */
export class NameStream {
  readonly index: number;
  state: number = StreamState.FREE;
  serial = 0;
  port: PortId = -1;
  network = -1;
  /** Next expected, and next to be acknowledged. */
  rcvNxt = 0;
  sndUna = 0;
  window = 0;
  mss = 0;
  /** What was received and is not yet a whole question. */
  readonly input = new Uint8Array(INPUT);
  inputLength = 0;
  /** What is not acknowledged, and how much of it has been sent. */
  output = new Uint8Array(INPUT);
  outputLength = 0;
  sent = 0;
  /** How much has been sent once, our last included: it may be acknowledged. */
  most = 0;
  /** Whether others are being asked its question. */
  waiting = false;
  /** The other side has sent its last; we are to, and have. */
  finReceived = false;
  finWanted = false;
  finSent = false;
  finAcknowledged = false;
  retries = 0;
  /** When something is to be sent again (Infinity: nothing), and when all ends. */
  resend = Number.POSITIVE_INFINITY;
  end = 0;
  /** In its bucket. */
  next = -1;

  constructor(index: number) {
    this.index = index;
  }

  carry(carrier: Carrier): void {
    this.state = carrier.number(this.state);
    this.serial = carrier.number(this.serial);
    this.port = carrier.number(this.port);
    this.network = carrier.number(this.network);
    this.rcvNxt = carrier.number(this.rcvNxt);
    this.sndUna = carrier.number(this.sndUna);
    this.window = carrier.number(this.window);
    this.mss = carrier.number(this.mss);
    this.inputLength = carrier.number(this.inputLength);
    carrier.column(this.input);
    this.output = carrier.grown(this.output);
    this.outputLength = carrier.number(this.outputLength);
    this.sent = carrier.number(this.sent);
    this.most = carrier.number(this.most);
    this.waiting = carryFlag(carrier, this.waiting);
    this.finReceived = carryFlag(carrier, this.finReceived);
    this.finWanted = carryFlag(carrier, this.finWanted);
    this.finSent = carryFlag(carrier, this.finSent);
    this.finAcknowledged = carryFlag(carrier, this.finAcknowledged);
    this.retries = carrier.number(this.retries);
    this.resend = carrier.number(this.resend);
    this.end = carrier.number(this.end);
    this.next = carrier.number(this.next);
  }

  /** Whether something is to be sent again until it is acknowledged. */
  get isUnacknowledged(): boolean {
    return this.outputLength > 0 || (this.finSent && !this.finAcknowledged);
  }

  /** Puts a message with its length behind what is to be sent. */
  append(message: Uint8Array, length: number): void {
    const end = this.outputLength + 2 + length;
    if (this.output.length < end) {
      const larger = new Uint8Array(end);
      larger.set(this.output.subarray(0, this.outputLength));
      this.output = larger;
    }
    const { output, outputLength } = this;
    set16(output, outputLength, length);
    for (let i = 0; i < length; i++) output[outputLength + 2 + i] = message[i];
    this.outputLength = end;
  }

  /** The other side has `count` more numbers of what was sent. */
  acknowledge(count: number): void {
    const taken = Math.min(count, this.outputLength);
    this.output.copyWithin(0, taken, this.outputLength);
    this.outputLength -= taken;
    this.sent = Math.max(0, this.sent - taken);
    this.most -= count;
    this.sndUna = (this.sndUna + count) | 0;
    if (count > taken) {
      this.finSent = true;
      this.finAcknowledged = true;
    }
  }
}
