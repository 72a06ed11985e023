import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RecordingEnded } from '../../src/control/recording-schema.ts';
import { FAR, HOST, HostWorld } from './forwarding.ts';

// Real traffic, written down while it flows, and played without any of it: the same frames and tables.

/** Bytes of the larger exchanges; `npm run test:recording` has more, and tries another Node. */
const BYTES = Number(process.env.TAPDECK_RECORDING ?? 2_000_000);
const OTHER_NODE = process.env.TAPDECK_OTHER_NODE;
const GATEWAY = '172.17.0.1';
const PACKET_UPLINK = 'tap:td0,addr=192.0.2.2/24,addr=2001:db8::2/64';

interface Replayed {
  verified: boolean | null;
  received: number;
  sent: number;
  frames: string;
  tables: string;
  now: number;
  packet: number | null;
  problem: string | null;
  state?: { conntrack: { dnat: boolean }[]; fdb: { endpoint: string; network: string }[] };
}

let world: HostWorld;
let web: string;

beforeAll(async () => {
  world = new HostWorld();
  await world.account.daemon('--uplink', 'socket', '--uplink', PACKET_UPLINK, '--record', file('start'));
  await world.client.post('/v1/networks', {
    name: 'routed',
    options: { 'tapdeck.uplink': 'td0' },
  });
  web = await world.attach('web', '-p', '8080:80');
  await world.serve(web, 80, 5001);
  await world.serve(world.far, 7000);
  await world.serve(world.host, 7000);
});
afterAll(() => world.close());

function file(name: string): string {
  return join(world.account.folder, `${name}.tdr`);
}

async function replay(path: string, ...options: string[]): Promise<Replayed> {
  const text = await world.account.ok('replay', path, '--format', 'json', ...options);
  return (JSON.parse(text) as Replayed[])[0]!;
}

/** Names, published ports, other hosts, translation on both kinds of uplink, and containers that come and go. */
async function traffic(guest: string): Promise<void> {
  const client = await world.attach(guest);
  const routed = await world.attach(`${guest}-routed`, '--network', 'routed');
  const address = (await world.run(client, 'dig', '+short', `@${GATEWAY}`, 'web')).out.trim();
  expect(address).toBe('172.17.0.2');
  expect((await world.run(client, 'dig', '+tcp', '+short', `@${GATEWAY}`, 'web')).out.trim()).toBe(address);
  await world.exchange(client, 'tcp', address, 80, BYTES);
  await world.exchange(client, 'udp', address, 5001, 1000);
  for (const version of [4, 6] as const) {
    await world.exchange(client, 'tcp', FAR[version], 7000, BYTES);
    await world.exchange(client, 'udp', FAR[version], 7000, 1000);
    await world.exchange(world.far, 'tcp', HOST[version], 8080, BYTES);
  }
  await world.exchange(routed, 'tcp', '192.0.2.1', 7000, BYTES);
  await world.exchange(routed, 'udp', '192.0.2.1', 7000, 1000);
  const { code } = await world.run(client, 'ping', '-c', '2', '-i', '0.2', FAR[4]);
  expect(code).toBe(0);
  await world.account.ok('detach', guest);
  world.removeSandbox(client);
  await world.exchange(world.far, 'tcp', HOST[4], 8080, 1000);
}

