import { DeckError } from '../../src/control/error.ts';
import { Bed } from './bed.ts';
import { Failure, type Row, Undrivable } from './row.ts';
import type { Subject } from './subject.ts';

/** What a subject did with a row. */
export interface Result {
  /** `–`: it could not be asked. */
  verdict: 'pass' | 'fail' | '–';
  /** What was seen. */
  why: string;
}

/** Tries one row with one subject, in all IP versions that it asks for. */
export async function tryRow(row: Row, subject: Subject): Promise<Result> {
  const run = subject.name === 'kernel' ? (row.kernel ?? row.run) : row.run;
  if (typeof run === 'string') return { verdict: '–', why: run };
  const seen: string[] = [];
  for (const family of row.families ?? [4]) {
    const prefix = family === 6 ? 'IPv6: ' : '';
    let bed: Bed | string | undefined;
    try {
      bed = await open(row, subject, family);
      if (typeof bed === 'string') return { verdict: 'pass', why: `refused: ${bed}` };
      seen.push(await run.call(row, bed));
      // What is closed in order has lost no frame: see `Wire.close`.
      await bed.close();
      bed = undefined;
    } catch (error) {
      if (error instanceof Failure) return { verdict: 'fail', why: prefix + error.message };
      if (error instanceof Undrivable) return { verdict: '–', why: prefix + error.message };
      // Anything else is no answer: a row or a subject that is broken.
      return { verdict: 'fail', why: `${prefix}${row.id} broke: ${shortly(error)}` };
    } finally {
      if (bed instanceof Bed) await bed.close().catch(() => {});
    }
  }
  return { verdict: 'pass', why: seen[0]! };
}

/** The bed, or why the subject refuses to make it, where it may. */
async function open(row: Row, subject: Subject, family: 4 | 6): Promise<Bed | string> {
  try {
    return await Bed.open(subject, row.layout ?? {}, family);
  } catch (error) {
    if (row.refusal && error instanceof DeckError && error.code === 'conflict') return error.message;
    throw error;
  }
}

/** Message and the first places of its stack. */
function shortly(error: unknown): string {
  const { stack } = error as Error;
  return stack === undefined ? String(error) : stack.split('\n').slice(0, 4).join('\n');
}
