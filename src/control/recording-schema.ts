import { Type } from '@sinclair/typebox';
import { Count, object, schemaOf } from './schema.ts';

/** What a recording came to. */
export interface RecordingEnded {
  /** Why it ended by itself; null when somebody ended it. */
  readonly problem: string | null;
  /** Bytes of the file. */
  readonly bytes: number;
  /** From its beginning to the last record. */
  readonly milliseconds: number;
  /** Frames that came in, and that were sent. */
  readonly received: number;
  readonly sent: number;
  /** sha256 of all frames sent, and of the tables at the end; no tables when there was a problem. */
  readonly frames: string;
  readonly tables: string | null;
}

export const RecordingEndedAnswer = schemaOf<RecordingEnded>()(
  object('RecordingEnded', {
    problem: Type.Union([Type.String(), Type.Null()]),
    bytes: Count,
    milliseconds: Type.Number(),
    received: Count,
    sent: Count,
    frames: Type.String(),
    tables: Type.Union([Type.String(), Type.Null()]),
  }),
);