describe('a recording', () => {
  it('that began with the daemon is played to the same frames and tables, twice', async () => {
    await traffic('early');
    const ended = await world.client.delete<RecordingEnded>('/v1/recording');
    expect(ended).toMatchObject({ problem: null });
    expect(statSync(file('start')).mode & 0o777).toBe(0o600);
    const played = await replay(file('start'), '--verify');
    expect(played).toMatchObject({ verified: true, received: ended.received, sent: ended.sent });
    expect(played.frames).toBe(ended.frames);
    expect(played.tables).toBe(ended.tables);
    expect(await replay(file('start'), '--verify')).toEqual(played);
  });

  it('that began on a running deck goes on with the connections that stood', async () => {
    // One that begins before the recording and ends in it.
    const lasting = world.start(web, 'ping', '-i', '0.05', '-c', '60', FAR[4]);
    await lasting.said('icmp_seq=5');
    const recorder = world.account.start('record', '-w', file('middle'));
    await recorder.said('recording to');
    await traffic('late');
    await lasting.said('icmp_seq=40');
    recorder.kill('SIGINT');
    const { code, err } = await recorder.ended;
    expect(err).toMatch(/recorded .* frames in and .* out/);
    expect(code).toBe(0);
    lasting.kill('SIGKILL');
    await lasting.ended;
    const played = await replay(file('middle'), '--verify');
    expect(played.verified).toBe(true);
    expect(await replay(file('middle'), '--verify')).toEqual(played);
  });

  it('stops at a time and behind a packet, and shows the tables as they were', async () => {
    const whole = await replay(file('start'));
    const half = await replay(file('start'), '--at', `${whole.now / 2}ms`);
    expect(half.verified).toBeNull();
    expect(half.now).toBeCloseTo(whole.now / 2);
    expect(half.state!.fdb.map(({ endpoint }) => endpoint)).toContain('web eth0');
    const there = await replay(file('start'), '--packet', String(half.packet));
    expect(there.packet).toBe(half.packet);
    expect(there.received).toBe(half.received);
    const none = await world.account.tapdeck('replay', file('start'), '--packet', '4000000000');
    expect(none.err).toContain('there is no packet 4000000000');
    const written = await world.account.tapdeck('replay', file('start'), '-w', file('out.pcapng'));
    expect(written).toMatchObject({ code: 2, err: expect.stringContaining('-w is not for recordings') });
  });

  it('is walked through by lines where there is no terminal', async () => {
    const walk = world.account.start('replay', file('start'), '--step');
    walk.child.stdin!.end('\nnext 40\npacket 45\nfdb\nnonsense\n?\nquit\n');
    const { code, out } = await walk.ended;
    expect(code).toBe(0);
    expect(out).toContain('addPort');
    expect(out).toContain('dev web eth0 master bridge static');
    expect(out).toContain('there is no "nonsense" here; help says what there is');
    expect(out).toContain('the next packet');
  });

  it('that was cut is played as far as it goes, and says where it ends', async () => {
    const bytes = readFileSync(file('middle'));
    const path = file('cut');
    writeFileSync(path, bytes);
    truncateSync(path, bytes.length - 100);
    const { code, out, err } = await world.account.tapdeck('replay', path, '--format', 'json');
    expect(code).toBe(0);
    expect(err).toMatch(/cut\.tdr: byte \d+: it ends in the middle of a record/);
    const [played] = JSON.parse(out) as Replayed[];
    const whole = await replay(file('middle'));
    expect(played).toMatchObject({ verified: null, received: whole.received, frames: whole.frames });
  });

  it('is one at a time', async () => {
    const recorder = world.account.start('record', '-w', file('first'), '-q', '--duration', '1h');
    const size = () => statSync(file('first'), { throwIfNoEntry: false })?.size ?? 0;
    await expect.poll(size, { timeout: 20_000 }).toBeGreaterThan(0);
    const second = await world.account.tapdeck('record', '-w', file('second'));
    expect(second.err).toContain('a recording is running already');
    recorder.kill('SIGTERM');
    expect((await recorder.ended).code).toBe(0);
  });

  // A test of the slow form alone.
  if (OTHER_NODE !== undefined) {
    it('is played to the same by another Node', { timeout: 300_000 }, async () => {
      const played = await replay(file('start'), '--verify');
      const words = [...OTHER_NODE.split(' '), `${world.account.program}/dist/src/main.js`];
      const other = world.account.spawn([...words, 'replay', file('start'), '--verify', '--format', 'json']);
      const { out, err } = await other.ended;
      expect(err).toBe('');
      expect((JSON.parse(out) as Replayed[])[0]).toEqual(played);
    });
  }
});
