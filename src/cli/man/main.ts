import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageVersion } from '../../control/version.ts';
import { commandTree } from '../command-tree.ts';
import { buildProgram } from '../program.ts';
import { manPages } from './page.ts';

// Writes the manual pages into a folder, which is emptied before: `npm run man`.
const [folder = 'man'] = process.argv.slice(2);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
// reproducible-builds.org
const epoch = process.env['SOURCE_DATE_EPOCH'];
const date = (epoch ? new Date(1000 * Number(epoch)) : new Date()).toISOString().slice(0, 10);
for (const [name, text] of manPages(commandTree(buildProgram(() => {})), packageVersion(), date)) {
  writeFileSync(join(folder, name), text);
}
