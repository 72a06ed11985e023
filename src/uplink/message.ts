import { addressOf, recvmsg, sendmsg } from '../device/syscall.ts';

// struct msghdr in 32-bit words, as 64-bit little-endian Linux lays it out.
const NAME = 0;
const NAME_LENGTH = 2;
const IOVEC = 4;
const IOVEC_LENGTH = 6;
const CONTROL = 8;
const CONTROL_LENGTH = 10;
const WORDS = 14;
/** Of a struct iovec. */
const IOVEC_WORDS = 4;

/**
 * A struct msghdr with up to two pieces of memory, used again for every transfer between a socket and the middle of a slot:
 * an address there costs no object, because it is written as two halves.
 */
export class Message {
  readonly #header = new Uint32Array(WORDS);
  readonly #iovec = new Uint32Array(2 * IOVEC_WORDS);
  /** The header only points to these: somebody has to hold them. */
  readonly #held: readonly unknown[];
  #bytes: Uint8Array | null = null;
  /** Where `#bytes` begins. User addresses have 47 bits: a double holds them exactly. */
  #start = 0;

  /**
   * @param name room for an address, if one is to be sent or received
   * @param control room for control messages
   */
  constructor(name?: Uint8Array, control?: Uint8Array) {
    const header = this.#header;
    this.#held = [name, control];
    writePointer(header, IOVEC, Number(addressOf(this.#iovec)));
    for (const [i, word] of [NAME, CONTROL].entries()) {
      const memory = this.#held[i] as Uint8Array | undefined;
      if (memory !== undefined) writePointer(header, word, Number(addressOf(memory)));
    }
  }

  /** The next transfer is of `length` bytes at `bytes[at]`. */
  at(bytes: Uint8Array, at: number, length: number): void {
    this.#point(0, bytes, at, length);
    this.#header[IOVEC_LENGTH] = 1;
  }

  /**
   * The next transfer is first of `skip` bytes of other memory, then as with `at`.
   * @param other where that memory begins: an `addressOf`, as a number
   */
  behind(other: number, skip: number, bytes: Uint8Array, at: number, length: number): void {
    writePointer(this.#iovec, 0, other);
    this.#iovec[2] = skip;
    this.#point(IOVEC_WORDS, bytes, at, length);
    this.#header[IOVEC_LENGTH] = 2;
  }

  /**
   * Sends, and answers the bytes sent, or -1.
   * @param nameLength bytes of the address to send to, 0 for none
   * @param controlLength bytes of control messages
   */
  send(fd: number, flags: number, nameLength = 0, controlLength = 0): number {
    this.#header[NAME_LENGTH] = nameLength;
    this.#header[CONTROL_LENGTH] = controlLength;
    return sendmsg(fd, this.#header, flags);
  }

  /**
   * Receives, and answers the bytes received, or -1.
   * @param nameLength room for the sender's address, 0 for none
   * @param controlLength room for control messages
   */
  receive(fd: number, flags: number, nameLength = 0, controlLength = 0): number {
    this.#header[NAME_LENGTH] = nameLength;
    this.#header[CONTROL_LENGTH] = controlLength;
    return recvmsg(fd, this.#header, flags);
  }

  /** Bytes of control messages that came with what was last received. */
  get controlLength(): number {
    return this.#header[CONTROL_LENGTH]!;
  }

  #point(word: number, bytes: Uint8Array, at: number, length: number): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#start = Number(addressOf(bytes));
    }
    writePointer(this.#iovec, word, this.#start + at);
    this.#iovec[word + 2] = length;
  }
}

function writePointer(words: Uint32Array, at: number, address: number): void {
  words[at] = address >>> 0;
  words[at + 1] = (address / 0x1_0000_0000) >>> 0;
}
