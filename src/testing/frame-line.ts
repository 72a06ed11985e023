import { frameLine as line } from '../replay/frame-difference.ts';

/** A frame in one line, as tcpdump would print it. Of one argument, so that `frames.map(frameLine)` does what it says. */
export function frameLine(frame: Uint8Array): string {
  return line(frame);
}
