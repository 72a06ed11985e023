import {
  isIpv4Loopback,
  isIpv4Multicast,
  isIpv6Loopback,
  isIpv6Multicast,
  isIpv6Unspecified,
} from '../../wire/address.ts';
import { EPOLLIN, EPOLLOUT, type Epoll } from '../device/epoll.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import {
  addressOf,
  close,
  errno,
  ioctl,
  O_CLOEXEC,
  O_NONBLOCK,
  recv,
  setsockopt,
  socket,
} from '../device/syscall.ts';
import { EAGAIN, EMFILE, ENETUNREACH } from '../device/syscall-error.ts';
import type { Descriptors } from './descriptors.ts';
import {
  abort,
  connect,
  getsockopt,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  SHUT_WR,
  SIOCOUTQNSD,
  SO_BUF_LOCK,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_MEMINFO,
  SO_OOBINLINE,
  SO_PEEK_OFF,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SOCK_RCVBUF_LOCK,
  SOCK_STREAM,
  SOCKADDR_IN6,
  SOL_SOCKET,
  shutdown,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  writeSockaddr4,
  writeSockaddr6,
} from './host-socket.ts';
import { LargeBuffers } from './large-buffers.ts';
import { LOOPBACK_IPV4 } from './loopback.ts';
import { Message } from './message.ts';
import type { Segment } from './segment.ts';
import { Shares } from './shares.ts';
import {
  ARMED,
  DELIVERED,
  FD,
  FLAGS,
  HANGUP,
  HEAD,
  IS_IPV6,
  OUTSIDE,
  OWNER,
  PEEK,
  PORTS,
  QUEUE_LIMIT,
  READABLE,
  ROOMY,
  ROW,
  TAKEN,
  type TcpConnections,
  WATCHED,
} from './tcp-connections.ts';

export const EPOLLPRI = 0x2;
export const EPOLLRDHUP = 0x2000;
const EPOLLET = 0x8000_0000 | 0;
/**
 * What is acknowledged only later stays in the socket's queue, so that it would be readable for ever: hence
 * edges. All events are asked for at once and the set never changes.
 */
const EVENTS = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;

/** Bytes that may wait unsent in a socket at first, and at most: a flow that is drained quickly may have more. */
export const QUEUE_FIRST = 64 * 1024;
export const QUEUE_MOST = 2 * 1024 * 1024;
/** More than this only flows have that may have large buffers. */
const QUEUE_SMALL = 128 * 1024;
/** Bytes that a socket of a flow that moves data has room for. */
const RECEIVE_ROOM = 1024 * 1024;
/** Bytes in SO_RCVBUF of one that has moved data and is to be small again. The kernel doubles it, for what it needs itself. */
const RECEIVE_SMALL = 64 * 1024;

// struct sk_meminfo, words (include/uapi/linux/sock_diag.h).
const MEMINFO_RMEM_ALLOC = 0;
const MEMINFO_SNDBUF = 3;
const MEMINFO_WMEM_QUEUED = 5;
const MEMINFO_WORDS = 9;

/** Bytes under way at most where all of them have to be read again for every further one. */
const SKIPPED = 1024 * 1024;

/** Answers of `peek` that are no number of bytes. */
export const END = 0;
export const NOTHING = -1;
export const BROKEN = -2;

/** The host's half of TCP connections: one non-blocking socket each. */
export class TcpHost {
  /** Error number of the last call that failed. */
  error = 0;
  /** What a row has to be looked at for again after an acknowledgment: reading had an end that was not the socket's. */
  readonly again: number;
  /** Sockets that are open. */
  size = 0;
  readonly #words: Int32Array;
  readonly #epoll: Epoll;
  readonly #descriptors: Descriptors;
  readonly #shares = new Shares();
  readonly #largeBuffers: LargeBuffers;
  readonly #segment: Segment;
  readonly #tag: (row: number) => number;
  readonly #bytes: Uint8Array;
  readonly #payload = new Message();
  readonly #address = new Uint8Array(SOCKADDR_IN6);
  readonly #loopback6 = Int32Array.of(0, 0, 0, 1);
  readonly #value = new Int32Array(MEMINFO_WORDS);
  readonly #length = new Int32Array(1);
  readonly #peeksAt: boolean;
  /** Where goes what is read once more. */
  readonly #skipped: Uint8Array;
  readonly #skippedAt: number;

