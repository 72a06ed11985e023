import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { unavailable } from '../../control/error.ts';
import type { Place } from './place.ts';

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
        path,
        hash,
        ...(saved && { saved }),
      }));
      this.folders = folders.map((folder) => folder);
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
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const text = JSON.stringify({ files: this.files, folders: this.folders }, null, 2);
    writeFileSync(`${this.#path}.next`, `${text}\n`, { mode: 0o600 });
    renameSync(`${this.#path}.next`, this.#path);
  }
}

export function hashOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
