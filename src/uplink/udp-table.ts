import { PROTO_UDP } from '../../wire/protocol.ts';
import { EPOLLIN, type Epoll } from '../device/epoll.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { close, errno, O_CLOEXEC, O_NONBLOCK, type socket } from '../device/syscall.ts';
import { EMFILE } from '../device/syscall-error.ts';
import type { Descriptors } from './descriptors.ts';
import { isExhausted } from './host-error.ts';
import { bindHostPort } from './host-port.ts';
import { SOCK_DGRAM } from './host-socket.ts';
import { IdleQueue } from './idle-queue.ts';
import type { ListenOptions } from './listeners.ts';
import { PublishedPorts } from './published-ports.ts';
import { type Owner, ownerOfPublish, Shares } from './shares.ts';
import type { SocketOptions } from './socket-options.ts';

/** Milliseconds after the last datagram from inside for which a port stays open (RFC 4787 REQ-5: 5 minutes are recommended). */
const IDLE = 300_000;
/** The same for ports that have only asked name servers: an answer comes soon or not at all. */
const IDLE_DNS = 30_000;
const PORT_DNS = 53;
/** Milliseconds after which a question to a name server is given up when its socket is needed: resolv.conf(5)'s time-out. */
const DNS_TIMEOUT = 5_000;
const PORTS = 65_536;

export interface UdpTableOptions {
  /** Where sockets are watched. */
  epoll: Epoll;
  /** Under which tag, by row. */
  tag: (row: number) => number;
  options: SocketOptions;
  descriptors: Descriptors;
  /** Sockets at once, published ports included. */
  capacity: number;
  /** Of the segment. */
  mtu: number;
  /** Makes a socket. */
  socket: typeof socket;
}

/**
 * The host's UDP sockets, a row of parallel arrays each: one for each port from which the deck sends, by IP version, as
 * long as it is used, and those of published ports.
 */
export class UdpTable {
  /** -1 for rows that are free. */
  readonly fd: Int32Array;
  readonly isIpv6: Uint8Array;
  /** The port that the deck knows, or the host's own of a published port. */
  readonly port: Uint16Array;
  /** Publish that the row belongs to, or -1. */
  readonly publisher: Int32Array;
  readonly #owner: Int32Array;
  /** The last datagram sent: to which port, and bytes of payload. An error mostly is about that one. */
  readonly lastPort: Uint16Array;
  readonly lastLength: Uint16Array;
  /** How long IPv6 packets may be that come in by the socket, as far as the deck has said. */
  readonly inwardMtu: Uint16Array;
  readonly published = new PublishedPorts();
  readonly capacity: number;
  /** Open sockets, published ports included. */
  size = 0;
  /** Sockets opened since the start. */
  opened = 0;
  readonly #epoll: Epoll;
  readonly #tag: (row: number) => number;
  readonly #options: SocketOptions;
  readonly #descriptors: Descriptors;
  readonly #shares = new Shares();
  readonly #mtu: number;
  readonly #socket: typeof socket;
  /** Row + 1 by the deck's port; IPv6 in the second half. */
  readonly #byPort = new Uint16Array(2 * PORTS);
  readonly #idle: IdleQueue;
  readonly #idleDns: IdleQueue;
  /** Rows that were used and are free again. */
  readonly #free: number[] = [];
  #high = 0;

