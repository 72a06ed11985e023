import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Sandboxes } from '../device/sandbox.ts';
import { Account } from './account.ts';

// `tapdeck exec` in containers of each kind, as root and as an ordinary user.

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('tapdeck exec as %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  const running = async () => {
    const web = account.start(
      ...['run', '--name', 'web', '--hostname', 'shop', '--uplink', 'none', '--'],
      ...['sh', '-c', 'echo its own > /tmp/note; cd /usr; echo in; exec sleep 300'],
    );
    await web.said('in');
    return web;
  };

  it('runs a command where the container is, and passes its end on', async () => {
    await running();
    const exec = (...words: string[]) => account.tapdeck('exec', ...words);
    const seen = await exec(
      '-e',
      'COLOUR=red',
      '-it',
      'web',
      'sh',
      '-c',
      'hostname; pwd; id -u; echo $COLOUR; ip -o addr show eth0',
    );
    expect(seen.err).toBe('');
    expect(seen.out).toMatch(/^shop\n\/usr\n0\nred\n.*inet 172\.17\.0\.2\/16/);
    const rows: [string[], number][] = [
      [['web', 'sh', '-c', 'exit 7'], 7],
      [['web', '--', 'sh', '-c', 'kill -TERM $$'], 143],
      [['web', 'no-such-program'], 127],
      [['web', '/etc/passwd'], 126],
      [['nobody', 'true'], 125],
      [['web'], 125],
      [['web', '--'], 125],
      [['-e', '=x', 'web', 'true'], 125],
    ];
    const ends = await Promise.all(rows.map(([words]) => exec(...words)));
    expect(ends.map(({ code }, i) => [rows[i]![0], code])).toEqual(rows);
    expect(ends[4]!.err).toMatch(/^tapdeck: error: there is no container "?'?nobody/);
  });

  it('passes signals on', async () => {
    const web = await running();
    const sleep = account.start(
      'exec',
      'web',
      'sh',
      '-c',
      'trap "echo bye; exit 3" TERM; echo in; sleep 300 > /dev/null 2>&1 & wait',
    );
    await sleep.said('in');
    sleep.kill('SIGTERM');
    expect(await sleep.ended).toMatchObject({ code: 3, out: 'in\nbye\n' });
    web.kill('SIGTERM');
    await web.ended;
    // What an exec has left running ends with the sandbox.
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });
});

it('tapdeck exec enters the network of a namespace that was attached by its path', async () => {
  const account = Account.root();
  const sandboxes = new Sandboxes();
  try {
    const netns = sandboxes.add('exec');
    await account.daemon();
    await account.ok('attach', '--netns', `/run/netns/${netns}`, '--name', 'far');
    expect(await account.ok('exec', 'far', 'ip', '-o', 'addr', 'show', 'eth0')).toContain(
      'inet 172.17.0.2/16',
    );
  } finally {
    await account.remove();
    sandboxes.removeAll();
  }
});
