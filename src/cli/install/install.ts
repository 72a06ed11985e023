import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { conflict, DeckError, notFound } from '../../control/error.ts';
import type { CommandInfo } from '../command-tree.ts';
import { EXIT_DONE } from '../output.ts';
import { cniPlan, netavarkPlan, ociPlan, slirp4netnsPlan } from './engines.ts';
import { type InstalledFile, type Place, type Plan, placeOf } from './place.ts';
import { hashOf, Receipt } from './receipt.ts';
import { completionPlan, manPlan } from './shares.ts';
import type { Target } from './target.ts';
import { dockerPlan, servicePlan } from './units.ts';
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
  const place = placeOf(flags.root ?? '');
  const { files, next } = planOf(target, place, tree, flags);
  const receipt = new Receipt(place);
  const states = files.map((file) => stateOf(file, place, receipt));
  files.forEach(({ path }, i) => {
    if (states[i] !== 'foreign' || flags.force) return;
    throw conflict(
      `${place.root}${path} is there and not from tapdeck; move it away, or put it aside with --force`,
    );
  });
  files.forEach((file, i) => {
    if (!flags.dryRun) put(target, file, states[i]!, place, receipt);
    tell(flags, DONE[states[i]!], place.root + file.path);
  });
  for (const what of next) process.stdout.write(`next: ${what}\n`);
  return EXIT_DONE;
}

/** Takes away what `install` has put there, and nothing else. Throws a `DeckError`. */
export function uninstall(target: Target, flags: InstallFlags): number {
  const place = placeOf(flags.root ?? '');
  const receipt = new Receipt(place);
  const files = receipt.of(target);
  if (files.length === 0) throw notFound(`${target} is not installed, so there is nothing to take away`);
  for (const { path, hash } of files) {
    const content = contentOf(place.root + path);
    if (content === null || hashOf(content) === hash || flags.force) continue;
    throw conflict(
      `${place.root}${path} was changed since it was installed; take it away yourself, or with --force`,
    );
  }
  for (const file of files) {
    const path = place.root + file.path;
    const isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    if (!flags.dryRun) {
      rmSync(path, { force: true });
      if (file.saved !== undefined && existsSync(place.root + file.saved))
        renameSync(place.root + file.saved, path);
      receipt.files = receipt.files.filter((one) => one !== file);
      receipt.write();
    }
    tell(flags, isThere ? 'removed' : 'was gone:', path);
    if (file.saved !== undefined) tell(flags, 'put back', path);
  }
  if (!flags.dryRun) removeFolders(place, receipt);
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

type FileState = keyof typeof DONE;
const DONE = {
  missing: 'wrote',
  same: 'is there already:',
  ours: 'wrote anew',
  foreign: 'put aside what was there, and wrote',
} as const;

/** What is at a file's place. */
function stateOf({ path, content }: InstalledFile, { root }: Place, receipt: Receipt): FileState {
  if (lstatSync(root + path, { throwIfNoEntry: false }) === undefined) return 'missing';
  const found = contentOf(root + path);
  if (found === null) return 'foreign';
  if (found.equals(Buffer.from(content))) return 'same';
  const hash = hashOf(found);
  return receipt.files.some((file) => file.path === path && file.hash === hash) ? 'ours' : 'foreign';
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
      saved = file.path + SAVED;
      renameSync(path, place.root + saved);
    }
    // Noted first: what is noted and missing can be taken away, and what is there and not noted cannot.
    receipt.files = [
      ...receipt.files.filter((one) => one !== known),
      { target, path: file.path, hash: hashOf(file.content), ...(saved !== undefined && { saved }) },
    ];
    receipt.write();
    // Nobody finds half of a file.
    writeFileSync(`${path}.next`, file.content);
    chmodSync(`${path}.next`, file.mode ?? 0o644);
    renameSync(`${path}.next`, path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new DeckError(
      code === 'EACCES' || code === 'EPERM' ? 'permission' : 'unavailable',
      `cannot write ${path}: ${code ?? message}; what is there already \`tapdeck uninstall ${target}\` takes away`,
    );
  }
}

/** Makes a folder and what it lies in, and notes what was missing. */
function makeFolder(folder: string, place: Place, receipt: Receipt): void {
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

function tell({ dryRun }: InstallFlags, what: string, path: string): void {
  process.stdout.write(`${dryRun ? 'would have: ' : ''}${what} ${path}\n`);
}
