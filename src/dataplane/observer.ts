import type { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame, PortId } from '../../switch/frame.ts';
import { Provenance } from '../../switch/outbox.ts';
import {
  Action,
  ROW_ARGUMENTS,
  ROW_PACKET,
  ROW_POINT,
  ROW_PORT,
  type RowSink,
  Stage,
  Trace,
} from '../../switch/trace.ts';
import { drop, type Verdict, VerdictKind, verdictKind } from '../../switch/verdict.ts';
import { Ends } from './ends.ts';
import { Past } from './past.ts';

/** Room for one more word behind what `Ends` writes. */
const LAST = ROW_ARGUMENTS + 10;
const END = Stage.END | (Action.VERDICT << 8);

/**
 * Who looks at packets: told of one story after the other, from `begin` to `commit` (see `observation.ts`). Frames and rows are
 * the observer's, to be copied and not to be kept.
 */
export interface Subscriber {
  begin(frame: Frame, port: PortId, now: number): void;
  /** The frame as it came in by `port`, or was made. */
  frameIn(frame: Frame, port: PortId, now: number): void;
  /** A copy that goes out by `port`. */
  frameOut(frame: Frame, port: PortId, now: number): void;
  /** The copy for `port` is lost, or waits; a row says why. */
  lost(frame: Frame, port: PortId): void;
  row(row: Int32Array): void;
  /** Whether nothing that may still come of the story in hand makes a difference: that it is missed is known. */
  readonly isDone: boolean;
  /** The row of a verdict. */
  end(row: Int32Array): void;
  commit(): void;
}

/**
 * Gives frames that somebody looks at their trace, and what they say to all who look. While nobody looks, `isOn` is false, no
 * frame has a trace, and only what is dropped leaves a row, in the past.
 */
export class Observer implements RowSink {
  /** Whether anybody looks at what comes in. */
  isOn = false;
  /** Milliseconds, more exact than what the data plane counts by, for the times of stories; that where it is null. */
  clock: (() => number) | null = null;
  readonly past = new Past();
  readonly #trace = new Trace(this);
  readonly #ends: Ends;
  readonly #subscribers: Subscriber[] = [];
  /** Whether a story is open, and of which packet. */
  #isOpen = false;
  #packet = 0;

  constructor(arena: Arena) {
    this.#ends = new Ends(arena.bytes);
  }

  subscribe(subscriber: Subscriber): void {
    this.#subscribers.push(subscriber);
    this.isOn = true;
  }

  unsubscribe(subscriber: Subscriber): void {
    const index = this.#subscribers.indexOf(subscriber);
    if (index >= 0) this.#subscribers.splice(index, 1);
    this.#look();
  }

  /** Remembers the whole way of every packet, or only what is dropped. */
  remember(isLong: boolean): void {
    this.past.isLong = isLong;
    this.#look();
  }

