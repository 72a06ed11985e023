import { accessSync, constants, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Where a shell looks that is told nothing. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Whether a program can be executed, as a shell would look it up (XCU 2.9.1.4); in none of its places is there anything when it
 * is missing.
 * @param cwd where a program or PATH that is relative begins
 * @param path the value of PATH
 */
export function findExecutable(
  program: string,
  cwd: string,
  path: string = DEFAULT_PATH,
): 'found' | 'not executable' | 'missing' {
  if (program === '') return 'missing';
  const places = program.includes('/')
    ? [resolve(cwd, program)]
    : path.split(':').map((folder) => join(resolve(cwd, folder), program));
  const found = places.map(look);
  return found.find((one) => one === 'found') ?? found.find((one) => one !== 'missing') ?? 'missing';
}

function look(path: string): ReturnType<typeof findExecutable> {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile() ? 'found' : 'not executable';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Behind a folder that we may not enter there may be one.
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'missing' : 'not executable';
  }
}
