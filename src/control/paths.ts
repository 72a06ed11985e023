import { chmodSync, existsSync, lstatSync, mkdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DeckError, invalid } from './error.ts';
import { quote } from './name.ts';

/** `sun_path` has 108 bytes, the last of which is zero. */
const LONGEST_SOCKET_PATH = 107;

/** The files of one daemon, all beside its socket. */
export interface RuntimePaths {
  folder: string;
  /** Whether the folder is tapdeck's alone: made, checked and removed by it. */
  own: boolean;
  socket: string;
  /** Held by the living daemon. */
  lock: string;
  /** What a later daemon must clean up if this one does not. */
  state: string;
  /** Where an embedded daemon writes its log. */
  log: string;
}

/**
 * Where the daemon listens: `unix://PATH` if given, else what TAPDECK_HOST says, else the user's own place.
 * Throws a `DeckError`.
 */
export function runtimePaths(host?: string, env: NodeJS.ProcessEnv = process.env): RuntimePaths {
  const given = host ?? (env['TAPDECK_HOST'] || undefined);
  if (given === undefined) return pathsIn(defaultFolder(env), true, 'tapdeck.sock');
  const path = /^unix:\/\/(\/.+)$/s.exec(given)?.[1];
  if (path === undefined || path.includes('\0') || path.endsWith('/')) {
    throw invalid(
      `host ${quote(given)} is not supported; give unix:// and an absolute path, as in unix:///run/tapdeck/tapdeck.sock`,
    );
  }
  return pathsIn(dirname(path), false, path.slice(path.lastIndexOf('/') + 1));
}

function pathsIn(folder: string, own: boolean, file: string): RuntimePaths {
  const socket = join(folder, file);
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_PATH) {
    throw invalid(
      `socket path ${quote(socket)} is longer than ${LONGEST_SOCKET_PATH} bytes; choose a shorter one with --host`,
    );
  }
  const stem = socket.replace(/\.sock$/, '');
  return { folder, own, socket, lock: `${stem}.lock`, state: `${stem}.state.json`, log: `${stem}.log` };
}

function defaultFolder(env: NodeJS.ProcessEnv): string {
  const uid = process.getuid!();
  // Root's place is one for all, also with the XDG_RUNTIME_DIR that sudo may have left it.
  if (uid === 0) return '/run/tapdeck';
  const xdg = env['XDG_RUNTIME_DIR'];
  // Set but not there: what `su` passes on from somebody else's session.
  if (xdg?.startsWith('/') && existsSync(xdg)) return join(xdg, 'tapdeck');
  if (existsSync(`/run/user/${uid}`)) return `/run/user/${uid}/tapdeck`;
  return join(tmpdir(), `tapdeck-${uid}`);
}

/**
 * Makes the folder of the socket if it is not there. One of our own must belong to us and to nobody else: in
 * it lies a socket through which one can do what the daemon may. Throws a `DeckError`.
 */
export function ensureFolder({ folder, own }: RuntimePaths): void {
  try {
    // Not what lies above it: that is not ours to invent (and Node's `recursive` hangs below /proc).
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') {
      throw new DeckError(
        'permission',
        `cannot make the folder ${folder}: ${code ?? message}; choose another place with --host unix:///PATH`,
      );
    }
  }
  if (own) checkFolder(folder);
}

function checkFolder(folder: string): void {
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.getuid!()) {
    throw new DeckError(
      'permission',
      `${folder} does not belong to you, so no socket is safe in it; remove it, or choose another place with --host unix:///PATH`,
    );
  }
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700);
}

/** Removes a folder of our own when nothing else is in it. */
export function removeFolder({ folder, own }: RuntimePaths): void {
  if (!own) return;
  try {
    rmdirSync(folder);
  } catch {
    // Something is in it, or another daemon has removed it.
  }
}
