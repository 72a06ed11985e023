import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Sandboxes } from '../device/sandbox.ts';
import { Account } from './account.ts';
import { masked, type Step, stepsOf, Terminals } from './tour.ts';

// What docs/tour.md tells, typed as an ordinary user on a host of its own: every command must print what stands there.
// With `TAPDECK_TOUR=write` the document gets what was printed instead.

const FILE = new URL('../../docs/tour.md', import.meta.url);
const WRITE = process.env['TAPDECK_TOUR'] === 'write';
const document = readFileSync(FILE, 'utf8');

const sandboxes = new Sandboxes();
let account: Account;
/** On another machine of the host's network. */
let neighbor: Account;
let terminals: Terminals;
let resolv: string | undefined;
const printed = new Map<Step, string>();

beforeAll(() => {
  const [host, far] = [sandboxes.add('tour'), sandboxes.add('far')];
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
  resolv = `/etc/netns/${host}`;
  mkdirSync(resolv, { recursive: true });
  writeFileSync(`${resolv}/resolv.conf`, 'nameserver 127.0.0.1\n');
  account = Account.user(host);
  terminals = new Terminals(account);
  neighbor = Account.root(far);
  terminals.open('far', neighbor.spawn(['bash']));
});
afterAll(async () => {
  if (WRITE) writeFileSync(FILE, rewritten());
  try {
    await account?.remove();
    await neighbor?.remove();
  } finally {
    sandboxes.removeAll();
    if (resolv) rmSync(resolv, { recursive: true, force: true });
  }
});

describe('docs/tour.md', () => {
  for (const [section, steps] of stepsOf(document)) {
    it(section, async () => {
      for (const step of steps) {
        const output = await terminals.type(step);
        printed.set(step, output);
        const where = `docs/tour.md:${step.line}: ${step.command}`;
        if (!WRITE) expect(masked(output), where).toBe(masked(step.output));
      }
    });
  }

  it('leaves nothing', async () => {
    await terminals.close();
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });
});

/** The document with what was printed in place of what stood there. */
function rewritten(): string {
  const lines = document.split('\n');
  for (const [step, output] of [...printed].reverse()) {
    const old = step.output === '' ? 0 : step.output.split('\n').length;
    const text = output
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`.trimEnd());
    lines.splice(step.line, old, ...(output === '' ? [] : text));
  }
  return lines.join('\n');
}
