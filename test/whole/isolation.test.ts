import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ChainView } from '../../src/control/rule-view.ts';
import type { UserRuleInfo } from '../../src/control/user-rules.ts';
import {
  arpReply,
  arpRequest,
  BROADCAST,
  ethernet,
  icmp,
  icmpEcho,
  neighborAdvertisement,
  type Station as Party,
  tagged,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { until } from './account.ts';
import { type Host, Lab, type Station, source, transfer } from './lab.ts';
import { DECK, FAMILIES, OUT, type Outside, outside } from './outside.ts';

// Who reaches whom, between networks, from outside and out of an internal network; what a container that lies gets to
// others; and rules of the user under traffic: with the kernels, programs and packet sockets of real namespaces.

let lab: Lab;
let world: Outside;
/** In network front; `mallory` lies. */
let bob: Host;
let mallory: Host;
/** In network back, with port 80 published as 8080. */
let db: Host;
/** In internal network inner. */
let ivy: Host;
let ian: Host;
/** In network quiet, icc=false; `quentin` publishes port 90 as 8090. */
let quinn: Host;
let quentin: Host;

beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
  for (const [name, number, ...options] of [
    ['front', 91],
    ['back', 92],
    ['inner', 93, '--internal'],
    ['quiet', 94, '-o', 'com.docker.network.bridge.enable_icc=false'],
  ] as const) {
    const subnets = ['--subnet', `10.${number}.0.0/24`, '--subnet', `fd00:${number}::/64`];
    await lab.network(name, ...subnets, '--mtu', '1500', ...options);
  }
  bob = await lab.attach('bob', '--network', 'front');
  mallory = await lab.attach('mallory', '--network', 'front');
  db = await lab.attach('db', '--network', 'back', '-p', '8080:80');
  ivy = await lab.attach('ivy', '--network', 'inner');
  ian = await lab.attach('ian', '--network', 'inner');
  quinn = await lab.attach('quinn', '--network', 'quiet');
  quentin = await lab.attach('quentin', '--network', 'quiet', '-p', '8090:90');
  // Somebody outside who knows where the containers are (DK-2).
  for (const number of [91, 92, 93]) {
    world.out.ip('route', 'add', `10.${number}.0.0/24`, 'via', DECK.ipv4);
    world.out.ip('-6', 'route', 'add', `fd00:${number}::/64`, 'via', DECK.ipv6);
  }
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

const CONNECT = `
import errno, socket, sys
host, port, wait = sys.argv[1:]
try:
    socket.create_connection((host, int(port)), float(wait)).close()
    print("open")
except socket.timeout:
    print("silence")
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
`;

/** Seconds after which nothing is called silence, and after which what must come is. */
const SOON = 0.4;
const LATE = 30;

/** What a TCP connection attempt comes to: `open`, `silence`, or the name of the errno. */
async function connect(from: Station, address: string, port: number, seconds = SOON): Promise<string> {
  return (await from.ok('python3', '-c', CONNECT, address, String(port), String(seconds))).trim();
}

/** How many of three pings were answered soon: of who must not be answered. */
async function pings(from: Station, address: string): Promise<number> {
  const { out } = await from.run('ping', '-n', '-c', '3', '-i', '0.05', '-W', '0.3', address);
  return Number(/(\d+) received/.exec(out)![1]);
}

/** Pings once, and waits for the answer. */
async function answered(from: Station, address: string): Promise<boolean> {
  return (await from.run('ping', '-n', '-c', '1', '-W', '30', address)).code === 0;
}

async function addRule(rule: object): Promise<number> {
  return (await lab.client.post<UserRuleInfo>('/v1/rules/user', rule)).id;
}

async function removeRule(...ids: number[]): Promise<void> {
  await lab.client.delete(`/v1/rules/user?${ids.map((id) => `id=${id}`).join('&')}`);
}

async function drops(...reasons: string[]): Promise<number> {
  const all = await lab.drops();
  return reasons.reduce((sum, reason) => sum + (all[reason] ?? 0), 0);
}

/** Packets of the rule of a chain that is for this way out. */
async function packetsOf(chain: string, target: string, out: string): Promise<number> {
  const chains = await lab.client.get<ChainView[]>('/v1/rules');
  return chains
    .find(({ name }) => name === chain)!
    .rules.find((rule) => rule.target === target && rule.out === out)!.packets!;
}

describe('networks', () => {
  it('DK-3: are isolated from each other, and the drop and its rule count it', async () => {
    const stage2 = await packetsOf('DOCKER-ISOLATION-STAGE-2', 'DROP', 'back');
    const before = await drops('NETWORK_ISOLATED');
    await db.servePeer('echo', '80');
    const tries = FAMILIES.flatMap((family) => [pings(bob, db[family]), connect(bob, db[family], 80)]);
    expect(await Promise.all(tries)).toEqual([0, 'silence', 0, 'silence']);
    const dropped = async () => (await drops('NETWORK_ISOLATED')) - before;
    const counted = async () => (await packetsOf('DOCKER-ISOLATION-STAGE-2', 'DROP', 'back')) - stage2;
    await expect.poll(dropped).toBeGreaterThanOrEqual(8);
    // All have been sent, but some may be read between the two.
    await expect.poll(async () => (await counted()) - (await dropped())).toBe(0);
    // The other way, too; their gateways are the deck's own addresses.
    expect(await Promise.all([pings(db, bob.ipv4), answered(bob, db.gateway.ipv4)])).toEqual([0, true]);
  });

  it("DK-6: reach each other's published ports, by the deck's addresses", async () => {
    await db.servePeer('echo', '80');
    const tries = [DECK.ipv4, DECK.ipv6, bob.gateway.ipv4, db.gateway.ipv6].map((address) =>
      connect(bob, address, 8080, LATE),
    );
    tries.push(connect(db, DECK.ipv4, 8080, LATE), connect(world.out, DECK.ipv4, 8080, LATE));
    expect(new Set(await Promise.all(tries))).toEqual(new Set(['open']));
  });

  it('DK-2: are not entered from outside, also with a route to them', async () => {
    const before = await drops('NOT_PUBLISHED', 'NETWORK_INTERNAL');
    await db.servePeer('echo', '80');
    const hosts = [db, bob, ivy].flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
    const pinged = hosts.map((address) => pings(world.out, address));
    const opened = FAMILIES.map((family) => connect(world.out, db[family], 80));
    expect(await Promise.all(pinged)).toEqual(hosts.map(() => 0));
    expect(await Promise.all(opened)).toEqual(['silence', 'silence']);
    await expect
      .poll(async () => (await drops('NOT_PUBLISHED', 'NETWORK_INTERNAL')) - before)
      .toBeGreaterThanOrEqual(20);
  });

  it('DK-1: hear nothing of what comes by the uplink for a loopback, or for their own addresses', async () => {
    await db.servePeer('echo', '80');
    const from = { mac: /ether (\S+)/.exec(world.out.ip('link', 'show', 'up0'))![1]!, ...OUT };
    const loopback = { ipv4: ['127.0.0.1', '127.1.2.3', '0.0.0.0'], ipv6: ['::1', '::', '::ffff:127.0.0.1'] };
    const frames = FAMILIES.flatMap((family) =>
      [db[family], bob[family], ivy[family], ...loopback[family]].flatMap((address) => {
        const ends = { from, to: { mac: DECK.mac, [family]: address } };
        return [
          icmpEcho(ends),
          ...[80, 8080].flatMap((dstPort) => [tcp({ ...ends, dstPort }), udp({ ...ends, dstPort })]),
        ];
      }),
    );
    const inside = await Promise.all(
      [db, bob, ivy].map((host) => host.capture('src', 'host', OUT.ipv4, 'or', 'src', 'host', OUT.ipv6)),
    );
    const answers = await world.out.capture('ether', 'src', DECK.mac, 'and', 'dst', 'host', OUT.ipv4);
    const answers6 = await world.out.capture(
      ...['ether', 'src', DECK.mac, 'and', 'dst', 'host', OUT.ipv6, 'and', 'not', 'icmp6'],
    );
    await world.out.send(frames);
    // Its answer ends the recording: what was sent before it has been handled then.
    expect(await answered(world.out, DECK.ipv4)).toBe(true);
    expect(await answers.stop(1)).toHaveLength(1);
    expect(await answers6.stop()).toEqual([]);
    for (const capture of inside) expect(await capture.stop()).toEqual([]);
  });

  it('DK-4: that are internal have their gateway and nothing else; nothing leaves', async () => {
    await db.servePeer('echo', '80');
    const capture = await world.out.capture('host', DECK.ipv4, 'or', 'host', DECK.ipv6);
    // Its kernel knows no way out; somebody who makes one finds that there is none.
    expect(ivy.ip('route')).not.toContain('default');
    ivy.ip('route', 'add', 'default', 'via', ivy.gateway.ipv4);
    ivy.ip('-6', 'route', 'add', 'default', 'via', ivy.gateway.ipv6);
    const own = FAMILIES.flatMap((family) => [ian[family], ivy.gateway[family]]);
    expect(await Promise.all(own.map((address) => answered(ivy, address)))).not.toContain(false);
    const others = FAMILIES.flatMap((family) => [
      ...[db, bob].map((host) => host[family]),
      ...[db.gateway[family], DECK[family], OUT[family]],
    ]);
    expect(await Promise.all(others.map((address) => pings(ivy, address)))).toEqual(others.map(() => 0));
    const ports = FAMILIES.flatMap((family) => [DECK[family], ivy.gateway[family], db.gateway[family]]);
    expect(await Promise.all(ports.map((address) => connect(ivy, address, 8080)))).not.toContain('open');
    expect(await Promise.all(FAMILIES.map((family) => pings(bob, ivy[family])))).toEqual([0, 0]);
    // A rule that accepts everything is no way out either.
    const rule = await addRule({ action: 'ACCEPT' });
    expect(await Promise.all([pings(ivy, db.ipv4), pings(ivy, OUT.ipv4)])).toEqual([0, 0]);
    await removeRule(rule);
    const frames = await capture.stop();
    expect(frames.filter((frame) => frame[12] !== 0x08 || frame[13] !== 0x06)).toEqual([]);
  });

  it('DK-11: with icc=false keep their own endpoints apart, but for published ports', async () => {
    await quentin.servePeer('echo', '90');
    const tries = FAMILIES.flatMap((family) => [
      pings(quinn, quentin[family]),
      answered(quinn, quinn.gateway[family]),
      connect(quinn, DECK[family], 8090, LATE),
    ]);
    expect(await Promise.all(tries)).toEqual([0, true, 'open', 0, true, 'open']);
    // Neither by a neighbor entry of one's own making, nor by the router.
    quinn.ip('neigh', 'replace', quentin.ipv4, 'lladdr', quentin.mac, 'dev', 'eth0');
    expect(await connect(quinn, quentin.ipv4, 90)).toBe('silence');
    quinn.ip('neigh', 'replace', quentin.ipv4, 'lladdr', quinn.gateway.mac, 'dev', 'eth0');
    expect(await connect(quinn, quentin.ipv4, 90)).toBe('silence');
    await expect.poll(() => packetsOf('FORWARD', 'DROP', 'quiet')).toBeGreaterThan(0);
  });
});

describe('a container that lies', () => {
  const EXPERIMENT = 0x88b5;

  /** What it says, and none of it is true. */
  function lies(): Uint8Array[] {
    const { gateway } = bob;
    const everybody: Party = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };
    const as = (who: { ipv4?: string; ipv6?: string }, mac = mallory.mac): Party => ({ ...who, mac });
    const nobody = { ipv4: '10.91.0.99', ipv6: 'fd00:91::99' };
    const own = { ipv6: 'fe80::bad' };
    const arp = [
      arpReply({ from: as(gateway), to: bob }),
      arpRequest({ from: as(gateway), ask: gateway.ipv4 }),
      arpRequest({ from: as(nobody), ask: nobody.ipv4 }),
      arpReply({ from: as(bob), to: bob }),
    ];
    return [
      ...arp,
      ...arp.flatMap((frame) => [
        tagged(frame, 0),
        tagged(tagged(frame, 0), 0),
        tagged(tagged(tagged(frame, 0), 0), 0),
      ]),
      arpReply({ from: as(gateway, gateway.mac), to: bob }),
      neighborAdvertisement({ from: as(gateway), to: bob, router: true }),
      neighborAdvertisement({ from: as(gateway), to: everybody, router: true }),
      neighborAdvertisement({ from: as(nobody), to: everybody }),
      icmp({ from: as(own), to: everybody, family: 6, ttl: 255, type: 134, rest: 0x40000708, data: 8 }),
      icmp({ from: as(own), to: bob, family: 6, ttl: 255, type: 137, data: 32 }),
      icmpEcho({ from: as(gateway), to: bob }),
      icmpEcho({ from: as(nobody), to: bob }),
      icmpEcho({ from: as(nobody), to: bob, family: 6 }),
      udp({ from: as({ ipv4: '192.0.2.1' }), to: bob, dstPort: 9 }),
      udp({
        from: as(mallory),
        to: { mac: BROADCAST, ipv4: '255.255.255.255' },
        srcPort: 67,
        dstPort: 68,
        data: 300,
      }),
      udp({ from: as(mallory, '02:00:00:00:00:99'), to: bob, dstPort: 9 }),
      udp({ from: as(mallory, bob.mac), to: bob, dstPort: 9 }),
    ];
  }

  const tables = () => [bob.ip('-4', 'route'), bob.ip('-6', 'route'), bob.ip('-6', 'addr')];
  /** That the deck knows of. */
  const neighbors = async () =>
    (await lab.client.get<{ address: string; mac: string }[]>('/v1/neighbors')).map(
      ({ address, mac }) => `${address} ${mac}`,
    );
  const neighbor = (address: string) => /lladdr (\S+)/.exec(bob.ip('neigh', 'show', address))?.[1];

  it('reaches nobody with it, and changes nothing that others know', async () => {
    const gateways = [bob.gateway.ipv4, bob.gateway.ipv6].map((address) => answered(bob, address));
    expect(await Promise.all(gateways)).toEqual([true, true]);
    const before = tables();
    const held = await neighbors();
    const capture = await bob.capture(
      'ether',
      'src',
      mallory.mac,
      'or',
      'ether',
      'proto',
      String(EXPERIMENT),
    );
    // What it may say is recorded: everything before it has been handled then.
    const end = ethernet({ from: mallory.mac, to: bob.mac, type: EXPERIMENT, data: 'the truth' });
    const all = lies();
    const reasons = [
      'ARP_SPOOF',
      'ND_SPOOF',
      'RA_GUARD',
      'IP_SPOOF',
      'DHCP_GUARD',
      'VLAN_DEPTH',
      'MAC_SPOOF',
      'MAC_OWN',
      'MAC_FOREIGN',
    ];
    const dropped = await drops(...reasons);
    await mallory.send([...all, end]);
    const frames = await capture.stop(1);
    expect(frames.map(source)).toEqual([mallory.mac]);
    expect(frames[0]!.subarray(0, end.length)).toEqual(end);
    expect((await drops(...reasons)) - dropped).toBe(all.length);
    expect(neighbor(bob.gateway.ipv4)).toBe(bob.gateway.mac);
    expect(neighbor(bob.gateway.ipv6)).toBe(bob.gateway.mac);
    expect(neighbor('10.91.0.99')).toBeUndefined();
    expect(tables()).toEqual(before);
    // It may have forgotten some meanwhile.
    expect(held).toEqual(expect.arrayContaining(await neighbors()));
  });

  it('gets nothing outside under another name', async () => {
    const capture = await world.out.capture('udp', 'port', '999');
    const from = (ipv4: string) =>
      udp({ from: { mac: mallory.mac, ipv4 }, to: { mac: bob.gateway.mac, ipv4: OUT.ipv4 }, dstPort: 999 });
    await mallory.send([bob.ipv4, '10.91.0.99', '203.0.113.9', mallory.ipv4].map(from));
    // Behind the others, also behind one that waits for the address of the next hop.
    expect(await mallory.lostPings(OUT.ipv4, 1)).toEqual([]);
    expect(await capture.stop(1)).toHaveLength(1);
  });

  it('may, when it is allowed to', async () => {
    const eve = await lab.attach('eve', '--network', 'front', '--allow-spoof');
    const capture = await bob.capture('icmp');
    await eve.send([icmpEcho({ from: { mac: eve.mac, ipv4: '10.91.0.99' }, to: bob })]);
    expect(await capture.stop(1)).not.toEqual([]);
  });
});

