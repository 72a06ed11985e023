import type { Mac } from '../../wire/address.ts';
import { PacketFlags } from '../capture/capture-record.ts';
import { FileSink } from '../capture/file-sink.ts';
import { PcapngWriter } from '../capture/pcapng-writer.ts';

const OUTBOUND = { flags: PacketFlags.OUTBOUND };

/** A pcapng of everything that a deck sent: one interface per port, in the order in which ports were added. */
export class OutputFile {
  readonly #sink: FileSink;
  readonly #writer: PcapngWriter;
  readonly #epoch: bigint;

  /**
   * @param epoch the time of virtual time 0, in nanoseconds since 1970-01-01 UTC
   * @throws CaptureError when the file cannot be made
   */
  constructor(path: string, epoch = 0n) {
    this.#sink = new FileSink(path);
    this.#writer = new PcapngWriter(this.#sink.write);
    this.#epoch = epoch;
  }

  addPort(name: string, mac?: Mac): void {
    this.#writer.addInterface({ name, ...(mac && { macAddress: macBytes(mac) }) });
  }

  /** A frame sent by port number `port` at virtual millisecond `now`. */
  write(port: number, now: number, bytes: Uint8Array, at: number, length: number): void {
    const time = this.#epoch + BigInt(Math.round(now * 1e6));
    this.#writer.write(port, time, bytes, at, length, OUTBOUND);
  }

  close(): void {
    this.#sink.close();
  }
}

function macBytes({ hi, lo }: Mac): Uint8Array {
  return Uint8Array.of(hi >>> 8, hi, lo >>> 24, lo >>> 16, lo >>> 8, lo);
}
