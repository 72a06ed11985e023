import { expect, it } from 'vitest';
import { type RuleParts, viewRules } from '../../src/control/rules.ts';
import { RULE_KINDS } from '../../src/dataplane/commands.ts';

const published = {
  endpoint: 'web',
  protocol: 'tcp',
  host: '0.0.0.0',
  hostPort: 8080,
  hostPortEnd: 8080,
  port: 80,
  portEnd: 80,
} as const;
const parts: RuleParts = {
  networks: [
    {
      number: 0,
      name: 'lab',
      subnets: ['10.1.0.0/24', 'fd00:1::/64'],
      uplink: { name: 'out', ipv4: true, ipv6: true },
      npt: null,
      internal: false,
      icc: true,
      masquerade: true,
    },
  ],
  uplinks: [{ number: 1, name: 'out' }],
  published: [{ id: 5, network: 0, address: '10.1.0.2', published }],
  userRules: [],
  counters: [],
};

/** Every rule as one line: table, chain, target and what is counted. */
function lines(parts: RuleParts): string[] {
  return viewRules(parts).flatMap(({ table, name, rules }) =>
    rules.map(
      (rule) =>
        `${table} ${name}: ${rule.target} ${rule.protocol} ${rule.in} ${rule.out} ${rule.source.join(',') || 'any'} ${rule.destination.join(',') || 'any'} ${rule.detail} ${rule.packets}/${rule.bytes}`,
    ),
  );
}

it('are the chains of Docker, with what was counted', () => {
  const counters = RULE_KINDS.filter((kind) => kind !== 'USER').map((kind, i) => ({
    kind,
    network: kind === 'UNPUBLISHED' ? 1 : 0,
    publish: ['DNAT', 'HAIRPIN', 'PUBLISHED'].includes(kind) ? 5 : -1,
    packets: i + 1,
    bytes: 100 * (i + 1),
  }));
  expect(lines({ ...parts, counters })).toEqual([
    'nat PREROUTING: DOCKER all * * any any ADDRTYPE match dst-type LOCAL null/null',
    'nat POSTROUTING: MASQUERADE all * out 10.1.0.0/24,fd00:1::/64 any  2/200',
    'nat POSTROUTING: MASQUERADE tcp * lab 10.1.0.0/24 10.1.0.2 tcp dpt:80 /* hairpin, web 8080 */ 3/300',
    'nat DOCKER: DNAT tcp * * any 0.0.0.0/0 tcp dpt:8080 to:10.1.0.2:80 1/100',
    'filter INPUT: REJECT tcp lab * any any reject-with tcp-reset 16/1600',
    'filter INPUT: REJECT udp lab * any any reject-with icmp-port-unreachable 17/1700',
    'filter FORWARD: DOCKER-USER all * * any any  null/null',
    'filter FORWARD: DOCKER-ISOLATION-STAGE-1 all * * any any  null/null',
    'filter FORWARD: DROP all lab * any any ctstate INVALID 9/900',
    'filter FORWARD: DROP all out * any any ctstate INVALID 0/0',
    'filter FORWARD: ACCEPT all * lab any any ctstate RELATED,ESTABLISHED 5/500',
    'filter FORWARD: DOCKER all * * any any  null/null',
    'filter FORWARD: ACCEPT all lab !lab any any  7/700',
    'filter FORWARD: ACCEPT all lab lab any any  8/800',
    'filter DOCKER-USER: RETURN all * * any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-1: DOCKER-ISOLATION-STAGE-2 all lab !lab any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-1: RETURN all * * any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-2: DROP all * lab any any  11/1100',
    'filter DOCKER-ISOLATION-STAGE-2: RETURN all * * any any  null/null',
    'filter DOCKER: ACCEPT tcp * lab any 10.1.0.2 tcp dpt:80 ctstate DNAT /* web 8080 */ 6/600',
    'filter DOCKER: DROP all out * any any /* not published */ 10/1000',
  ]);
  expect(viewRules(parts).map(({ name, policy }) => [name, policy])).toEqual([
    ['PREROUTING', 'ACCEPT'],
    ['POSTROUTING', 'ACCEPT'],
    ['DOCKER', null],
    ['INPUT', 'ACCEPT'],
    ['FORWARD', 'DROP'],
    ['DOCKER-USER', null],
    ['DOCKER-ISOLATION-STAGE-1', null],
    ['DOCKER-ISOLATION-STAGE-2', null],
    ['DOCKER', null],
  ]);
});

it('name hosts, ranges and IPv6 as iptables does', () => {
  const found = lines({
    ...parts,
    published: [
      {
        id: 6,
        network: 0,
        address: 'fd00:1::2',
        published: { ...published, protocol: 'udp', host: 'fd00:1::1', hostPortEnd: 8090, portEnd: 90 },
      },
      { id: 7, network: 99, address: '10.9.0.2', published },
    ],
  }).filter((line) => line.startsWith('nat DOCKER'));
  expect(found).toEqual([
    'nat DOCKER: DNAT udp * * any fd00:1::1 udp dpts:8080:8090 to:[fd00:1::2]:80-90 0/0',
  ]);
});

