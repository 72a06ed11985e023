import { type Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { clearVnet, VNET_LEN } from '../../wire/virtio-net.ts';

/** Hears of every frame that leaves by a port. `bytes` is the arena's: copy what is to be kept. */
export type OutputListener = (now: number, bytes: Uint8Array, at: number, length: number) => void;

/**
 * The device of a port in virtual time: one frame at a time is offered to the deck, and every frame that the
 * deck sends is told to a listener at once. It takes any number of frames, so that what a replay says does not
 * depend on a queue; `blocked` makes it refuse, as a receiver does that does not keep up.
 */
export class ReplayDevice implements Device {
  readonly fd = -1;
  readonly offload = false;
  readonly gone = false;
  /** While true, the device has no room for frames. */
  blocked = false;
  readonly #listener: OutputListener;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** Length of the frame on offer, or -1 for none: a frame may have no bytes at all. */
  #length = -1;
  #vnet: Uint8Array | undefined;

  constructor(listener: OutputListener) {
    this.#listener = listener;
  }

  /**
   * Lays out a frame for the next `receive`, which copies it.
   * @param vnet virtio-net header, 12 bytes, as from a device with offload; without it, nothing is offloaded
   */
  offer(bytes: Uint8Array, at: number, length: number, vnet?: Uint8Array): void {
    this.#bytes = bytes;
    this.#at = at;
    this.#length = length;
    this.#vnet = vnet;
  }

  receive(arena: Arena, _now: number): Frame | null {
    if (this.#length < 0) return null;
    const frame = arena.allocate(this.#length);
    if (!frame) return null;
    const vnet = frame.at - VNET_LEN;
    if (this.#vnet) frame.bytes.set(this.#vnet, vnet);
    else clearVnet(frame.bytes, vnet);
    // A loop over the bytes takes longer than the view that `set` needs: three times for 64 bytes.
    frame.bytes.set(this.#bytes.subarray(this.#at, this.#at + this.#length), frame.at);
    this.#length = -1;
    return frame;
  }

  transmit(frame: Frame, now: number): Transmit {
    if (this.blocked) return Transmit.BLOCKED;
    this.#listener(now, frame.bytes, frame.at, frame.length);
    return Transmit.SENT;
  }

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  close(): void {}
}
