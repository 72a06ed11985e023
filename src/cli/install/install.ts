import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { conflict, DeckError, invalid, notFound } from '../../control/error.ts';
import type { CommandInfo } from '../command-tree.ts';
import { EXIT_DONE } from '../output.ts';
import { cniPlan, netavarkPlan, ociPlan, slirp4netnsPlan } from './engines.ts';
import { type InstalledFile, type Place, type Plan, placeOf } from './place.ts';
import { hashOf, Receipt } from './receipt.ts';
import { completionPlan, manPlan } from './shares.ts';
import type { Target } from './target.ts';
import { afterUninstall, dockerPlan, servicePlan } from './units.ts';
import { writeWhole } from './whole-file.ts';
import { wiresharkPlan } from './wireshark.ts';

export interface InstallFlags {
  dryRun?: boolean;
  force?: boolean;
  group?: string;
  root?: string;
}

/** What is at the end of the name of what was there before. */
const SAVED = '.before-tapdeck';

/** Installs; says a line for each file. Throws a `DeckError`, before anything is done when there is a foreign file. */
export function install(target: Target, tree: CommandInfo, flags: InstallFlags): number {
  if (flags.group !== undefined && target !== 'service')
    throw invalid('--group is for service alone: a group that may use the daemon');
  const place = placeOf(flags.root ?? '');
  const { files, next } = planOf(target, place, tree, flags);
  const receipt = new Receipt(place);
  for (const { path } of files) checkBelow(place, path);
  const states = files.map((file) => stateOf(file, place, receipt));
  files.forEach(({ path }, i) => {
    if (states[i] !== 'foreign' || flags.force) return;
    throw conflict(
      `${place.root}${path} is there and not from tapdeck; move it away, or put it aside with --force`,
    );
  });
  files.forEach((file, i) => {
    if (!flags.dryRun) put(target, file, states[i]!, place, receipt);
    tell(flags, STATES[states[i]!], place.root + file.path);
  });
  tellNext(next);
  return EXIT_DONE;
}

/** Takes away what `install` has put there, and nothing else. Throws a `DeckError`. */
export function uninstall(target: Target, flags: InstallFlags): number {
  const place = placeOf(flags.root ?? '');
  const receipt = new Receipt(place);
  const files = receipt.of(target);
  if (files.length === 0) throw notFound(`${target} is not installed, so there is nothing to take away`);
  for (const { path, hash } of files) {
    checkBelow(place, path);
    const there = lstatSync(place.root + path, { throwIfNoEntry: false });
    const content = contentOf(place.root + path);
    if (!there || (content !== null && hashOf(content) === hash)) continue;
    if (flags.force && !there.isDirectory()) continue;
    throw conflict(
      `${place.root}${path} was changed since it was installed; take it away yourself${there.isDirectory() ? '' : ', or with --force'}`,
    );
  }
  for (const file of files) {
    const path = place.root + file.path;
    const isThere = exists(path);
    const isSaved = file.saved !== undefined && exists(place.root + file.saved);
    if (!flags.dryRun) {
      try {
        rmSync(path, { force: true });
        if (isSaved) renameSync(place.root + file.saved, path);
        receipt.files = receipt.files.filter((one) => one !== file);
        receipt.write();
      } catch (error) {
        throw failure(`cannot take away ${path}`, error);
      }
    }
    tell(flags, isThere ? REMOVED : GONE, path);
    if (isSaved) tell(flags, PUT_BACK, path);
  }
  if (!flags.dryRun) removeFolders(place, receipt);
  tellNext(afterUninstall(target, place, files));
  return EXIT_DONE;
}

function planOf(target: Target, place: Place, tree: CommandInfo, flags: InstallFlags): Plan {
  switch (target) {
    case 'service':
      return servicePlan(place, flags);
    case 'docker':
      return dockerPlan(place);
    case 'cni':
      return cniPlan(place);
    case 'netavark':
      return netavarkPlan(place);
    case 'oci':
      return ociPlan(place);
    case 'slirp4netns':
      return slirp4netnsPlan(place);
    case 'wireshark':
      return wiresharkPlan(place);
    case 'completion':
      return completionPlan(place, tree);
    case 'man':
      return manPlan(place, tree);
  }
}

