import { type Device, Transmit } from '../../switch/device.ts';
import type { Frame, PortId } from '../../switch/frame.ts';

/** A frame that has left by a port. */
export interface SentFrame {
  readonly port: PortId;
  readonly frame: Uint8Array;
}

/** What stands behind a port of a forked data plane: it keeps a copy of what is sent, and always has room. */
export class ProbeDevice implements Device {
  readonly fd = -1;
  readonly offload = true;
  readonly gone = false;
  readonly #port: PortId;
  readonly #sent: SentFrame[];

  /** @param sent where frames are put, those of all ports in the order in which they leave */
  constructor(port: PortId, sent: SentFrame[]) {
    this.#port = port;
    this.#sent = sent;
  }

  receive(): null {
    return null;
  }

  transmit({ bytes, at, length }: Frame): Transmit {
    this.#sent.push({ port: this.#port, frame: bytes.slice(at, at + length) });
    return Transmit.SENT;
  }

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  close(): void {}
}
