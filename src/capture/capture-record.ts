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

/** Bits of `epb_flags` (draft-ietf-opsawg-pcapng §4.3.1). */
export const PacketFlags = {
  DIRECTION: 0b11,
  INBOUND: 0b01,
  OUTBOUND: 0b10,
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
