import type { ClockPair } from '../capture/live/wall-clock.ts';

/**
 * The time of day and that of the data plane at the same moment, to within a microsecond or two. JavaScript's time of day has
 * milliseconds; so the moment is that in which one begins, which is at most one away.
 * @param offset milliseconds of the data plane's clock when the machine's monotonic clock was at 0
 */
export function clockPair(offset: number): ClockPair {
  const first = Date.now();
  for (;;) {
    const time = Date.now();
    if (time === first) continue;
    const now = Number(process.hrtime.bigint()) / 1e6 + offset;
    return { seconds: Math.floor(time / 1000), nanoseconds: (time % 1000) * 1_000_000, now };
  }
}
