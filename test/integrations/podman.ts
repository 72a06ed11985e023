import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Outcome } from '../whole/account.ts';
import type { EngineHost } from './engine-host.ts';
import { makeImage } from './image.ts';

/** How a Podman of a test is configured (containers.conf(5)); all it keeps is below a folder. */
export interface PodmanOptions {
  folder: string;
  /** Folder of network configurations, and of plugins in front of Debian's. */
  networks: string;
  plugins: string;
  /** Folder of hooks. */
  hooks: string;
}

/**
 * containers.conf of a Podman that needs no service manager, and no more limits than the test has itself. Podman is not to
 * listen at published ports to keep others away: they are tapdeck's.
 */
export function containersConf({ networks, plugins, hooks }: PodmanOptions): string {
  return `[network]
network_backend = "cni"
network_config_dir = "${networks}"
cni_plugin_dirs = ["${plugins}", "/usr/lib/cni"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
enable_port_reservation = false
hooks_dir = ["${hooks}"]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`;
}

/** Podman as root on a host of its own. */
export class Podman {
  readonly host: EngineHost;
  readonly options: PodmanOptions;

  constructor(host: EngineHost) {
    this.host = host;
    this.options = {
      folder: host.path('podman'),
      networks: host.path('networks'),
      plugins: host.path('plugins'),
      hooks: host.path('hooks'),
    };
    writeFileSync(this.#conf, containersConf(this.options));
  }

  async makeImage(): Promise<void> {
    await this.ok('import', makeImage(this.host.path('image')), 'image');
  }

  /** `podman WORDS`, to its end. */
  podman(...words: string[]): Promise<Outcome> {
    const { folder } = this.options;
    return this.host.run(
      ...['env', `CONTAINERS_CONF=${this.#conf}`, 'podman', '--storage-driver', 'vfs'],
      ...['--root', join(folder, 'root'), '--runroot', join(folder, 'run'), '--tmpdir', join(folder, 'tmp')],
      ...words,
    );
  }

  /** `podman WORDS` that must succeed; answers what it printed. */
  async ok(...words: string[]): Promise<string> {
    const { code, out, err } = await this.podman(...words);
    if (code !== 0) throw new Error(`podman ${words.join(' ')} ended with ${code}: ${out}${err}`);
    return out.trim();
  }

  /** Runs a container that sleeps. */
  run(name: string, ...options: string[]): Promise<string> {
    return this.ok('run', '-d', '--name', name, ...options, 'image', 'sleep', '1000');
  }

  /** Removes all containers. */
  async removeAll(): Promise<void> {
    await this.ok('rm', '-f', '-a', '-t', '0');
  }

  get #conf(): string {
    return join(this.options.folder, 'containers.conf');
  }
}