  #look(): void {
    this.isOn = this.#subscribers.length > 0 || this.past.isLong;
  }

  // ---- stories; each of these is called only while `isOn` ----

  /** A frame has come in by its ingress port. */
  received(frame: Frame, now: number): void {
    this.#begin(frame, now);
    let isDone = !this.past.isLong;
    for (let i = 0; i < this.#subscribers.length; i++) {
      const subscriber = this.#subscribers[i]!;
      subscriber.frameIn(frame, frame.ingress, now);
      if (!subscriber.isDone) isDone = false;
    }
    if (isDone) {
      // Their rings are full. That is when the deck has least time for what nobody will read.
      frame.trace = null;
      return;
    }
    const { row } = this.#trace;
    this.#ends.write(frame, row);
    row[LAST] = this.#ends.lengths;
    this.#trace.written(frame.packet, Stage.INGRESS, Action.RECEIVED);
    this.#message(frame, Stage.INGRESS);
  }

  /**
   * A frame leaves the outbox: in the story of its packet, if that is the one in hand, or in one of its own.
   * @param cause the packet because of which it was made; 0 when there is none
   */
  left(frame: Frame, provenance: Provenance, cause: number, now: number): void {
    if (this.#isOpen && this.#packet === frame.packet) frame.trace = this.#trace;
    else this.#begin(frame, now);
    if (provenance === Provenance.RESUMED) this.#trace.point(frame, Stage.NEIGHBOR, Action.RESUMED);
    if (provenance !== Provenance.ORIGINATED) return;
    for (let i = 0; i < this.#subscribers.length; i++)
      this.#subscribers[i]!.frameIn(frame, frame.ingress, now);
    const { row } = this.#trace;
    this.#ends.write(frame, row);
    row[LAST] = cause;
    this.#trace.written(frame.packet, Stage.ORIGIN, Action.MADE);
    this.#message(frame, Stage.ORIGIN);
  }

  /** What the message says of which the ends have just been told. */
  #message(frame: Frame, stage: Stage): void {
    const action = this.#ends.writeMessage(this.#trace.row);
    if (action >= 0) this.#trace.written(frame.packet, stage, action as Action);
  }

  /** A frame that waited for a port goes on, outside of everything else: until `concluded` that is its story. */
  resumed(frame: Frame, now: number): void {
    this.#begin(frame, now);
    this.#trace.point(frame, Stage.EGRESS, Action.RESUMED);
  }

  concluded(frame: Frame): void {
    frame.trace = null;
    this.commit();
  }

  /** A copy of a traced frame goes out by `port`. */
  sent(frame: Frame, port: PortId, now: number): void {
    this.#trace.point(frame, Stage.EGRESS, Action.SENT, port, frame.length);
    for (let i = 0; i < this.#subscribers.length; i++) this.#subscribers[i]!.frameOut(frame, port, now);
  }

  /** A copy that waited is sent of which a story has said so before: its bytes have been shown. */
  sentAfterAll(frame: Frame, port: PortId): void {
    this.#trace.point(frame, Stage.EGRESS, Action.SENT, port, frame.length, 1);
  }

  /** What became of a traced frame, or of the deck's own copy of it. */
  verdict(frame: Frame, verdict: Verdict): void {
    const { row } = this.#trace;
    this.#ends.write(frame, row);
    row[LAST] = verdict;
    this.#trace.written(frame.packet, Stage.END, Action.VERDICT);
  }

  /** The verdict on a traced frame has been carried out; it is not traced any more. */
  settled(frame: Frame, verdict: Verdict): void {
    this.verdict(frame, verdict);
    frame.trace = null;
  }

  /** The story in hand, if there is any, is at its end. */
  commit(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (let i = 0; i < this.#subscribers.length; i++) this.#subscribers[i]!.commit();
  }

  // ---- at any time ----

  /** An untraced frame is dropped: the past remembers it. */
  dropped(frame: Frame, verdict: Verdict, now: number): void {
    const trace = this.#trace;
    trace.port = frame.ingress;
    trace.now = now;
    this.#remember(frame, verdict);
  }

  /**
   * A frame, or the copy for one port, is lost without a verdict that a story tells. The past remembers it in any case.
   * @param told 1 when a story says that it was sent
   */
  lost(frame: Frame, port: PortId, reason: DropReason, told: number, now: number): void {
    const trace = this.#trace;
    if (this.isOn) {
      const isAlone = this.#beginAlone(frame, now);
      for (let i = 0; i < this.#subscribers.length; i++) this.#subscribers[i]!.lost(frame, port);
      trace.point(frame, Stage.EGRESS, Action.LOST, port, reason, told);
      if (isAlone) this.concluded(frame);
    } else {
      trace.port = frame.ingress;
      trace.now = now;
    }
    this.#remember(frame, drop(reason));
  }

  /** A frame waits for a port that has no room. @param told 1 when a story says that it was sent */
  queued(frame: Frame, port: PortId, told: number, now: number): void {
    if (!this.isOn) return;
    const isAlone = this.#beginAlone(frame, now);
    for (let i = 0; i < this.#subscribers.length; i++) this.#subscribers[i]!.lost(frame, port);
    this.#trace.point(frame, Stage.EGRESS, Action.QUEUED, port, told);
    if (isAlone) this.concluded(frame);
  }

  /** Begins a story if none is open; answers whether it has. */
  #beginAlone(frame: Frame, now: number): boolean {
    if (this.#isOpen) return false;
    this.#begin(frame, now);
    return true;
  }

  #remember(frame: Frame, verdict: Verdict): void {
    const { row, port } = this.#trace;
    this.#ends.write(frame, row);
    row[LAST] = verdict;
    row[ROW_PACKET] = frame.packet;
    row[ROW_POINT] = END;
    row[ROW_PORT] = port;
    this.past.row(row);
  }

  row(row: Int32Array): void {
    const isEnd = row[ROW_POINT] === END;
    if (this.past.isLong || (isEnd && verdictKind(row[LAST]!) === VerdictKind.DROP)) this.past.row(row);
    for (let i = 0; i < this.#subscribers.length; i++) {
      if (isEnd) this.#subscribers[i]!.end(row);
      else this.#subscribers[i]!.row(row);
    }
  }

  #begin(frame: Frame, now: number): void {
    this.commit();
    const trace = this.#trace;
    trace.port = frame.ingress;
    trace.now = now;
    frame.trace = trace;
    this.#isOpen = true;
    this.#packet = frame.packet;
    const time = this.clock === null ? now : this.clock();
    for (let i = 0; i < this.#subscribers.length; i++)
      this.#subscribers[i]!.begin(frame, frame.ingress, time);
  }
}