it('tell publishes of one port apart, and name interfaces of the host', () => {
  const twice = { ...published, hostPort: 8081, hostPortEnd: 8082, portEnd: 81 };
  const found = lines({
    ...parts,
    published: [
      { id: 5, network: 0, address: '10.1.0.2', published },
      { id: 6, network: 0, address: '10.1.0.2', published: { ...twice, host: '192.0.2.2' } },
      { id: 7, network: 0, address: '10.1.0.2', published: { ...twice, host: '0.0.0.0%eth1' } },
      { id: 8, network: 0, address: 'fd00:1::2', published: { ...published, host: '::' } },
    ],
  });
  expect(found.filter((line) => /DOCKER: (ACCEPT|DNAT)/.test(line))).toEqual([
    'nat DOCKER: DNAT tcp * * any 0.0.0.0/0 tcp dpt:8080 to:10.1.0.2:80 0/0',
    'nat DOCKER: DNAT tcp * * any 192.0.2.2 tcp dpts:8081:8082 to:10.1.0.2:80-81 0/0',
    'nat DOCKER: DNAT tcp * * any 0.0.0.0/0 tcp dpts:8081:8082 to:10.1.0.2:80-81 /* by eth1 of the host */ 0/0',
    'nat DOCKER: DNAT tcp * * any ::/0 tcp dpt:8080 to:[fd00:1::2]:80 0/0',
    'filter DOCKER: ACCEPT tcp * lab any 10.1.0.2 tcp dpt:80 ctstate DNAT /* web 8080 */ 0/0',
    'filter DOCKER: ACCEPT tcp * lab any 10.1.0.2 tcp dpts:80:81 ctstate DNAT /* web 192.0.2.2:8081-8082 */ 0/0',
    'filter DOCKER: ACCEPT tcp * lab any 10.1.0.2 tcp dpts:80:81 ctstate DNAT /* web 8081-8082 by eth1 */ 0/0',
    'filter DOCKER: ACCEPT tcp * lab any fd00:1::2 tcp dpt:80 ctstate DNAT /* web 8080 */ 0/0',
  ]);
  expect(found.filter((line) => line.includes('hairpin')).at(-1)).toContain('fd00:1::/64 fd00:1::2');
});

it('do not masquerade without an uplink, nor what another prefix stands for', () => {
  const masquerade = (fields: object) =>
    lines({ ...parts, networks: [{ ...parts.networks[0]!, ...fields }], published: [] })
      .filter((line) => line.startsWith('nat POSTROUTING'))
      .map((line) =>
        line
          .replace(/ +\S+$/, '')
          .split(' ')
          .slice(2)
          .filter((word) => word !== 'any')
          .join(' '),
      );
  expect(masquerade({ uplink: null })).toEqual([]);
  expect(masquerade({ uplink: { name: 'out', ipv4: true, ipv6: false } })).toEqual([
    'MASQUERADE all * out 10.1.0.0/24',
  ]);
  expect(masquerade({ masquerade: false })).toEqual([]);
  expect(masquerade({ npt: '2001:db8:1::/64' })).toEqual([
    'SNPT all * out fd00:1::/64 src-pfx fd00:1::/64 dst-pfx 2001:db8:1::/64 /* checksum-neutral, RFC 6296 */',
    'MASQUERADE all * out 10.1.0.0/24',
  ]);
});

const back = { ...parts.networks[0]!, number: 2, name: 'back', subnets: ['10.2.0.0/24'], uplink: null };

/** The plain words of the rules of a chain. */
function words(parts: RuleParts, chain: string): string[] {
  const { rules } = viewRules(parts).findLast(({ name }) => name === chain)!;
  return rules.map((rule) => rule.words);
}

