import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { tcp } from '../../src/testing/index.ts';
import { type Host, Lab, type Station } from './lab.ts';
import { DECK, FAMILIES, FAR, nft, type Outside, outside } from './outside.ts';

// Connections that come and go by the thousand: none fails, and when the last one is forgotten nothing of them is left,
// in the table or of the ports. `npm run test:churn` makes it a million.

const COUNT = Number(process.env.TAPDECK_CHURN ?? 20_000);
const PARALLEL = 100;
/** A thousand connections a second is what the smallest machine does; churn.c waits for 180 s until it says what hangs. */
const TIMEOUT = 240_000 + COUNT;
/** Ports 1024 to 65535 of the one address, without the one that is published. */
const PORTS = 65536 - 1024 - 1;

let lab: Lab;
let world: Outside;
let a: Host;
let program: string;

async function open(...options: string[]): Promise<void> {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink, ...options);
  // It speaks for many hosts.
  a = await lab.attach('a', '-p', '8080:80', '--allow-spoof');
  // Nothing is lost. When the deck stands still, what they would send again after 200 ms is behind it of connections that are no
  // more, and a reset that answers it closes those that have their place: so it is, with the kernel's tracking, too.
  for (const station of [a, world.far])
    await station.ok('sysctl', '-qew', 'net.ipv4.tcp_rto_min_us=10000000');
  program = join(lab.account.folder, 'churn');
  execFileSync('gcc', ['-O2', '-o', program, fileURLToPath(new URL('churn.c', import.meta.url))]);
}

/** Who closes the connections first. The kernel there keeps their ports in TIME_WAIT, the other one forgets them. */
type Closer = 'client' | 'server';

async function serve(station: Station, port: number, closer: Closer): Promise<void> {
  station.sysctl('net.core.somaxconn=4096', 'net.ipv4.tcp_max_syn_backlog=4096');
  await station.serve('ready', program, 'serve', closer, String(port));
}

async function connect(from: Station, address: string, port: number, closer: Closer, count: number) {
  const numbers = [port, count, PARALLEL].map(String);
  const { out, err } = await from.run(program, 'connect', closer, address, ...numbers);
  expect(`${err}${out}`.replace(/^\d+00000\n/gm, '')).toBe(`${count} of ${count}\n`);
}

/** Segments that a namespace's kernel has sent more than once. */
async function resent(station: Station): Promise<number> {
  const said = await station.ok('nstat', '--json', '--ignore', '--noupdate', '--zeros', 'TcpRetransSegs');
  return JSON.parse(said).kernel.TcpRetransSegs;
}

async function flowCount(): Promise<number> {
  return Number(await lab.account.ok('conntrack', '-C'));
}

describe('with a table that forgets fast', () => {
  // A second after the last word, not four minutes: as many connections as here have more than there are ports.
  beforeAll(() => open('--timeout', 'tcp-closing=1', '--timeout', 'tcp-reset=1'));
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  it(
    `${COUNT} connections out of a container, none failed, nothing left`,
    async () => {
      // The client may use its own ports again after a second; a server that had them in TIME_WAIT would take the next
      // connection from the deck's port, which is another endpoint's then, for an old one, and keep it waiting.
      a.sysctl('net.ipv4.ip_local_port_range=1024 65535', 'net.ipv4.tcp_tw_reuse=1');
      await serve(world.far, 80, 'client');
      await connect(a, FAR.ipv4, 80, 'client', COUNT);
      for (let waited = 0; waited < 30_000 && (await flowCount()) > 0; waited += 500) await sleep(500);
      expect(await lab.account.ok('conntrack')).not.toContain('tcp');
      expect(await flowCount()).toBe(0);
      const { NAT_PORTS_EXHAUSTED, CT_TABLE_FULL, CT_QUOTA, EXCEPTION } = await lab.drops();
      expect({ NAT_PORTS_EXHAUSTED, CT_TABLE_FULL, CT_QUOTA, EXCEPTION }).toEqual({
        NAT_PORTS_EXHAUSTED: 0,
        CT_TABLE_FULL: 0,
        CT_QUOTA: 0,
        EXCEPTION: 0,
      });
    },
    TIMEOUT,
  );

  it('and every port is free again', async () => {
    nft(
      world.far,
      `table inet filter {
        chain input {
          type filter hook input priority 0;
          tcp dport 9 drop
        }
      }`,
    );
    a.longQueue();
    // No host gets all ports that are left, so that several of them ask for more than there are.
    for (let host = 0; host < 8; host++) {
      const from = { mac: a.mac, ipv4: `172.17.100.${host + 1}` };
      const to = { mac: a.gateway.mac, ipv4: FAR.ipv4 };
      const count = host === 0 ? 60_000 : 8000;
      const syn = (_: unknown, i: number) => tcp({ from, to, srcPort: 1024 + i, dstPort: 9, flags: 'S' });
      await a.send(Array.from({ length: count }, syn));
    }
    expect(a.lostFrames()).toBe(0);
    await expect.poll(flowCount).toBe(PORTS);
    await expect.poll(async () => (await lab.drops()).NAT_PORTS_EXHAUSTED).toBeGreaterThan(0);
    await lab.account.ok('conntrack', '-F');
  });
});

describe('with a table that remembers', () => {
  beforeAll(() => open());
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  // A thousand ports, so that every connection but the first thousand is the next one of an endpoint that is remembered.
  it.each(FAMILIES)(
    'connections that take the place of others, over %s',
    async (family) => {
      a.sysctl('net.ipv4.ip_local_port_range=30000 30999');
      await serve(world.far, 80, 'server');
      const before = await flowCount();
      await connect(a, FAR[family], 80, 'server', 10_000);
      expect((await flowCount()) - before).toBeLessThanOrEqual(1000);
    },
    TIMEOUT,
  );

  it.each(FAMILIES)(
    'connections by a published port, over %s',
    async (family) => {
      world.far.sysctl('net.ipv4.ip_local_port_range=30000 30999');
      await serve(a, 80, 'server');
      const before = await flowCount();
      await connect(world.far, DECK[family], 8080, 'server', 10_000);
      expect((await flowCount()) - before).toBeLessThanOrEqual(1000);
      // And from inside: to itself.
      await connect(a, DECK[family], 8080, 'server', 5_000);
    },
    TIMEOUT,
  );

  it('has kept its account', async () => {
    expect((await lab.counters()).ledger.balanced).toBe(true);
    const { CT_INVALID, CT_CLASH, NAT_PORTS_EXHAUSTED, EXCEPTION } = await lab.drops();
    // When the deck stood still, something was sent again, and comes when the next connection of the endpoint has begun: it is
    // of none then, nor is the answer to it.
    const again = (await resent(a)) + (await resent(world.far));
    expect(CT_INVALID).toBeLessThanOrEqual(2 * again);
    expect({ CT_CLASH, NAT_PORTS_EXHAUSTED, EXCEPTION }).toEqual({
      CT_CLASH: 0,
      NAT_PORTS_EXHAUSTED: 0,
      EXCEPTION: 0,
    });
  });
});
