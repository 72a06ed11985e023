import { type Device, Transmit } from '../../switch/device.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { NO_ADDRESSES, type SlotAddresses, slotAddresses } from './slot-addresses.ts';
import { close, errno, read, write, writev } from './syscall.ts';
import { EAGAIN, EBADFD, EINTR, EINVAL, EIO, ENOBUFS, ENODEV, errnoName } from './syscall-error.ts';
import { writeBatch } from './write-batch.ts';

/** A frame's longest length on a TAP: what fits in a big slot behind the headroom. */
const LONGEST = BIG_SLOT - HEADROOM;

/** An open TAP as `openTap` hands it over. */
export interface OpenTap {
  /** Descriptor of the TAP: non-blocking, virtio-net header of 12 bytes, offloads on. */
  fd: number;
  ifname: string;
  /** Address of the container's side, `02:42:ac:11:00:02`. */
  mac: string;
  /** MTU of the container's side, without the Ethernet header. */
  mtu: number;
}

/**
 * The switch's end of a TAP. What the container sends is read straight into a slot, what it is to get is
 * written straight from one: `read` and `write` start at the virtio-net header, 12 bytes before the frame.
 *
 * What Linux answers (drivers/net/tun.c, and tests):
 * - the interface is down: reads find nothing (EAGAIN), writes fail with EIO;
 * - the interface is no more (deleted, or its namespace ended): both fail with EBADFD, epoll says EPOLLERR;
 * - a frame shorter than 14 bytes or with an impossible virtio-net header: write fails with EINVAL;
 * - the receiver's queue is full: the frame is lost there, the write succeeds. A TAP's send buffer is
 *   unlimited by default, so EAGAIN comes only if somebody set TUNSETSNDBUF.
 */
export class TapDevice implements Device {
  readonly fd: number;
  readonly offload = true;
  readonly ifname: string;
  readonly mac: string;
  readonly mtu: number;
  /** Name of the error that the device ended with (`EBADFD`), '' while it lives. */
  ending = '';
  readonly #closeDescriptor: (fd: number) => void;
  #gone = false;
  #closed = false;
  #bytes: Uint8Array | null = null;
  #addresses: SlotAddresses = NO_ADDRESSES;

  /**
   * @param closeDescriptor how to close: closing a TAP takes the kernel 15 ms, which the thread that forwards
   *   frames leaves to another
   */
  constructor({ fd, ifname, mac, mtu }: OpenTap, closeDescriptor: (fd: number) => void = close) {
    this.fd = fd;
    this.#closeDescriptor = closeDescriptor;
    this.ifname = ifname;
    this.mac = mac;
    this.mtu = mtu;
  }

  get gone(): boolean {
    return this.#gone;
  }

  receive(arena: Arena, _now: number): Frame | null {
    if (this.#gone) return null;
    const frame = arena.allocate(LONGEST);
    if (frame === undefined) return null;
    if (this.#bytes !== frame.bytes) this.#adopt(frame.bytes);
    const count = read(this.fd, this.#addresses.of(frame), LONGEST + VNET_LEN);
    if (count >= VNET_LEN) {
      frame.length = count - VNET_LEN;
      return frame;
    }
    // First of all, before anything can change it.
    const number = count < 0 ? errno() : EIO;
    arena.release(frame);
    // EBADFD, EIO (older kernels), ENODEV, or something unheard of: a device that cannot be read must not
    // stay in the loop, where level-triggered epoll would report it for ever.
    if (number !== EAGAIN && number !== EINTR) this.#end(number);
    return null;
  }

  transmit(frame: Frame, _now: number): Transmit {
    if (this.#gone) return Transmit.GONE;
    if (this.#bytes !== frame.bytes) this.#adopt(frame.bytes);
    const length = frame.length + VNET_LEN;
    const count =
      frame.at === frame.base + HEADROOM
        ? write(this.fd, this.#addresses.of(frame), length)
        : writev(this.fd, this.#addresses.vector(frame.at - VNET_LEN, length), 1);
    if (count === length) return Transmit.SENT;
    return this.#failed(count < 0 ? errno() : EIO);
  }

  transmitBatch(frames: readonly Frame[], count: number, outcomes: Transmit[], now: number): void {
    const batch = count > 1 && !this.#gone ? writeBatch(frames[0]!.bytes) : null;
    if (batch === null) {
      for (let i = 0; i < count; i++) outcomes[i] = this.transmit(frames[i]!, now);
      return;
    }
    for (let i = 0; i < count; i++) {
      const frame = frames[i]!;
      batch.add(this.fd, frame.at - VNET_LEN, frame.length + VNET_LEN);
    }
    batch.submit();
    for (let i = 0; i < count; i++) {
      const written = batch.results[i]!;
      if (written === frames[i]!.length + VNET_LEN) outcomes[i] = Transmit.SENT;
      else outcomes[i] = this.#failed(written < 0 ? -written : EIO);
    }
  }

  /** What the error of a write says about the frame, and about the device. */
  #failed(number: number): Transmit {
    switch (number) {
      case EAGAIN:
      case ENOBUFS:
      case EINTR:
        return Transmit.BLOCKED;
      case EBADFD:
      case ENODEV:
        this.#end(number);
        return Transmit.GONE;
      case EINVAL:
        return Transmit.INVALID;
      default:
        return Transmit.REFUSED;
    }
  }

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  /**
   * Closes the descriptor, with which the interface disappears from the container. Linux takes some 15 ms to
   * take an interface down, and this thread waits for it.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone = true;
    this.#closeDescriptor(this.fd);
  }

  #end(number: number): void {
    this.#gone = true;
    this.ending = errnoName(number);
  }

  #adopt(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#addresses = slotAddresses(bytes);
  }
}
