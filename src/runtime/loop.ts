import type { Device } from '../../switch/device.ts';
import type { PortId } from '../../switch/frame.ts';
import { EPOLLIN, EPOLLONESHOT, EPOLLOUT, Epoll } from '../device/epoll.ts';
import type { EventFd } from '../device/eventfd.ts';
import { schedYield } from '../device/syscall.ts';
import type { Plane } from '../recording/plane.ts';
import { Affinity } from './affinity.ts';

/**
 * Bytes taken from one port before the others have their turn: two frames of 64 KiB, or 64 small ones. Short turns
 * keep acknowledgements from waiting behind the data that they acknowledge.
 */
const BUDGET = 128 * 1024;
/**
 * Milliseconds for which a port that had frames is asked for more before the thread sleeps. Waking a thread takes
 * longer than most answers do: a request and its response would pay for it twice.
 */
const SPIN = 0.05;
/** Who slept longer than this is not in the middle of a conversation: no spinning then, so that a trickle costs no CPU. */
const SHORT_SLEEP = 4 * SPIN;
/** Milliseconds of sleep after which the thread counts as idle. */
const LONG_SLEEP = 100;
/** How often silent ports are asked between two looks at the clock. */
const ROUNDS = 8;
/** Milliseconds between two looks at cold ports and commands while there are frames: a turn may be long when many ports are hot. */
const LOOK = 0.5;
const WAKE = -1;

/** What the loop tells its owner, between two turns. */
export interface LoopEvents {
  /** The eventfd was rung: there are commands. */
  wake(): void;
  /** The device of a port has vanished; the port is still there and is to be removed. */
  gone(port: PortId): void;
}

/** Work of the thread's that is due at times. */
export interface Timer {
  /** Monotonic milliseconds, Infinity for never. */
  readonly deadline: number;
  /** Does what is due, after which `deadline` is later. */
  expire(now: number): void;
}

/**
 * The live edge of a data plane: takes frames from ports that have some, reads the clock once per turn, and sleeps
 * until something is ready or due. It blocks its thread.
 *
 * A port is cold or hot. Cold ports are watched by epoll, once each (EPOLLONESHOT): the first frame makes the port
 * hot, and from then on it is simply read, which costs its sender no wake-up per frame. A hot port that was silent
 * for `SPIN` is handed back to epoll.
 */
export class Loop {
  #dataplane: Plane;
  readonly #wake: EventFd;
  readonly #events: LoopEvents;
  readonly #clock: () => number;
  readonly #timers: readonly Timer[];
  readonly #epoll = new Epoll();
  readonly #affinity = new Affinity();
  readonly #hot: PortId[] = [];
  /** When a hot port last had a frame. */
  readonly #active: Float64Array;
  /** Ports with frames that wait for a device to be writable. */
  readonly #blocked = new Set<PortId>();
  /** Ports whose device has work of its own (delayed frames): few or none. */
  readonly #timed = new Map<PortId, Device>();
  /** How long silent ports stay hot now. */
  #spin = 0;
  /** When cold ports and commands are looked at next. */
  #look = 0;
  #woken = false;
  #running = false;

  /**
   * @param clock monotonic milliseconds
   * @param timers looked at once a turn
   */
  constructor(
    dataplane: Plane,
    wake: EventFd,
    events: LoopEvents,
    clock: () => number,
    timers: readonly Timer[] = [],
  ) {
    this.#dataplane = dataplane;
    this.#wake = wake;
    this.#events = events;
    this.#clock = clock;
    this.#timers = timers;
    this.#active = new Float64Array(dataplane.ports.capacity);
    this.#epoll.add(wake.fd, WAKE);
  }

  /** From now on this one, which is the same data plane, or somebody in front of it. */
  use(dataplane: Plane): void {
    this.#dataplane = dataplane;
  }

  /** Starts to watch a port's device. */
  add(port: PortId, device: Device, timed: boolean): void {
    this.#epoll.add(device.fd, port, EPOLLIN | EPOLLONESHOT);
    if (timed) this.#timed.set(port, device);
  }

  /** Stops watching; call it before the device is closed. */
  remove(port: PortId, device: Device): void {
    this.#epoll.remove(device.fd);
    this.#timed.delete(port);
    this.#blocked.delete(port);
    const index = this.#hot.indexOf(port);
    if (index >= 0) this.#hot.splice(index, 1);
  }

