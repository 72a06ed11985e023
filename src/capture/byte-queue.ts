/**
 * Bytes of a file that have been read and not yet understood: chunks go in at the end, whole records come out
 * at the front. It holds no more than one incomplete record and one chunk, whatever the size of the file.
 */
export class ByteQueue {
  bytes = new Uint8Array(0);
  view = new DataView(this.bytes.buffer);
  /** Index in `bytes` of the first byte not yet consumed. */
  start = 0;
  /** Offset in the file of that byte. */
  offset = 0;
  #end = 0;

  /** Bytes waiting. */
  get length(): number {
    return this.#end - this.start;
  }

  /** Copies `chunk` to the end. Views of earlier contents become invalid. */
  push(chunk: Uint8Array): void {
    const waiting = this.length;
    const needed = waiting + chunk.length;
    if (needed > this.bytes.length) {
      let capacity = Math.max(this.bytes.length, 1024);
      while (capacity < needed) capacity *= 2;
      const grown = new Uint8Array(capacity);
      grown.set(this.bytes.subarray(this.start, this.#end));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
      this.start = 0;
    } else if (this.#end + chunk.length > this.bytes.length) {
      this.bytes.copyWithin(0, this.start, this.#end);
      this.start = 0;
    }
    this.bytes.set(chunk, this.start + waiting);
    this.#end = this.start + needed;
  }

  /** Consumes `count` bytes; views of them stay valid until the next `push`. */
  skip(count: number): void {
    this.start += count;
    this.offset += count;
  }
}
