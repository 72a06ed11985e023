import { type Device, Transmit } from '../../switch/device.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { boundTo, isUp, type OpenPacketSocket } from './packet-socket.ts';
import { NO_ADDRESSES, type SlotAddresses, slotAddresses } from './slot-addresses.ts';
import { close, errno, read, readv, write, writev } from './syscall.ts';
import { EAGAIN, EINTR, EINVAL, EIO, ENETDOWN, ENOBUFS, ENODEV, ENXIO, errnoName } from './syscall-error.ts';

/** A frame's longest length: what fits in a big slot behind the headroom. */
const LONGEST = BIG_SLOT - HEADROOM;
/** Milliseconds between two looks at whether an interface that is down is still there. */
const LOOK = 500;

/**
 * The switch's end of an existing interface: a packet socket with a virtio-net header, so that segments of up to 64 KiB
 * and partial checksums pass as they do on a TAP, and the kernel or the interface finishes them.
 *
 * What Linux answers (net/packet/af_packet.c, and tests):
 * - the interface is down: a read fails with ENETDOWN once, then there is nothing (EAGAIN); writes fail with ENETDOWN.
 *   When it is up again, frames come again;
 * - the interface is no more: the same ENETDOWN, and only the socket's address tells that it is bound to nothing;
 *   writes fail with ENXIO. It is taken down first, and who reads then is not told a second time: so whoever has
 *   read ENETDOWN looks again;
 * - a frame that the header cannot describe: the read fails with EINVAL, and the frame is lost;
 * - the interface's queue is full: the write fails with ENOBUFS; the socket's buffer is full: EAGAIN.
 */
export class PacketDevice implements Device {
  readonly fd: number;
  readonly offload = true;
  readonly ifname: string;
  readonly mtu: number;
  /** Name of the error that the device ended with (`ENXIO`), '' while it lives. */
  ending = '';
  /** Frames that the kernel had for us and could not describe. */
  unreadable = 0;
  readonly #headerLength: number;
  readonly #closeDescriptor: (fd: number) => void;
  #gone = false;
  #closed = false;
  /** When to look again whether the interface, which was down, is still there; Infinity while it is up. */
  #look = Number.POSITIVE_INFINITY;
  #bytes: Uint8Array | null = null;
  #addresses: SlotAddresses = NO_ADDRESSES;

  /** @param closeDescriptor how to close: the kernel waits some milliseconds until nobody uses the socket any more */
  constructor(
    { fd, ifname, mtu, headerLength }: OpenPacketSocket,
    closeDescriptor: (fd: number) => void = close,
  ) {
    this.fd = fd;
    this.ifname = ifname;
    this.mtu = mtu;
    this.#headerLength = headerLength;
    this.#closeDescriptor = closeDescriptor;
  }

  get gone(): boolean {
    return this.#gone;
  }

  receive(arena: Arena, now: number): Frame | null {
    if (now >= this.#look && !this.#gone) this.#lookAgain(now);
    if (this.#gone) return null;
    const frame = arena.allocate(LONGEST);
    if (frame === undefined) return null;
    if (this.#bytes !== frame.bytes) this.#adopt(frame.bytes);
    const header = this.#headerLength;
    const count =
      header === VNET_LEN
        ? read(this.fd, this.#addresses.of(frame), VNET_LEN + LONGEST)
        : readv(this.fd, this.#addresses.split(frame.at, header, LONGEST), 2);
    if (count >= header) {
      if (header !== VNET_LEN) frame.bytes.fill(0, frame.at - VNET_LEN + header, frame.at);
      frame.length = count - header;
      return frame;
    }
    // First of all, before anything can change it.
    const number = count < 0 ? errno() : EIO;
    arena.release(frame);
    switch (number) {
      case EAGAIN:
      case EINTR:
        return null;
      case EINVAL:
        this.unreadable++;
        return null;
      case ENETDOWN:
        this.#lookAgain(now);
        return null;
      default:
        // Something unheard of: a device that cannot be read must not stay in the loop.
        this.#end(number);
        return null;
    }
  }

  transmit(frame: Frame, now: number): Transmit {
    if (this.#gone) return Transmit.GONE;
    if (this.#bytes !== frame.bytes) this.#adopt(frame.bytes);
    const header = this.#headerLength;
    const length = frame.length + header;
    let count: number;
    if (header !== VNET_LEN) {
      count = writev(this.fd, this.#addresses.split(frame.at, header, frame.length), 2);
    } else if (frame.at === frame.base + HEADROOM) {
      count = write(this.fd, this.#addresses.of(frame), length);
    } else {
      count = writev(this.fd, this.#addresses.vector(frame.at - VNET_LEN, length), 1);
    }
    if (count === length) return Transmit.SENT;
    const number = count < 0 ? errno() : EIO;
    switch (number) {
      case EAGAIN:
      case ENOBUFS:
      case EINTR:
        return Transmit.BLOCKED;
      case ENETDOWN:
        // The write may have taken the message that was meant for the next read.
        this.#lookAgain(now);
        return this.#gone ? Transmit.GONE : Transmit.REFUSED;
      case ENXIO:
      case ENODEV:
        this.#end(number);
        return Transmit.GONE;
      case EINVAL:
        return Transmit.INVALID;
      default:
        // EMSGSIZE: longer than the interface's MTU, and no segments to cut it into.
        return Transmit.REFUSED;
    }
  }

  /** While the interface is down somebody has to look whether it is still there; and to see when it is not. */
  deadline(): number {
    return this.#look;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone = true;
    this.#look = Number.POSITIVE_INFINITY;
    this.#closeDescriptor(this.fd);
  }

  #lookAgain(now: number): void {
    const { index } = boundTo(this.fd);
    // A frame says nothing of it: what came before is read behind the message that it is down.
    if (index < 0) this.#end(ENETDOWN);
    else this.#look = isUp(this.fd, index) ? Number.POSITIVE_INFINITY : now + LOOK;
  }

  #end(number: number): void {
    this.#gone = true;
    this.ending = errnoName(number);
    // At once: who learned of it by sending has left nothing that epoll would report.
    this.#look = Number.NEGATIVE_INFINITY;
  }

  #adopt(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#addresses = slotAddresses(bytes);
  }
}
