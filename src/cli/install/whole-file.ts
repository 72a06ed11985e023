import { randomBytes } from 'node:crypto';
import { closeSync, fchmodSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Writes a file of which nobody finds half. What it is written to at first is new and has a name that nobody can know: in a folder
 * in which others may write, a link could lie in wait for us. Throws what `node:fs` throws.
 */
export function writeWhole(path: string, content: string, mode: number): void {
  const next = `${path}.${randomBytes(8).toString('hex')}`;
  const file = openSync(next, 'wx', 0o600);
  try {
    try {
      writeFileSync(file, content);
      // Whatever the umask is.
      fchmodSync(file, mode);
    } finally {
      closeSync(file);
    }
    renameSync(next, path);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}