  constructor(options: UdpTableOptions) {
    const capacity = Math.min(options.capacity, PORTS - 1);
    this.capacity = capacity;
    this.#epoll = options.epoll;
    this.#tag = options.tag;
    this.#options = options.options;
    this.#descriptors = options.descriptors;
    this.#mtu = options.mtu;
    this.#socket = options.socket;
    this.fd = new Int32Array(capacity).fill(-1);
    this.isIpv6 = new Uint8Array(capacity);
    this.port = new Uint16Array(capacity);
    this.publisher = new Int32Array(capacity);
    this.#owner = new Int32Array(capacity);
    this.lastPort = new Uint16Array(capacity);
    this.lastLength = new Uint16Array(capacity);
    this.inwardMtu = new Uint16Array(capacity);
    this.#idle = new IdleQueue(capacity, IDLE);
    this.#idleDns = new IdleQueue(capacity, IDLE_DNS);
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    return Math.min(this.#idle.deadline, this.#idleDns.deadline);
  }

  /** Closes the sockets that were not used for long enough. */
  expire(now: number): void {
    while (this.#idle.deadline <= now) this.#close(this.#idle.oldest);
    while (this.#idleDns.deadline <= now) this.#close(this.#idleDns.oldest);
  }

  close(): void {
    for (let row = 0; row < this.#high; row++) if (this.fd[row]! >= 0) this.#close(row);
  }

  /** The row of a port of the deck, or -1. */
  find(port: number, isIpv6: boolean): number {
    return this.#byPort[isIpv6 ? PORTS + port : port]! - 1;
  }

  /** Closes the socket of a port of the deck, if it has one. */
  release(port: number, isIpv6: boolean): void {
    const row = this.find(port, isIpv6);
    if (row >= 0) this.#close(row);
  }

  /** A socket for a port of the deck: its row, or the number of the error, negative. */
  open(port: number, isIpv6: boolean, owner: Owner, now: number): number {
    const left = Math.min(this.#descriptors.left, this.capacity - this.size);
    if (left > 0 && !this.#shares.may(owner, left) && !this.#yield(now)) return -EMFILE;
    const row = this.#take(now);
    if (row < 0) return -EMFILE;
    const type = SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC;
    const family = isIpv6 ? AF_INET6 : AF_INET;
    let fd = this.#socket(family, type, PROTO_UDP);
    if (fd < 0 && isExhausted(errno()) && this.#yield(now)) fd = this.#socket(family, type, PROTO_UDP);
    if (fd < 0) {
      const number = errno();
      this.#free.push(row);
      return -number;
    }
    if (!this.#add(row, fd, port, isIpv6, -1, owner)) return -EMFILE;
    this.#byPort[isIpv6 ? PORTS + port : port] = row + 1;
    return row;
  }

  /** The row was used to send to a port. */
  touch(row: number, destinationPort: number, now: number): void {
    if (destinationPort === PORT_DNS && !this.#idle.has(row)) this.#idleDns.touch(row, now);
    else {
      this.#idleDns.remove(row);
      this.#idle.touch(row, now);
    }
  }

  /**
   * Binds sockets to all of the ports, or throws a `SyscallError` and to none.
   * @param publish names them for `unpublish`
   */
  publish(publish: number, { from, to, ...where }: ListenOptions): void {
    const isIpv6 = where.family === 6;
    const rows: number[] = [];
    try {
      for (let port = from; port <= to; port++) {
        const fd = bindHostPort({ ...where, protocol: 17, port });
        const row = this.#take(Number.POSITIVE_INFINITY);
        if (row < 0) {
          close(fd);
          throw new RangeError(
            `there are ${this.size} UDP sockets already; withdraw other published ports, or raise "ulimit -n"`,
          );
        }
        if (!this.#add(row, fd, port, isIpv6, publish, ownerOfPublish(publish))) {
          throw new RangeError(
            'the host lets us watch no more sockets; raise the sysctl fs.epoll.max_user_watches',
          );
        }
        rows.push(row);
        this.published.add(row, port, isIpv6, where.host);
      }
    } catch (error) {
      for (const row of rows) this.#withdraw(row);
      throw error;
    }
  }

  unpublish(publish: number): void {
    for (let row = 0; row < this.#high; row++) {
      if (this.fd[row]! >= 0 && this.publisher[row] === publish) this.#withdraw(row);
    }
  }

  #withdraw(row: number): void {
    this.published.remove(row, this.port[row]!, this.isIpv6[row] === 1);
    this.#close(row);
  }

  /** Begins to use a socket; false, and the socket closed, when it cannot be watched (fs.epoll.max_user_watches). */
  #add(row: number, fd: number, port: number, isIpv6: boolean, publish: number, owner: Owner): boolean {
    this.#options.prepareUdp(row, fd, isIpv6, publish >= 0);
    try {
      this.#epoll.add(fd, this.#tag(row), EPOLLIN);
    } catch {
      close(fd);
      this.#free.push(row);
      return false;
    }
    this.fd[row] = fd;
    this.port[row] = port;
    this.isIpv6[row] = isIpv6 ? 1 : 0;
    this.publisher[row] = publish;
    this.lastPort[row] = 0;
    this.inwardMtu[row] = this.#mtu;
    this.#owner[row] = owner;
    this.#descriptors.used++;
    this.#shares.take(owner);
    this.size++;
    this.opened++;
    return true;
  }

  /** A free row, or -1. */
  #take(now: number): number {
    if (this.#descriptors.left <= 0 && !this.#yield(now)) return -1;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#high < this.capacity) return this.#high++;
    return this.#yield(now) ? this.#free.pop()! : -1;
  }

  /** Gives up the oldest question to a name server whose answer nobody waits for any more. */
  #yield(now: number): boolean {
    const row = this.#idleDns.oldest;
    if (row < 0 || now - this.#idleDns.lastUse(row) < DNS_TIMEOUT) return false;
    this.#close(row);
    return true;
  }

  #close(row: number): void {
    const isIpv6 = this.isIpv6[row] === 1;
    const port = this.port[row]!;
    if (this.publisher[row]! < 0) this.#byPort[isIpv6 ? PORTS + port : port] = 0;
    this.#idle.remove(row);
    this.#idleDns.remove(row);
    // The kernel stops watching it by itself.
    close(this.fd[row]!);
    this.fd[row] = -1;
    this.#free.push(row);
    this.#descriptors.used--;
    this.#shares.give(this.#owner[row]!);
    this.size--;
  }
}
