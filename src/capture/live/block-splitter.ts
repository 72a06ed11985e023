import { BLOCK_OVERHEAD, BlockType } from '../pcapng-format.ts';

/** Told of every block, in the order of the stream, whose bytes come in one or several pieces. */
export interface BlockListener {
  /** A block begins, of `length` bytes. */
  begin(type: number, length: number): void;
  /** A piece of it: `chunk` from `from` to `to`. */
  piece(chunk: Uint8Array, from: number, to: number): void;
  /** All of it has come. */
  end(): void;
}

const HEAD = 8;

/**
 * Finds the blocks of a little-endian pcapng stream that comes in chunks of any size, without copying them. It reads types and
 * lengths alone: it is for what the daemon wrote, not for files of unknown origin.
 */
export class BlockSplitter {
  readonly #listener: BlockListener;
  /** The first 8 bytes of a block, as far as they have come. */
  readonly #head = new Uint8Array(HEAD);
  readonly #view = new DataView(this.#head.buffer);
  #known = 0;
  /** Bytes of the block that are still to come. */
  #left = 0;

  constructor(listener: BlockListener) {
    this.#listener = listener;
  }

  /** Whether the stream stands between two blocks. */
  get complete(): boolean {
    return this.#left === 0 && this.#known === 0;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const to = Math.min(chunk.length, at + this.#left);
        this.#listener.piece(chunk, at, to);
        this.#left -= to - at;
        at = to;
        if (this.#left === 0) this.#listener.end();
        continue;
      }
      while (this.#known < HEAD && at < chunk.length) this.#head[this.#known++] = chunk[at++]!;
      if (this.#known < HEAD) return;
      this.#known = 0;
      const length = this.#view.getUint32(4, true);
      if (length < BLOCK_OVERHEAD || length % 4 !== 0) throw new RangeError(`a block of ${length} bytes`);
      this.#listener.begin(this.#view.getUint32(0, true), length);
      this.#left = length - HEAD;
      // In the chunk, where all of it is there.
      if (at >= HEAD) this.#listener.piece(chunk, at - HEAD, at);
      else this.#listener.piece(this.#head.slice(), 0, HEAD);
    }
  }
}

/** Whether a file that begins anew needs the block, too: what says what is what in it. */
export function isPreamble(type: number): boolean {
  return (
    type === BlockType.SECTION_HEADER ||
    type === BlockType.INTERFACE_DESCRIPTION ||
    type === BlockType.NAME_RESOLUTION
  );
}
