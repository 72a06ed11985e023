import { createHash } from 'node:crypto';
import type { Tables } from './tables.ts';

const BUFFER = 64 * 1024;
const HEADER = 16;

/**
 * sha256 of everything that a deck did: each frame that it sent, with its port and time, and its tables at the
 * end. Two runs with the same input and seed have the same digest, on every machine.
 */
export class Digest {
  readonly #hash = createHash('sha256');
  readonly #buffer = new Uint8Array(BUFFER);
  readonly #view = new DataView(this.#buffer.buffer);
  #length = 0;

  /** One frame sent: by which port (in the order in which ports were added), when, and its bytes. */
  frame(port: number, now: number, bytes: Uint8Array, at: number, length: number): void {
    if (this.#length + HEADER + length > BUFFER) this.#flush();
    this.#view.setUint32(this.#length, port);
    this.#view.setFloat64(this.#length + 4, now);
    this.#view.setUint32(this.#length + 12, length);
    this.#length += HEADER;
    if (HEADER + length > BUFFER) {
      this.#flush();
      this.#hash.update(bytes.subarray(at, at + length));
    } else {
      this.#buffer.set(bytes.subarray(at, at + length), this.#length);
      this.#length += length;
    }
  }

  /** The digest in hexadecimal digits; call it once. */
  finish(tables: Tables): string {
    this.#flush();
    return this.#hash.update(JSON.stringify(tables)).digest('hex');
  }

  #flush(): void {
    this.#hash.update(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }
}
