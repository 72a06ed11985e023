import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { whyText } from '../../src/cli/why.ts';
import type { WhyView } from '../../src/control/why/explain.ts';
import { Random } from '../../wire/random.ts';
import { netnsPath } from '../device/sandbox.ts';
import { type Host, Lab, type Station } from './lab.ts';
import { DECK, FAR, OUT, type Outside, outside } from './outside.ts';

// What `why` says of questions drawn at random, and what becomes of the same packets between real namespaces: the same.
// TAPDECK_WHY asks more of them, TAPDECK_SEED others.

const QUESTIONS = Number(process.env['TAPDECK_WHY'] ?? 40);
const SEED = Number(process.env['TAPDECK_SEED'] ?? 6);
/** Who gets no answer for so long gets none: many do not, and all wait at the same time. */
const SECONDS = 6;

const SERVED = [53, 80, 90, 443, 5432];
const ASKED = [80, 443, 5432, 8080, 8090];
const PROBER = fileURLToPath(new URL('why-probe.py', import.meta.url));

let lab: Lab;
let world: Outside;
const hosts = new Map<string, Host>();
/** All addresses of each container. */
const addresses = new Map<string, string[]>();

const NETWORKS: readonly (readonly [name: string, number: number, ...options: string[]])[] = [
  ['front', 91],
  ['back', 92],
  ['inner', 93, '--internal'],
  ['quiet', 94, '-o', 'com.docker.network.bridge.enable_icc=false'],
];

beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
  for (const [name, number, ...options] of NETWORKS) {
    const subnets = ['--subnet', `10.${number}.0.0/24`, '--subnet', `fd00:${number}::/64`];
    await lab.network(name, ...subnets, '--mtu', '1500', ...options);
  }
  for (const [name, network, ...options] of [
    ['bob', 'front'],
    ['web', 'front', '-p', '8080:80'],
    ['db', 'back', '-p', '443:443', '-p', '443:443/udp'],
    ['both', 'back', '--network', 'front'],
    ['ivy', 'inner'],
    ['edge', 'inner', '--network', 'front'],
    ['quinn', 'quiet'],
    ['quentin', 'quiet', '-p', '8090:90', '-p', '8090:90/udp'],
  ] as const) {
    hosts.set(name, await lab.attach(name, '--network', network, ...options));
  }
  for (const { name, ipv4, ipv6 } of await lab.endpoints()) {
    addresses.set(name, [...(addresses.get(name) ?? []), ...[ipv4, ipv6].filter((text) => text !== null)]);
  }
  for (const [number] of NETWORKS.map(([, number]) => [number])) {
    for (const [from, via4, via6] of [
      [world.out, DECK.ipv4, DECK.ipv6],
      [world.far, '198.51.100.1', '2001:db8:1::1'],
    ] as const) {
      from.ip('route', 'add', `10.${number}.0.0/24`, 'via', via4);
      from.ip('-6', 'route', 'add', `fd00:${number}::/64`, 'via', via6);
    }
  }
  for (const rule of [
    { in: 'front', out: 'back', protocol: 'tcp', dport: '5432', action: 'ACCEPT' },
    { in: 'back', out: 'front', state: ['ESTABLISHED'], action: 'ACCEPT' },
    // Only one way of two.
    { in: 'quiet', out: 'back', protocol: 'tcp', dport: '80', action: 'ACCEPT' },
    // The first packet of a connection, and no other.
    { in: 'back', out: 'quiet', protocol: 'tcp', dport: '90', state: ['NEW'], action: 'ACCEPT' },
    { in: 'front', protocol: 'tcp', dport: '443', action: 'REJECT' },
    { in: 'back', out: world.out.ifname, protocol: 'icmp', action: 'DROP' },
    { in: world.out.ifname, out: 'front', protocol: 'tcp', dport: '5432', action: 'ACCEPT' },
    { in: 'quiet', out: 'quiet', protocol: 'icmp', action: 'ACCEPT' },
  ]) {
    await lab.client.post('/v1/rules/user', rule);
  }
});
afterAll(() => lab.close());

interface Asked {
  from: string;
  station: Station;
  protocol: 'tcp' | 'udp' | 'icmp';
  to: string;
  port: number;
}

/** Questions from everybody to every address that somebody has, or nobody. */
function draw(count: number): Asked[] {
  const random = new Random(SEED);
  const one = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const sources: [string, Station][] = [...hosts, ['host', world.out], ['outside', world.far]];
  const targets = [
    ...[...addresses.values()].flat(),
    ...NETWORKS.flatMap(([, number]) => [`10.${number}.0.1`, `fd00:${number}::1`, `10.${number}.0.200`]),
    ...[DECK, DECK, OUT, FAR].flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
  ];
  const questions: Asked[] = [];
  while (questions.length < count) {
    const [from, station] = one(sources);
    const to = one(targets);
    const protocol = one(['tcp', 'tcp', 'udp', 'icmp'] as const);
    const isOutside = station === world.out || station === world.far;
    const isBehind = [OUT, FAR].some(({ ipv4, ipv6 }) => to === ipv4 || to === ipv6);
    if (isOutside && isBehind) continue;
    questions.push({ from, station, protocol, to, port: protocol === 'icmp' ? 0 : one(ASKED) });
  }
  return questions;
}

/** The address by which who is outside asks. */
function sourceOf({ from, to }: Asked): string {
  const family = to.includes(':') ? 'ipv6' : 'ipv4';
  if (from === 'host') return OUT[family];
  return from === 'outside' ? FAR[family] : from;
}

it(
  'says of every question what then happens',
  async () => {
    const asked = draw(QUESTIONS);
    const said: WhyView[] = [];
    for (const question of asked) {
      const { to, port, protocol } = question;
      const text = to.includes(':') ? `[${to}]` : to;
      const place = port === 0 ? text : `${text}:${port}/${protocol}`;
      said.push(await lab.client.post<WhyView>('/v1/why', { from: sourceOf(question), to: place }));
    }
    const servers = [
      ...Array.from(hosts, ([name, { netns }]) => ({
        netns: netnsPath(netns),
        addresses: addresses.get(name)!,
      })),
      { netns: netnsPath(world.out.netns), addresses: [OUT.ipv4, OUT.ipv6] },
      { netns: netnsPath(world.far.netns), addresses: [FAR.ipv4, FAR.ipv6] },
    ].map((server) => ({ ...server, ports: SERVED.concat(8080, 8090) }));
    const probes = asked.map(({ station, protocol, to, port }) => ({
      netns: netnsPath(station.netns),
      protocol,
      to,
      port,
      greeting: true,
    }));
    const prober = lab.start('python3', PROBER);
    prober.child.stdin!.end(JSON.stringify({ servers, probes, seconds: SECONDS }));
    const { code, out, err } = await prober.ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const happened = JSON.parse(out) as boolean[];
    const differences = said.flatMap((answer, i) =>
      (answer.answer === 'yes') === happened[i]
        ? []
        : [
            `${asked[i]!.from} to ${asked[i]!.to}: it ${happened[i] ? 'passes' : 'does not pass'}\n${whyText(answer)}`,
          ],
    );
    expect(differences.join('\n')).toBe('');
    // Of both kinds, and for more than one reason.
    expect(happened.filter(Boolean).length).toBeGreaterThan(QUESTIONS / 10);
    const reasons = new Set(said.flatMap(({ steps }) => steps.flatMap(({ drops }) => drops)));
    expect(reasons.size).toBeGreaterThan(3);
  },
  120_000 + 1000 * QUESTIONS,
);
