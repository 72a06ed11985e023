import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sandboxes } from '../device/sandbox.ts';
import { Account, type Outcome, type Running } from '../whole/account.ts';
import { makeImage } from './image.ts';

/**
 * A Docker Engine in a network and mount namespace of its own, with all that it keeps in a temporary folder, and a tapdeck
 * beside it. Nothing is downloaded: the image is made of programs of this machine.
 */
export class DockerEngine {
  readonly account: Account;
  /** The host's network namespace, for both. */
  readonly netns: string;
  readonly #sandboxes = new Sandboxes();
  readonly #folder = mkdtempSync(join(tmpdir(), 'td-docker-'));
  #dockerd: Running | undefined;
  #daemon: Running | undefined;
  #containerd: Running | undefined;

  constructor() {
    this.netns = this.#sandboxes.add('docker');
    execFileSync('ip', ['-n', this.netns, 'link', 'set', 'lo', 'up']);
    this.account = Account.root();
  }

  get daemon(): Running {
    return this.#daemon!;
  }

  get dockerd(): Running {
    return this.#dockerd!;
  }

  /** Where dockerd finds the plugin: a name that no other run has, under the one folder in which it looks. */
  get driver(): string {
    return this.netns;
  }

  async startDaemon(): Promise<void> {
    // As in `Account.daemon`, but in the namespace of dockerd, where interfaces are handed over.
    this.#daemon = this.account.spawn([
      ...['nsenter', `--net=/run/netns/${this.netns}`, '--', 'env', `DOCKER_HOST=${this.#host}`],
      ...[process.execPath, join(this.account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'socket'],
      `--docker-plugin=/run/docker/plugins/${this.driver}.sock`,
    ]);
    await this.#daemon.said('daemon ready');
  }

  /**
   * Starts dockerd, and containerd before it.
   * @param liveRestore whether containers go on when dockerd ends
   */
  async startDockerd(liveRestore = true): Promise<void> {
    const folder = (name: string) => {
      const path = join(this.#folder, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    const containerd = join(this.#folder, 'containerd.sock');
    if (!this.#containerd) {
      this.#containerd = this.account.spawn([
        ...['containerd', '--root', folder('containerd'), '--state', folder('containerd-state')],
        ...['--address', containerd],
      ]);
      await this.#containerd.said('containerd successfully booted');
    }
    this.#dockerd = this.account.spawn([
      ...['nsenter', `--net=/run/netns/${this.netns}`, '--', 'dockerd', '-H', this.#host],
      ...[
        '--data-root',
        folder('data'),
        '--exec-root',
        folder('exec'),
        '-p',
        join(this.#folder, 'docker.pid'),
      ],
      ...['--storage-driver', 'vfs', '--iptables=false', '--ip6tables=false', '--bridge', 'none'],
      ...['--containerd', containerd, `--live-restore=${liveRestore}`],
    ]);
    await this.#dockerd.said('API listen on');
  }

  /** Ends dockerd as a service manager does. */
  async stopDockerd(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { dockerd } = this;
    dockerd.kill(signal);
    await dockerd.ended;
  }

  async stopDaemon(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { daemon } = this;
    daemon.kill(signal);
    await daemon.ended;
  }

  /** `docker WORDS`, to its end. */
  docker(...words: string[]): Promise<Outcome> {
    return this.account.spawn(['docker', '-H', this.#host, ...words]).ended;
  }

  /** `docker WORDS` that must succeed; answers what it printed. */
  async ok(...words: string[]): Promise<string> {
    const { code, out, err } = await this.docker(...words);
    if (code !== 0) throw new Error(`docker ${words.join(' ')} ended with ${code}: ${out}${err}`);
    return out.trim();
  }

  /** `docker-compose WORDS` for project `shop` in a folder; it must succeed. */
  async compose(folder: string, ...words: string[]): Promise<void> {
    const argv = ['docker-compose', '-H', this.#host, '--project-directory', folder, '-p', 'shop'];
    const file = join(folder, 'docker-compose.yml');
    const { code, out, err } = await this.account.spawn([...argv, '-f', file, ...words]).ended;
    if (code !== 0) throw new Error(`docker-compose ${words.join(' ')} ended with ${code}: ${out}${err}`);
  }

  /** Runs a container that sleeps. */
  run(name: string, ...options: string[]): Promise<string> {
    return this.ok(
      'run',
      '-d',
      '--stop-signal',
      'KILL',
      '--name',
      name,
      ...options,
      'image',
      'sleep',
      '1000',
    );
  }

  /** Runs a command on the host of the containers. */
  onHost(...command: string[]): Promise<Outcome> {
    return this.account.spawn(['ip', 'netns', 'exec', this.netns, ...command]).ended;
  }

  /** A namespace that is joined to the host's by a line: the host is 192.0.2.1 there, and it is 192.0.2.2 itself. */
  neighbor(): string {
    const netns = this.#sandboxes.add('neighbor');
    const ip = (...words: string[]) => execFileSync('ip', words);
    ip('-n', this.netns, 'link', 'add', 'line', 'type', 'veth', 'peer', 'name', 'line', 'netns', netns);
    for (const [name, address] of [
      [this.netns, '192.0.2.1/24'],
      [netns, '192.0.2.2/24'],
    ] as const) {
      ip('-n', name, 'address', 'add', address, 'dev', 'line');
      ip('-n', name, 'link', 'set', 'line', 'up');
    }
    return netns;
  }

  removeNeighbor(netns: string): void {
    this.#sandboxes.remove(netns);
  }

  /** Makes image `image`. */
  async makeImage(): Promise<void> {
    const archive = makeImage(this.#folder);
    await this.ok('import', archive, 'image');
  }

  /** Interfaces on the host of the containers besides `lo`. */
  async interfaces(): Promise<string[]> {
    const { out } = await this.onHost('ip', '-j', 'link');
    return (JSON.parse(out) as { ifname: string }[])
      .map(({ ifname }) => ifname)
      .filter((name) => name !== 'lo');
  }

  async close(): Promise<void> {
    try {
      // In order: containers end with dockerd, and their mounts with them.
      for (const running of [this.#dockerd, this.#containerd, this.#daemon]) {
        if (running && running.child.exitCode === null && running.child.signalCode === null) {
          running.kill('SIGTERM');
          await running.ended;
        }
      }
    } finally {
      await this.account.remove();
      this.#unmount();
      rmSync(this.#folder, { recursive: true, force: true });
      rmSync(`/run/docker/plugins/${this.driver}.sock`, { force: true });
      this.#sandboxes.removeAll();
    }
  }

  /** What a dockerd that was killed has left mounted. */
  #unmount(): void {
    const mounts = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(this.#folder));
    for (const path of mounts.reverse()) execFileSync('umount', ['-l', path]);
  }

  get #host(): string {
    return `unix://${join(this.#folder, 'docker.sock')}`;
  }
}
