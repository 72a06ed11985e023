import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NetworkInfo } from '../../src/control/network.ts';
import type { ChainView } from '../../src/control/rule-view.ts';
import { METADATA } from '../../src/control/socket-uplink-spec.ts';
import { type Station, tcp, udp } from '../../src/testing/frames.ts';
import type { Running } from './account.ts';
import { FAR, HOST, HostWorld, IFNAME, LOOPBACK, NEXT_HOP } from './forwarding.ts';

// What somebody in a container finds who looks for a way into the deck, the host's loopback, or a cloud's secrets.

const SCAN = fileURLToPath(new URL('scan.py', import.meta.url));
const PEER = fileURLToPath(new URL('peer.py', import.meta.url));
const GATEWAY = { 4: '10.91.0.1', 6: 'fd00:91::1' } as const;
/** The deck's on the link to the host's sockets. */
const DECK = { 4: '192.0.0.2', 6: 'fd74:6170:6465:ffff::2' } as const;
/** What a scan of no ports would find. */
const nothing = { open: [], refused: 0, silent: 0, others: [] };

async function scan(world: HostWorld, netns: string, ...words: string[]): Promise<unknown> {
  const { code, out, err } = await world.run(netns, 'timeout', '50', 'python3', SCAN, ...words);
  if (code !== 0) throw new Error(`the scan ended with ${code}: ${err}`);
  return JSON.parse(out);
}

