import { parse } from '../wire/parse.ts';
import { VNET_LEN } from '../wire/virtio-net.ts';
import type { Arena, Frame } from './frame.ts';
import type { Network } from './network.ts';
import type { Outbox } from './outbox.ts';

/**
 * Makes the frames that a gateway sends by itself. Want of memory is no error: the frame is not sent, as if it had
 * been lost on a wire, and counted.
 */
export class Originator {
  readonly arena: Arena;
  readonly outbox: Outbox;
  /** Frames that were not sent for want of a slot or of room in the outbox. */
  failures = 0;

  constructor(arena: Arena, outbox: Outbox) {
    this.arena = arena;
    this.outbox = outbox;
  }

  /**
   * A frame of `length` bytes, held once by the caller. All of them are zero, and so is the virtio-net header: what
   * another container left in the slot never leaves by a field that somebody forgot to write (CVE-2020-29129).
   */
  allocate(length: number): Frame | undefined {
    const frame = this.arena.allocate(length);
    if (frame === undefined) this.failures++;
    else frame.bytes.fill(0, frame.at - VNET_LEN, frame.at + length);
    return frame;
  }

  /** Sends a written frame, Ethernet header included, into the gateway's network; takes over the caller's reference. */
  send(frame: Frame, network: Network, now: number): void {
    // The slot's description is still that of the frame that lay here before.
    parse(frame);
    frame.ingress = network.port;
    frame.origin = network.port;
    if (this.outbox.originate(frame, network.bridge.egress(frame, now))) return;
    this.failures++;
    this.arena.release(frame);
  }
}
