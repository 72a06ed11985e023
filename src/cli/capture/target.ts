import { closeSync, constants, fstatSync, open, openSync, statSync, writev } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { systemReason } from '../../capture/capture-error.ts';
import { DeckError } from '../../control/error.ts';

/** Where a capture goes. Both methods settle when it is done; `write` is not called again before. */
export interface Target {
  /** Of a file that may be given to another process to write to. */
  readonly descriptor?: number;
  write(pieces: readonly Uint8Array[]): Promise<void>;
  close(): Promise<void>;
  /** Lets go of it, written or not. */
  destroy(): void;
}

/** The reader of a pipe has gone: no error, there is nothing more to do. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone';
}

const openFile = promisify(open);
const writePieces = promisify(writev);

/** Milliseconds between two looks whether somebody reads a FIFO. */
const LOOK = 50;

/**
 * Opens a file, which is emptied, or a FIFO, whose reader is waited for as long as `signal` lets us; `-` is standard output.
 * What is no file is never written to in a way that could block the process: a reader that stops reading must not keep it
 * from ending. Throws a `DeckError`.
 */
export async function openTarget(path: string, signal: AbortSignal): Promise<Target> {
  if (path === '-') return openStdout();
  try {
    if (isFifo(path)) return pipe(await openFifo(path, signal));
    const fd = await openFile(path, 'w');
    return file(path, fd, fstatSync(fd).isFile());
  } catch (error) {
    if (signal.aborted) throw new ReaderGone();
    throw failed(path, error);
  }
}

function openStdout(): Target {
  const status = fstatSync(1);
  if (process.stdout.isTTY) {
    throw new DeckError(
      'invalid',
      'a capture is no text for a terminal; give a file with -w FILE, pipe -w - into a program, or leave -w out for a line per packet',
    );
  }
  if (status.isFile()) return file('standard output', 1, true);
  // A description of our own, so that whoever else has the pipe does not find it changed to one that does not block.
  if (status.isFIFO()) return pipe(openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK));
  return pipe(1);
}

function isFifo(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false;
}

/** open(2) of a FIFO without a reader would wait in a thread that nothing ends; so it is tried again and again. */
async function openFifo(path: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    }
    await sleep(LOOK, undefined, { signal });
  }
}

function file(path: string, fd: number, isPlain: boolean): Target {
  return {
    ...(isPlain && { descriptor: fd }),
    write: async (pieces) => {
      try {
        await writeAll(fd, pieces);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EPIPE') throw new ReaderGone();
        throw failed(path, error);
      }
    },
    close: async () => closeSync(fd),
    // What is under way to a file ends by itself.
    destroy: () => {},
  };
}

/** The kernel takes at most so many pieces in one call (IOV_MAX). */
const MOST_PIECES = 1024;

async function writeAll(fd: number, pieces: readonly Uint8Array[]): Promise<void> {
  for (let from = 0; from < pieces.length; ) {
    const now = pieces.slice(from, from + MOST_PIECES);
    const { bytesWritten } = await writePieces(fd, now as Uint8Array<ArrayBuffer>[]);
    let written = bytesWritten;
    while (from < pieces.length && written >= pieces[from]!.length) written -= pieces[from++]!.length;
    // Less than was asked for: the rest of this piece first.
    if (written > 0 && from < pieces.length) {
      await writeAll(fd, [pieces[from]!.subarray(written)]);
      from++;
    }
  }
}

function pipe(fd: number): Target {
  const socket = new Socket({ fd, readable: false, writable: true });
  let gone: Error | undefined;
  socket.on('error', (error) => {
    gone = error;
  });
  return {
    write: (pieces) =>
      new Promise((resolve, reject) => {
        const settle = (error?: Error | null) => {
          if (!error && !gone) return resolve();
          const { code } = (error ?? gone) as NodeJS.ErrnoException;
          reject(code === undefined || READER_GONE.has(code) ? new ReaderGone() : failed('the pipe', error));
        };
        socket.cork();
        for (const [i, piece] of pieces.entries())
          socket.write(piece, i === pieces.length - 1 ? settle : undefined);
        socket.uncork();
        if (pieces.length === 0) resolve();
      }),
    close: () =>
      new Promise((resolve) => {
        if (gone || socket.destroyed) return resolve();
        socket.once('close', resolve);
        socket.end(() => socket.destroy());
      }),
    destroy: () => socket.destroy(),
  };
}

const READER_GONE = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']);

/** That writing has failed, with the `code` of an errno. */
export function failed(path: string, error: unknown): DeckError {
  const { code } = error as NodeJS.ErrnoException;
  return new DeckError(
    code === 'EACCES' || code === 'EPERM' ? 'permission' : 'unavailable',
    `cannot write to ${path}: ${systemReason(error)}; check the path, its permissions and the free space`,
  );
}
