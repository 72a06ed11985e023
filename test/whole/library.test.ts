import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Account } from './account.ts';

// What a program does with `import … from 'tapdeck'`.

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('the library as %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  async function program(text: string) {
    const file = join(account.folder, 'program.mjs');
    writeFileSync(file, text.replaceAll("'tapdeck'", `'${account.program}/dist/src/index.js'`));
    return account.spawn([process.execPath, file]).ended;
  }

  it('opens a deck, attaches a sandbox, and leaves nothing', async () => {
    const { code, out, err } = await program(`
      import { Deck, Sandbox } from 'tapdeck';
      const deck = await Deck.open();
      const sandbox = await Sandbox.start({ command: ['ping', '-c', '1', '172.17.0.1'], stdio: ['ignore', 'pipe', 'pipe'] });
      const { name, ipv4 } = await deck.attach({ pid: sandbox.pid, name: 'pinger' });
      sandbox.go();
      let said = '';
      sandbox.stdout.setEncoding('utf8').on('data', (text) => { said += text; });
      const { exitCode } = await sandbox.ended;
      const { ledger } = await deck.counters();
      await sandbox.close();
      await deck.close();
      console.log(JSON.stringify({ name, ipv4, exitCode, balanced: ledger.balanced, received: / 1 received/.test(said) }));
    `);
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toEqual({
      name: 'pinger',
      ipv4: '172.17.0.2',
      exitCode: 0,
      balanced: true,
      received: true,
    });
    expect(account.leftovers()).toEqual([]);
  });

  it("runs the README's example", async () => {
    const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
    const example = /^```js\n(import [\s\S]*?)^```$/m.exec(readme)?.[1];
    const { code, out, err } = await program(example!);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('1 received, 0% packet loss');
    expect(out).toMatch(/{ exitCode: 0, balanced: true }\n$/);
    expect(account.leftovers()).toEqual([]);
  });

  it('gives up a TAP that no port came of, and goes on', async () => {
    const { code, out, err } = await program(`
      import { readdirSync } from 'node:fs';
      import { Deck, Sandbox } from 'tapdeck';
      const deck = await Deck.open();
      const sandbox = await Sandbox.start({ command: ['sleep', '300'] });
      let refusal;
      await deck.attach({ pid: sandbox.pid, faults: 'nonsense=1' }).catch((error) => { refusal = error; });
      // The same interface again: the first one must have gone.
      let again;
      for (let i = 0; i < 1000 && !again; i++) {
        again = await deck.attach({ pid: sandbox.pid, name: 'x' }).catch(() => new Promise((resolve) => setTimeout(resolve, 20)));
      }
      console.log(JSON.stringify({ name: refusal.name, message: refusal.message, again }));
      await sandbox.close();
      await deck.close();
    `);
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toMatchObject({
      name: 'DeckError',
      message: expect.stringContaining('nonsense'),
      again: { name: 'x', ifname: 'eth0', ipv4: '172.17.0.2' },
    });
    expect(account.leftovers()).toEqual([]);
  });

  it('tells when the data plane has failed, and closes the TAPs', async () => {
    const { code, out, err } = await program(`
      import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
      import { once } from 'node:events';
      import { Deck, Sandbox } from 'tapdeck';
      const all = () => readdirSync('/proc/self/fd').flatMap((fd) => {
        try { return [[Number(fd), readlinkSync('/proc/self/fd/' + fd)]]; } catch { return []; }
      });
      const taps = () => all().filter(([, link]) => link.includes('net/tun')).length;
      const log = [];
      const deck = await Deck.open({ log: (level, message) => log.push(level + ' ' + message) });
      const sandbox = await Sandbox.start({ command: ['sleep', '300'] });
      await deck.attach({ pid: sandbox.pid });
      const before = taps();
      // The descriptor on which the data plane waits: it alone knows a tag of 32 ones.
      const [[epoll]] = all().filter(([fd, link]) =>
        link.includes('eventpoll') && /data: +ffffffff /.test(readFileSync('/proc/self/fdinfo/' + fd, 'utf8')));
      closeSync(epoll);
      const end = once(deck.events, 'end');
      deck.counters().catch(() => {});
      const [error] = await end;
      const refusal = await deck.counters().catch((error) => error);
      const endpoints = deck.endpoints().length;
      await sandbox.close();
      await deck.close();
      console.log(JSON.stringify({ before, after: taps(), endpoints, log, error: error.message, refusal: refusal.message }));
    `);
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toMatchObject({
      before: 1,
      after: 0,
      endpoints: 0,
      log: [expect.stringContaining('error the data plane has failed: ')],
      error: expect.stringContaining('EBADF'),
      refusal: expect.stringContaining('EBADF'),
    });
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });

  it('ends its sandboxes when the program dies', async () => {
    const { code } = await program(`
      import { Sandbox } from 'tapdeck';
      const sandbox = await Sandbox.start({ command: ['sleep', '300'] });
      sandbox.go();
      process.kill(process.pid, 'SIGKILL');
    `);
    expect(code).toBe(137);
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });
});
