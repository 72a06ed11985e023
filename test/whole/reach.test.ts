import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from './account.ts';
import { checksums, type Host, Lab, sendAndCollect, source, transfer } from './lab.ts';

// The tools that people try a network with, between namespaces that were attached by the command line: within a
// network, with its gateway, and through the gateways into other networks with smaller MTUs.

const ETH_LEN = 14;

let lab: Lab;
/** Both in the default network, MTU 65520. */
let a: Host;
let a2: Host;
/** In a network with MTU 1500. */
let b: Host;
/** In a network with MTU 1280. */
let c: Host;
beforeAll(async () => {
  lab = new Lab();
  await lab.open();
  await lab.network('middle', '--subnet', '10.98.0.0/24', '--subnet', 'fd00:98::/64', '--mtu', '1500');
  await lab.network('small', '--subnet', '10.99.0.0/24', '--subnet', 'fd00:99::/64', '--mtu', '1280');
  // Networks are isolated; what is between these two is to be reached all the same.
  await lab.client.post('/v1/rules/user', { action: 'ACCEPT' });
  a = await lab.attach('a');
  a2 = await lab.attach('a2');
  b = await lab.attach('b', '--network', 'middle');
  c = await lab.attach('c', '--network', 'small');
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

describe('within a network', () => {
  it('answers ping, over IPv4 and IPv6, hosts and gateway', async () => {
    const addresses = [a2.ipv4, a2.ipv6, a.gateway.ipv4, a.gateway.ipv6];
    const lost = await Promise.all(addresses.map((address) => a.lostPings(address, 5)));
    expect(lost).toEqual([[], [], [], []]);
    expect(await a.ok('ping', '-c', '1', a.gateway.ipv4)).toContain('ttl=64');
    // Both groups of the link: the other host and the gateway.
    const group = a.start('ping', '-i', '0.1', '-I', 'eth0', 'ff02::1');
    const answering = () => new Set(Array.from(group.out.matchAll(/from (\S+?)%eth0/g), ([, from]) => from));
    await until(() => answering().size > 1, 'both have answered');
  });

  it('answers arping: each its own address, the gateway its own alone', async () => {
    const [host, gateway, nobody, probe] = await Promise.all([
      a.run('arping', '-c', '1', '-w', '20', '-I', 'eth0', a2.ipv4),
      a.run('arping', '-c', '1', '-w', '20', '-I', 'eth0', a.gateway.ipv4),
      a.run('arping', '-c', '1', '-w', '1', '-I', 'eth0', '172.17.200.200'),
      // Duplicate address detection (RFC 5227): exit code 1 says that somebody has the address.
      a.run('arping', '-D', '-c', '1', '-w', '20', '-I', 'eth0', a.gateway.ipv4),
    ]);
    expect(host.out.toLowerCase()).toContain(`reply from ${a2.ipv4} [${a2.mac}]`);
    expect(gateway.out.toLowerCase()).toContain(`reply from ${a.gateway.ipv4} [${a.gateway.mac}]`);
    expect(nobody.out).toContain('Received 0 response(s)');
    expect([probe.code, probe.out]).toEqual([1, expect.stringContaining('Received 1 response(s)')]);
  });

  it.each(['ipv4', 'ipv6'] as const)('carries iperf3, TCP and UDP, over %s', async (family) => {
    const runs = [
      ['-n', '30M'],
      ['-n', '30M', '-R'],
      ['-u', '-n', '1M', '-b', '30M', '-l', '1200'],
    ];
    for (const options of runs) {
      const server = await a2.serve('Server listening', 'iperf3', '-s', '-1', '--forceflush');
      const { end } = JSON.parse(await a.ok('iperf3', '-c', a2[family], '-J', ...options));
      const { bytes, packets } = end.sum_sent;
      expect(bytes).toBeGreaterThanOrEqual(options[0] === '-u' ? 1_000_000 : 30_000_000);
      if (options[0] === '-u') expect(packets).toBeGreaterThan(800);
      else expect(end.sum_received.bytes).toBeGreaterThan(0);
      expect((await server.ended).code).toBe(0);
    }
  });
});

describe('between networks', () => {
  it.each([
    ['ICMP', '-I'],
    ['UDP', '-U'],
    ['TCP', '-T'],
  ])('shows the gateway to traceroute by %s, over IPv4 and IPv6', async (_, method) => {
    const hops = async (from: Host, to: string): Promise<string[]> => {
      const answers = await from.hops(method, to);
      if (!answers.includes('*')) return answers;
      const [drops, neighbors] = await Promise.all([lab.drops(), from.ok('ip', '-s', 'neigh')]);
      throw new Error(`${to} did not answer: ${answers}\n${JSON.stringify(drops)}\n${neighbors}`);
    };
    expect(await hops(a, b.ipv4)).toEqual([a.gateway.ipv4, b.ipv4]);
    expect(await hops(b, a.ipv6)).toEqual([b.gateway.ipv6, a.ipv6]);
    // A gateway is one hop away, whichever network's it is.
    expect(await hops(c, c.gateway.ipv4)).toEqual([c.gateway.ipv4]);
    expect(await hops(c, b.gateway.ipv6)).toEqual([b.gateway.ipv6]);
  });

  it('says what cannot be reached', async () => {
    const [noRoute, noRoute6, nobody] = await Promise.all([
      b.run('ping', '-c', '1', '-W', '20', '203.0.113.9'),
      b.run('ping', '-c', '1', '-W', '20', '2001:db8::9'),
      b.run('ping', '-c', '1', '-W', '20', '10.99.0.77'),
    ]);
    expect(noRoute.out).toContain(`From ${b.gateway.ipv4} icmp_seq=1 Destination Net Unreachable`);
    expect(noRoute6.out).toContain(`From ${b.gateway.ipv6} icmp_seq=1 Destination unreachable: No route`);
    expect(nobody.out).toContain(`From ${b.gateway.ipv4} icmp_seq=1 Destination Host Unreachable`);
  });

  it('cuts large packets that may be cut, and refuses the others with the MTU', async () => {
    const capture = await c.capture('icmp');
    expect(await a.lostPings(c.ipv4, 3, '-M', 'dont', '-s', '20000')).toEqual([]);
    const fragments = (await capture.stop()).filter((frame) => source(frame) === c.gateway.mac);
    // 20,008 bytes in pieces of 1,256: the most that fits behind a header, in units of 8. Of a late answer ping asks once more.
    const pings = fragments.length / 16;
    expect(Number.isInteger(pings) && pings >= 3).toBe(true);
    expect(Math.max(...fragments.map(({ length }) => length))).toBe(ETH_LEN + 20 + 1256);
    const { packets, wrong } = await checksums(lab.account, capture.path);
    expect([wrong, packets.icmp]).toEqual([[], 2 * pings]);

    const refused = await a.run('ping', '-c', '2', '-i', '0.1', '-M', 'do', '-s', '8000', c.ipv4);
    expect(refused.out).toContain(`From ${a.gateway.ipv4} icmp_seq=1 Frag needed and DF set (mtu = 1280)`);
    expect(refused.out + refused.err).toContain('message too long, mtu=1280');
    const refused6 = await a.run('ping', '-c', '1', '-W', '20', '-s', '8000', c.ipv6);
    expect(refused6.out).toContain(`From ${a.gateway.ipv6} icmp_seq=1 Packet too big: mtu=1280`);
    // Now that it knows, it makes fragments that fit.
    expect(await a.lostPings(c.ipv6, 3, '-s', '8000')).toEqual([]);
  });

  it('answers large pings, whole and in fragments', async () => {
    const ping = (from: Host, size: number, to: string) => from.lostPings(to, 2, '-s', String(size));
    const lost = await Promise.all([
      ping(a, 65_000, a.gateway.ipv4),
      ping(a, 65_000, a.gateway.ipv6),
      ping(b, 65_000, b.gateway.ipv4),
      ping(b, 65_000, b.gateway.ipv6),
      ping(c, 30_000, c.gateway.ipv4),
      ping(c, 30_000, c.gateway.ipv6),
      ping(c, 30_000, b.ipv4),
      ping(c, 30_000, b.gateway.ipv6),
    ]);
    expect(lost.flat()).toEqual([]);
  });

  it('tells TCP the MTU of the path', async () => {
    const before = await lab.drops();
    const paths = [
      [b, '172.17.0.0/16', b.ipv4, b.gateway.ipv4, 1500],
      [c, 'fd74:6170:6465::/64', c.ipv6, c.gateway.ipv6, 1280],
    ] as const;
    for (const [host, network, address, gateway, mtu] of paths) {
      // Who announces a large MSS gets large segments: only the gateway knows better.
      const family = address.includes(':') ? '-6' : '-4';
      const route = ['route', 'add', network, 'via', gateway, 'advmss', '60000'];
      execFileSync('ip', [family, '-n', host.netns, ...route]);
      await transfer(a2, host, address, 5_000_000);
      await transfer(host, a2, family === '-6' ? a2.ipv6 : a2.ipv4, 1_000_000);
      const known = execFileSync('ip', ['-n', a2.netns, 'route', 'get', address], { encoding: 'utf8' });
      expect(known).toContain(` mtu ${mtu} `);
    }
    const after = await lab.drops();
    expect(after.PKT_TOO_BIG! - before.PKT_TOO_BIG!).toBeGreaterThanOrEqual(2);
  });

  it('cuts bundles of datagrams whose parts are too long for the path', async () => {
    // All fragments, and no late word of a TCP connection before.
    const captures = [await a2.capture('udp'), await c.capture('ip proto 17')] as const;
    await sendAndCollect(a2, c, c.ipv4, { size: 4000, count: 160, perCall: 8 });
    await sendAndCollect(a2, c, c.ipv6, { size: 1200, count: 160, perCall: 32 });
    const [bundles, pieces] = [await captures[0].stop(), await captures[1].stop()];
    // A bundle is one frame where it is sent, and every datagram of it four fragments where it arrives.
    expect(bundles.filter(({ length }) => length > 30_000).length).toBeGreaterThanOrEqual(20 + 5);
    expect(pieces.filter((frame) => source(frame) === c.gateway.mac)).toHaveLength(160 * 4);
    const { packets, wrong } = await checksums(lab.account, captures[1].path);
    expect([wrong, packets.udp]).toEqual([[], 160]);
  });

  it('has kept its account', async () => {
    const { ledger } = await lab.counters();
    expect(ledger).toMatchObject({ balanced: true, held: 0 });
    const { EXCEPTION, VNET_INHDR, NOMEM, FRAG_TIMEOUT } = await lab.drops();
    expect({ EXCEPTION, VNET_INHDR, NOMEM, FRAG_TIMEOUT }).toEqual({
      EXCEPTION: 0,
      VNET_INHDR: 0,
      NOMEM: 0,
      FRAG_TIMEOUT: 0,
    });
  });
});