describe('from a container', () => {
  let world: HostWorld;
  /** In network lab, and in one that has the host's loopback. */
  let c1: string;
  let friend: string;

  beforeAll(async () => {
    world = new HostWorld();
    await world.account.daemon('--uplink', 'socket');
    const subnets = ['--subnet', '10.91.0.0/24', '--subnet', 'fd00:91::/64'];
    await world.account.ok('network', 'create', ...subnets, 'lab');
    await world.account.ok('network', 'create', '--ipv6', '--host-loopback', 'friendly');
    c1 = await world.attach('c1', '--network', 'lab');
    friend = await world.attach('friend', '--network', 'friendly');
  });
  afterAll(() => world.close());

  describe('the deck', () => {
    /** TCP from network lab that the deck itself has reset. */
    async function resets(): Promise<number> {
      const chains = await world.client.get<ChainView[]>('/v1/rules');
      const { rules } = chains.find(({ name }) => name === 'INPUT')!;
      const [rule] = rules.filter(
        (one) => one.in === 'lab' && one.target === 'REJECT' && one.protocol === 'tcp',
      );
      return rule!.packets!;
    }

    // Whatever is known by a number is among the first ten thousand.
    it.each([
      ...Object.values(GATEWAY).map((address) => [address, 65_535] as const),
      ...['172.17.0.1', 'fd74:6170:6465::1', ...Object.values(DECK)].map(
        (address) => [address, 10_000] as const,
      ),
    ])('has at %s no TCP port open but that of the name server, of the first %d', async (address, last) => {
      const before = await resets();
      expect(await scan(world, c1, 'tcp', address, `1-${last}`)).toEqual({
        ...nothing,
        open: [53],
        refused: last - 1,
      });
      expect((await resets()) - before).toBeGreaterThanOrEqual(last - 1);
    });

    it.each(Object.values(GATEWAY))('answers at %s by no UDP port but that', async (address) => {
      expect(await scan(world, c1, 'udp', address, '1-65535')).toEqual([53]);
    });
  });

  describe("the host's loopback", () => {
    const PORTS = 100;
    /** Where it might be. */
    const SPELLINGS = {
      4: ['127.0.0.1', '127.1.2.3', '0.0.0.0', NEXT_HOP[4], DECK[4], GATEWAY[4], '172.17.0.1', HOST[4]],
      6: [
        ...['::1', '::', '::ffff:127.0.0.1', '::127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::1'],
        ...[NEXT_HOP[6], DECK[6], GATEWAY[6], HOST[6]],
      ],
    } as const;
    const ways = { 4: 'ipv4', 6: 'ipv6' } as const;

    /** Sends a SYN and a datagram to each port of each address, as frames that no kernel of a container would send. */
    async function knock(
      netns: string,
      name: string,
      version: 4 | 6,
      addresses: readonly string[],
      ports: readonly number[],
    ): Promise<void> {
      const { mac, ipv4, ipv6, network } = (await world.endpoints()).find((one) => one.name === name)!;
      const gateway = await world.client.get<NetworkInfo>(`/v1/networks/${network}`);
      const from = { mac, ipv4: ipv4!, ipv6: ipv6! };
      const frames = addresses.flatMap((address) => {
        const to: Station = { mac: gateway.mac, [ways[version]]: address };
        return ports.flatMap((dstPort, i) => [
          tcp({ from, to, srcPort: 20_000 + i, dstPort, family: version }),
          udp({ from, to, srcPort: 20_000 + i, dstPort, family: version, data: 'knock' }),
        ]);
      });
      // Nobody sends again what does not fit into the interface's queue.
      execFileSync('ip', ['-n', netns, 'link', 'set', 'eth0', 'txqueuelen', '20000']);
      const sending = world.start(netns, 'python3', PEER, 'frames', 'eth0');
      sending.child.stdin!.end(frames.map((frame) => `${Buffer.from(frame).toString('hex')}\n`).join(''));
      expect((await sending.ended).out).toBe(`${frames.length}\n`);
      // What has an answer when all of it has been taken.
      expect(await scan(world, netns, 'udp', gateway[ways[version]]!.gateway, '53')).toEqual([53]);
    }

    it.each([4, 6] as const)('is found at no address, over IPv%d', async (version) => {
      const listening: Running = world.start(
        world.host,
        ...['python3', SCAN, 'listen', LOOPBACK[version], String(PORTS)],
      );
      await listening.said(']');
      const ports = JSON.parse(listening.out) as number[];
      const came = () => listening.out.split('\n').filter((line) => line.startsWith('came')).length;
      await knock(c1, 'c1', version, SPELLINGS[version], ports);
      expect(came()).toBe(0);
      // But by who may, at the next hop alone; and he comes after all others.
      await knock(friend, 'friend', version, SPELLINGS[version], ports);
      await expect.poll(came).toBe(2 * PORTS);
      listening.kill('SIGKILL');
      expect((await listening.ended).out.split('\n').filter((line) => line.startsWith('came'))).toEqual(
        new Array(2 * PORTS).fill(`came ${LOOPBACK[version]}`),
      );
    });
  });
});

describe("clouds' metadata services", () => {
  const ADDRESSES = METADATA.map((prefix) =>
    prefix.replace('169.254.0.0/16', '169.254.169.254').replace(/\/.*/, ''),
  );

  it.each([
    ['are as far as the host lets them be', [], [80]],
    ['are out of reach with --deny metadata', ['--deny', 'metadata'], []],
  ] as const)('%s', async (_, options, expected) => {
    const world = new HostWorld();
    try {
      for (const address of ADDRESSES) {
        const version = address.includes(':') ? 6 : 4;
        const route = [`-${version}`, 'route', 'add', address, 'via', FAR[version], 'dev', IFNAME];
        execFileSync('ip', ['-n', world.far, 'addr', 'add', address, 'dev', 'lo']);
        execFileSync('ip', ['-n', world.host, ...route]);
      }
      await world.serve(world.far, 80);
      await world.account.daemon('--uplink', 'socket', ...options);
      const c1 = await world.attach('c1');
      for (const address of ADDRESSES) {
        const fromHost = await scan(world, world.host, 'tcp', address, '80');
        expect(fromHost, address).toEqual({ ...nothing, open: [80] });
        expect(await scan(world, c1, 'tcp', address, '80'), address).toMatchObject({ open: expected });
      }
    } finally {
      await world.close();
    }
  });
});