describe('rules of the user', () => {
  it('open a way between two networks, and close it again', async () => {
    const there = await addRule({
      action: 'ACCEPT',
      in: 'front',
      out: 'back',
      protocol: 'tcp',
      dport: '20000:29999',
    });
    const back = await addRule({ action: 'ACCEPT', in: 'back', out: 'front', state: ['ESTABLISHED'] });
    await transfer(bob, db, db.ipv4, 1_000_000);
    await transfer(bob, db, db.ipv6, 1_000_000);
    expect(await pings(bob, db.ipv4)).toBe(0);
    await db.servePeer('echo', '20001');
    expect(await connect(bob, db.ipv4, 20_001, LATE)).toBe('open');
    await removeRule(there, back);
    expect(await connect(bob, db.ipv4, 20_001)).toBe('silence');
  });

  it('take hold and let go between two packets of what stands, and count what they stop', async () => {
    const ping = bob.start('ping', '-n', '-i', '0.02', OUT.ipv4);
    const answers = () =>
      Array.from(ping.out.matchAll(/icmp_seq=(\d+) ttl/g), ([, number]) => Number(number));
    await until(() => answers().length >= 10, 'there are answers');
    const rule = await addRule({
      action: 'DROP',
      in: 'front',
      out: 'up0',
      protocol: 'icmp',
      icmpType: 'echo-request',
    });
    const count = async () =>
      (await lab.client.get<UserRuleInfo[]>('/v1/rules/user')).find(({ id }) => id === rule)!.packets;
    await until(async () => (await count()) >= 20, 'some are stopped');
    const [stopped] = await lab.client.delete<UserRuleInfo[]>(`/v1/rules/user?id=${rule}`);
    expect(stopped!.id).toBe(rule);
    const before = answers().length;
    await until(() => answers().length >= before + 10, 'there are answers again');
    const numbers = answers().sort((a, b) => a - b);
    // From the first one on all are answered but for those between.
    const gaps = numbers.flatMap((number, i) => number - (numbers[i - 1] ?? 0) - 1).filter((gap) => gap > 0);
    expect(gaps).toHaveLength(1);
    expect(gaps[0]).toBeGreaterThanOrEqual(20);
    expect(gaps[0]).toBe(await drops('USER_DROP'));
  });

  it('reject at once, with a reset or an error', async () => {
    const rule = await addRule({ action: 'REJECT', out: 'up0', in: 'front', dst: OUT.ipv4 });
    expect(await connect(bob, OUT.ipv4, 7, LATE)).toBe('ECONNREFUSED');
    const { out } = await bob.run('ping', '-n', '-c', '1', '-W', '30', OUT.ipv4);
    expect(out).toContain('Destination Port Unreachable');
    await removeRule(rule);
    expect(await answered(bob, OUT.ipv4)).toBe(true);
  });
});
