import { type Device, Transmit } from '../../switch/device.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { addressOf, close, errno, read, write, writev } from './syscall.ts';
import { EAGAIN, EBADFD, EINTR, EINVAL, EIO, ENOBUFS, ENODEV, errnoName } from './syscall-error.ts';

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
    const number = count < 0 ? errno() : EIO;
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

/** Addresses of an arena's slots, for the kernel: computed once per slot, shared by all TAPs of the thread. */
class SlotAddresses {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #bySlot: (bigint | undefined)[] = [];
  // One iovec { u64 base; u64 length } in 32-bit halves.
  readonly #iovec = new Uint32Array(4);

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#start = bytes.length === 0 ? 0 : Number(addressOf(bytes));
  }

  /** Where the virtio-net header of a frame lies whose Ethernet header is right behind the headroom. */
  of(frame: Frame): bigint {
    return this.#bySlot[frame.slot] ?? this.#add(frame);
  }

  /** An iovec of `length` bytes from offset `at` on. User addresses have 47 bits: a double holds them exactly. */
  vector(at: number, length: number): Uint32Array {
    const address = this.#start + at;
    this.#iovec[0] = address >>> 0;
    this.#iovec[1] = (address / 0x1_0000_0000) >>> 0;
    this.#iovec[2] = length;
    return this.#iovec;
  }

  #add(frame: Frame): bigint {
    // Filled from slot 0 on, so that the array stays packed.
    const bySlot = this.#bySlot;
    while (bySlot.length <= frame.slot) bySlot.push(undefined);
    const address = addressOf(this.#bytes) + BigInt(frame.base + HEADROOM - VNET_LEN);
    bySlot[frame.slot] = address;
    return address;
  }
}

const NO_ADDRESSES = new SlotAddresses(new Uint8Array(0));
const byArena = new WeakMap<Uint8Array, SlotAddresses>();

function slotAddresses(bytes: Uint8Array): SlotAddresses {
  let addresses = byArena.get(bytes);
  if (addresses === undefined) {
    addresses = new SlotAddresses(bytes);
    byArena.set(bytes, addresses);
  }
  return addresses;
}
