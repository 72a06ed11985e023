import type { ServerResponse } from 'node:http';
import type { CaptureOptions, Captures } from './captures.ts';

const TYPES = { capture: 'application/x-pcapng', trace: 'application/x-ndjson' } as const;

/**
 * Streams a capture or trace until the reader goes or `DELETE /v1/captures/ID` ends it. Throws before anything is written, or
 * never. A buffer goes back only when the system has taken what is in it: for one who reads slowly nothing gathers here, and
 * what the data plane has no room for it counts.
 */
export async function streamCapture(
  captures: Captures,
  options: CaptureOptions,
  stream: ServerResponse,
): Promise<void> {
  const capture = await captures.open(options, {
    chunk: (bytes, taken) => {
      if (!stream.destroyed) stream.write(bytes, taken);
    },
    end: (error) => {
      if (error) stream.destroy();
      else stream.end();
    },
  });
  // Nothing may happen for days.
  stream.setTimeout(0);
  stream.writeHead(200, { 'content-type': TYPES[options.kind], 'tapdeck-capture': String(capture.id) });
  stream.flushHeaders();
  stream.on('close', () => captures.drop(capture.id));
  if (stream.destroyed) captures.drop(capture.id);
}
