import { type Frame, HEADROOM } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { addressOf } from './syscall.ts';

/** Addresses of an arena's slots, for the kernel: computed once per slot, shared by all devices of the thread. */
export class SlotAddresses {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #bySlot: (bigint | undefined)[] = [];
  // Two iovecs { u64 base; u64 length } in 32-bit halves.
  readonly #iovec = new Uint32Array(8);

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
    this.#write(0, at, length);
    return this.#iovec;
  }

  /**
   * Two iovecs for a kernel whose virtio-net header has no `num_buffers`: the `header` bytes of ours that it knows, and
   * `length` bytes of the frame at `at`.
   */
  split(at: number, header: number, length: number): Uint32Array {
    this.#write(0, at - VNET_LEN, header);
    this.#write(4, at, length);
    return this.#iovec;
  }

  #write(word: number, at: number, length: number): void {
    const address = this.#start + at;
    this.#iovec[word] = address >>> 0;
    this.#iovec[word + 1] = (address / 0x1_0000_0000) >>> 0;
    this.#iovec[word + 2] = length;
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

/** Of no arena: what a device has before it has met one. */
export const NO_ADDRESSES = new SlotAddresses(new Uint8Array(0));
const byArena = new WeakMap<Uint8Array, SlotAddresses>();

export function slotAddresses(bytes: Uint8Array): SlotAddresses {
  let addresses = byArena.get(bytes);
  if (addresses === undefined) {
    addresses = new SlotAddresses(bytes);
    byArena.set(bytes, addresses);
  }
  return addresses;
}
