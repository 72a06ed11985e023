import type { FlowEvent } from '../dataplane/commands.ts';

/** Events that one message holds: a flood of connections must cost neither the memory nor the time of whoever listens. */
export const MOST_EVENTS = 1024;
/** Milliseconds in which events gather for a message. */
const GATHER = 10;
/** Messages that may be on their way. */
const MOST_MESSAGES = 2;

/**
 * What happens to connections, on its way to another thread: gathered, at most one message in 10 ms, and never more
 * messages than are being taken. What does not fit is counted instead.
 */
export class FlowNotices {
  /** When there is something to send, monotonic milliseconds; Infinity if there is not. */
  deadline = Number.POSITIVE_INFINITY;
  readonly #send: (events: readonly FlowEvent[], lost: number) => void;
  #events: FlowEvent[] = [];
  /** Events that were lost before those in `#events`, and after them. */
  #lostBefore = 0;
  #lost = 0;
  #underWay = 0;

  constructor(send: (events: readonly FlowEvent[], lost: number) => void) {
    this.#send = send;
  }

  add(event: FlowEvent, now: number): void {
    if (this.#events.length === MOST_EVENTS) {
      this.#lost++;
      return;
    }
    this.#events.push(event);
    if (this.#underWay < MOST_MESSAGES && this.deadline === Number.POSITIVE_INFINITY)
      this.deadline = now + GATHER;
  }

  /** Sends what has gathered. */
  expire(now: number): void {
    if (now < this.deadline) return;
    this.deadline = Number.POSITIVE_INFINITY;
    const events = this.#events;
    const lost = this.#lostBefore;
    this.#events = [];
    this.#lostBefore = this.#lost;
    this.#lost = 0;
    this.#underWay++;
    this.#send(events, lost);
    if (this.#lostBefore > 0 && this.#underWay < MOST_MESSAGES) this.deadline = now + GATHER;
  }

  /** A message has been taken. */
  taken(now: number): void {
    this.#underWay--;
    if (this.#events.length > 0 || this.#lostBefore > 0)
      this.deadline = Math.min(this.deadline, now + GATHER);
  }

  /** Nobody listens any more: what has gathered is for nobody. */
  clear(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    this.#events = [];
    this.#lostBefore = 0;
    this.#lost = 0;
  }
}
