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
import { drop, HOLD, type Verdict, VerdictKind, verdictKind } from '../../switch/verdict.ts';
import { ethDstHi, ethDstLo } from '../../wire/ethernet.ts';
import { Ends } from './ends.ts';
import { Past } from './past.ts';

/** Packets that wait and are remembered; when there are more, all are forgotten. */
const MOST_WAITING = 8192;
const MOST_MICROSECONDS = 0x7fff_ffff;

/** A packet whose pieces wait. */
interface Waiting {
  /** The port by which it came in. */
  readonly port: PortId;
  /** By the clock of stories. */
  readonly since: number;
  /** What ASKED or WAITS says: next hop and network. */
  readonly nextHop: Int32Array;
  pieces: number;
}

/** Room for one more word behind what `Ends` writes. */
const LAST = ROW_ARGUMENTS + 10;
const END = Stage.END | (Action.VERDICT << 8);
const ASKED = Stage.NEIGHBOR | (Action.ASKED << 8);
const WAITS = Stage.NEIGHBOR | (Action.WAITS << 8);

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
  /** Packets that wait for a neighbor, or for room, by their ids: what they do when they go on is told as theirs. */
  readonly #waiting = new Map<number, Waiting>();
  /** Arguments of the last ASKED or WAITS. */
  readonly #asked = new Int32Array(5);

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
    if (!this.isOn) this.#waiting.clear();
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
    if (this.#ends.writeSegments(row)) this.#trace.written(frame.packet, Stage.INGRESS, Action.UNCUT);
  }

  /**
   * A frame leaves the outbox: in the story of its packet, if that is the one in hand, or in one of its own.
   * @param cause the packet because of which it was made, or goes on; 0 when there is none
   */
  left(frame: Frame, provenance: Provenance, cause: number, now: number): void {
    const waiting = provenance === Provenance.RESUMED ? this.#resume(frame) : undefined;
    if (this.#isOpen && this.#packet === frame.packet) frame.trace = this.#trace;
    else this.#begin(frame, now, waiting?.port);
    if (provenance === Provenance.RESUMED) this.#goesOn(frame, waiting, cause);
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

  /** A frame goes on that has waited for a neighbor. */
  #goesOn(frame: Frame, waiting: Waiting | undefined, cause: number): void {
    const { row } = this.#trace;
    row.fill(0, ROW_ARGUMENTS);
    if (waiting !== undefined) {
      row.set(waiting.nextHop, ROW_ARGUMENTS);
      if (verdictKind(frame.verdict) !== VerdictKind.DROP) {
        row[ROW_ARGUMENTS + 5] = ethDstHi(frame.bytes, frame.at);
        row[ROW_ARGUMENTS + 6] = ethDstLo(frame.bytes, frame.at);
      }
      row[ROW_ARGUMENTS + 7] = Math.min(Math.round((this.#time() - waiting.since) * 1000), MOST_MICROSECONDS);
      row[ROW_ARGUMENTS + 8] = cause;
    }
    this.#trace.written(frame.packet, Stage.NEIGHBOR, Action.RESUMED);
  }

  /** A frame that waited for a port goes on, outside of everything else: until `concluded` that is its story. */
  resumed(frame: Frame, now: number): void {
    this.#begin(frame, now, this.#resume(frame)?.port);
    this.#trace.point(frame, Stage.EGRESS, Action.RESUMED);
  }

  /** By the clock of stories. */
  #time(): number {
    return this.clock === null ? this.#trace.now : this.clock();
  }

  #wait({ packet }: Frame): void {
    const waiting = this.#waiting.get(packet);
    if (waiting !== undefined) {
      waiting.pieces++;
      return;
    }
    if (this.#waiting.size >= MOST_WAITING) this.#waiting.clear();
    const nextHop = this.#asked.slice();
    this.#waiting.set(packet, { port: this.#trace.port, since: this.#time(), nextHop, pieces: 1 });
  }

  /** What is known of a packet of which a piece waits no more. */
  #resume({ packet }: Frame): Waiting | undefined {
    const waiting = this.#waiting.get(packet);
    if (waiting !== undefined && --waiting.pieces === 0) this.#waiting.delete(packet);
    return waiting;
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
    if (verdict === HOLD) this.#wait(frame);
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
    if (this.#packet === frame.packet) this.#wait(frame);
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
    const point = row[ROW_POINT];
    const isEnd = point === END;
    if (point === ASKED || point === WAITS) {
      for (let i = 0; i < this.#asked.length; i++) this.#asked[i] = row[ROW_ARGUMENTS + i]!;
    }
    if (this.past.isLong || (isEnd && verdictKind(row[LAST]!) === VerdictKind.DROP)) this.past.row(row);
    for (let i = 0; i < this.#subscribers.length; i++) {
      if (isEnd) this.#subscribers[i]!.end(row);
      else this.#subscribers[i]!.row(row);
    }
  }

  /** @param port by which the packet came in, where that is another than the frame says, which was routed */
  #begin(frame: Frame, now: number, port = frame.ingress): void {
    this.commit();
    const trace = this.#trace;
    trace.port = port;
    trace.now = now;
    frame.trace = trace;
    this.#isOpen = true;
    this.#packet = frame.packet;
    const time = this.clock === null ? now : this.clock();
    for (let i = 0; i < this.#subscribers.length; i++) this.#subscribers[i]!.begin(frame, port, time);
  }
}
