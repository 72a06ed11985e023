import type { Device } from '../../switch/device.ts';
import type { PortId } from '../../switch/frame.ts';
import type { Dataplane } from '../dataplane/dataplane.ts';
import { EPOLLIN, EPOLLOUT, Epoll } from '../device/epoll.ts';
import type { EventFd } from '../device/eventfd.ts';

/** Frames taken from one port before the others have their turn. */
const BUDGET = 64;
const WAKE = -1;

/** What the loop tells its owner, between two batches. */
export interface LoopEvents {
  /** The eventfd was rung: there are commands. */
  wake(): void;
  /** The device of a port has vanished; the port is still there and is to be removed. */
  gone(port: PortId): void;
}

/**
 * The live edge of a data plane: waits for descriptors, reads the clock once per batch, polls each ready port
 * up to its budget, and sleeps until something is ready or due. It blocks its thread.
 */
export class Loop {
  readonly #dataplane: Dataplane;
  readonly #wake: EventFd;
  readonly #events: LoopEvents;
  readonly #clock: () => number;
  readonly #epoll = new Epoll();
  /** Ports whose device has work of its own (delayed frames): few or none. */
  readonly #timed = new Map<PortId, Device>();
  #running = false;

  /** @param clock monotonic milliseconds */
  constructor(dataplane: Dataplane, wake: EventFd, events: LoopEvents, clock: () => number) {
    this.#dataplane = dataplane;
    this.#wake = wake;
    this.#events = events;
    this.#clock = clock;
    this.#epoll.add(wake.fd, WAKE);
  }

  /** Starts to watch a port's device. */
  add(port: PortId, device: Device, timed: boolean): void {
    this.#epoll.add(device.fd, port);
    if (timed) this.#timed.set(port, device);
  }

  /** Stops watching; call it before the device is closed. */
  remove(port: PortId, device: Device): void {
    this.#epoll.remove(device.fd);
    this.#timed.delete(port);
  }

  /** Runs until `stop`, which a wake or gone event calls. */
  run(): void {
    this.#running = true;
    while (this.#running) this.#turn();
    this.#epoll.close();
  }

  stop(): void {
    this.#running = false;
  }

  #turn(): void {
    const ready = this.#epoll.wait(this.#timeout());
    const now = this.#clock();
    let woken = false;
    for (let i = 0; i < ready; i++) {
      const port = this.#epoll.tag(i);
      if (port === WAKE) woken = true;
      else this.#serve(port, this.#epoll.events(i), now);
    }
    for (const [port, device] of this.#timed) {
      if (device.deadline() <= now) this.#serve(port, EPOLLIN | EPOLLOUT, now);
    }
    if (now >= this.#dataplane.deadline()) this.#dataplane.expire(now);
    this.#watchBlocked();
    // Last, because a command may remove ports that this turn reported.
    if (woken) {
      this.#wake.drain();
      this.#events.wake();
    }
  }

  #serve(port: PortId, events: number, now: number): void {
    const egress = this.#dataplane.egress;
    const device = egress.device(port);
    if (!device) return;
    if (events & EPOLLOUT && egress.flush(port, now)) this.#epoll.modify(device.fd, port, EPOLLIN);
    this.#dataplane.poll(port, BUDGET, now);
    if (device.gone) this.#events.gone(port);
  }

  #watchBlocked(): void {
    const { blocked } = this.#dataplane.egress;
    while (blocked.length > 0) {
      const port = blocked.pop()!;
      const device = this.#dataplane.egress.device(port);
      if (device && !device.gone) this.#epoll.modify(device.fd, port, EPOLLIN | EPOLLOUT);
    }
  }

  /** Milliseconds until something is due, -1 for never. */
  #timeout(): number {
    let deadline = this.#dataplane.deadline();
    for (const device of this.#timed.values()) deadline = Math.min(deadline, device.deadline());
    return deadline === Number.POSITIVE_INFINITY ? -1 : Math.max(0, deadline - this.#clock());
  }
}
