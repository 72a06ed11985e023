import { readFileSync } from 'node:fs';
import { invalid } from './error.ts';
import { quote } from './name.ts';

/** The number of a group of the machine, by name or number. Throws a `DeckError`. */
export function findGroup(nameOrNumber: string): number {
  // group(5): name, password, number, members. What only a directory service knows is given by number.
  const fields = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === nameOrNumber);
  if (fields) return Number(fields[2]);
  if (/^\d{1,9}$/.test(nameOrNumber)) return Number(nameOrNumber);
  throw invalid(
    `there is no group ${quote(nameOrNumber)} in /etc/group; make it with "groupadd ${nameOrNumber}"`,
  );
}
