import type { Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';

/** What a recorded device tells. */
export interface DeviceListener {
  /** What it gave; null also when it threw. */
  received(port: number, frame: Frame | null, now: number): void;
  /** What it answered to one frame; undefined when it threw. */
  transmitted(port: number, frame: Frame, status: Transmit | undefined, now: number): void;
}

/** A device in front of which somebody writes down what it gives, and what it answers. */
export class RecordedDevice implements Device {
  readonly inner: Device;
  readonly transmitBatch: Device['transmitBatch'];
  readonly #port: number;
  readonly #arena: Arena;
  readonly #listener: DeviceListener;

  /** @param arena as devices see it */
  constructor(inner: Device, port: number, arena: Arena, listener: DeviceListener) {
    this.inner = inner;
    this.#port = port;
    this.#arena = arena;
    this.#listener = listener;
    // What a device does not have, the data plane must not see either: it gathers frames for those that do.
    this.transmitBatch = inner.transmitBatch && this.#transmitBatch;
  }

  get fd(): number {
    return this.inner.fd;
  }

  get offload(): boolean {
    return this.inner.offload;
  }

  get gone(): boolean {
    return this.inner.gone;
  }

  receive(_arena: Arena, now: number): Frame | null {
    let frame: Frame | null = null;
    try {
      frame = this.inner.receive(this.#arena, now);
    } finally {
      this.#listener.received(this.#port, frame, now);
    }
    return frame;
  }

  transmit(frame: Frame, now: number): Transmit {
    let status: Transmit | undefined;
    try {
      status = this.inner.transmit(frame, now);
    } finally {
      this.#listener.transmitted(this.#port, frame, status, now);
    }
    return status;
  }

  readonly #transmitBatch = (
    frames: readonly Frame[],
    count: number,
    outcomes: Transmit[],
    now: number,
  ): void => {
    try {
      this.inner.transmitBatch!(frames, count, outcomes, now);
    } catch (error) {
      this.#listener.transmitted(this.#port, frames[0]!, undefined, now);
      throw error;
    }
    for (let i = 0; i < count; i++) this.#listener.transmitted(this.#port, frames[i]!, outcomes[i]!, now);
  };

  deadline(): number {
    return this.inner.deadline();
  }

  close(): void {
    this.inner.close();
  }
}
