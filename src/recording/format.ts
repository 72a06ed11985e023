/**
 * The file of a recording: all that has entered a data plane, in the order in which it did. Little-endian.
 *
 * It begins with `MAGIC` and a version, 8 and 4 bytes, and 4 bytes of zero. Then come records, each as long as a multiple of 8:
 *
 *   length  kind    time    body                 checksum
 *   uint32  uint32  double  what the kind says   uint32, and bytes of zero behind it
 *
 * `length` counts the record as far as its body; the checksum is its CRC-32, as zlib's. The low byte of `kind` is one of `Kind`,
 * the others are a port's number. Time is the data plane's: monotonic milliseconds.
 */
export const MAGIC = 'TAPDECKR';
/** Of this format, state of the tables included. A reader takes its own version only: tables have no other form. */
export const VERSION = 2;
export const FILE_HEADER = 16;
/** Behind the last record, END, is where that begins: as many bytes before these 8 as the first uint32 says. */
export const TRAILER = 8;
export const TRAILER_MAGIC = 0x444e4554;
export const RECORD_HEADER = 16;
/** Bytes of the checksum behind a record. */
export const CHECKSUM = 4;
export const TIME_AT = 8;

export const Kind = {
  /** JSON (`value.ts`): a `RecordingHeader`. The first record. */
  HEADER: 1,
  /** State of the data plane when the recording began (`state-carrier.ts`). The second record. */
  STATE: 2,
  /** A frame that came in by the port, in a poll: see `FRAME_...`. */
  FRAME: 3,
  /** What was gathered for devices was sent to them. */
  BATCHES: 4,
  /** Timers ran. */
  EXPIRE: 5,
  /** What waits for the port was offered to its device again. */
  FLUSH: 6,
  /** JSON: a `RecordedCommand`. */
  COMMAND: 7,
  /** Two int32: a call's number, and what the port's device answered to it, which was not SENT; `THROWN` when it threw. */
  OUTCOME: 8,
  /**
   * Two int32: a call's number, and a slot << 2 with the `SlotOp` that the device did in it; -1 for a call that asked it for
   * frames, 0 between calls.
   */
  SLOT: 9,
  /** JSON: who is who, `RecordedNames`. Says nothing to the data plane. */
  NAMES: 10,
  /** JSON: a `RecordingEnd`. The last record; not there when the recording was cut. */
  END: 11,
  /**
   * The port was asked for frames, and the FRAMEs that follow at once are all that there were. Then what was gathered for
   * devices was sent.
   */
  POLL: 13,
  /** A frame that was sent, as FRAME: on its way from thread to thread only, where it becomes a digest. */
  SENT: 12,
} as const;

// Body of FRAME and SENT.
/** int32: slot of the arena; `FRAME_HELD` is added when the device had it before this frame was received. */
export const FRAME_SLOT = 16;
/** int32: bytes of the frame without its virtio-net header. */
export const FRAME_LENGTH = 20;
/** int32: offset of the frame in its slot. */
export const FRAME_OFFSET = 24;
/** The virtio-net header, 12 bytes, and behind it the frame. */
export const FRAME_VNET = 28;
export const FRAME_HELD = 1 << 24;

/** What a device does with slots of the arena. */
export const SlotOp = {
  /** Takes a free small or big slot. */
  TAKE: 0,
  TAKE_BIG: 1,
  RETAIN: 2,
  RELEASE: 3,
} as const;
export type SlotOp = (typeof SlotOp)[keyof typeof SlotOp];

export const THROWN = -1;

/** Bytes that a record of `length` has in the file. */
export function inFile(length: number): number {
  return padded(length + CHECKSUM);
}

/** `length`, and as many bytes as it lacks to a multiple of 8. */
export function padded(length: number): number {
  return (length + 7) & ~7;
}
