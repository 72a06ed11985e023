import { bind, close, errno, O_CLOEXEC, recv, send, sendAside, setsockopt, socket } from './syscall.ts';
import { checked, EINTR, SyscallError } from './syscall-error.ts';

/**
 * The netlink wire format (netlink(7), RFC 3549) and a socket for requests to the kernel. Everything is in
 * native byte order, little-endian on the machines we run on, unless an attribute says otherwise.
 */

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

const HEADER = 16;
const MASK_NESTED = 0x3fff;

/** A request under construction: netlink header, the family's fixed part, attributes. */
export class NetlinkMessage {
  readonly bytes = new Uint8Array(1024);
  readonly #view = new DataView(this.bytes.buffer);
  #length: number;

  /** @param fixed length of the family's own header, which starts zeroed at offset 16 */
  constructor(type: number, flags: number, fixed: number) {
    this.#view.setUint16(4, type, true);
    this.#view.setUint16(6, flags | NLM_F_REQUEST, true);
    this.#length = HEADER + fixed;
  }

  get length(): number {
    return this.#length;
  }

  /** Sets a byte of the fixed part, `at` counted from its start. */
  u8(at: number, value: number): this {
    this.#view.setUint8(HEADER + at, value);
    return this;
  }

  /** Sets 32 bits of the fixed part. */
  u32(at: number, value: number): this {
    this.#view.setUint32(HEADER + at, value >>> 0, true);
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    const at = this.#length;
    this.#view.setUint16(at, 4 + value.length, true);
    this.#view.setUint16(at + 2, type, true);
    this.bytes.set(value, at + 4);
    this.#length = at + align(4 + value.length);
    return this;
  }

  attributeU32(type: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    return this.attribute(type, bytes);
  }

  attributeText(type: number, text: string): this {
    return this.attribute(type, new TextEncoder().encode(`${text}\0`));
  }

  /** Completes the header. */
  finish(sequence: number): Uint8Array {
    this.#view.setUint32(0, this.#length, true);
    this.#view.setUint32(8, sequence, true);
    return this.bytes.subarray(0, this.#length);
  }
}

/** Attributes of a received message by type, as views of it. A length that lies ends the list. */
export function attributesOf(message: Uint8Array, from: number): Map<number, Uint8Array> {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const attributes = new Map<number, Uint8Array>();
  let at = from;
  while (at + 4 <= message.length) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > message.length) break;
    attributes.set(view.getUint16(at + 2, true) & MASK_NESTED, message.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

export function textOf(attribute: Uint8Array | undefined): string {
  if (attribute === undefined) return '';
  const end = attribute.indexOf(0);
  return new TextDecoder().decode(end < 0 ? attribute : attribute.subarray(0, end));
}

export function u32Of(attribute: Uint8Array | undefined): number {
  if (attribute === undefined || attribute.length < 4) return 0;
  return new DataView(attribute.buffer, attribute.byteOffset).getUint32(0, true);
}

/** The kernel's refusal of a request. */
export interface Refusal {
  errno: number;
  /** The kernel's own sentence about it (extended acknowledgement), '' when it gave none. */
  message: string;
}

/**
 * A NETLINK_ROUTE socket. It belongs to the network namespace in which it was made, wherever the thread is
 * later, and keeps that namespace alive: close it soon. Requests are answered by the kernel at once, so all
 * calls are synchronous and short.
 */
export class NetlinkSocket {
  readonly fd: number;
  readonly #received = new Uint8Array(64 * 1024);
  #sequence = 0;

  constructor() {
    this.fd = checked(
      socket(AF_NETLINK, SOCK_RAW | O_CLOEXEC, NETLINK_ROUTE),
      'cannot open a netlink socket',
    );
    const one = new Int32Array([1]);
    // Kernels that lack them (before 4.12) answer without the sentence.
    setsockopt(this.fd, SOL_NETLINK, NETLINK_CAP_ACK, one, 4);
    setsockopt(this.fd, SOL_NETLINK, NETLINK_EXT_ACK, one, 4);
    // The kernel answers within the request; a thread that waits for it must not wait for ever all the same.
    checked(
      setsockopt(this.fd, SOL_SOCKET, SO_RCVTIMEO, new Int32Array([5, 0, 0, 0]), 16),
      'cannot set up a netlink socket',
    );
    const address = new Uint8Array(12);
    address[0] = AF_NETLINK;
    checked(bind(this.fd, address, address.length), 'cannot bind a netlink socket');
  }

  /** Sends a request that changes something; the refusal, or null when it is done. */
  request(message: NetlinkMessage): Refusal | null {
    const sequence = this.#send(message);
    return this.#refusal(sequence);
  }

  /**
   * `request` for what the kernel needs long for: it works within the call that sends, so another thread makes that. Nothing
   * else may be asked of this socket meanwhile.
   */
  async requestAside(message: NetlinkMessage): Promise<Refusal | null> {
    const sequence = ++this.#sequence;
    const bytes = message.finish(sequence);
    const count = await sendAside(this.fd, bytes, bytes.length, 0);
    // Nothing has been sent: here one learns why.
    return this.#refusal(count < 0 ? this.#send(message) : sequence);
  }

  /**
   * Sends a query and gives each answer to `visit`: its type and its bytes, netlink header included.
   * A dump that the kernel calls inconsistent, because something changed meanwhile, is asked for again.
   */
  query(message: NetlinkMessage, visit: (type: number, bytes: Uint8Array) => void): Refusal | null {
    for (let attempt = 0; ; attempt++) {
      let refusal: Refusal | null = null;
      const answers: { type: number; bytes: Uint8Array }[] = [];
      const consistent = this.#exchange(message, (type, bytes) => {
        if (type === NLMSG_ERROR) refusal = refusalOf(bytes);
        else answers.push({ type, bytes: bytes.slice() });
      });
      if (!consistent && attempt < 3) continue;
      for (const { type, bytes } of answers) visit(type, bytes);
      return refusal;
    }
  }