/** What is said of a file: when it is done, and what would be done. */
type Said = readonly [done: string, planned: string];
type FileState = keyof typeof STATES;
const STATES = {
  missing: ['wrote', 'would write'],
  same: ['is there already:', 'is there already:'],
  ours: ['wrote anew', 'would write anew'],
  foreign: ['put aside what was there, and wrote', 'would put aside what is there, and write'],
} as const satisfies Record<string, Said>;
const REMOVED: Said = ['removed', 'would remove'];
const GONE: Said = ['was gone:', 'is gone:'];
const PUT_BACK: Said = ['put back', 'would put back'];

/** What is at a file's place. */
function stateOf({ path, content }: InstalledFile, { root }: Place, receipt: Receipt): FileState {
  if (!exists(root + path)) return 'missing';
  const found = contentOf(root + path);
  if (found === null) return 'foreign';
  if (found.equals(Buffer.from(content))) return 'same';
  const hash = hashOf(found);
  return receipt.files.some((file) => file.path === path && file.hash === hash) ? 'ours' : 'foreign';
}

/** Whether there is anything, be it a link that leads nowhere. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Null where there is no ordinary file. */
function contentOf(path: string): Buffer | null {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ? readFileSync(path) : null;
}

function put(target: Target, file: InstalledFile, state: FileState, place: Place, receipt: Receipt): void {
  const path = place.root + file.path;
  const known = receipt.files.find((one) => one.path === file.path);
  let saved = known?.saved;
  try {
    makeFolder(dirname(file.path), place, receipt);
    if (state === 'foreign') {
      const aside = freePlace(file.path + SAVED, place);
      renameSync(path, place.root + aside);
      // What was there at first is put back in the end.
      saved ??= aside;
    }
    // Noted first: what is noted and missing can be taken away, and what is there and not noted cannot.
    receipt.files = [
      ...receipt.files.filter((one) => one !== known),
      { target, path: file.path, hash: hashOf(file.content), ...(saved !== undefined && { saved }) },
    ];
    receipt.write();
    writeWhole(path, file.content, file.mode ?? 0o644);
  } catch (error) {
    throw failure(
      `cannot write ${path}`,
      error,
      `; what is there already \`tapdeck uninstall ${target}\` takes away`,
    );
  }
}

function failure(what: string, error: unknown, todo = ''): DeckError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new DeckError(
    code === 'EACCES' || code === 'EPERM' ? 'permission' : 'unavailable',
    `${what}: ${code ?? message}${todo}`,
  );
}

/** A path where nothing is: what has been put aside before is not lost. */
function freePlace(path: string, { root }: Place): string {
  for (let i = 1; ; i++) {
    const place = i === 1 ? path : `${path}.${i}`;
    if (!exists(root + place)) return place;
  }
}

/** Throws a `DeckError` where links of a root, as those of an image, lead out of it: to a file of this machine's. */
function checkBelow({ root }: Place, path: string): void {
  if (root === '' || !existsSync(root)) return;
  let folder = dirname(path);
  while (!exists(root + folder) && folder !== '/') folder = dirname(folder);
  const top = realpathSync(root);
  const found = existsSync(root + folder) ? realpathSync(root + folder) : undefined;
  if (found !== undefined && (found === top || found.startsWith(`${top === '/' ? '' : top}/`))) return;
  throw conflict(
    `${root}${folder} leads out of ${root}, to ${found ?? 'a place that is not there'}; make it a folder, or a relative link`,
  );
}

/** Makes a folder and what it lies in, and notes what was missing. */
function makeFolder(folder: string, place: Place, receipt: Receipt): void {
  // The root itself is of who names it, and stays.
  if (folder === '/') mkdirSync(place.root + folder, { recursive: true });
  if (existsSync(place.root + folder)) return;
  makeFolder(dirname(folder), place, receipt);
  mkdirSync(place.root + folder, { mode: 0o755 });
  if (!receipt.folders.includes(folder)) receipt.folders.push(folder);
}

/** Removes the folders that were made and that nothing is in any more. */
function removeFolders({ root }: Place, receipt: Receipt): void {
  receipt.folders = receipt.folders
    .toReversed()
    .filter((folder) => {
      // A receipt without a file has no need of a folder.
      if (receipt.files.some(({ path }) => path.startsWith(`${folder}/`))) return true;
      try {
        rmdirSync(join(root, folder));
      } catch {
        // Somebody else has put something there, or has been faster: it is not ours any more.
      }
      return false;
    })
    .toReversed();
  receipt.write();
}

function tell({ dryRun }: InstallFlags, [done, planned]: Said, path: string): void {
  process.stdout.write(`${dryRun ? planned : done} ${path}\n`);
}

function tellNext(next: readonly string[]): void {
  for (const what of next) process.stdout.write(`next: ${what}\n`);
}
