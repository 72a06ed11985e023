import type { Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';

/** A device whose received frames are told to somebody. */
export class WatchedDevice implements Device {
  readonly fd = -1;
  readonly #device: Device;
  readonly #listener: (frame: Frame, now: number) => void;

  constructor(device: Device, listener: (frame: Frame, now: number) => void) {
    this.#device = device;
    this.#listener = listener;
  }

  get offload(): boolean {
    return this.#device.offload;
  }

  get gone(): boolean {
    return this.#device.gone;
  }

  receive(arena: Arena, now: number): Frame | null {
    const frame = this.#device.receive(arena, now);
    if (frame) this.#listener(frame, now);
    return frame;
  }

  transmit(frame: Frame, now: number): Transmit {
    return this.#device.transmit(frame, now);
  }

  deadline(): number {
    return this.#device.deadline();
  }

  close(): void {
    this.#device.close();
  }
}
