import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from './account.ts';
import { type Host, Lab } from './lab.ts';

// One namespace does what it can to fill the deck; the others must not lose a packet by it.

let lab: Lab;
let noisy: Host;
let target: Host;
let a: Host;
let b: Host;
beforeAll(async () => {
  lab = new Lab();
  await lab.open();
  await lab.network('other', '--subnet', '10.96.0.0/24', '--ipv6', '--mtu', '1500');
  // Networks are isolated; that others are not disturbed is to be seen between them, too.
  await lab.client.post('/v1/rules/user', { action: 'ACCEPT' });
  noisy = await lab.attach('noisy');
  target = await lab.attach('target');
  a = await lab.attach('a');
  b = await lab.attach('b', '--network', 'other');
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

describe('while one floods', () => {
  it.each([
    ['another', 2, () => target.ipv4],
    ['the gateway', 1, () => a.gateway.ipv6],
    ['everybody', 1, () => 'ff02::1%eth0'],
    // The gateway asks for a host that is not there, and some frames wait for its answer.
    ['nobody', 1, () => '10.96.0.77'],
  ])('%s with frames of 64 bytes, no ping of others is lost', async (_, seconds, to) => {
    const before = (await lab.counters()).ledger.received;
    const received = async () => (await lab.counters()).ledger.received - before;
    const flood = await noisy.servePeer('flood', to(), '9', '60');
    const lost = await Promise.all([
      a.lostPings(target.ipv4, seconds * 45),
      a.lostPings(a.gateway.ipv6, seconds * 45),
      b.lostPings(a.ipv6, seconds * 45),
    ]);
    expect(lost).toEqual([[], [], []]);
    // It was a flood.
    await until(async () => (await received()) > 10_000, 'it has flooded');
    flood.kill('SIGKILL');
    await flood.ended;
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });
});
