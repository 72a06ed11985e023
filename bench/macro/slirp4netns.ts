import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { until } from './command.ts';
import type { Connected, Contender } from './contender.ts';
import { Scope } from './scope.ts';
import { SERVED_PORTS } from './served-ports.ts';
import { HOST, LOOPBACK, published, publishedPort, User } from './user.ts';

/** slirp4netns as rootless Docker and Podman start it, its ports by its own API. */
export class Slirp4netns implements Contender {
  readonly name = 'slirp4netns';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const user = await User.create('ss', this.#scope);
    const { pid, inside } = await user.container(this.#scope);
    const api = join(user.folder, 'api.sock');
    const slirp = user.start(
      ['slirp4netns', '--configure', `--mtu=${this.mtu}`, `--api-socket=${api}`, String(pid), 'tap0'],
      this.#scope,
    );
    await until(() => existsSync(api), 'slirp4netns to listen', slirp);
    for (const port of SERVED_PORTS) {
      const forward = {
        proto: 'tcp',
        host_addr: '0.0.0.0',
        host_port: publishedPort(port),
        guest_port: port,
      };
      await ask(api, { execute: 'add_hostfwd', arguments: forward });
    }
    return {
      ...{ nsA: inside, nsB: user.host, addressB: HOST },
      inward: published(user.host, inside, HOST),
      local: published(user.host, inside, LOOPBACK),
    };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}

/** One request to slirp4netns; it answers one per connection. */
function ask(api: string, request: object): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(api, () => socket.end(JSON.stringify(request)));
    socket.setEncoding('utf8').on('data', (text) => {
      answer += text;
    });
    socket.once('error', reject);
    socket.once('close', () => {
      if (answer.includes('"return"')) resolve();
      else reject(new Error(`slirp4netns: ${JSON.stringify(request)}: ${answer.trim()}`));
    });
  });
}
