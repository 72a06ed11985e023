import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, until } from './account.ts';
import { FAR, HostWorld } from './forwarding.ts';

// Flows by the hundred of which one end never reads, uploads and downloads: what they cost stays bounded, and others go
// on. `npm run test:stalled` makes it 5,000, and measures how fast the others are.

const FLOWS = Number(process.env.TAPDECK_STALLED ?? 200);
/** Only by themselves are figures of speed worth something. */
const IS_MEASURED = process.env.TAPDECK_STALLED !== undefined;
const PROGRAM = fileURLToPath(new URL('stalled.py', import.meta.url));
const PORT = 9000;
const MOST = 256 * 1024;
/** However few flows there are, 64 of them may have more: 2 MiB, and what the kernel needs beside them. */
const LARGE = 64 * 2.25 * 1024 * 1024;
const TIMEOUT = 120_000 + 50 * FLOWS;

let world: HostWorld;
let pid: number;
let idle: string;
let busy: string;
let server: Running;

/** Resident memory of the daemon. */
function resident(): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

/**
 * What the kernel has charged to the TCP sockets in the host's namespace, all of which are the daemon's: received, queued
 * to be sent, taken in advance, and waiting to be taken in (ss(8): r, w, f, bl).
 */
function charged(): { sockets: number; bytes: number } {
  const lines = execFileSync('ip', ['netns', 'exec', world.host, 'ss', '-tmnHO'], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  let bytes = 0;
  let sockets = 0;
  for (const [, r, f, w, bl] of lines.matchAll(
    /skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+),o\d+,bl(\d+)/g,
  )) {
    // What is taken in advance can be less than nothing, and is shown without a sign.
    bytes += Number(r) + (Number(f) | 0) + Number(w) + Number(bl);
    sockets++;
  }
  return { sockets, bytes };
}

function sysctl(netns: string, ...settings: string[]): void {
  execFileSync('ip', ['netns', 'exec', netns, 'sysctl', '-qw', ...settings]);
}

async function pump(): Promise<number> {
  const seconds = IS_MEASURED ? '2' : '0.2';
  const { out, err } = await world.run(
    busy,
    'timeout',
    '60',
    'python3',
    PROGRAM,
    'pump',
    FAR[4],
    `${PORT}`,
    seconds,
  );
  expect(err).toBe('');
  return Number(out);
}

/** The middle one of five. */
async function speed(): Promise<number> {
  const rounds: number[] = [];
  for (let i = 0; i < (IS_MEASURED ? 5 : 1); i++) rounds.push(await pump());
  return rounds.sort((a, b) => a - b)[rounds.length >> 1]!;
}

beforeAll(async () => {
  world = new HostWorld();
  pid = (await world.account.daemon('--uplink', 'socket')).pid;
  idle = await world.attach('idle');
  busy = await world.attach('busy');
  for (const netns of [idle, world.host]) sysctl(netns, 'net.ipv4.ip_local_port_range=1024 65535');
  // Both ends are on this machine, whose kernel has a limit for all namespaces together (net.ipv4.tcp_mem).
  for (const netns of [idle, world.far]) {
    sysctl(netns, 'net.ipv4.tcp_wmem=4096 16384 65536', 'net.ipv4.tcp_rmem=4096 65536 65536');
  }
});
afterEach(async () => {
  server.kill('SIGKILL');
  await server.ended;
  await until(() => charged().sockets === 0, 'all sockets are closed');
});
afterAll(() => world.close());

describe(`${FLOWS} stalled flows`, () => {
  it.each([
    ['from the beginning', 0],
    ['that were fast before', 2_000_000],
  ])(
    '%s cost 256 KiB each at most, and others go on',
    async (what, first) => {
      server = world.start(world.far, 'python3', PROGRAM, 'serve', `${PORT}`, `${first}`);
      await server.said('ready');
      const alone = await speed();
      const before = resident();
      const flows = world.start(idle, 'python3', PROGRAM, 'stall', FAR[4], `${PORT}`, `${FLOWS}`, `${first}`);
      await flows.said(/ready|connection is over/);
      expect(flows.out).toMatch(`ready ${FLOWS} `);
      const { sockets, bytes } = charged();
      const own = resident() - before;
      expect(sockets).toBe(FLOWS);
      const beside = await speed();
      flows.child.stdin!.end('\n');
      await flows.ended;
      const after = await speed();
      if (IS_MEASURED) {
        const megabits = [alone, beside, after].map((rate) => Math.round(rate / 125_000));
        console.log(
          `${FLOWS} flows ${what}: ${Math.round(bytes / FLOWS)} bytes each in sockets, ${Math.round(own / FLOWS)} in ` +
            `the process; others: ${megabits[0]} Mbit/s before, ${megabits[1]} beside them, ${megabits[2]} after`,
        );
      }
      expect(bytes + Math.max(0, own)).toBeLessThanOrEqual(FLOWS * MOST + (IS_MEASURED ? 0 : LARGE));
      if (IS_MEASURED) expect((2 * beside) / (alone + after)).toBeGreaterThan(0.8);
      else expect(beside).toBeGreaterThan(0);
    },
    TIMEOUT,
  );
});