it('keep networks apart, internal ones from everything', () => {
  const networks = [parts.networks[0]!, { ...back, internal: true, icc: false }];
  const counters = [
    { kind: 'ISOLATED', network: 0, publish: -1, packets: 3, bytes: 252 },
    { kind: 'INTERNAL_OUT', network: 2, publish: -1, packets: 1, bytes: 84 },
    { kind: 'ICC', network: 2, publish: -1, packets: 2, bytes: 168 },
    { kind: 'INTERNAL_INPUT', network: 2, publish: -1, packets: 4, bytes: 336 },
  ] as const;
  const found = lines({ ...parts, networks, counters });
  expect(found.filter((line) => line.includes('DOCKER-ISOLATION-STAGE') || line.includes('back'))).toEqual([
    "filter INPUT: DROP all back * any any /* another network's gateway */ 4/336",
    'filter FORWARD: DOCKER-ISOLATION-STAGE-1 all * * any any  null/null',
    'filter FORWARD: DROP all back * any any ctstate INVALID 0/0',
    'filter FORWARD: ACCEPT all * back any any ctstate RELATED,ESTABLISHED 0/0',
    'filter FORWARD: DROP all back back any any /* icc=false */ 2/168',
    'filter DOCKER-ISOLATION-STAGE-1: DROP all back * any !10.2.0.0/24  1/84',
    'filter DOCKER-ISOLATION-STAGE-1: DROP all * back !10.2.0.0/24 any  0/0',
    'filter DOCKER-ISOLATION-STAGE-1: DOCKER-ISOLATION-STAGE-2 all lab !lab any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-1: DOCKER-ISOLATION-STAGE-2 all back !back any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-1: RETURN all * * any any  null/null',
    'filter DOCKER-ISOLATION-STAGE-2: DROP all * lab any any  3/252',
    'filter DOCKER-ISOLATION-STAGE-2: DROP all * back any any  0/0',
    'filter DOCKER-ISOLATION-STAGE-2: RETURN all * * any any  null/null',
  ]);
  expect(words({ ...parts, networks }, 'DOCKER-ISOLATION-STAGE-2').slice(0, 2)).toEqual([
    'traffic of network back may not enter network lab',
    'traffic of network lab may not enter network back',
  ]);
});

it('of the user are in DOCKER-USER, with their fields and their meaning', () => {
  const common = { createdAt: '2026-01-01T00:00:00.000Z', active: true, packets: 1, bytes: 60 };
  const userRules = [
    { ...common, id: 7, position: 1, action: 'ACCEPT', in: 'lab', out: 'back', protocol: 'tcp', dport: '80' },
    {
      ...common,
      id: 3,
      position: 2,
      action: 'REJECT',
      in: '!out',
      src: '!10.1.0.0/24',
      dst: '10.9.0.1',
      protocol: 'udp',
      sport: '1:1023',
      state: ['NEW', 'RELATED'],
      rejectWith: 'icmp-admin-prohibited',
      comment: 'no servers',
    },
    { ...common, id: 4, position: 3, action: 'DROP', protocol: 'icmp', icmpType: 'echo-request' },
    { ...common, id: 5, position: 4, action: 'REJECT', out: 'gone', active: false },
    { ...common, id: 6, position: 5, action: 'RETURN', protocol: '47' },
  ] as const;
  const all = { ...parts, networks: [parts.networks[0]!, back], userRules };
  expect(lines(all).filter((line) => line.startsWith('filter DOCKER-USER'))).toEqual([
    'filter DOCKER-USER: ACCEPT tcp lab back any any tcp dpt:80 1/60',
    'filter DOCKER-USER: REJECT udp !out * !10.1.0.0/24 10.9.0.1 udp spts:1:1023 ctstate NEW,RELATED /* no servers */ reject-with icmp-admin-prohibited 1/60',
    'filter DOCKER-USER: DROP icmp * * any any icmptype echo-request 1/60',
    'filter DOCKER-USER: REJECT all * gone any any reject-with tcp-reset,icmp-port-unreachable /* asleep */ 1/60',
    'filter DOCKER-USER: RETURN 47 * * any any  1/60',
    'filter DOCKER-USER: RETURN all * * any any  null/null',
  ]);
  expect(words(all, 'DOCKER-USER')).toEqual([
    'TCP to port 80 from network lab to network back passes, whatever the chains behind this one say',
    'UDP from ports 1 to 1023 of any address but 10.1.0.0/24 from anywhere but uplink out for 10.9.0.1 in state NEW or RELATED is refused, and the sender told (icmp-admin-prohibited)',
    'ICMP echo-request is dropped',
    'all traffic to network gone is refused, and the sender told; asleep, because a network that it names is not there',
    'IP protocol 47 goes on with the next chain',
    'all else goes on with the next chain',
  ]);
  const { rules } = viewRules(all).find(({ name }) => name === 'DOCKER-USER')!;
  expect(rules[1]).toMatchObject({
    rule: 3,
    sourcePorts: { from: 1, to: 1023 },
    destinationPorts: null,
    states: ['NEW', 'RELATED'],
  });
});

it('say their ports in numbers, too, and every rule says something in words', () => {
  const chains = viewRules({ ...parts, networks: [parts.networks[0]!, { ...back, internal: true }] });
  const dnat = chains.find(({ table, name }) => table === 'nat' && name === 'DOCKER')!.rules[0]!;
  expect(dnat).toMatchObject({
    destinationPorts: { from: 8080, to: 8080 },
    to: { address: '10.1.0.2', ports: { from: 80, to: 80 } },
    words: 'TCP to port 8080 of the deck goes to port 80 of web',
  });
  for (const { rules } of chains) for (const rule of rules) expect(rule.words).not.toBe('');
});
