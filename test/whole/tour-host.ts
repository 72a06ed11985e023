import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Sandboxes } from '../device/sandbox.ts';
import { Account } from './account.ts';

/** A host of its own with an ordinary user, 192.0.2.10, and another machine of its network, 192.0.2.20. */
export class TourHost {
  readonly account: Account;
  /** On the other machine. */
  readonly neighbor: Account;
  readonly #sandboxes = new Sandboxes();
  readonly #resolv: string;

  constructor() {
    const [host, far] = [this.#sandboxes.add('tour'), this.#sandboxes.add('far')];
    const ip = (netns: string, ...words: string[]) => execFileSync('ip', ['-n', netns, ...words]);
    ip(host, 'link', 'set', 'lo', 'up');
    ip(host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far);
    for (const [netns, address] of [
      [host, '192.0.2.10/24'],
      [far, '192.0.2.20/24'],
    ] as const) {
      ip(netns, 'addr', 'add', address, 'dev', 'eth0');
      ip(netns, 'link', 'set', 'eth0', 'up');
    }
    // `ip netns exec` puts it where programs look for it (ip-netns(8)): nobody is asked outside.
    this.#resolv = `/etc/netns/${host}`;
    mkdirSync(this.#resolv, { recursive: true });
    writeFileSync(`${this.#resolv}/resolv.conf`, 'nameserver 127.0.0.1\n');
    this.account = Account.user(host);
    this.neighbor = Account.root(far);
  }

  async close(): Promise<void> {
    try {
      await this.account.remove();
      await this.neighbor.remove();
    } finally {
      this.#sandboxes.removeAll();
      rmSync(this.#resolv, { recursive: true, force: true });
    }
  }
}
