import { fileURLToPath } from 'node:url';
import { shellWord } from '../control/shell-word.ts';

/** Programs that container engines start, by the names of their files in the package. */
export type Called = 'cni' | 'oci-hook' | 'netavark';

/** Path of such a program. */
export function programPath(name: Called): string {
  return fileURLToPath(new URL(`../${name}.js`, import.meta.url));
}

/**
 * What an engine finds in its folder: a script that starts the program with the Node that runs now. Engines start their plugins
 * with hardly a PATH, or none, so both are named by their whole paths.
 */
export function launcher(name: Called, node = process.execPath): string {
  return `#!/bin/sh\nexec ${shellWord(node)} ${shellWord(programPath(name))} "$@"\n`;
}
