import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { afterRunning } from '../../src/control/patience.ts';

describe('patience', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is over after its time, once', () => {
    const over = vi.fn();
    afterRunning(1000, over);
    vi.advanceTimersByTime(999);
    expect(over).not.toHaveBeenCalled();
    vi.advanceTimersByTime(5000);
    expect(over).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has no end when it is ended', () => {
    const over = vi.fn();
    const done = afterRunning(1000, over);
    vi.advanceTimersByTime(999);
    done();
    vi.advanceTimersByTime(5000);
    expect(over).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });
});

it('a process that stood still still reads what has come meanwhile', async () => {
  const over = vi.fn();
  const done = afterRunning(100, over);
  const end = performance.now() + 300;
  while (performance.now() < end);
  // All timers that are due, and then what has come.
  await new Promise((resolve) => setTimeout(resolve, 0));
  await new Promise(setImmediate);
  expect(over).not.toHaveBeenCalled();
  done();
});
