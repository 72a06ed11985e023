/**
 * `tapdeck/testing/vitest`: the matchers of `tapdeck/testing` for vitest, to be imported once, in a test or a setup file:
 *
 * ```ts
 * import 'tapdeck/testing/vitest';
 * ```
 */
import { expect } from 'vitest';
import type { TestFrame } from './frame-builder.ts';
import { type DropReasonName, matchers } from './matchers.ts';

expect.extend(matchers);

declare module 'vitest' {
  // vitest's own declaration has this parameter.
  // biome-ignore lint/suspicious/noExplicitAny: the same declaration as vitest's
  interface Matchers<T = any> {
    /** That the frame of `deck.fateOf(port, frame)` went to exactly these ports, and as exactly these frames. */
    toForwardTo(
      ports: string | readonly string[],
      frames?: Uint8Array | TestFrame | readonly (Uint8Array | TestFrame)[],
    ): T;
    /** That the frame of `deck.fateOf(port, frame)` was dropped for this reason. */
    toBeDroppedBecause(reason: DropReasonName): T;
    /** That frames that were taken are those of a capture; TAPDECK_UPDATE=1 writes it. */
    toMatchCapture(path: string): T;
  }
}
