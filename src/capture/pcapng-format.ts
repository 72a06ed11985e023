/**
 * Numbers of the pcapng format, draft-ietf-opsawg-pcapng. Every block is: type, total length, body, total
 * length again, all u32 and padded to a multiple of 4; options are code and length (u16 each) and the value,
 * padded likewise.
 */
export const BlockType = {
  SECTION_HEADER: 0x0a0d_0d0a,
  INTERFACE_DESCRIPTION: 1,
  /** Obsolete, still found in old files. */
  PACKET: 2,
  SIMPLE_PACKET: 3,
  NAME_RESOLUTION: 4,
  INTERFACE_STATISTICS: 5,
  ENHANCED_PACKET: 6,
} as const;

export const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;

/** Block type and total length. */
export const BLOCK_HEADER_LENGTH = 8;
/** Block header and the repeated total length. */
export const BLOCK_OVERHEAD = 12;

// Offsets from the beginning of the block.
export const SHB_MAGIC = 8;
export const SHB_MAJOR = 12;
export const SHB_OPTIONS = 24;

export const IDB_LINKTYPE = 8;
export const IDB_SNAPLEN = 12;
export const IDB_OPTIONS = 16;

export const EPB_INTERFACE = 8;
export const EPB_TIMESTAMP = 12;
export const EPB_CAPTURED = 20;
export const EPB_ORIGINAL = 24;
export const EPB_DATA = 28;

export const SPB_ORIGINAL = 8;
export const SPB_DATA = 12;

export const NRB_RECORDS = 8;

export const ISB_INTERFACE = 8;
export const ISB_TIMESTAMP = 12;
export const ISB_OPTIONS = 20;

/** Options that every block may have. */
export const Opt = { END: 0, COMMENT: 1 } as const;
export const ShbOpt = { HARDWARE: 2, OS: 3, USERAPPL: 4 } as const;
export const IdbOpt = {
  NAME: 2,
  DESCRIPTION: 3,
  MAC_ADDRESS: 6,
  /** Exponent of the timestamp's unit: of 10, or of 2 when the highest bit is set. */
  TSRESOL: 9,
  /** One byte for the language, 0 for libpcap's, and the text. */
  FILTER: 11,
  FCSLEN: 13,
  /** Seconds (i64) to be added to every timestamp. */
  TSOFFSET: 14,
} as const;
export const EpbOpt = { FLAGS: 2, DROPCOUNT: 4, PACKETID: 5, VERDICT: 7 } as const;
/** First byte of `epb_verdict`: the value is that of an action of XDP, in 8 bytes (§4.3.1). */
export const VERDICT_XDP = 2;
export const IsbOpt = { STARTTIME: 2, ENDTIME: 3, IFRECV: 4, IFDROP: 5 } as const;
export const NameRecord = { END: 0, IPV4: 1, IPV6: 2 } as const;

/** Length with padding to a multiple of 4. */
export function padded(length: number): number {
  return (length + 3) & ~3;
}
