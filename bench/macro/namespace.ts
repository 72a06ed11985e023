import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { finish, run, start } from './command.ts';
import type { Scope } from './scope.ts';

/** A network namespace of the bench's own; nothing in it is connected to the machine's own network. */
export class Namespace {
  readonly name: string;
  /** Where `setns` and `nsenter` find it. */
  readonly path: string;

  private constructor(name: string, path = `/run/netns/${name}`) {
    this.name = name;
    this.path = path;
  }

  /** Makes a namespace under a name that nobody else has; it goes when `scope` closes. */
  static async create(purpose: string, scope: Scope): Promise<Namespace> {
    const namespace = new Namespace(`tdbench-${purpose}-${randomBytes(3).toString('hex')}`);
    await run(['ip', 'netns', 'add', namespace.name]);
    scope.defer(() => run(['ip', 'netns', 'del', namespace.name]));
    await namespace.ip('link set lo up');
    await namespace.#prepare();
    return namespace;
  }

  /** Makes many at once, in which nothing is set up: for those that only have to be there. */
  static async createMany(purpose: string, count: number, scope: Scope): Promise<Namespace[]> {
    const prefix = `tdbench-${purpose}-${randomBytes(3).toString('hex')}`;
    const all = Array.from({ length: count }, (_, index) => new Namespace(`${prefix}-${index}`));
    // `-force`: one that is not there is no reason to leave the others.
    scope.defer(() =>
      batch(
        all.map(({ name }) => `netns del ${name}`),
        ['-force'],
      ),
    );
    await batch(all.map(({ name }) => `netns add ${name}`));
    return all;
  }

  /** That of a program, which has one of its own; it goes when the program ends. */
  static async of(pid: number): Promise<Namespace> {
    const namespace = new Namespace(`pid-${pid}`, `/proc/${pid}/ns/net`);
    await namespace.ip('link set lo up');
    await namespace.#prepare();
    return namespace;
  }

  async #prepare(): Promise<void> {
    // A namespace inherits the host's congestion control, and iperf3 chooses its own only when it is connected. BBR has
    // switched pacing on by then, which stays: on a host whose default is BBR, a "cubic" connection is paced, and the
    // kernel bridge moves a third of what it moves for a real one. Reno does not pace, and may be set in any namespace.
    //
    // A port of a client that has closed first is not its own again for a minute: after 28,000 connections there is none left,
    // and whoever was fast is measured by how long its client looks for one. Here ports come back after a second, to all.
    const settings = {
      tcp_congestion_control: 'reno',
      tcp_tw_reuse: '1',
      ip_local_port_range: '10000 65535',
    };
    const lines = Object.entries(settings).map(([name, value]) => `echo ${value} > ${name}`);
    await this.run(['sh', '-c', `cd /proc/sys/net/ipv4 && ${lines.join(' && ')}`]);
  }

  /** The command line that runs `argv` inside. */
  inside(argv: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, '--', ...argv];
  }

  run(argv: readonly string[], limit?: number): Promise<string> {
    return run(this.inside(argv), limit);
  }

  start(argv: readonly string[]): ChildProcess {
    return start(this.inside(argv));
  }

  /** One `ip` command inside, as it is written in a shell. */
  ip(command: string): Promise<string> {
    return this.run(['ip', ...command.split(' ')]);
  }
}

/** Many commands of `ip` in one process. */
async function batch(lines: readonly string[], options: readonly string[] = []): Promise<void> {
  const argv = ['ip', ...options, '-batch', '-'];
  const child = start(argv);
  const finished = finish(child, argv, 60_000);
  child.stdin?.end(lines.map((line) => `${line}\n`).join(''));
  await finished;
}
