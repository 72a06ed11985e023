import { closeSync, fstatSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';

/** Bytes; then it begins anew, and the one before is kept. */
const LARGEST = 8 << 20;
/** Lines that are at hand when something fails, and characters of each. */
const LAST_LINES = 8;
const LAST_WIDTH = 200;
/** Bytes of a line without end. */
const LONGEST_LINE = 16 << 10;

/**
 * What a service says, line by line, with the time. Two files of bounded size: a service may say things for days. Lines for which
 * there is no room are missing, and counted: a full disk must not end the service.
 */
export class LogFile {
  readonly #path: string;
  #fd = -1;
  #size = 0;
  #closed = false;
  #missing = 0;
  #last: string[] = [];

  /** Throws what `open` does. */
  constructor(path: string) {
    this.#path = path;
    this.#open();
  }

  /** Takes lines until the stream ends. It reads no further than it has written. */
  async take(stream: Readable, name: 'stdout' | 'stderr'): Promise<void> {
    let rest = '';
    stream.setEncoding('utf8');
    try {
      for await (const chunk of stream) {
        const lines = (rest + (chunk as string)).split('\n');
        rest = lines.pop()!;
        if (rest.length > LONGEST_LINE) lines.push(rest);
        if (rest.length > LONGEST_LINE) rest = '';
        this.#write(lines, name);
      }
    } catch {
      // The end of a stream that breaks is its end.
    }
    if (rest !== '') this.#write([rest], name);
  }

  /** The last lines, for an error that they explain. */
  get last(): readonly string[] {
    return this.#last;
  }

  close(): void {
    this.#closed = true;
    this.#leave();
  }

  #write(lines: readonly string[], name: string): void {
    if (lines.length === 0 || this.#closed) return;
    this.#last = lastLines([...this.#last, ...lines.slice(-LAST_LINES)]);
    const now = new Date().toISOString();
    const missing = this.#missing === 0 ? '' : `${now} stderr (${this.#missing} lines are missing here)\n`;
    const written = this.#append(missing + lines.map((line) => `${now} ${name} ${line}\n`).join(''));
    this.#missing = written ? 0 : this.#missing + lines.length;
  }

  /** False when there was no room: then nothing of it is in the file. */
  #append(text: string): boolean {
    try {
      if (this.#size >= LARGEST) {
        this.#leave();
        renameSync(this.#path, `${this.#path}.1`);
      }
      if (this.#fd < 0) this.#open();
      const bytes = Buffer.from(text);
      const written = writeSync(this.#fd, bytes);
      if (written === bytes.length) {
        this.#size += written;
        return true;
      }
      ftruncateSync(this.#fd, this.#size);
    } catch {
      // Of a disk that is full, or broken, the next lines find out whether it still is.
    }
    return false;
  }

  #open(): void {
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#size = fstatSync(this.#fd).size;
  }

  #leave(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** The last of these lines, as an error shows them: without control characters, and not without end. */
export function lastLines(lines: readonly string[]): string[] {
  return lines.slice(-LAST_LINES).map((line) =>
    line
      .slice(0, LAST_WIDTH)
      .replace(/\t/g, ' ')
      .replace(/\p{Cc}/gu, ''),
  );
}
