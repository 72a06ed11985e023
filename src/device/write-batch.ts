import { BATCH } from '../../switch/device.ts';
import { addressOf, errno, ioGetevents, ioSetup, ioSubmit, type Memory } from './syscall.ts';

// struct iocb (include/uapi/linux/aio_abi.h) in 32-bit words, and struct io_event in such words.
const IOCB = 16;
const IOCB_DATA = 0;
const IOCB_OPCODE = 4;
const IOCB_FD = 5;
const IOCB_BUFFER = 6;
const IOCB_BYTES = 8;
const IOCB_CMD_PWRITE = 1;
const EVENT = 8;
const EVENT_DATA = 0;
const EVENT_RESULT = 4;

/**
 * Many writes with one system call: the kernel's own asynchronous I/O (io_submit(2)), which does writes to TAPs and
 * sockets on the spot. What it is for is not the price of a call, which is about the same, but who runs when: a write
 * wakes the receiver, and on the way back from the call the scheduler gives it the CPU if it is on this one, for as little as
 * one frame. Behind a batch it finds all of them.
 */
export class WriteBatch {
  /** What became of each write, in the order in which they were added: bytes, or a negative error number. */
  readonly results = new Int32Array(BATCH);
  /** Writes that were added since the last `submit`. */
  size = 0;
  readonly #context: number;
  readonly #start: number;
  readonly #blocks = new Int32Array(BATCH * IOCB);
  readonly #pointers = new BigUint64Array(BATCH);
  readonly #events = new Int32Array(BATCH * EVENT);
  // The kernel gets addresses alone; somebody has to hold the memory.
  readonly #bytes: Uint8Array;
  /** Where the pointers begin from each of the writes on. */
  readonly #pointersAt: Memory[] = [];
  readonly #eventsAt: Memory;

  private constructor(context: number, bytes: Uint8Array) {
    this.#context = context;
    this.#bytes = bytes;
    this.#start = Number(addressOf(this.#bytes));
    const first = addressOf(this.#blocks);
    for (let i = 0; i < BATCH; i++) {
      this.#pointers[i] = first + BigInt(4 * IOCB * i);
      this.#pointersAt.push(addressOf(this.#pointers) + BigInt(8 * i));
      this.#blocks[i * IOCB + IOCB_DATA] = i;
      this.#blocks[i * IOCB + IOCB_OPCODE] = IOCB_CMD_PWRITE;
    }
    this.#eventsAt = addressOf(this.#events);
  }

  /**
   * For writes from `bytes`; null where the kernel has no such thing, or may not give it to us (seccomp, fs.aio-max-nr).
   */
  static open(bytes: Uint8Array): WriteBatch | null {
    const context = new BigUint64Array(1);
    if (ioSetup(BATCH, context) < 0) return null;
    return new WriteBatch(Number(context[0]), bytes);
  }

  /** Adds a write of `length` bytes at offset `at` to a non-blocking descriptor; at most `BATCH` of them. */
  add(fd: number, at: number, length: number): void {
    const blocks = this.#blocks;
    const block = this.size++ * IOCB;
    const address = this.#start + at;
    blocks[block + IOCB_FD] = fd;
    blocks[block + IOCB_BUFFER] = address | 0;
    blocks[block + IOCB_BUFFER + 1] = (address / 0x1_0000_0000) | 0;
    blocks[block + IOCB_BYTES] = length;
  }

  /** Does what was added; `results` then says what became of it. */
  submit(): void {
    const count = this.size;
    this.size = 0;
    for (let from = 0; from < count; ) {
      const taken = ioSubmit(this.#context, count - from, this.#pointersAt[from]!);
      if (taken > 0) {
        this.#collect(taken);
        from += taken;
      } else {
        // Not the write's failure, but the kernel's to begin it: a descriptor that is none any more, or no memory.
        this.results[from++] = -errno();
      }
    }
  }

  /** Notes how `count` writes have ended, which they have by now: nothing waits here. */
  #collect(count: number): void {
    const events = this.#events;
    const found = ioGetevents(this.#context, count, count, this.#eventsAt, null);
    for (let event = 0; event < found * EVENT; event += EVENT) {
      this.results[events[event + EVENT_DATA]!] = events[event + EVENT_RESULT]!;
    }
  }
}

/** By arena; null where there is none to be had, which is not tried again. */
const byArena = new WeakMap<Uint8Array, WriteBatch | null>();

/** The batch of an arena, one for all devices of the thread: between `add` and `submit` nobody else has it. */
export function writeBatch(bytes: Uint8Array): WriteBatch | null {
  let batch = byArena.get(bytes);
  if (batch === undefined) {
    batch = WriteBatch.open(bytes);
    byArena.set(bytes, batch);
  }
  return batch;
}
