import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FlowView } from '../../src/control/flows.ts';
import { until } from './account.ts';
import { type Host, Lab, type Station, sendAndCollect, transfer } from './lab.ts';
import { DECK, FAMILIES, FAR, OUT, type Outside, outside } from './outside.ts';

// What people do through a NAT, with the programs they do it with: out of containers behind one address, and into them
// by published ports, from outside, from the neighbour and from the container itself.

let lab: Lab;
let world: Outside;
let a: Host;
/** Publishes ports. */
let b: Host;
/** A folder with a `file` of 5 MB for web servers. */
let site: string;

beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
  a = await lab.attach('a');
  const ports = [
    '8080:80',
    '5201:5201',
    '5201:5201/udp',
    '7000-7009:6000-6009',
    '5300:53/udp',
    '6200-6209:6200-6209/udp',
  ];
  b = await lab.attach('b', ...ports.flatMap((port) => ['-p', port]));
  site = join(lab.account.folder, 'site');
  mkdirSync(site);
  writeFileSync(join(site, 'file'), randomBytes(5_000_000));
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function webServer(station: Station, port: number): ReturnType<Station['serve']> {
  const server = ['python3', '-u', '-m', 'http.server', '-b', '::', '-d', site, String(port)];
  return station.serve('Serving HTTP', ...server);
}

