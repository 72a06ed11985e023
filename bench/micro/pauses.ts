import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import type { SavedTables } from '../../src/recording/state-carrier.ts';
import { TableCopy } from '../../src/recording/table-copy.ts';
import { TableCopies } from '../../src/runtime/table-copies.ts';
import type { Figure } from './figure.ts';
import { Connections } from './nat-scaling.ts';

const TARGET = 1;
/** Frames of a turn of the loop, each of another connection: all that a turn can change. */
const FRAMES = 64;

/**
 * How long no frame moves while a data plane's tables are copied, for `tapdeck why` and for the beginning and end of a recording: the
 * longest that a turn of the loop spends on it, as time of the processor: what else the machine does is no part of that. 64 frames
 * come in between two turns.
 */
export async function pauses(quick: boolean): Promise<Figure[]> {
  // Copies go to another thread, as those of a deck do: to free the memory is not the data plane's work.
  const other = new Worker("require('node:worker_threads').parentPort.on('message', () => {})", {
    eval: true,
  });
  const take: Taker = ({ items, rows }) => other.postMessage(null, [items.buffer, rows.buffer]);
  const copies = quick ? 10 : 50;
  const none = new Dataplane({ seed: 1 });
  // Two connections from each port, so that there are tables of mappings, too.
  const connections = (count: number) => {
    const made = new Connections(count, 2);
    return { dataplane: made.dataplane, turn: () => void made.run(FRAMES, 1) };
  };
  const figures = [
    { name: 'tables that are empty', dataplane: none, turn: () => {} },
    { name: '70,000 connections', ...connections(70_000) },
  ].flatMap(({ name, dataplane, turn }) => {
    const measured = Array.from({ length: copies }, () => copy(dataplane, turn, take));
    // What the engine has not compiled yet is not what is asked for.
    const settled = measured.slice(copies >> 2);
    const longest = settled.map(({ pauses }) => Math.max(...pauses));
    const turns = median(settled.map(({ pauses }) => pauses.length));
    const value = median(longest);
    return [
      {
        name: `pause by a copy of ${name}`,
        value: `${value.toFixed(2)} ms`,
        detail: `at most ${Math.max(...longest).toFixed(2)} ms, in ${turns} turns; ${median(settled.map(({ whole }) => whole)).toFixed(1)} ms at once`,
        target: `≤ ${TARGET} ms`,
        met: value <= TARGET,
      },
    ];
  });
  await other.terminate();
  return figures;
}

type Taker = (tables: SavedTables) => void;

/** Milliseconds of each turn of a copy, and of one without turns. */
function copy(dataplane: Dataplane, turn: () => void, take: Taker): { pauses: number[]; whole: number } {
  const pauses: number[] = [];
  const copies = new TableCopies(() => performance.now());
  let isDone = false;
  copies.add(() => ({ copy: new TableCopy(dataplane), answer: take })).onSettled = (answer) => {
    answer();
    isDone = true;
  };
  while (!isDone) {
    turn();
    pauses.push(spent(() => copies.expire()));
  }
  return { pauses, whole: spent(() => take(new TableCopy(dataplane).finish())) };
}

const CLOCK_THREAD_CPUTIME_ID = 3;
koffi.struct('timespec', { seconds: 'int64_t', nanoseconds: 'int64_t' });
const clock = koffi.load(null).func('int clock_gettime(int, _Out_ timespec *)');
const time = { seconds: 0, nanoseconds: 0 };

/** Milliseconds of the processor that this thread has had for it. */
function spent(work: () => void): number {
  const before = threadTime();
  work();
  return threadTime() - before;
}

function threadTime(): number {
  clock(CLOCK_THREAD_CPUTIME_ID, time);
  return time.seconds * 1e3 + time.nanoseconds / 1e6;
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
