import type { SavedNetwork } from './networks.ts';
import type { RecordedSandbox } from './recorded-sandbox.ts';
import type { SavedContainer } from './saved-container.ts';
import type { SavedRule } from './user-rules.ts';
import { packageVersion } from './version.ts';

/** What a daemon keeps on disk, so that the next one can go on where it stopped. */

/** The format below. A file of a higher one is not touched. */
export const STATE_VERSION = 1;

/** A sandbox as the next daemon needs to know it, which is to hold it or to end it. */
export interface SavedSandbox extends RecordedSandbox {
  /** Its container, which somebody may have detached. */
  container: string;
  name: string;
}

/** A container with what tells its namespace from another that has its number by now. */
export interface RecordedContainer extends SavedContainer {
  /** When the process that it was named by was started (`starttime` of proc(5)). */
  startTime?: number;
}

export interface SavedState {
  version: typeof STATE_VERSION;
  /** The tapdeck that wrote it. */
  writer: string;
  /** Namespaces and processes of another boot mean nothing. */
  boot: string;
  networks: SavedNetwork[];
  containers: RecordedContainer[];
  /** Of chain DOCKER-USER, in their order. */
  rules: SavedRule[];
  /** What `tapdeck run` holds. */
  sandboxes: SavedSandbox[];
}

/** What of it may be impossible for a while. */
export type SavedDeck = Pick<SavedState, 'networks' | 'containers'>;

export function newState(
  boot: string,
  parts: SavedDeck & Pick<SavedState, 'rules' | 'sandboxes'>,
): SavedState {
  return { version: STATE_VERSION, writer: packageVersion(), boot, ...parts };
}

export function formatState(state: SavedState): string {
  return `${JSON.stringify(state, null, 1)}\n`;
}
