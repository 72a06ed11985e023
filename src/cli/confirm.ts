import { createInterface } from 'node:readline';

/** Asks on the terminal, as Docker does; no answer is no. */
export async function confirmed(warning: string): Promise<boolean> {
  const asked = createInterface({ input: process.stdin, output: process.stderr });
  try {
    process.stderr.write(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
    for await (const line of asked) return /^\s*y(es)?\s*$/i.test(line);
    // Nobody has ended the line of the question.
    process.stderr.write('\n');
    return false;
  } finally {
    asked.close();
  }
}
