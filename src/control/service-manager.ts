import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { offerMessage, SOCK_STREAM, socketPair } from '../device/socket.ts';
import { close, errno, O_CLOEXEC, socket } from '../device/syscall.ts';
import { SyscallError } from '../device/syscall-error.ts';
import { connect, SOCK_DGRAM } from '../uplink/host-socket.ts';

const AF_UNIX = 1;
/** sun_path. */
const LONGEST_PATH = 108;
/** Milliseconds for which a manager is waited for that reads nothing. */
const PATIENCE = 2000;

/**
 * What has started us and wants to know when we are ready, as systemd does (sd_notify(3)): text in one datagram to the
 * socket that `NOTIFY_SOCKET` names. Takes the variables out of the environment: what we start has nothing to tell.
 */
export class ServiceManager {
  readonly #fd: number;
  /** Milliseconds between two signs of life; 0 when none are wanted. */
  readonly #interval: number;
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds; 0 once it was in vain. */
  #patience = PATIENCE;

  /** Undefined when nobody wants to know. Throws a `SyscallError` when the socket is not there. */
  static find(env: NodeJS.ProcessEnv = process.env, pid = process.pid): ServiceManager | undefined {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    if (!NOTIFY_SOCKET) return undefined;
    const watched = WATCHDOG_PID === undefined || WATCHDOG_PID === `${pid}`;
    // Twice in each span, as sd_watchdog_enabled(3) recommends.
    return new ServiceManager(NOTIFY_SOCKET, watched ? (Number(WATCHDOG_USEC) || 0) / 2000 : 0);
  }

  private constructor(path: string, interval: number) {
    this.#interval = interval;
    // `@` stands for the zero byte of an abstract address, whose length counts.
    const name = Buffer.from(path.replace(/^@/, '\0'));
    if (name.length > LONGEST_PATH) throw new Error(`NOTIFY_SOCKET is longer than ${LONGEST_PATH} bytes`);
    const address = Buffer.concat([new Uint8Array(Uint16Array.of(AF_UNIX).buffer), name]);
    this.#fd = socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0);
    if (this.#fd >= 0 && connect(this.#fd, address, address.length) >= 0) return;
    const number = errno();
    if (this.#fd >= 0) close(this.#fd);
    throw new SyscallError(
      `cannot tell ${path}, which NOTIFY_SOCKET names, that the daemon is ready`,
      number,
    );
  }

  /**
   * Says that we are ready, and from then on, where it is wanted, that we live: as often as `alive` settles.
   * @param status one line for people
   */
  ready(status: string, alive: () => Promise<unknown>): void {
    this.#tell(`READY=1\nSTATUS=${status}`);
    if (this.#interval === 0) return;
    this.#timer = setInterval(() => {
      // A thread that answers nothing is said nothing about, and its daemon is started anew.
      void alive().then(
        () => this.#tell('WATCHDOG=1'),
        () => {},
      );
    }, this.#interval).unref();
  }

  /** Says that we are ending. */
  stopping(status: string): void {
    clearInterval(this.#timer);
    this.#tell(`STOPPING=1\nSTATUS=${status}`);
  }

  /**
   * Gives it a descriptor to keep, which the next process of this service will be started with (`FDSTORE=1`). It lets go of it when
   * an error is pending there: that of a TAP whose interface is no more.
   */
  async store(name: string, fd: number): Promise<void> {
    await this.#insist(`FDSTORE=1\nFDNAME=${name}`, fd);
  }

  /** Takes descriptors back. Settles when it has closed them, or does not answer. */
  async unstore(names: readonly string[]): Promise<void> {
    for (const name of names) await this.#insist(`FDSTOREREMOVE=1\nFDNAME=${name}`);
    const [own, far] = socketPair(SOCK_STREAM);
    const socket = new Socket({ fd: own });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.setTimeout(PATIENCE, () => socket.destroy()).resume();
    try {
      // Closed by it when it has done all that was said before.
      await this.#insist('BARRIER=1', far);
    } finally {
      close(far);
    }
    await closed;
  }

  /** What cannot be said is lost: it is no reason to end. */
  #tell(text: string, descriptor = -1): boolean {
    try {
      return offerMessage(this.#fd, text, descriptor);
    } catch {
      return true;
    }
  }

  /** Says what must not be lost because the manager has much to read. */
  async #insist(text: string, descriptor?: number): Promise<void> {
    const deadline = performance.now() + this.#patience;
    while (!this.#tell(text, descriptor)) {
      if (performance.now() >= deadline) {
        this.#patience = 0;
        return;
      }
      await sleep(5);
    }
    this.#patience = PATIENCE;
  }
}
