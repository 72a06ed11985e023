import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { conflict, DeckError } from './error.ts';
import { formatState, type SavedState, STATE_VERSION } from './saved-state.ts';

/** The state of one daemon on disk. */
export class StateFile {
  readonly path: string;
  /** Why the file was set aside when it was read, in one line; null if it was not. */
  damage: string | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * What the last daemon left; null if there is nothing. A file that makes no sense is kept under another name, see
   * `damage`. Throws a `DeckError` for one that cannot be read, and for one of a later version, which stays as it is.
   */
  async read(): Promise<SavedState | null> {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return null;
      throw new DeckError(
        code === 'EACCES' ? 'permission' : 'unavailable',
        `cannot read the state file ${this.path}: ${code ?? message}; make it readable, or move it away to begin without it`,
      );
    }
    // Only who has a state needs what checks it.
    const { parseState } = await import('./parse-state.ts');
    const found = parseState(text);
    if ('state' in found) return found.state;
    if ('newer' in found) {
      const { newer, writer } = found;
      const [by, start] =
        writer === null ? ['', 'a newer one'] : [`, written by tapdeck ${writer}`, 'that tapdeck'];
      throw conflict(
        `the state file ${this.path} is of version ${newer}${by}, and this tapdeck knows versions up to ${STATE_VERSION}; start ${start}, or move the file away to begin without it`,
      );
    }
    const aside = this.#asideName();
    renameSync(this.path, aside);
    this.damage = `the state file ${this.path} is damaged: ${found.damage}; it is kept as ${aside}, and the deck begins without it`;
    return null;
  }

  /** Replaces the file as a whole: whoever reads it finds the one or the other, also after a power failure. */
  async write(state: SavedState): Promise<void> {
    const folder = dirname(this.path);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const next = `${this.path}.next`;
    try {
      const file = await open(next, 'w', 0o600);
      try {
        await file.writeFile(formatState(state));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(next, this.path);
    } catch (error) {
      // The beginning of a state, on a full disk.
      await rm(next, { force: true }).catch(() => {});
      throw error;
    }
    // The name is in the folder, which has to be on the disk as well.
    const names = await open(folder, 'r');
    try {
      await names.sync();
    } finally {
      await names.close();
    }
  }

  remove(): void {
    rmSync(`${this.path}.next`, { force: true });
    rmSync(this.path, { force: true });
  }

  #asideName(): string {
    for (let i = 1; ; i++) {
      const name = `${this.path}.damaged-${i}`;
      if (!existsSync(name)) return name;
    }
  }
}
