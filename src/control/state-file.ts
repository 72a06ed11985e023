import {
  closeSync,
  existsSync,
  fsync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { conflict, DeckError } from './error.ts';
import { formatState, type SavedState, STATE_VERSION } from './saved-state.ts';

const fsynced = promisify(fsync);

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

  /**
   * Replaces the file as a whole: whoever reads it finds the one or the other, also after a power failure. Only the disk is waited
   * for in another thread: each change of threads takes longer than what is done here.
   */
  async write(state: SavedState): Promise<void> {
    const folder = dirname(this.path);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const next = `${this.path}.next`;
    try {
      await synced(openSync(next, 'w', 0o600), (file) => writeFileSync(file, formatState(state)));
      renameSync(next, this.path);
    } catch (error) {
      // The beginning of a state, on a full disk.
      rmSync(next, { force: true });
      throw error;
    }
    // The name is in the folder, which has to be on the disk as well.
    await synced(openSync(folder, 'r'));
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

/** Does something with a file, brings it to the disk and closes it. */
async function synced(file: number, work: (file: number) => void = () => {}): Promise<void> {
  try {
    work(file);
    await fsynced(file);
  } finally {
    closeSync(file);
  }
}
