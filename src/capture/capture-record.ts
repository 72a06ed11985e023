/**
 * Longest frame that is believed. libpcap and Wireshark draw the line at the same place for Ethernet; a
 * larger captured length is damage, and believing it would cost the memory it asks for.
 */
export const MAX_CAPTURED_LENGTH = 262_144;

/** One captured frame. A fresh object for every frame, but its `data` is borrowed: see there. */
export interface CaptureRecord {
  /** Position in the file, from 1, as Wireshark numbers frames. */
  readonly number: number;
  /** Byte offset in the file where the record begins. */
  readonly offset: number;
  /** The interface, counted from 0 over the whole file (its sections do not start anew). */
  readonly interfaceId: number;
  readonly interfaceName: string | undefined;
  /** LINKTYPE_ number. */
  readonly linkType: number;
  /**
   * Nanoseconds since 1970-01-01 UTC. A Simple Packet Block carries no time: it gets that of the record before
   * it, or 0.
   */
  readonly timestamp: bigint;
  /** The captured bytes: a view, valid until the next record is asked for. */
  readonly data: Uint8Array;
  readonly capturedLength: number;
  /** Length on the wire, as the file says; nothing guarantees that it is larger than `capturedLength`. */
  readonly originalLength: number;
  /** Bytes at the end of a whole frame that are its Ethernet frame check sequence. */
  readonly fcsLength: number;
  /** `epb_flags`: see `PacketFlags`; undefined when the file has none. */
  readonly flags: number | undefined;
  /** `epb_packetid`: the same on every copy of one packet. */
  readonly packetId: bigint | undefined;
  readonly comments: readonly string[];
}

/**
 * One captured frame where it lies in the reader's memory: one object for all frames of a file, valid until the next
 * frame is asked for. Nothing is made per frame, and times are numbers: reading costs what looking at the bytes costs.
 */
export class RecordView {
  /** As of `CaptureRecord`. */
  number = 0;
  offset = 0;
  from: CaptureInterface = NO_INTERFACE;
  /** The frame is `bytes[at]` to `bytes[at + capturedLength - 1]`. */
  bytes = new Uint8Array(0);
  at = 0;
  capturedLength = 0;
  originalLength = 0;
  /** Whole seconds since 1970-01-01 UTC, and nanoseconds on top, 0 to 999,999,999. */
  seconds = 0;
  nanoseconds = 0;
  fcsLength = 0;
  /** `epb_flags`, and whether the file has any. */
  flags = 0;
  hasFlags = false;
  /** Halves of `epb_packetid`, and whether the file has one. */
  packetIdHigh = 0;
  packetIdLow = 0;
  hasPacketId = false;

  /** Nanoseconds since 1970-01-01 UTC. */
  get timestamp(): bigint {
    return BigInt(this.seconds) * 1_000_000_000n + BigInt(this.nanoseconds);
  }

  /** The frame as an object of its own; its data stays borrowed. */
  record(comments: readonly string[]): CaptureRecord {
    return {
      number: this.number,
      offset: this.offset,
      interfaceId: this.from.id,
      interfaceName: this.from.name,
      linkType: this.from.linkType,
      timestamp: this.timestamp,
      data: this.bytes.subarray(this.at, this.at + this.capturedLength),
      capturedLength: this.capturedLength,
      originalLength: this.originalLength,
      fcsLength: this.fcsLength,
      flags: this.hasFlags ? this.flags : undefined,
      packetId: this.hasPacketId ? (BigInt(this.packetIdHigh) << 32n) | BigInt(this.packetIdLow) : undefined,
      comments,
    };
  }
}

/** Bits of `epb_flags` (draft-ietf-opsawg-pcapng §4.3.1). */
export const PacketFlags = {
  DIRECTION: 0b11,
  INBOUND: 0b01,
  OUTBOUND: 0b10,
  /** How the receiver was meant. */
  UNICAST: 0b001_00,
  MULTICAST: 0b010_00,
  BROADCAST: 0b011_00,
  /** The checksum is only begun: whoever sends it on completes it. */
  CHECKSUM_NOT_READY: 1 << 9,
  /** More than one segment, which whoever sends it on cuts. */
  SEGMENTATION_OFFLOAD: 1 << 11,
} as const;

/** What a capture says of one of its interfaces. */
export interface CaptureInterface {
  /** Counted from 0 over the whole file. */
  readonly id: number;
  readonly linkType: number;
  /** Most bytes kept of a frame; 0 for no limit. */
  readonly snapLength: number;
  readonly name: string | undefined;
  readonly description: string | undefined;
  /** Six bytes. */
  readonly macAddress: Uint8Array | undefined;
  /** Bytes of frame check sequence at the end of every frame. */
  readonly fcsLength: number;
  readonly comments: readonly string[];
  /** The newest Interface Statistics Block. */
  statistics: InterfaceStatistics | undefined;
}

/** Interface Statistics Block. Times are nanoseconds since 1970-01-01 UTC. */
export interface InterfaceStatistics {
  readonly timestamp: bigint;
  readonly startTime?: bigint | undefined;
  readonly endTime?: bigint | undefined;
  /** Frames received since the capture began. */
  readonly received?: bigint | undefined;
  /** Frames lost for want of room since the capture began. */
  readonly dropped?: bigint | undefined;
}

const NO_INTERFACE: CaptureInterface = {
  id: -1,
  linkType: -1,
  snapLength: 0,
  name: undefined,
  description: undefined,
  macAddress: undefined,
  fcsLength: 0,
  comments: [],
  statistics: undefined,
};
