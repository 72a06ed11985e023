import { type Static, Type } from '@sinclair/typebox';
import { Count, object, oneOf, schemaOf, Time } from './schema.ts';

/** What observes packets, as the API tells of it. */
export interface CaptureView {
  readonly id: number;
  readonly kind: 'capture' | 'trace';
  /** Networks, uplinks and containers as they were named; none for everything. */
  readonly interfaces: readonly string[];
  readonly filter: string;
  readonly snaplen: number;
  readonly startedAt: string;
}

/** What a capture came to. */
export interface CaptureEnded {
  readonly id: number;
  /** Packets that it had no room for, exactly. */
  readonly missed: number;
}

/** Where the daemon expects an open file (SCM_RIGHTS): a datagram with `token` for its text to the abstract unix socket `socket`. */
export interface DescriptorOffer {
  readonly socket: string;
  readonly token: string;
}

/** What is told of a capture that the daemon writes to a file by itself; the last line has `packets` or `error`. */
export type FileProgress =
  /** So many bytes have been written. */
  | { readonly bytes: number }
  /** All has been written: so many packets. */
  | { readonly packets: number }
  /** Nothing more can be written, for this reason, as `ENOSPC: no space left on device`. */
  | { readonly error: string };

/** Bytes that are kept of a frame when nobody says otherwise: all. As libpcap's MAXIMUM_SNAPLEN. */
export const DEFAULT_SNAPLEN = 262_144;
/** Mebibytes for what waits to be written. */
export const DEFAULT_BUFFER = 64;
export const MOST_BUFFER = 1024;

const Interfaces = Type.Optional(
  Type.Union(
    [Type.String({ maxLength: 256 }), Type.Array(Type.String({ maxLength: 256 }), { maxItems: 64 })],
    {
      description:
        'Network, uplink or container, or network:NAME and so on; everything by default. May be repeated.',
    },
  ),
);
const FilterText = Type.Optional(
  Type.String({ maxLength: 65_536, description: 'In the language of tcpdump; every packet by default.' }),
);
const CAPTURE_QUERY = {
  interface: Interfaces,
  filter: FilterText,
  snaplen: Type.Optional(
    Type.String({
      pattern: '^\\d{1,6}$',
      description: 'Bytes to keep of each frame; 0 and the default are all.',
    }),
  ),
  buffer: Type.Optional(
    Type.String({
      pattern: '^\\d{1,10}$',
      description: `Mebibytes for what waits to be written, to ${MOST_BUFFER}; ${DEFAULT_BUFFER} by default.`,
    }),
  ),
  direction: Type.Optional(oneOf('in', 'out')),
};
export const CaptureQuery = Type.Object(CAPTURE_QUERY, { additionalProperties: false });
export type CaptureQuery = Static<typeof CaptureQuery>;
export const FileCaptureQuery = Type.Object(
  {
    ...CAPTURE_QUERY,
    token: Type.String({
      maxLength: 64,
      description: 'With which the file has come; see `POST /v1/descriptors`.',
    }),
  },
  { additionalProperties: false },
);
export type FileCaptureQuery = Static<typeof FileCaptureQuery>;

export const TraceQuery = Type.Object(
  { interface: Interfaces, filter: FilterText },
  { additionalProperties: false },
);
export type TraceQuery = Static<typeof TraceQuery>;

export const CaptureAnswer = schemaOf<CaptureView>()(
  object('Capture', {
    id: Count,
    kind: oneOf('capture', 'trace'),
    interfaces: Type.Array(Type.String()),
    filter: Type.String(),
    snaplen: Count,
    startedAt: Time,
  }),
);

export const CaptureEndedAnswer = schemaOf<CaptureEnded>()(
  object('CaptureEnded', { id: Count, missed: Count }),
);

export const DescriptorAnswer = schemaOf<DescriptorOffer>()(
  object('DescriptorOffer', { socket: Type.String(), token: Type.String() }),
);

export const FileProgressAnswer = Type.Union([
  object('FileProgress', { bytes: Count }),
  object('FileWritten', { packets: Count }),
  object('FileFailed', { error: Type.String() }),
]);

/** A packet, and what was decided about it. */
export interface TraceView {
  /** Its id, the same in captures. */
  readonly packet: number;
  /** RFC 3339, with nanoseconds. */
  readonly time: string;
  /** By which it came in. */
  readonly interface: string;
  /** In words, a line for each stage. */
  readonly story: readonly string[];
  /** The same in fields: see `Step` of src/trace/steps.ts. */
  readonly steps: readonly { readonly stage: string; readonly action: string }[];
}

/** So many packets are missing here: more came than the trace had room for. */
export interface TraceMissed {
  readonly missed: number;
}

export const TraceAnswer = Type.Union([
  schemaOf<TraceView>()(
    object('Trace', {
      packet: Count,
      time: Time,
      interface: Type.String(),
      story: Type.Array(Type.String()),
      steps: Type.Array(
        Type.Object({ stage: Type.String(), action: Type.String() }, { additionalProperties: true }),
      ),
    }),
  ),
  schemaOf<TraceMissed>()(object('TraceMissed', { missed: Count })),
]);
