import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { TableCopy } from '../../src/recording/table-copy.ts';
import { TableCopies } from '../../src/runtime/table-copies.ts';
import type { Figure } from './figure.ts';
import { Connections } from './nat-scaling.ts';

const TARGET = 1;
/** Frames of a turn of the loop, each of another connection: all that a turn can change. */
const FRAMES = 64;

/**
 * How long no frame moves while a data plane's tables are copied, for `tapdeck why` and for the beginning and end of a recording: the
 * longest that a turn of the loop spends on it. 64 frames come in between two turns.
 */
export function pauses(quick: boolean): Figure[] {
  const copies = quick ? 10 : 50;
  const none = new Dataplane({ seed: 1 });
  // Two connections from each port, so that there are tables of mappings, too.
  const connections = (count: number) => {
    const made = new Connections(count, 2);
    return { dataplane: made.dataplane, turn: () => void made.run(FRAMES, 1) };
  };
  return [
    { name: 'tables that are empty', dataplane: none, turn: () => {} },
    { name: '70,000 connections', ...connections(70_000) },
    { name: '100,000 connections', ...connections(100_000) },
  ].flatMap(({ name, dataplane, turn }) => {
    const measured = Array.from({ length: copies }, () => copy(dataplane, turn));
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
}

/** Milliseconds of each turn of a copy, and of one without turns. */
function copy(dataplane: Dataplane, turn: () => void): { pauses: number[]; whole: number } {
  const pauses: number[] = [];
  const copies = new TableCopies(() => performance.now());
  let isDone = false;
  copies.add(() => ({ copy: new TableCopy(dataplane), answer: () => null })).onSettled = () => {
    isDone = true;
  };
  while (!isDone) {
    turn();
    const start = performance.now();
    copies.expire();
    pauses.push(performance.now() - start);
  }
  const start = performance.now();
  new TableCopy(dataplane).finish();
  return { pauses, whole: performance.now() - start };
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
