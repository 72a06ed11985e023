import { createHash } from 'node:crypto';

const BUFFER = 64 * 1024;
const HEADER = 16;

/** sha256 of frames that were sent, in order: port, time, and the frame with its virtio-net header. */
export class FrameDigest {
  frames = 0;
  readonly #hash = createHash('sha256');
  readonly #buffer = new Uint8Array(BUFFER);
  readonly #view = new DataView(this.#buffer.buffer);
  #length = 0;

  /** @param at of the virtio-net header; `length` bytes from there on */
  add(port: number, now: number, bytes: Uint8Array, at: number, length: number): void {
    this.frames++;
    if (this.#length + HEADER + length > BUFFER) this.#flush();
    this.#view.setUint32(this.#length, port);
    this.#view.setUint32(this.#length + 4, length);
    this.#view.setFloat64(this.#length + 8, now);
    this.#length += HEADER;
    if (this.#length + length > BUFFER) {
      this.#flush();
      this.#hash.update(bytes.subarray(at, at + length));
      return;
    }
    this.#buffer.set(bytes.subarray(at, at + length), this.#length);
    this.#length += length;
  }

  /** The digest in hexadecimal digits; call it once. */
  finish(): string {
    this.#flush();
    return this.#hash.digest('hex');
  }

  #flush(): void {
    this.#hash.update(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }
}
