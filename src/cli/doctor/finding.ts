/**
 * What was found of one thing that tapdeck needs or would like. `problem`: something does not work; `warning`: less works, or
 * soon nothing; `note`: something is left out that not everybody needs.
 */
export interface Finding {
  /** What was looked at, for programs: stays the same from version to version. */
  check: string;
  level: Level;
  /** What there is. */
  found: string;
  /** What comes of it; absent where all is well. */
  means?: string;
  /** What to do about it. */
  todo?: string;
}

export const LEVELS = ['ok', 'note', 'warning', 'problem'] as const;
export type Level = (typeof LEVELS)[number];

/** Who asks, and on what. */
export interface Host {
  root: boolean;
  gid: number;
  groups: readonly number[];
  /** What a file of /proc or /sys says, without white space around it; undefined when it is not there or may not be read. */
  read(path: string): string | undefined;
  env: NodeJS.ProcessEnv;
}

export function ok(check: string, found: string): Finding {
  return { check, level: 'ok', found };
}
