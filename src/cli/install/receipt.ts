import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { unavailable } from '../../control/error.ts';
import type { Place } from './place.ts';
import { writeWhole } from './whole-file.ts';

/** A file that was installed. */
export interface Received {
  target: string;
  path: string;
  /** SHA-256 of what was written there. */
  hash: string;
  /** Where that is which was there before. */
  saved?: string;
}

/** What tapdeck has installed, so that no more and no less is taken away. */
export class Receipt {
  files: Received[] = [];
  /** Folders that were made for them, the outer ones first. */
  folders: string[] = [];
  readonly #path: string;

  /** Throws a `DeckError` when it makes no sense. */
  constructor({ system, state, root }: Place) {
    this.#path = join(root, system ? '/var/lib/tapdeck' : `${state}/tapdeck`, 'installed.json');
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw unavailable(`cannot read ${this.#path}: ${(error as Error).message}`);
    }
    try {
      const { files, folders } = JSON.parse(text) as Pick<Receipt, 'files' | 'folders'>;
      this.files = files.map(({ target, path, hash, saved }) => ({
        target,
        path: below(path),
        hash,
        ...(saved && { saved: below(saved) }),
      }));
      this.folders = folders.map(below);
    } catch {
      throw unavailable(
        `${this.#path}, which says what is installed, is damaged; remove it, and what it names`,
      );
    }
  }

  of(target: string): Received[] {
    return this.files.filter((file) => file.target === target);
  }

  /** Writes it, or removes it when there is nothing to say. */
  write(): void {
    if (this.files.length === 0 && this.folders.length === 0) {
      rmSync(this.#path, { force: true });
      return;
    }
    const folder = dirname(this.#path);
    // Only the last one is private: below a root of an image, /var and /var/lib may be made here.
    mkdirSync(dirname(folder), { recursive: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const text = JSON.stringify({ files: this.files, folders: this.folders }, null, 2);
    writeWhole(this.#path, `${text}\n`, 0o600);
  }
}

/** A path that stays below a root: its receipt may be that of an image which somebody else has made. Throws otherwise. */
function below(path: string): string {
  if (path.startsWith('/') && normalize(path) === path) return path;
  throw new Error(`${path} leads elsewhere`);
}

export function hashOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
