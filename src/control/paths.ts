import { chmodSync, existsSync, lstatSync, mkdirSync, rmdirSync, type Stats } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DeckError, invalid, notFound } from './error.ts';
import { quote } from './name.ts';

/** Where Docker looks for a plugin called tapdeck. */
export const PLUGIN_SOCKET = '/run/docker/plugins/tapdeck.sock';

/** `sun_path` has 108 bytes, the last of which is zero. */
export const LONGEST_SOCKET_PATH = 107;

/** The files of one daemon: beside its socket, but for the state of one that has a place of its own on the machine. */
export interface RuntimePaths {
  folder: string;
  /** Whether the folder is tapdeck's alone: made, checked and removed by it. */
  own: boolean;
  socket: string;
  /** Held by the living daemon. */
  lock: string;
  /** What is to be there again after a restart. */
  state: string;
  /** The same of a daemon that ends with its last endpoint, which is only kept in case that it is killed. */
  recovery: string;
  /** Where an embedded daemon writes its log. */
  log: string;
}

/**
 * Where the daemon listens: `unix://PATH` if given, else what TAPDECK_HOST says, else the user's own place.
 * Throws a `DeckError`.
 * @param uid whose place it is; our own by default
 */
export function runtimePaths(
  host?: string,
  env: NodeJS.ProcessEnv = process.env,
  uid = process.getuid!(),
): RuntimePaths {
  const given = host ?? (env['TAPDECK_HOST'] || undefined);
  if (given === undefined) {
    return {
      ...pathsIn(defaultFolder(env, uid), true, 'tapdeck.sock'),
      state: join(stateFolder(env), 'state.json'),
    };
  }
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
  return {
    folder,
    own,
    socket,
    lock: `${stem}.lock`,
    state: `${stem}.state.json`,
    recovery: `${stem}.recovery.json`,
    log: `${stem}.log`,
  };
}

/** Where what outlives a boot lies (FHS 3.0 §5.8, XDG Base Directory Specification). */
function stateFolder(env: NodeJS.ProcessEnv): string {
  if (process.getuid!() === 0) return '/var/lib/tapdeck';
  const xdg = env['XDG_STATE_HOME'];
  // What is not absolute is to be ignored, says the specification.
  return join(xdg?.startsWith('/') ? xdg : join(env['HOME'] || homedir(), '.local/state'), 'tapdeck');
}

function defaultFolder(env: NodeJS.ProcessEnv, uid: number): string {
  // Root's place is one for all, also with the XDG_RUNTIME_DIR that sudo may have left it.
  if (uid === 0) return '/run/tapdeck';
  const xdg = env['XDG_RUNTIME_DIR'];
  // Set but not there: what `su` passes on from somebody else's session.
  if (xdg?.startsWith('/') && existsSync(xdg)) return join(xdg, 'tapdeck');
  if (existsSync(`/run/user/${uid}`)) return `/run/user/${uid}/tapdeck`;
  const folder = join(tmpdir(), `tapdeck-${uid}`);
  // Where everybody may make it: also who only asks a daemon must not ask somebody else's.
  if (existsSync(folder)) checkOwner(folder);
  return folder;
}

/**
 * Makes our own folder of the socket if it is not there. It must belong to us and to nobody else: in it lies a socket through
 * which one can do what the daemon may. Another one has to be there already, as we would not know when to remove it. Throws
 * a `DeckError`.
 */
export function ensureFolder({ folder, own }: Pick<RuntimePaths, 'folder' | 'own'>): void {
  if (!own) {
    if (existsSync(folder)) return;
    throw notFound(
      `there is no folder ${folder} for the socket; make it, or choose another place with --host`,
    );
  }
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
  checkFolder(folder);
}

/**
 * Opens something in a folder that is made first: both again when somebody else, who was the last in it, has removed it in
 * between.
 */
export async function openIn<T>(
  paths: Pick<RuntimePaths, 'folder' | 'own'>,
  open: () => T | Promise<T>,
): Promise<T> {
  for (let more = 100; ; more--) {
    try {
      ensureFolder(paths);
      return await open();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || !paths.own || more === 0) throw error;
    }
  }
}

function checkFolder(folder: string): void {
  const { mode } = checkOwner(folder);
  if ((mode & 0o077) !== 0) chmodSync(folder, 0o700);
}

function checkOwner(folder: string): Stats {
  const found = lstatSync(folder);
  if (found.isDirectory() && found.uid === process.getuid!()) return found;
  throw new DeckError(
    'permission',
    `${folder} does not belong to you, so no socket is safe in it; remove it, or choose another place with --host unix:///PATH`,
  );
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
