import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { netnsPath } from '../device/sandbox.ts';
import { checksums, type Host, Lab, type Station, sendAndCollect, source, transfer } from './lab.ts';
import { DECK, FAMILIES, OUT } from './outside.ts';

// The deck on an interface that a host has already, beside the host's own use of it: a veth pair into a namespace that
// is the segment's router.

const ETH_LEN = 14;
const MTU = 1500;
/** The host's own on the interface. */
const OWN = { ipv4: '192.0.2.7', ipv6: '2001:db8::7' } as const;

let lab: Lab;
/** Has the interface. */
let host: Station;
/** Is beyond. */
let out: Station;
let a: Host;
let b: Host;
let site: string;

beforeAll(async () => {
  lab = new Lab();
  host = lab.station('host', 'veth0');
  out = lab.station('out', 'eth0');
  host.ip('link', 'add', host.ifname, 'type', 'veth', 'peer', 'name', out.ifname, 'netns', out.netns);
  for (const [station, { ipv4, ipv6 }] of [
    [host, OWN],
    [out, OUT],
  ] as const) {
    station.ip('addr', 'add', `${ipv4}/24`, 'dev', station.ifname);
    station.ip('addr', 'add', `${ipv6}/64`, 'dev', station.ifname, 'nodad');
    station.ip('link', 'set', station.ifname, 'up');
  }
  const spec = [`packet:${host.ifname}`, `addr=${DECK.ipv4}/24`, `gw=${OUT.ipv4}`];
  spec.push(`addr=${DECK.ipv6}/64`, `gw=${OUT.ipv6}`, `netns=${netnsPath(host.netns)}`);
  await lab.open('--uplink', spec.join(','));
  a = await lab.attach('a');
  b = await lab.attach('b', '-p', '8080:80', '-p', '20000-20099:20000-20099');
  site = join(lab.account.folder, 'site');
  mkdirSync(site);
  writeFileSync(join(site, 'file'), randomBytes(5_000_000));
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

/** Fetches a file over HTTP; answers whom the server has seen. */
async function curl(client: Station, server: Station, address: string, listen: number, port = listen) {
  const options = ['-b', '::', '-d', site, String(listen)];
  const running = await server.serve('Serving HTTP', 'python3', '-u', '-m', 'http.server', ...options);
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/file`;
  const path = join(lab.account.folder, 'fetched');
  await client.ok('curl', '-sSf', '-m', '60', '-o', path, url);
  expect(readFileSync(path).equals(readFileSync(join(site, 'file')))).toBe(true);
  running.kill('SIGTERM');
  await running.ended;
  return /^(\S+) - - /m.exec(running.err)?.[1]?.replace('::ffff:', '');
}

describe.each(FAMILIES)('over %s', (family) => {
  it('curl reaches the world, and the world what is published', async () => {
    expect(await curl(a, out, OUT[family], 80)).toBe(DECK[family]);
    expect(await curl(out, b, DECK[family], 80, 8080)).toBe(OUT[family]);
    // The neighbour by the address outside.
    expect(await curl(a, b, DECK[family], 80, 8080)).toBe(DECK[family]);
  });

  it('the host has the interface for itself, too', async () => {
    expect(await host.lostPings(OUT[family], 5)).toEqual([]);
    expect(await out.lostPings(OWN[family], 5)).toEqual([]);
    expect(await out.lostPings(DECK[family], 5)).toEqual([]);
    await transfer(host, out, OUT[family], 5_000_000);
  });

  it('segments of 64 KiB pass in one piece where the interface takes them', async () => {
    const capture = await out.capture('tcp');
    await transfer(a, out, OUT[family], 20_000_000);
    await transfer(out, b, DECK[family], 20_000_000);
    const frames = await capture.stop();
    const sent = frames.filter((frame) => source(frame) === DECK.mac);
    expect(Math.max(...sent.map(({ length }) => length))).toBeGreaterThan(30_000);
    expect(sent.length).toBeLessThan(20_000_000 / 1448);
  });

  it('and leave with right checksums in segments that fit where it does not', async () => {
    const capture = await withoutOffloads(async () => {
      const running = await out.capture('tcp or udp');
      await transfer(a, out, OUT[family], 10_000_000);
      await transfer(out, b, DECK[family], 2_000_000);
      await sendAndCollect(a, out, OUT[family], { size: 1200, count: 320, perCall: 32 });
      const frames = await running.stop();
      const lengths = frames.filter((frame) => source(frame) === DECK.mac).map(({ length }) => length);
      expect(Math.max(...lengths)).toBe(ETH_LEN + MTU);
      return running;
    });
    const { packets, wrong } = await checksums(lab.account, capture.path, `eth.src == ${DECK.mac}`);
    expect(wrong).toEqual([]);
    expect(packets.tcp).toBeGreaterThan(10_000_000 / 1448);
    expect(packets.udp).toBe(320);
  });
});

/** As with an interface that can do nothing by itself. */
async function withoutOffloads<T>(work: () => Promise<T>): Promise<T> {
  const names = ['tx', 'sg', 'tso', 'gso', 'gro'];
  const set = async (value: string) => {
    for (const station of [host, out])
      await station.ok('ethtool', '-K', station.ifname, ...names.flatMap((name) => [name, value]));
  };
  await set('off');
  try {
    return await work();
  } finally {
    await set('on');
  }
}

it('has kept its account', async () => {
  expect((await lab.counters()).ledger).toMatchObject({ balanced: true, held: 0 });
  const { EXCEPTION, VNET_INHDR, NOMEM, L4_CSUM } = await lab.drops();
  expect({ EXCEPTION, VNET_INHDR, NOMEM, L4_CSUM }).toEqual({
    EXCEPTION: 0,
    VNET_INHDR: 0,
    NOMEM: 0,
    L4_CSUM: 0,
  });
});
