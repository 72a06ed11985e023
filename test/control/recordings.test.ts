import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import type { DeckEvents } from '../../src/control/deck-events.ts';
import { type RecordingListener, Recordings } from '../../src/control/recordings.ts';
import { Kind } from '../../src/recording/format.ts';
import { RecordLog } from '../../src/recording/log.ts';
import { RingWriter, sharedRing } from '../../src/recording/ring.ts';
import { ItemWriter, type SavedTables } from '../../src/recording/state-carrier.ts';
import type { DataPlane } from '../../src/runtime/data-plane.ts';

// Readers who take nothing, or go, while a recording is being ended.

const MEBIBYTE = 1 << 20;

/** Tables of so many bytes. */
function tablesOf(bytes: number): SavedTables {
  const items = new ItemWriter(8);
  for (let i = 0; i < bytes; i += 16) items.number(i);
  return { items: items.finish(), rows: new Uint8Array(), constants: [] };
}

/** Recordings of a data plane that has written so many mebibytes as soon as it is recorded. */
function busyRecordings(mebibytes: number, tables = 16): Recordings {
  const plane: Pick<DataPlane, 'startRecording' | 'stopRecording'> = {
    startRecording: async () => {
      const ring = sharedRing(64 * MEBIBYTE);
      const log = new RecordLog(new RingWriter(ring));
      for (let i = 0; i < mebibytes; i++) log.value(Kind.COMMAND, 1, 'x'.repeat(MEBIBYTE - 64));
      return {
        ring,
        tables: tablesOf(tables),
        began: 0,
        options: {},
        ports: [],
        answersQueries: true,
      } as never;
    },
    stopRecording: async () => tablesOf(16),
  };
  const table = async () => ({ networks: [], ports: [] }) as never;
  return new Recordings({
    plane: plane as DataPlane,
    events: new EventEmitter() as unknown as DeckEvents,
    table,
  });
}

/** A reader who takes nothing; `hasMuch` resolves when no more is given to him. */
function stalled() {
  let ended: (error: Error | null) => void;
  const end = new Promise<Error | null>((resolve) => {
    ended = resolve;
  });
  let given = 0;
  const waits: (() => void)[] = [];
  const listener: RecordingListener = {
    chunk: (bytes) => {
      given += bytes.length;
      if (given > 16 * MEBIBYTE) for (const resolve of waits) resolve();
    },
    end: (error) => ended(error),
  };
  return { listener, end, hasMuch: new Promise<void>((resolve) => waits.push(resolve)) };
}

test('a recording begins with tables of any size', async () => {
  const recordings = busyRecordings(0, 3 * MEBIBYTE);
  let length = 0;
  const chunk = (bytes: Uint8Array, taken: () => void) => {
    length += bytes.length;
    taken();
  };
  await recordings.start({ chunk, end: () => {} });
  expect(await recordings.stop()).toMatchObject({ problem: null, bytes: length });
  expect(length).toBeGreaterThan(3 * MEBIBYTE);
});

test('a reader who stops reading and then goes leaves the way free for the next recording', async () => {
  const recordings = busyRecordings(40);
  const { listener, hasMuch } = stalled();
  await recordings.start(listener);
  await hasMuch;
  const stopped = recordings.stop();
  recordings.drop(listener);
  expect(await stopped).toMatchObject({ problem: 'nobody reads the recording any more', tables: null });
  await recordings.start(stalled().listener);
});

test('a reader who stops reading does not keep the deck from ending', async () => {
  const recordings = busyRecordings(40);
  const { listener, end, hasMuch } = stalled();
  await recordings.start(listener);
  await hasMuch;
  await recordings.close();
  expect((await end)?.message).toBe('the deck has ended, and its reader took nothing');
});
