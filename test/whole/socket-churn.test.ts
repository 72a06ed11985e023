import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Running, until } from './account.ts';
import { FAR, HOST, HostWorld } from './forwarding.ts';

// Connections through uplink socket that come and go by the thousand: none fails, and no descriptor, socket or flow is left
// of them. `npm run test:churn:sockets` makes it 200,000.

const COUNT = Number(process.env.TAPDECK_CHURN ?? 4_000);
const PARALLEL = 100;
const TIMEOUT = 120_000 + COUNT;

let world: HostWorld;
let pid: number;
let inside: string;
let program: string;
let server: Running;

beforeAll(async () => {
  world = new HostWorld();
  // A second after the last word, not four minutes: more connections than the table holds.
  const short = ['--timeout', 'tcp-closing=1', '--timeout', 'tcp-reset=1'];
  pid = (await world.account.daemon('--uplink', 'socket', ...short)).pid;
  inside = await world.attach('web', '-p', '8080:80');
  program = join(world.account.folder, 'churn');
  execFileSync('gcc', ['-O2', '-o', program, fileURLToPath(new URL('churn.c', import.meta.url))]);
  for (const netns of [inside, world.host, world.far]) {
    // Each has fewer ports than there are connections: who closes first has to use his again before a minute is over.
    const settings = [
      'net.ipv4.ip_local_port_range=1024 65535',
      'net.ipv4.tcp_tw_reuse=1',
      'net.core.somaxconn=4096',
    ];
    execFileSync('ip', ['netns', 'exec', netns, 'sysctl', '-qw', ...settings]);
  }
});
afterEach(async () => {
  server.kill('SIGKILL');
  await server.ended;
});
afterAll(() => world.close());

function descriptors(): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

async function flows(): Promise<number> {
  return Number(await world.account.ok('conntrack', '-C'));
}

it.each([
  ['out of a container', 'client', COUNT],
  ['out of a container', 'server', COUNT >> 2],
  ['to a published port', 'client', COUNT >> 2],
  ['to a published port', 'server', COUNT],
] as const)(
  'connections %s which the %s closes first: none fails, nothing is left',
  async (way, closer, count) => {
    const [from, to, address, port] =
      way === 'to a published port'
        ? [world.far, inside, HOST[4], { connect: '8080', serve: '80' }]
        : [inside, world.far, FAR[4], { connect: '80', serve: '80' }];
    server = world.start(to, program, 'serve', closer, port.serve);
    await server.said('ready');
    await until(async () => (await flows()) === 0, 'no flow is left of those before');
    const before = descriptors();
    const words = [program, 'connect', closer, address, port.connect, String(count), String(PARALLEL)];
    const { out, err } = await world.run(from, ...words);
    expect(`${err}${out}`.replace(/^\d+00000\n/gm, '')).toBe(`${count} of ${count}\n`);
    // Before, the connection of a question to the daemon may still have been there.
    await until(async () => (await flows()) === 0 && descriptors() <= before, 'nothing is left');
    const drops = JSON.parse(await world.account.ok('drops', '--format', 'json')) as { reason: string }[];
    const reasons = drops.map(({ reason }) => reason);
    for (const reason of ['SOCKET_EXHAUSTED', 'SOCKET_ERROR', 'EXCEPTION', 'NOMEM', 'CT_CLASH']) {
      expect(reasons).not.toContain(reason);
    }
  },
  TIMEOUT,
);