  close(): void {
    close(this.fd);
  }

  /** One request and all its answers; false when a dump was interrupted by a change. */
  #exchange(message: NetlinkMessage, visit: (type: number, bytes: Uint8Array) => void): boolean {
    return this.#receive(this.#send(message), visit);
  }

  /** Answers the number by which its answers are known. */
  #send(message: NetlinkMessage): number {
    const sequence = ++this.#sequence;
    const bytes = message.finish(sequence);
    checked(send(this.fd, bytes, bytes.length, 0), 'cannot ask the kernel by netlink');
    return sequence;
  }

  #refusal(sequence: number): Refusal | null {
    let refusal: Refusal | null = null;
    this.#receive(sequence, (type, bytes) => {
      if (type === NLMSG_ERROR) refusal = refusalOf(bytes);
    });
    return refusal;
  }

  #receive(sequence: number, visit: (type: number, bytes: Uint8Array) => void): boolean {
    let consistent = true;
    for (;;) {
      const count = recv(this.fd, this.#received, this.#received.length, 0);
      if (count < 0) {
        const number = errno();
        if (number === EINTR) continue;
        throw new SyscallError('cannot read the kernel’s answer by netlink', number);
      }
      const view = new DataView(this.#received.buffer, 0, count);
      let at = 0;
      while (at + HEADER <= count) {
        const length = view.getUint32(at, true);
        if (length < HEADER || at + length > count) break;
        const type = view.getUint16(at + 4, true);
        const flags = view.getUint16(at + 6, true);
        if (view.getUint32(at + 8, true) === sequence) {
          if ((flags & NLM_F_DUMP_INTR) !== 0) consistent = false;
          if (type === NLMSG_DONE) return consistent;
          visit(type, this.#received.subarray(at, at + length));
          // An acknowledgement or a refusal is the last word.
          if (type === NLMSG_ERROR) return consistent;
        }
        at += align(length);
      }
    }
  }
}

/** nlmsgerr: the negative errno, the request's header (its body is left out: NETLINK_CAP_ACK), attributes. */
function refusalOf(bytes: Uint8Array): Refusal | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const number = -view.getInt32(HEADER, true);
  if (number === 0) return null;
  const withAttributes = (view.getUint16(6, true) & NLM_F_ACK_TLVS) !== 0;
  const message = withAttributes
    ? textOf(attributesOf(bytes, HEADER + 4 + HEADER).get(NLMSGERR_ATTR_MSG))
    : '';
  return { errno: number, message };
}

function align(length: number): number {
  return (length + 3) & ~3;
}