  /** Runs until `stop`, which a wake or gone event calls. */
  run(): void {
    this.#running = true;
    try {
      while (this.#running) {
        this.#sleep();
        do this.#turn();
        while (this.#hot.length > 0 && this.#running);
      }
    } finally {
      // The thread may be another's after us.
      this.#affinity.idle(0);
      this.#epoll.close();
    }
  }

  stop(): void {
    this.#running = false;
  }

  /** Waits until a cold port has frames, something is due, or a command has come. */
  #sleep(): void {
    const before = this.#clock();
    const ready = this.#epoll.wait(this.#timeout(before));
    const now = this.#clock();
    this.#spin = now - before < SHORT_SLEEP ? SPIN : 0;
    if (now - before > LONG_SLEEP) this.#affinity.idle(now);
    this.#heat(ready, now);
  }

  #turn(): void {
    const now = this.#clock();
    // The data plane counts whole milliseconds: small integers, which the engine passes from function to function without
    // making an object of each.
    const tick = Math.floor(now);
    let frames = this.#serve(now, tick);
    if (this.#spin > 0) {
      this.#affinity.busy(now);
      for (let i = 1; frames === 0 && i < ROUNDS; i++) frames = this.#serve(now, tick);
      // Whoever waits for this CPU may be the one who is to send.
      if (frames === 0) schedYield();
    }
    for (const [port, device] of this.#timed) {
      if (device.deadline() > tick) continue;
      this.#dataplane.poll(port, BUDGET, tick);
      if (device.gone) this.#events.gone(port);
    }
    if (tick >= this.#dataplane.deadline()) this.#dataplane.expire(tick);
    for (const timer of this.#timers) if (now >= timer.deadline) timer.expire(now);
    if (this.#dataplane.egress.blocked.length > 0 || this.#blocked.size > 0) this.#flush(tick);
    if (frames === 0) this.#cool(now);
    if (frames === 0 || now >= this.#look) {
      this.#heat(this.#epoll.wait(0), now);
      this.#look = now + LOOK;
    }
    // Last, because a command may remove ports.
    if (this.#woken) {
      this.#woken = false;
      this.#wake.drain();
      this.#events.wake();
      this.#dataplane.egress.sendBatches(tick);
    }
  }

  /** Takes frames from the hot ports, up to a budget each; answers how many. */
  #serve(now: number, tick: number): number {
    const hot = this.#hot;
    let frames = 0;
    for (let i = hot.length - 1; i >= 0; i--) {
      const port = hot[i]!;
      const count = this.#dataplane.poll(port, BUDGET, tick);
      if (count > 0) {
        frames += count;
        this.#active[port] = now;
      } else if (this.#dataplane.egress.device(port)?.gone) this.#events.gone(port);
    }
    return frames;
  }

  /** Notes what epoll reported, and does not watch it for now. */
  #heat(ready: number, now: number): void {
    for (let i = 0; i < ready; i++) {
      const port = this.#epoll.tag(i);
      if (port === WAKE) this.#woken = true;
      else if (!this.#hot.includes(port)) {
        this.#hot.push(port);
        this.#active[port] = now;
      }
    }
  }

  /** Hands ports that have been silent for long enough back to epoll. */
  #cool(now: number): void {
    const hot = this.#hot;
    for (let i = hot.length - 1; i >= 0; i--) {
      const port = hot[i]!;
      if (now - this.#active[port]! < this.#spin) continue;
      hot[i] = hot[hot.length - 1]!;
      hot.pop();
      this.#watch(port);
    }
  }

  /** Offers frames that wait to their devices again. */
  #flush(now: number): void {
    const { egress } = this.#dataplane;
    while (egress.blocked.length > 0) {
      const port = egress.blocked.pop()!;
      this.#blocked.add(port);
      // A cold port is not watched for being writable yet.
      if (!this.#hot.includes(port)) this.#watch(port);
    }
    for (const port of this.#blocked) if (egress.flush(port, now)) this.#blocked.delete(port);
  }

  #watch(port: PortId): void {
    const device = this.#dataplane.egress.device(port);
    if (!device) return;
    const writable = this.#blocked.has(port) ? EPOLLOUT : 0;
    this.#epoll.modify(device.fd, port, EPOLLIN | EPOLLONESHOT | writable);
  }

  /** Milliseconds until something is due, -1 for never. */
  #timeout(now: number): number {
    let deadline = this.#dataplane.deadline();
    for (const device of this.#timed.values()) deadline = Math.min(deadline, device.deadline());
    for (const timer of this.#timers) deadline = Math.min(deadline, timer.deadline);
    return deadline === Number.POSITIVE_INFINITY ? -1 : Math.max(0, deadline - now);
  }
}
