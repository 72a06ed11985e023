import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { DeckError, unavailable } from '../../control/error.ts';
import { shellWord } from '../../control/shell-word.ts';
import { packageProgram } from '../../control/version.ts';
import { MAIN } from '../embedded.ts';

/** For whom something is installed, and where that has its place: for all of the machine by root, for oneself by a user. */
export interface Place {
  system: boolean;
  /** Folders of a user (XDG Base Directory Specification). */
  config: string;
  data: string;
  state: string;
  /** What all files lie below: `` but for who fills an image or a package. */
  root: string;
}

export interface InstalledFile {
  /** Absolute, without `Place.root`. */
  path: string;
  content: string;
  /** 0644 when left out. */
  mode?: number;
}

/** What a target consists of. */
export interface Plan {
  files: readonly InstalledFile[];
  /** What is left to do for who installs it. */
  next: readonly string[];
}

export function placeOf(root: string, env: NodeJS.ProcessEnv = process.env): Place {
  const home = env['HOME'] || homedir();
  // What is not absolute is to be ignored, says the specification.
  const folder = (name: string, usual: string) =>
    env[name]?.startsWith('/') ? env[name] : join(home, usual);
  return {
    system: process.getuid!() === 0,
    config: folder('XDG_CONFIG_HOME', '.config'),
    data: folder('XDG_DATA_HOME', '.local/share'),
    state: folder('XDG_STATE_HOME', '.local/state'),
    root,
  };
}

/** Whether a folder or file is there, below the place's root. */
export function isThere({ root }: Place, path: string): boolean {
  return existsSync(join(root, path));
}

export function onlyForRoot(what: string): DeckError {
  return new DeckError('permission', `${what} is installed for all of the machine; run this as root`);
}

/** A command line of a program of this package, for files that outlive the shell. Throws where the package does not stay. */
export function programLine(program: string, ...args: string[]): string[] {
  return [process.execPath, pathOf(program), ...args];
}

/** A script that becomes a program of this package: who starts it may have no PATH. */
export function launcherOf(program: string, ...args: string[]): string {
  const line = programLine(program, ...args).map(shellWord);
  return `#!/bin/sh\nexec ${line.join(' ')} "$@"\n`;
}

function pathOf(program: string): string {
  checkStays();
  const path = packageProgram(program);
  if (path === undefined) throw unavailable(`there is no ${program} in this version of tapdeck`);
  return path;
}

/** Throws a `DeckError` when this program runs out of a cache. */
export function checkStays(): void {
  if (!MAIN.includes('/_npx/')) return;
  throw unavailable(
    'this tapdeck is in the cache of npx, which npm empties as it likes; install it first: npm install -g tapdeck',
  );
}
