import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './c-program.ts';
import { awaitOutput, start, stop } from './command.ts';
import type { Path } from './contender.ts';
import { Namespace } from './namespace.ts';
import type { Scope } from './scope.ts';

/** `nobody`, who may do what every ordinary user may. */
const ID = 65534;

/** The host's address on a network of its own, and its router there, which leads nowhere. */
export const HOST = '192.0.2.2';
export const HOST_GATEWAY = '192.0.2.1';
export const LOOPBACK = '127.0.0.1';

/** What is published on the host: a port of the container, and this much above it on every address of the host. */
const SHIFT = 1000;

/** How the container is reached from the host, by an address of the host's. */
export function published(host: Namespace, inside: Namespace, address: string): Path {
  return { nsA: host, nsB: inside, addressB: address, shift: SHIFT };
}

/** The port of the host at which a port of the container is published. */
export function publishedPort(port: number): number {
  return port + SHIFT;
}

/**
 * An ordinary user of a host, which is a namespace with a loopback and one interface: whatever happens, what container
 * and host say to each other stays on this machine.
 */
export class User {
  readonly host: Namespace;
  /** A folder of the user's own. */
  readonly folder: string;
  /** The top folder of the checkout as the user sees it: the real one may lie where others cannot go. */
  readonly program: string;

  private constructor(host: Namespace, folder: string) {
    this.host = host;
    this.folder = folder;
    this.program = join(folder, 'program');
  }

  /** Makes host and user, who go when `scope` closes. */
  static async create(purpose: string, scope: Scope): Promise<User> {
    const folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-'));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const host = await Namespace.create(purpose, scope);
    const user = new User(host, folder);
    await mkdir(user.program);
    await chmod(folder, 0o755);
    await chown(folder, ID, ID);
    const outside = await Namespace.create(`${purpose}o`, scope);
    await host.ip(`link add up0 type veth peer name eth0 netns ${outside.name}`);
    for (const [namespace, name, address] of [
      [host, 'up0', HOST] as const,
      [outside, 'eth0', HOST_GATEWAY] as const,
    ]) {
      await namespace.ip(`addr add ${address}/24 dev ${name}`);
      await namespace.ip(`link set ${name} up`);
    }
    await host.ip(`route add default via ${HOST_GATEWAY}`);
    return user;
  }

  /** Starts a program as the user, with /dev/net/tun as udev makes it for everybody; it ends when `scope` closes. */
  start(argv: readonly string[], scope: Scope) {
    const steps = [
      'mount -t tmpfs none /dev/net',
      'mknod -m 666 /dev/net/tun c 10 200',
      `mount --bind ${ROOT} ${this.program}`,
      'exec "$@"',
    ];
    const child = start(
      this.host.inside([
        ...['unshare', '--mount', 'sh', '-c', steps.join(' && '), 'sh'],
        ...['setpriv', `--reuid=${ID}`, `--regid=${ID}`, '--clear-groups', '--'],
        ...['env', `XDG_RUNTIME_DIR=${this.folder}`, `HOME=${this.folder}`, ...argv],
      ]),
      { cwd: this.folder },
    );
    scope.defer(() => stop(child));
    return child;
  }

  /** A container without a way out: namespaces of the user's own, which go when `scope` closes. */
  async container(scope: Scope): Promise<{ pid: number; inside: Namespace }> {
    const child = this.start(['unshare', '--user', '--map-root-user', '--net', ...SLEEPER], scope);
    const pid = await sleeperPid(child);
    return { pid, inside: await Namespace.of(pid) };
  }
}

/** A program that tells its pid and does nothing. */
export const SLEEPER = ['sh', '-c', 'echo "pid $$."; exec sleep infinity'];

/** The pid that a {@link SLEEPER} tells. */
export async function sleeperPid(child: ReturnType<User['start']>): Promise<number> {
  const said = await awaitOutput(child, '.\n');
  return Number(/pid (\d+)\.\n/.exec(said)?.[1]);
}
