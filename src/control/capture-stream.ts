import { closeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { FileProgress } from './capture-schema.ts';
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
  begin(captures, capture.id, TYPES[options.kind], stream);
}

/**
 * Captures to a file that a client has left to us, and streams lines that say how far it is. Throws before anything is written,
 * or never; the file is closed in any case.
 */
export async function streamProgress(
  captures: Captures,
  options: CaptureOptions & { file: number },
  stream: ServerResponse,
): Promise<void> {
  const tell = (progress: FileProgress) => `${JSON.stringify(progress)}\n`;
  const opened = captures.open(options, {
    chunk: (_, taken) => taken(),
    // Who does not read how far it is does not want to know.
    progress: (bytes) => void (stream.writableNeedDrain || stream.write(tell({ bytes }))),
    end: (error, packets) => {
      if (error?.code !== undefined) stream.end(tell({ error: error.message }));
      else if (error) stream.destroy();
      else stream.end(tell({ packets: packets ?? 0 }));
    },
  });
  const { id } = await opened.catch((error) => {
    closeSync(options.file);
    throw error;
  });
  begin(captures, id, 'application/x-ndjson', stream);
}

function begin(captures: Captures, id: number, type: string, stream: ServerResponse): void {
  // Nothing may happen for days.
  stream.setTimeout(0);
  stream.writeHead(200, { 'content-type': type, 'tapdeck-capture': String(id) });
  stream.flushHeaders();
  stream.on('close', () => captures.drop(id));
  if (stream.destroyed) captures.drop(id);
}
