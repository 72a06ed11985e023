import { EPOLLIN, Epoll } from '../device/epoll.ts';
import { EventFd } from '../device/eventfd.ts';
import { accept4, close, errno, getsockname, listen, O_CLOEXEC, O_NONBLOCK } from '../device/syscall.ts';
import { checked, EAGAIN, EMFILE, ENFILE } from '../device/syscall-error.ts';
import type { Descriptors } from './descriptors.ts';
import { isShortage } from './host-error.ts';
import { bindHostPort, type HostPort } from './host-port.ts';
import { abort, SOCKADDR_IN6 } from './host-socket.ts';

/** Ports to listen at: each from `from` to `to`. */
export interface ListenOptions extends Omit<HostPort, 'protocol' | 'port'> {
  from: number;
  to: number;
}

/**
 * Takes a connection that has come in, and its descriptor. The addresses are a sockaddr_in or sockaddr_in6, good until
 * the function returns: that of the client, and that of the host to which it came.
 */
export type Accept = (
  fd: number,
  client: Uint8Array,
  local: Uint8Array,
  listener: number,
  now: number,
) => void;

/** As many as the kernel's `somaxconn` lets wait. */
const BACKLOG = 4096;
/** Connections that one listener may bring before the others have their turn. */
const BURST = 64;
/** Milliseconds for which nothing is accepted when even refusing takes a descriptor, or memory, that there is not. */
const PAUSE = 100;

/**
 * The host's listening TCP sockets, one for each published port, with an epoll descriptor of their own. Opening and
 * closing is by publish, accepting is the data plane's: between two batches of frames.
 */
export class Listeners {
  /** Readable while connections wait. */
  readonly #epoll = new Epoll();
  readonly #accept: Accept;
  readonly #prepare: (fd: number) => void;
  readonly #descriptors: Descriptors;
  /** By descriptor: the publish it belongs to, and whether its address is known without asking. */
  readonly #sockets = new Map<number, { listener: number; local: Uint8Array | null }>();
  readonly #client = new Uint8Array(SOCKADDR_IN6);
  readonly #local = new Uint8Array(SOCKADDR_IN6);
  readonly #length = new Int32Array(1);
  /** A descriptor to give up when there is none left, so that whoever comes can be refused. */
  #spare: EventFd | null = new EventFd();
  #resume = Number.POSITIVE_INFINITY;
  /** Connections that were refused because there were no descriptors left. */
  refused = 0;

  /**
   * @param descriptors counts the listening sockets too
   * @param prepare tells a new listening socket what the sockets of its connections are to have from it
   */
  constructor(accept: Accept, descriptors: Descriptors, prepare: (fd: number) => void) {
    this.#accept = accept;
    this.#prepare = prepare;
    this.#descriptors = descriptors;
  }

  /** Descriptor to wait on with epoll. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Listening sockets. */
  get size(): number {
    return this.#sockets.size;
  }

  /** When `accept` is to be called though nothing is readable; Infinity if never. */
  get deadline(): number {
    return this.#resume;
  }

  /**
   * Listens at all of the ports, or throws a `SyscallError` and at none.
   * @param listener names them for `close` and for those who take connections
   */
  open(listener: number, { from, to, ...where }: ListenOptions): void {
    const opened: number[] = [];
    try {
      for (let port = from; port <= to; port++) {
        const fd = bindHostPort({ ...where, protocol: 6, port });
        opened.push(fd);
        this.#prepare(fd);
        checked(listen(fd, BACKLOG), `cannot listen at port ${port}/tcp`);
        this.#epoll.add(fd, fd, this.#resume === Number.POSITIVE_INFINITY ? EPOLLIN : 0);
        this.#descriptors.used++;
        this.#sockets.set(fd, { listener, local: where.host === null ? null : this.#addressOf(fd).slice() });
      }
    } catch (error) {
      for (const fd of opened) this.#close(fd);
      throw error;
    }
  }

  /** Ends listening; who waits to be accepted is reset by the kernel. */
  close(listener: number): void {
    for (const [fd, socket] of this.#sockets) if (socket.listener === listener) this.#close(fd);
  }

  closeAll(): void {
    for (const fd of this.#sockets.keys()) this.#close(fd);
    this.#spare?.close();
    this.#spare = null;
    this.#epoll.close();
  }

  /** Takes connections that wait, some of each listener; what is left keeps `fd` readable. */
  accept(now: number): void {
    if (now >= this.#resume) this.#pause(false, now);
    const ready = this.#epoll.wait(0);
    for (let i = 0; i < ready; i++) this.#acceptFrom(this.#epoll.tag(i), now);
  }

  #acceptFrom(fd: number, now: number): void {
    const socket = this.#sockets.get(fd);
    if (socket === undefined) return;
    for (let i = 0; i < BURST; i++) {
      const connection = this.#next(fd);
      if (connection >= 0) {
        const local = socket.local ?? this.#addressOf(connection);
        this.#accept(connection, this.#client, local, socket.listener, now);
        continue;
      }
      const number = errno();
      if (number === EAGAIN) return;
      if (number === EMFILE || number === ENFILE) {
        if (this.#refuse(fd)) continue;
        this.#pause(true, now);
        return;
      }
      if (isShortage(number)) {
        this.#pause(true, now);
        return;
      }
      // What else accept(2) answers is about the connection that it was to give: it failed while it waited.
    }
  }

  #next(fd: number): number {
    this.#length[0] = SOCKADDR_IN6;
    return accept4(fd, this.#client, this.#length, O_NONBLOCK | O_CLOEXEC);
  }

  /** Resets who waits longest; it takes a descriptor, for which there is the spare one. False when it is not there. */
  #refuse(fd: number): boolean {
    if (this.#spare === null) return false;
    this.#spare.close();
    this.#spare = null;
    const connection = this.#next(fd);
    if (connection >= 0) {
      abort(connection);
      this.refused++;
    }
    try {
      this.#spare = new EventFd();
    } catch {
      // Somebody else has it now; `#pause` tries again.
    }
    return connection >= 0;
  }

  /** Stops looking at listeners for a while, or begins again: one that is readable and cannot be served would keep the thread awake. */
  #pause(on: boolean, now: number): void {
    this.#resume = on ? now + PAUSE : Number.POSITIVE_INFINITY;
    for (const fd of this.#sockets.keys()) this.#epoll.modify(fd, fd, on ? 0 : EPOLLIN);
    if (on || this.#spare !== null) return;
    try {
      this.#spare = new EventFd();
    } catch {
      // The next accept says so.
    }
  }

  #addressOf(fd: number): Uint8Array {
    this.#length[0] = SOCKADDR_IN6;
    getsockname(fd, this.#local, this.#length);
    return this.#local;
  }

  #close(fd: number): void {
    if (this.#sockets.delete(fd)) this.#descriptors.used--;
    close(fd);
  }
}
