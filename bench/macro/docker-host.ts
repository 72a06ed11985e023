import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from './c-program.ts';
import { awaitOutput, run, start, stop } from './command.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

const PROGRAM = join(ROOT, 'dist', 'src', 'main.js');
const IMAGE = 'image';
const START_TIMEOUT = 60_000;
/** Docker looks for plugins nowhere else. */
const PLUGINS = '/run/docker/plugins';

/** A Docker Engine at its defaults in a network namespace of its own, with tapdeck as one of its network drivers. */
export class DockerHost {
  readonly #scope = new Scope();
  #started: Promise<void> | undefined;
  #folder = '';
  /** The name of tapdeck's driver: that of the namespace, which nobody else has. */
  driver = '';

  /** Starts both daemons and makes the image; once, whoever asks. */
  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const host = await Namespace.create('dk', this.#scope);
    this.driver = host.name;
    this.#folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-docker-'));
    this.#scope.defer(() => rm(this.#folder, { recursive: true, force: true }));
    this.#scope.defer(() => this.#unmount());
    const begin = async (argv: readonly string[], ready: string) => {
      const child = start(['sh', '-c', 'exec "$@" 2>&1', 'sh', ...argv], {
        env: { ...process.env, XDG_RUNTIME_DIR: this.#folder },
      });
      this.#scope.defer(() => stop(child));
      await awaitOutput(child, ready, START_TIMEOUT);
      child.stdout?.resume();
    };
    const plugin = `--docker-plugin=${PLUGINS}/${this.driver}.sock`;
    const deck = [process.execPath, PROGRAM, '--host', `unix://${this.#path('deck.sock')}`, 'daemon'];
    await begin(host.inside([...deck, '--uplink', 'none', plugin]), 'daemon ready');
    const containerd = this.#path('containerd.sock');
    const state = ['--root', this.#path('containerd'), '--state', this.#path('containerd-state')];
    await begin(['containerd', ...state, '--address', containerd], 'containerd successfully booted');
    const folders = ['--data-root', this.#path('data'), '--exec-root', this.#path('exec')];
    const rest = ['-p', this.#path('pid'), '--containerd', containerd, '--storage-driver', 'vfs'];
    await begin(host.inside(['dockerd', '-H', this.#address, ...folders, ...rest]), 'API listen on');
    await this.#makeImage();
    await this.docker('network', 'create', '-d', this.driver, '--subnet', '10.77.0.0/24', 'deck');
  }

  /** A container that sleeps in a network, until dockerd ends; answers its namespace and its address. */
  async run(network: string): Promise<{ namespace: Namespace; address: string }> {
    const id = await this.docker(
      'run',
      '-d',
      '--stop-signal',
      'KILL',
      '--network',
      network,
      IMAGE,
      'sleep',
      '100000',
    );
    const format = '{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const [pid, address] = (await this.docker('inspect', '-f', format, id)).split(' ');
    return { namespace: await Namespace.of(Number(pid)), address: address! };
  }

  /** `docker WORDS`; answers what it printed. */
  async docker(...words: string[]): Promise<string> {
    return (await run(['docker', '-H', this.#address, ...words], 60_000)).trim();
  }

  close(): Promise<void> {
    return this.#scope.close();
  }

  get #address(): string {
    return `unix://${this.#path('docker.sock')}`;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** An image of busybox and the libraries that it needs. */
  async #makeImage(): Promise<void> {
    const root = this.#path('root');
    const busybox = (await run(['sh', '-c', 'command -v busybox'])).trim();
    const said = await run(['sh', '-c', `ldd ${busybox} || true`]);
    const libraries = Array.from(said.matchAll(/(\/\S+) \(0x/g), ([, library]) => library!);
    const copies = [...libraries.map((path) => [path, path] as const), [busybox, '/bin/busybox'] as const];
    for (const [from, to] of copies) {
      await mkdir(dirname(join(root, to)), { recursive: true });
      await copyFile(from, join(root, to));
    }
    await symlink('busybox', join(root, 'bin', 'sleep'));
    const archive = this.#path('image.tar');
    await run(['tar', '-C', root, '-cf', archive, '.']);
    await this.docker('import', archive, IMAGE);
  }

  /** What dockerd has left mounted. */
  async #unmount(): Promise<void> {
    const mounts = (await readFile('/proc/mounts', 'utf8'))
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '');
    for (const path of mounts.reverse()) {
      if (path.startsWith(this.#folder)) await run(['umount', '-l', path]);
    }
  }
}