/** Fetches the file with `curl` and compares it. */
async function fetchFile(station: Station, address: string, port: number): Promise<void> {
  const path = join(lab.account.folder, `fetched-${station.name}`);
  await station.ok('curl', '-sSf', '-m', '60', '-o', path, `http://${bracketed(address)}:${port}/file`);
  expect(sha256(path)).toBe(sha256(join(site, 'file')));
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Whom a web server has answered. */
function clients(log: string): string[] {
  return Array.from(log.matchAll(/^(\S+) - - .*"GET \/file HTTP/gm), ([, who]) =>
    who!.replace('::ffff:', ''),
  );
}

/** `iperf3` over four connections, and by UDP; each of it both ways. */
async function iperf3(client: Station, server: Station, address: string): Promise<void> {
  const runs = [
    ['-n', '40M', '-P', '4'],
    ['-n', '40M', '-P', '4', '-R'],
    ['-u', '-n', '1M', '-b', '30M', '-l', '1200'],
    ['-u', '-n', '1M', '-b', '30M', '-l', '1200', '-R'],
  ];
  for (const options of runs) {
    const listening = await server.serve('Server listening', 'iperf3', '-s', '-1', '--forceflush');
    const receiver = options.includes('-R') ? client : server;
    const before = receiver.arrivedFrames();
    const { end } = JSON.parse(await client.ok('iperf3', '-c', address, '-J', ...options));
    if (options[0] === '-u') {
      const { packets } = end.sum_sent;
      expect(packets).toBeGreaterThan(800);
      // All have come. What iperf3 takes in time is a matter of its socket's buffer, which holds a quarter of them.
      expect(receiver.arrivedFrames() - before).toBeGreaterThanOrEqual(packets);
    } else {
      expect(end.sum_sent.bytes).toBeGreaterThanOrEqual(40_000_000);
      expect(end.sum_received.bytes).toBeGreaterThan(0);
    }
    expect((await listening.ended).code).toBe(0);
  }
}

/** 1,000 connections that are all open at the same time; answers the deck's account of them meanwhile. */
async function thousand(client: Station, server: Station, address: string, port: number, target = port) {
  await server.servePeer('echo', String(target));
  const crowd = await client.servePeer('crowd', address, String(port), '1000');
  let flows: FlowView[] = [];
  await until(async () => {
    flows = await flowsTo(address, port);
    // The last word of the last handshakes may still be on its way to the deck.
    return flows.length >= 1000;
  }, 'there are 1,000 connections');
  crowd.child.stdin!.end('go\n');
  expect((await crowd.ended).out).toBe('ready\n1000\n');
  expect(flows).toHaveLength(1000);
  return flows;
}

/** The connections that are open. */
async function flowsTo(address: string, port: number): Promise<FlowView[]> {
  const filter = ['-p', 'tcp', '-d', address, '--dport', String(port), '--state', 'ESTABLISHED'];
  return JSON.parse(await lab.account.ok('conntrack', '-L', ...filter, '--format', 'json')) as FlowView[];
}

describe.each(FAMILIES)('out of a container over %s', (family) => {
  it('ping, the next hop and beyond, small and large', async () => {
    // Until the deck knows the next hop's address, only a few packets may wait for it.
    await a.ok('ping', '-c', '1', '-W', '20', OUT[family]);
    const lost = await Promise.all([
      a.lostPings(OUT[family], 20),
      b.lostPings(OUT[family], 20),
      a.lostPings(FAR[family], 20),
      b.lostPings(FAR[family], 5, '-s', '1400'),
    ]);
    expect(lost.flat()).toEqual([]);
    // The first one may have told the sender how much fits.
    const large = ['-s', '20000', '-M', 'dont'];
    await a.run('ping', '-c', '1', '-W', '20', ...large, FAR[family]);
    expect(await a.lostPings(FAR[family], 5, ...large)).toEqual([]);
  });

  it('curl, and the server sees the deck', async () => {
    const server = await webServer(world.far, 80);
    await Promise.all([fetchFile(a, FAR[family], 80), fetchFile(b, FAR[family], 80)]);
    expect(clients(server.err)).toEqual([DECK[family], DECK[family]]);
  });

  it('iperf3, both ways', () => iperf3(a, world.far, FAR[family]), 120_000);

  it('bundles of datagrams, and such as are cut', async () => {
    await sendAndCollect(a, world.far, FAR[family], { size: 1200, count: 320, perCall: 32 });
    await sendAndCollect(a, world.far, FAR[family], { size: 20_000, count: 20 });
  });

  it('1,000 connections at one time, none with the port of another', async () => {
    const flows = await thousand(a, world.far, FAR[family], 7);
    const ports = new Set(flows.map(({ reply }) => reply.dstPort));
    expect(ports.size).toBe(1000);
    expect(new Set(flows.map(({ reply }) => reply.dst))).toEqual(new Set([DECK[family]]));
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(1024);
  });

  it.each([
    ['ICMP', '-I'],
    ['UDP', '-U'],
    ['TCP', '-T'],
  ])('traceroute by %s', async (_, method) => {
    await webServer(world.far, 80);
    expect(await a.hops(method, FAR[family])).toEqual([a.gateway[family], OUT[family], FAR[family]]);
  });

  it('what is refused outside is refused at once', async () => {
    const refused = await a.run('curl', '-m', '20', `http://${bracketed(FAR[family])}:9/`);
    expect([refused.code, refused.err]).toEqual([7, expect.stringMatching(/refused|Couldn't connect/)]);
    // The ICMP error comes back through the translation: a connected socket hears it.
    const asked = await a.run('python3', '-c', REFUSED_UDP, FAR[family]);
    expect(asked.out).toBe('ConnectionRefusedError\n');
  });
});

const REFUSED_UDP = `
import socket, sys
host = sys.argv[1]
udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(20)
udp.connect((host, 9))
udp.send(b"anybody there?")
try:
    udp.recv(100)
except OSError as error:
    print(type(error).__name__)
`;

describe.each(FAMILIES)('into a container by a published port over %s', (family) => {
  const clientsOf = () => [
    // Whoever is outside keeps his address; who is inside comes by the address under which he is known outside.
    { client: world.far, seen: FAR[family] },
    { client: world.out, seen: OUT[family] },
    { client: a, seen: DECK[family] },
    { client: b, seen: DECK[family] },
  ];

  it('curl from outside, from the neighbour, and from itself', async () => {
    const server = await webServer(b, 80);
    for (const { client } of clientsOf()) await fetchFile(client, DECK[family], 8080);
    expect(clients(server.err)).toEqual(clientsOf().map(({ seen }) => seen));
  });

  it('and by the address of the gateway', async () => {
    const server = await webServer(b, 80);
    await fetchFile(a, a.gateway[family], 8080);
    await fetchFile(b, b.gateway[family], 8080);
    expect(clients(server.err)).toEqual([b.gateway[family], b.gateway[family]]);
  });

  it.each([0, 2, 3])(
    'iperf3, both ways, from client %i',
    (i) => iperf3(clientsOf()[i]!.client, b, DECK[family]),
    120_000,
  );

  it.each([0, 2, 3])('1,000 connections at one time, from client %i', async (i) => {
    const { client, seen } = clientsOf()[i]!;
    const flows = await thousand(client, b, DECK[family], 7003, 6003);
    expect(new Set(flows.map(({ reply }) => `${reply.src} ${reply.srcPort} ${reply.dst}`))).toEqual(
      new Set([`${b[family]} 6003 ${seen}`]),
    );
  });

  it('datagrams, to single ports and to ranges', async () => {
    await b.servePeer('reply', '53');
    await b.servePeer('reply', '6207');
    for (const { client, seen } of clientsOf()) {
      expect(await client.peer('ask', DECK[family], '5300', 'hello')).toBe(`${seen} hello\n`);
      expect(await client.peer('ask', DECK[family], '6207', 'range')).toBe(`${seen} range\n`);
    }
  });

  it('traceroute by TCP, and ping of the deck itself', async () => {
    await webServer(b, 80);
    const route = await world.far.hops('-T', DECK[family], '-p', '8080');
    expect(route).toEqual([FAR_GATEWAY[family], DECK[family], DECK[family]]);
    expect(await world.far.lostPings(DECK[family], 5)).toEqual([]);
    expect(await b.lostPings(DECK[family], 5)).toEqual([]);
  });

  it('nothing else of a container is open', async () => {
    await webServer(b, 81);
    world.far.ip('route', 'replace', b[family], 'via', FAR_GATEWAY[family]);
    world.out.ip('route', 'replace', b[family], 'via', DECK[family]);
    const urls = [
      `http://${bracketed(DECK[family])}:81/`,
      `http://${bracketed(b[family])}:81/`,
      `http://${bracketed(b[family])}:80/`,
    ];
    const ping = world.out.run('ping', '-c', '1', '-W', '2', b[family]);
    const answers = await Promise.all(
      [world.far, world.out].flatMap((client) =>
        urls.map((url) => client.run('curl', '-sS', '-m', '3', url)),
      ),
    );
    // Silence, not refusal (RFC 5382 REQ-4).
    expect(answers.map(({ code }) => code)).toEqual(Array(6).fill(28));
    expect((await ping).out).toContain('0 received');
    expect(await b.ok('curl', '-sS', '-m', '20', `http://${bracketed(b[family])}:81/`)).toContain('file');
  });
});

const FAR_GATEWAY = { ipv4: '198.51.100.1', ipv6: '2001:db8:1::1' } as const;

describe('all together', () => {
  it('transfers between all of them at one time', async () => {
    await Promise.all([
      transfer(a, world.far, FAR.ipv4, 20_000_000),
      transfer(b, world.out, OUT.ipv6, 20_000_000),
      transfer(a, b, b.ipv4, 20_000_000),
    ]);
  });

  it('has kept its account', async () => {
    expect((await lab.counters()).ledger).toMatchObject({ balanced: true, held: 0 });
    const { EXCEPTION, VNET_INHDR, NOMEM, L4_CSUM, CT_TABLE_FULL, NAT_PORTS_EXHAUSTED } = await lab.drops();
    expect({ EXCEPTION, VNET_INHDR, NOMEM, L4_CSUM, CT_TABLE_FULL, NAT_PORTS_EXHAUSTED }).toEqual({
      EXCEPTION: 0,
      VNET_INHDR: 0,
      NOMEM: 0,
      L4_CSUM: 0,
      CT_TABLE_FULL: 0,
      NAT_PORTS_EXHAUSTED: 0,
    });
    // With the last word of every connection, the table is empty.
    await lab.account.ok('conntrack', '-F');
    expect(await lab.account.ok('conntrack', '-C')).toBe('0\n');
  });
});
