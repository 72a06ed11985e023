import type { ClockPair } from '../capture/live/wall-clock.ts';

/**
 * The time of day and that of the data plane at the same moment, to within a microsecond or two. JavaScript's time of day has
 * milliseconds; so the moment is that in which one begins, which is at most one away.
 * @param offset milliseconds of the data plane's clock when the machine's monotonic clock was at 0
 */
export function clockPair(offset: number): ClockPair {
  for (let before = Date.now(); ; ) {
    const time = Date.now();
    if (time === before) continue;
    const now = Number(process.hrtime.bigint()) / 1e6 + offset;
    // Who was kept from the CPU meanwhile has not seen the millisecond begin, or has read the other clock later.
    if (time === before + 1 && Date.now() === time)
      return { seconds: Math.floor(time / 1000), nanoseconds: (time % 1000) * 1_000_000, now };
    before = Date.now();
  }
}