  /**
   * @param tag under which `epoll` knows the socket of a row
   * @param descriptors what all sockets together may have; an eighth of it is not for TCP
   * @param peekOffset whether the kernel reads TCP sockets from where it is told to, and takes nothing out
   */
  constructor(
    connections: TcpConnections,
    bytes: Uint8Array,
    epoll: Epoll,
    segment: Segment,
    tag: (row: number) => number,
    descriptors: Descriptors,
    peekOffset = hasPeekOffset(),
  ) {
    this.#words = connections.words;
    this.#bytes = bytes;
    this.#epoll = epoll;
    this.#segment = segment;
    this.#tag = tag;
    this.#descriptors = descriptors;
    this.#largeBuffers = new LargeBuffers(this.#words, (row) => this.#shrink(row));
    this.#peeksAt = peekOffset;
    this.again = peekOffset ? 0 : READABLE;
    this.#skipped = new Uint8Array(peekOffset ? 0 : SKIPPED);
    this.#skippedAt = peekOffset ? 0 : Number(addressOf(this.#skipped));
  }

  /** Opens a socket and begins to connect to the outside of the row; 0, or the number of the error. */
  open(row: number): number {
    const words = this.#words;
    const at = row * ROW;
    const isIpv6 = words[at + IS_IPV6] !== 0;
    const length = isIpv6 ? this.#destination6(at) : this.#destination4(at);
    if (length === 0) return ENETUNREACH;
    if (!this.#mayHold(row)) return EMFILE;
    const fd = socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_STREAM | O_NONBLOCK | O_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) return errno();
    this.#hold(row, fd);
    if (isIpv6) this.#set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    words[at + QUEUE_LIMIT] = QUEUE_FIRST;
    this.prepare(fd);
    if (connect(fd, this.#address, length) < 0) {
      const number = errno();
      if (number !== EINPROGRESS) {
        this.close(row);
        return number;
      }
    }
    return this.#watch(row);
  }

  /** Takes over the socket of a connection that was accepted; 0, or the number of the error. */
  adopt(row: number, fd: number): number {
    const mayHold = this.#mayHold(row);
    this.#hold(row, fd);
    if (!mayHold) {
      this.abort(row);
      return EMFILE;
    }
    this.#words[row * ROW + QUEUE_LIMIT] = QUEUE_FIRST;
    this.settle(row);
    return this.#watch(row);
  }

  /** Where connections have all sockets, nobody could ask a name server. */
  #mayHold(row: number): boolean {
    const descriptors = this.#descriptors;
    const left = descriptors.left - Math.floor(descriptors.limit / 8);
    return this.#shares.may(this.#words[row * ROW + OWNER]!, left);
  }

