const BILLION = 1_000_000_000;

/** A moment on two clocks. */
export interface ClockPair {
  /** Seconds since 1970-01-01 UTC, and nanoseconds. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The same on the data plane's clock, in milliseconds. */
  readonly now: number;
}

/** Turns times of the data plane's clock, which knows no date, into those of a wall clock. */
export class WallClock {
  /** What `set` found. */
  seconds = 0;
  nanoseconds = 0;
  #pair: ClockPair;

  constructor(pair: ClockPair) {
    this.#pair = pair;
  }

  /** Compares the two again: a wall clock is corrected now and then. */
  compare(pair: ClockPair): void {
    this.#pair = pair;
  }

  /** @param now milliseconds on the data plane's clock, with a fraction */
  set(now: number): void {
    const { seconds, nanoseconds, now: then } = this.#pair;
    const total = nanoseconds + Math.round((now - then) * 1e6);
    const whole = Math.floor(total / BILLION);
    this.seconds = seconds + whole;
    this.nanoseconds = total - whole * BILLION;
  }

  /** What `set` found, in nanoseconds. */
  get timestamp(): bigint {
    return BigInt(this.seconds) * BigInt(BILLION) + BigInt(this.nanoseconds);
  }
}
