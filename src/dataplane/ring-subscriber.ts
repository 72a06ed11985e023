import type { Frame, PortId } from '../../switch/frame.ts';
import type { Ports } from '../../switch/ports.ts';
import { ROW_ARGUMENTS, ROW_PACKET } from '../../switch/trace.ts';
import { HOLD } from '../../switch/verdict.ts';
import { ObservationWriter, RecordKind } from './observation.ts';
import type { Subscriber } from './observer.ts';

/** Where the row of a verdict has it. */
const VERDICT = ROW_ARGUMENTS + 10;

/** What somebody wants to see. */
export interface ObservationWants {
  /** Bytes of each frame that are wanted; 0 for rows alone. */
  snaplen: number;
  /**
   * Packets that come in or go out by one of these ports, or by any port of one of these networks, their gateways' included. All
   * packets when neither is given.
   */
  ports?: readonly PortId[];
  networks?: readonly number[];
  /** Packets of which a copy at one of these ports matches; all their copies are wanted then. It must not throw or keep the bytes. */
  filter?: (bytes: Uint8Array, at: number, length: number) => boolean;
}

/**
 * Writes the stories that somebody wants into a ring. A story is written as it happens and taken back at its end when no copy of
 * the packet was wanted; whether one was is judged on the frame itself, also when the ring is full: the count of what was missed
 * is of what was wanted.
 */
export class RingSubscriber implements Subscriber {
  readonly #writer: ObservationWriter;
  readonly #ports: Ports;
  readonly #snaplen: number;
  /** By port, and by network; both null for all. */
  readonly #wanted: Uint8Array | null = null;
  readonly #networks: ReadonlySet<number> | null = null;
  readonly #filter: ((bytes: Uint8Array, at: number, length: number) => boolean) | null;
  /** Whether the story in hand is wanted by what was seen of it. */
  #isWanted = false;
  /** Its packet, if that waits for a neighbor at its end; 0 if it does not. */
  #holds = 0;
  /** Packets that were wanted and wait: what becomes of them is wanted, too, whatever was rewritten meanwhile. */
  readonly #held = new Set<number>();
  /** How many these are, for every story that begins. */
  #heldCount = 0;

  constructor(ring: SharedArrayBuffer, wants: ObservationWants, ports: Ports) {
    this.#writer = new ObservationWriter(ring);
    this.#ports = ports;
    this.#snaplen = wants.snaplen;
    if (wants.ports !== undefined || wants.networks !== undefined) {
      this.#wanted = new Uint8Array(ports.capacity);
      for (const port of wants.ports ?? []) this.#wanted[port] = 1;
      this.#networks = new Set(wants.networks);
    }
    this.#filter = wants.filter ?? null;
  }

  /** Further packets are wanted: those at this port. */
  add(port: PortId): void {
    if (this.#wanted !== null) this.#wanted[port] = 1;
  }

  /** The port is no more, and may be another's later. */
  forget(port: PortId): void {
    if (this.#wanted !== null) this.#wanted[port] = 0;
  }

  begin(frame: Frame, port: PortId, now: number): void {
    this.#isWanted = this.#heldCount > 0 && this.#isHeld(frame.packet);
    this.#judge(frame, port);
    this.#writer.begin(frame.packet, port, now);
  }

  frameIn(frame: Frame, port: PortId): void {
    this.#frame(RecordKind.FRAME_IN, frame, port);
  }

  frameOut(frame: Frame, port: PortId): void {
    this.#frame(RecordKind.FRAME_OUT, frame, port);
  }

  lost(frame: Frame, port: PortId): void {
    this.#judge(frame, port);
  }

  get isDone(): boolean {
    return this.#isWanted && this.#writer.isFull;
  }

  row(row: Int32Array): void {
    this.#writer.row(RecordKind.ROW, row);
  }

  end(row: Int32Array): void {
    this.#writer.row(RecordKind.END, row);
    if (row[VERDICT] === HOLD) this.#holds = row[ROW_PACKET]!;
  }

  commit(): void {
    if (!this.#isWanted) this.#writer.rollBack();
    else {
      this.#writer.commit();
      if (this.#holds !== 0) this.#heldCount = this.#held.add(this.#holds).size;
    }
    this.#holds = 0;
  }

  /** Whether a packet that goes on is one that was wanted before. */
  #isHeld(packet: number): boolean {
    const isHeld = this.#held.delete(packet);
    this.#heldCount = this.#held.size;
    return isHeld;
  }

  #frame(kind: RecordKind, frame: Frame, port: PortId): void {
    this.#judge(frame, port);
    if (this.#snaplen > 0) this.#writer.frame(kind, frame, port, this.#snaplen);
  }

  #judge(frame: Frame, port: PortId): void {
    if (this.#isWanted || !this.#isAt(port)) return;
    this.#isWanted = this.#filter === null || this.#filter(frame.bytes, frame.at, frame.length);
  }

  #isAt(port: PortId): boolean {
    if (this.#wanted === null || this.#networks === null || this.#wanted[port] !== 0) return true;
    return this.#networks.size > 0 && this.#networks.has(this.#ports.network[port]!);
  }
}
