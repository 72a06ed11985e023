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
    },
  ],
  uplinks: [{ number: 1, name: 'out' }],
  published: [{ id: 5, network: 0, address: '10.1.0.2', published }],
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
  const counters = RULE_KINDS.map((kind, i) => ({
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
    'filter FORWARD: DOCKER-USER all * * any any  null/null',
    'filter FORWARD: DROP all lab * any any ctstate INVALID 9/900',
    'filter FORWARD: DROP all out * any any ctstate INVALID 0/0',
    'filter FORWARD: ACCEPT all * lab any any ctstate RELATED,ESTABLISHED 5/500',
    'filter FORWARD: DOCKER all * * any any  null/null',
    'filter FORWARD: ACCEPT all lab !lab any any  7/700',
    'filter FORWARD: ACCEPT all lab lab any any  8/800',
    'filter DOCKER: ACCEPT tcp * lab any 10.1.0.2 tcp dpt:80 ctstate DNAT /* web 8080 */ 6/600',
    'filter DOCKER: DROP all out * any any /* not published; UDP to the deck itself: port unreachable */ 10/1000',
    'filter DOCKER-USER: RETURN all * * any any  null/null',
  ]);
  expect(viewRules(parts).map(({ name, policy }) => [name, policy])).toEqual([
    ['PREROUTING', 'ACCEPT'],
    ['POSTROUTING', 'ACCEPT'],
    ['DOCKER', null],
    ['FORWARD', 'DROP'],
    ['DOCKER', null],
    ['DOCKER-USER', null],
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
  expect(masquerade({ npt: '2001:db8:1::/64' })).toEqual([
    'SNPT all * out fd00:1::/64 src-pfx fd00:1::/64 dst-pfx 2001:db8:1::/64 /* checksum-neutral, RFC 6296 */',
    'MASQUERADE all * out 10.1.0.0/24',
  ]);
});
