import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';

/** Bytes; then it begins anew, and the one before is kept. */
const LARGEST = 8 << 20;
/** Lines that are at hand when something fails, and characters of each. */
const LAST_LINES = 8;
const LAST_WIDTH = 200;
/** Bytes of a line without end. */
const LONGEST_LINE = 16 << 10;

/** What a service says, line by line, with the time. Two files of bounded size: a service may say things for days. */
export class LogFile {
  readonly #path: string;
  #fd: number;
  #size = 0;
  #last: string[] = [];

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'a', 0o600);
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
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #write(lines: readonly string[], name: string): void {
    if (lines.length === 0 || this.#fd < 0) return;
    this.#last = lastLines([...this.#last, ...lines.slice(-LAST_LINES)]);
    const now = new Date().toISOString();
    this.#size += writeSync(this.#fd, lines.map((line) => `${now} ${name} ${line}\n`).join(''));
    if (this.#size < LARGEST) return;
    closeSync(this.#fd);
    renameSync(this.#path, `${this.#path}.1`);
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#size = 0;
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
