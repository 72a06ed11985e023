import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { inTurn, openTapAside, type TapTarget } from './attach.ts';
import { type RouteTarget, setRoutes } from './default-route.ts';
import { currentUserNamespace, inNamespace, mayReturn, type Namespace, openNamespace } from './netns.ts';
import { receiveMessage, sendMessage, socketPair } from './socket.ts';
import { close } from './syscall.ts';
import { SyscallError } from './syscall-error.ts';
import type { OpenTap } from './tap.ts';
import type { HelperAnswer, HelperRequest } from './tap-helper.ts';

/** The helper needs 0.1 s; a machine that is busy may need more. */
const HELPER_TIMEOUT = 10_000;
/** More of what the helper says on stderr than this is not for a message. */
const STDERR_LIMIT = 2000;

/**
 * Opens a TAP in a namespace by the way that is open: directly where this thread may enter it (root, and root
 * of the user namespace that owns it), through a helper where an ordinary user owns it.
 */
export async function openTapFor(target: TapTarget): Promise<OpenTap> {
  const namespace = openNamespace(target.netns);
  try {
    if (!mayEnter(namespace)) return await openTapThrough(namespace, target, HELPER_TIMEOUT);
  } finally {
    namespace.close();
  }
  return openTapAside(target);
}

/** As `setRoutes`, by the way that is open. */
export async function setRoutesFor(target: RouteTarget): Promise<void> {
  const namespace = openNamespace(target.netns);
  try {
    if (!mayEnter(namespace)) {
      const what = `cannot change routes in the network namespace of ${namespace.label}`;
      await askHelper(namespace, { label: namespace.label, routes: target }, what, HELPER_TIMEOUT);
      return;
    }
  } finally {
    namespace.close();
  }
  return inTurn(() => setRoutes(target));
}

/**
 * Opens a TAP in a network namespace that belongs to a user namespace of ours, as an ordinary user, with the
 * same result and errors as `openTap`. A process with threads cannot enter a user namespace (setns(2)), so
 * nsenter starts a helper there, which sends the descriptor back.
 *
 * Possible when the calling user made the user namespace, or is root in the one around it, and is mapped to
 * root in it (`unshare --map-root-user`, rootless Podman and Docker). Pid and path do alike, as long as the
 * path can be opened: `/proc/PID/ns/net`, or a bind mount seen from here. When it ends, for whatever reason,
 * no process and no descriptor is left but the one returned.
 * @param timeout milliseconds for the helper
 */
export async function openTapAsUser(target: TapTarget, timeout = HELPER_TIMEOUT): Promise<OpenTap> {
  const namespace = openNamespace(target.netns);
  try {
    return await openTapThrough(namespace, target, timeout);
  } finally {
    namespace.close();
  }
}

function mayEnter(namespace: Namespace): boolean {
  try {
    inNamespace(namespace, () => undefined);
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EPERM') return false;
    throw error;
  }
}

async function openTapThrough(namespace: Namespace, target: TapTarget, timeout: number): Promise<OpenTap> {
  const what = `cannot make interface ${target.ifname} in the network namespace of ${namespace.label}`;
  const request = { label: namespace.label, target };
  const { tap, descriptor } = await askHelper(namespace, request, what, timeout);
  if (tap !== undefined && descriptor >= 0) return { ...tap, fd: descriptor };
  throw new Error(`${what}: the helper sent no descriptor`);
}

/** Has something done in a namespace of ours that this process cannot enter. Throws what the helper throws. */
async function askHelper(
  namespace: Namespace,
  request: HelperRequest,
  what: string,
  timeout: number,
): Promise<{ tap: OpenTap | undefined; descriptor: number }> {
  const owner = namespace.owner();
  try {
    const own = currentUserNamespace();
    const ours = own.same(owner);
    own.close();
    if (ours && mayReturn()) {
      throw new Error(
        `${what}: it belongs to this user namespace, in which we are not root; run tapdeck as root, or make the container with \`unshare --user --map-root-user --net\``,
      );
    }
    const [socket, far] = socketPair();
    try {
      let end: string;
      try {
        sendMessage(socket, JSON.stringify(request));
        // Who may enter, but not come back, sends somebody who need not.
        end = await runHelper(far, ours ? undefined : owner.fd, namespace.fd, timeout);
      } finally {
        close(far);
      }
      // Sent before the helper ended, so it is here or never comes.
      const message = receiveMessage(socket, { wait: false });
      if (message === null) throw new Error(`${what}: ${end}`);
      const { tap, error } = JSON.parse(message.text) as HelperAnswer;
      if (error !== undefined) throw Object.assign(new Error(error.message), error);
      return { tap, descriptor: message.descriptor };
    } finally {
      close(socket);
    }
  } finally {
    owner.close();
  }
}

/**
 * Starts the helper in the namespaces and waits for its end, killing it at the timeout. Says why it ended, for
 * the case that it sent no answer.
 */
function runHelper(socket: number, user: number | undefined, net: number, timeout: number): Promise<string> {
  const helper = fileURLToPath(new URL('../device/tap-helper.js', import.meta.url));
  const entered = user === undefined ? [] : ['--user=/proc/self/fd/5', '--preserve-credentials'];
  const args = ['--net=/proc/self/fd/4', ...entered, '--'];
  return new Promise((resolve) => {
    // nsenter becomes the helper by exec, so this one process is all there is to kill.
    const child = spawn('nsenter', [...args, process.execPath, helper], {
      stdio: ['ignore', 'ignore', 'pipe', socket, net, user ?? 'ignore'],
      env: { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin' },
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeout);
    const end = (reason: string) => {
      clearTimeout(timer);
      resolve(reason);
    };
    let stderr = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(0, STDERR_LIMIT);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') end('there is no nsenter; install util-linux');
      else end(`cannot start nsenter (${error.message})`);
    });
    child.on('close', (code, signal) => {
      const how = late ? `was stopped after ${timeout} ms` : `ended with ${signal ?? `code ${code}`}`;
      const said = stderr.trim().replace(/\s*\n\s*/g, ' | ');
      end(`the helper ${how}${said === '' ? '' : `: ${said}`}`);
    });
  });
}