  #hold(row: number, fd: number): void {
    this.#words[row * ROW + FD] = fd;
    this.size++;
    this.#descriptors.used++;
    this.#shares.take(this.#words[row * ROW + OWNER]!);
  }

  /** Why the socket failed; 0 when it did not. */
  failure(row: number): number {
    this.#length[0] = 4;
    if (getsockopt(this.#words[row * ROW + FD], SOL_SOCKET, SO_ERROR, this.#value, this.#length) < 0)
      return errno();
    return this.#value[0];
  }

  /** Sends `length` bytes at offset `from` of the arena; answers how many the kernel took, or -1 when the socket is broken. */
  push(row: number, from: number, length: number): number {
    this.#payload.at(this.#bytes, from, length);
    const count = this.#payload.send(this.#words[row * ROW + FD]!, MSG_DONTWAIT | MSG_NOSIGNAL);
    return this.pushed(row, count, count < 0 ? errno() : 0);
  }

  /** Notes what became of a `push`, or of a write that stands for one: answers what `push` does. */
  pushed(row: number, count: number, error: number): number {
    if (count >= 0) {
      this.#words[row * ROW + TAKEN]! += count;
      return count;
    }
    this.error = error;
    return error === EAGAIN ? 0 : -1;
  }

  /**
   * How many bytes the socket takes now. The kernel is asked: what it says is what is left until `push` would take less
   * than it is given. When that is little, it is asked to say when it is more.
   */
  room(row: number): number {
    const words = this.#words;
    const at = row * ROW;
    const fd = words[at + FD];
    if (fd < 0) return 0;
    const value = this.#value;
    this.#length[0] = 4 * MEMINFO_WORDS;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, value, this.#length) < 0) return 0;
    const buffer = value[MEMINFO_SNDBUF];
    const queued = value[MEMINFO_WMEM_QUEUED];
    let limit = words[at + QUEUE_LIMIT];
    // Bytes of other connections' rings are in neither.
    const unsent = queued === 0 || ioctl(fd, SIOCOUTQNSD, value) < 0 ? 0 : value[0];
    if (words[at + TAKEN] > limit) {
      words[at + TAKEN] = 0;
      const mayGrow = limit < QUEUE_SMALL || this.#largeBuffers.grant(row, this.size);
      if (unsent < limit >> 2 && limit < QUEUE_MOST && mayGrow) {
        limit *= 2;
        words[at + QUEUE_LIMIT] = limit;
        this.#set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, limit);
      }
    }
    // When the socket counts as full its next edge says that it is not any more (tcp_poll, `sk_stream_is_writeable`). Asked
    // for that while it does not, it would say so at once, and be asked again for ever.
    if (unsent >= limit >> 1 || buffer - queued < queued >> 1) this.arm(row);
    // A buffer counts what the kernel needs beside the bytes, 1/16 for long segments.
    const room = Math.max(0, Math.min(limit - unsent, (buffer - queued) * 0.9375) | 0);
    return room;
  }

  /** Has the kernel say when there is room: it does so only after it was asked while there was none. */
  arm(row: number): void {
    const words = this.#words;
    const at = row * ROW;
    if ((words[at + FLAGS] & (ARMED | WATCHED)) !== WATCHED) return;
    words[at + FLAGS] |= ARMED;
    this.#epoll.modify(words[at + FD], this.#tag(row), EVENTS);
  }

  /**
   * Reads at most `length` bytes to offset `to` of the arena and leaves them in the socket, from sequence number `sequence`
   * on. Answers how many, or END, NOTHING, or BROKEN.
   */
  peek(row: number, sequence: number, to: number, length: number): number {
    const words = this.#words;
    const at = row * ROW;
    const fd = words[at + FD];
    if (!this.#peeksAt) return this.#peekBehind(row, sequence, to, length);
    if (words[at + PEEK] !== sequence) {
      this.#set(fd, SOL_SOCKET, SO_PEEK_OFF, (sequence - words[at + HEAD]) | 0);
      words[at + PEEK] = sequence;
    }
    this.#payload.at(this.#bytes, to, length);
    const count = this.#payload.receive(fd, MSG_PEEK | MSG_DONTWAIT);
    if (count >= 0) {
      words[at + PEEK] = (sequence + count) | 0;
      return count;
    }
    this.error = errno();
    return this.error === EAGAIN ? NOTHING : BROKEN;
  }

  /**
   * As `peek`, by reading once more all that was read before, to where nobody looks: for kernels that have SO_PEEK_OFF for
   * unix sockets alone (before Linux 6.9, over IPv6 before 6.11).
   */
  #peekBehind(row: number, sequence: number, to: number, length: number): number {
    const words = this.#words;
    const at = row * ROW;
    const skip = (sequence - words[at + HEAD]!) | 0;
    if (skip > this.#skipped.length) return NOTHING;
    if (skip === 0) this.#payload.at(this.#bytes, to, length);
    else this.#payload.behind(this.#skippedAt, skip, this.#bytes, to, length);
    const count = this.#payload.receive(words[at + FD]!, MSG_PEEK | MSG_DONTWAIT);
    if (count > skip || (count === 0 && skip === 0)) return count - skip;
    if (count < 0) {
      this.error = errno();
      return this.error === EAGAIN ? NOTHING : BROKEN;
    }
    // Nothing behind what is known: for now, for ever, or because of an error, which the kernel keeps to itself until then.
    if ((words[at + FLAGS]! & HANGUP) === 0) return NOTHING;
    this.error = this.failure(row);
    return this.error === 0 ? END : BROKEN;
  }

  /** Takes what the inside has acknowledged, up to `sequence`, out of the socket. */
  discard(row: number, sequence: number): void {
    const words = this.#words;
    const at = row * ROW;
    const length = (sequence - words[at + HEAD]) | 0;
    if (length <= 0 || words[at + FD] < 0) return;
    const count = recv(words[at + FD], null, length, MSG_TRUNC | MSG_DONTWAIT);
    if (count > 0) words[at + HEAD] = (words[at + HEAD] + count) | 0;
  }

  /**
   * Gives the socket more room for what waits to be acknowledged by the inside. The kernel enlarges the buffer for who
   * wants to be woken for much at once, keeps it when that is taken back, and goes on adjusting it, as it would not after
   * SO_RCVBUF (net/ipv4/tcp.c, `tcp_set_rcvlowat`). False when too many others have large buffers.
   */
  enlarge(row: number): boolean {
    const fd = this.#words[row * ROW + FD]!;
    if (!this.#largeBuffers.grant(row, this.size)) return false;
    this.#set(fd, SOL_SOCKET, SO_BUF_LOCK, 0);
    this.#set(fd, SOL_SOCKET, SO_RCVLOWAT, RECEIVE_ROOM);
    this.#set(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
    return true;
  }

  /** The opposite of `enlarge`, and of a queue that has grown; false when there is more in the socket than it could hold then. */
  #shrink(row: number): boolean {
    const words = this.#words;
    const at = row * ROW;
    const fd = words[at + FD]!;
    this.#length[0] = 4 * MEMINFO_WORDS;
    const value = this.#value;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, value, this.#length) < 0) return false;
    if (value[MEMINFO_RMEM_ALLOC]! > RECEIVE_SMALL || value[MEMINFO_WMEM_QUEUED]! > QUEUE_SMALL) return false;
    this.#set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_SMALL);
    words[at + FLAGS]! &= ~ROOMY;
    words[at + DELIVERED] = 0;
    words[at + TAKEN] = 0;
    words[at + QUEUE_LIMIT] = QUEUE_FIRST;
    this.#set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, QUEUE_FIRST);
    return true;
  }

  /**
   * The socket is connected. The kernel is not to make its receive buffer larger by itself: that is for flows that may
   * have large buffers. Not before, as a window that cannot grow would be offered without a scale (`tcp_connect_init`).
   */
  settle(row: number): void {
    this.#set(this.#words[row * ROW + FD]!, SOL_SOCKET, SO_BUF_LOCK, SOCK_RCVBUF_LOCK);
  }

  /** The inside has sent its last. */
  finish(row: number): void {
    shutdown(this.#words[row * ROW + FD], SHUT_WR);
  }

  /** The inside asks whether the other end is still there, which only the host's kernel can find out. */
  keepAlive(row: number, seconds: number): void {
    const fd = this.#words[row * ROW + FD];
    if (fd < 0) return;
    this.#set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    this.#set(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    this.#set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  }

  /** Closes the socket, whose other end is reset. */
  abort(row: number): void {
    const fd = this.#release(row);
    if (fd >= 0) abort(fd);
  }

  close(row: number): void {
    const fd = this.#release(row);
    if (fd >= 0) close(fd);
  }

  /** Takes the row's socket away from it; -1 when it has none. */
  #release(row: number): number {
    const at = row * ROW;
    const fd = this.#words[at + FD]!;
    if (fd < 0) return fd;
    this.#words[at + FD] = -1;
    this.#words[at + FLAGS]! &= ~WATCHED;
    this.#largeBuffers.release(row);
    this.size--;
    this.#descriptors.used--;
    this.#shares.give(this.#words[at + OWNER]!);
    return fd;
  }

  /** Tells a new socket what it has to know. Accepted ones have it from the socket that listened. */
  prepare(fd: number): void {
    // What was written is sent: the inside has had its own reasons to wait or not to.
    this.#set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    this.#set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, QUEUE_FIRST);
    // Urgent data stays in its place among the other.
    this.#set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    if (this.#peeksAt) this.#set(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
  }

  #watch(row: number): number {
    const at = row * ROW;
    try {
      this.#epoll.add(this.#words[at + FD], this.#tag(row), EVENTS);
    } catch (error) {
      this.abort(row);
      return (error as { errno?: number }).errno ?? ENETUNREACH;
    }
    this.#words[at + FLAGS] |= WATCHED;
    return 0;
  }

  /** What is to be connected to; 0 when nobody may be. The data plane refuses the same, by its own rules. */
  #destination4(at: number): number {
    const words = this.#words;
    const port = words[at + PORTS] >>> 16;
    const address = words[at + OUTSIDE + 3];
    if (address === this.#segment.device.ipv4) return writeSockaddr4(this.#address, LOOPBACK_IPV4, port);
    // 0.0.0.0 means the host itself to connect(2).
    if (isIpv4Loopback(address) || address >>> 24 === 0 || isIpv4Multicast(address) || address === -1)
      return 0;
    return writeSockaddr4(this.#address, address, port);
  }

  #destination6(at: number): number {
    const words = this.#words;
    const port = words[at + PORTS] >>> 16;
    const device = this.#segment.device.ipv6;
    const w0 = words[at + OUTSIDE];
    const w1 = words[at + OUTSIDE + 1];
    const w2 = words[at + OUTSIDE + 2];
    const w3 = words[at + OUTSIDE + 3];
    if (w0 === device[0] && w1 === device[1] && w2 === device[2] && w3 === device[3])
      return writeSockaddr6(this.#address, this.#loopback6, 0, port);
    // :: means the host itself, ::ffff:127.0.0.1 its IPv4 loopback.
    const mapped = w0 === 0 && w1 === 0 && (w2 === 0xffff || w2 === 0);
    if (mapped || isIpv6Multicast(w0) || isIpv6Loopback(w0, w1, w2, w3) || isIpv6Unspecified(w0, w1, w2, w3))
      return 0;
    return writeSockaddr6(this.#address, words, at + OUTSIDE, port);
  }

  #set(fd: number, level: number, option: number, value: number): void {
    this.#value[0] = value;
    setsockopt(fd, level, option, this.#value, 4);
  }
}

const EINPROGRESS = 115;

/** Whether SO_PEEK_OFF is there for TCP, over IPv6 too when the host has it. */
function hasPeekOffset(): boolean {
  return [AF_INET, AF_INET6].every((family) => {
    const fd = socket(family, SOCK_STREAM | O_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) return true;
    const answer = setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, Int32Array.of(0), 4);
    close(fd);
    return answer >= 0;
  });
}
