import type { RuleCounter, RuleKind } from '../dataplane/commands.ts';
import { formatPorts } from './publish-spec.ts';
import type { PublishedPort } from './published.ts';

/**
 * What the data plane does, written as the rules by which Docker has the kernel do it: netfilter's tables, Docker's chains.
 * Nothing reads these rules; they are a way to say what happens, with what was counted where it happens.
 */

/** One rule. */
export interface RuleView {
  /** What becomes of the packet, or the chain that it goes to. */
  target: string;
  protocol: 'all' | 'tcp' | 'udp';
  /** Network or uplink by which the packet comes in and goes out; `*` for any, `!lab` for any but lab. */
  in: string;
  out: string;
  /** Subnets or addresses; empty for any. */
  source: string[];
  destination: string[];
  /** What else must hold, and with what the packet is rewritten, in iptables' words. */
  detail: string;
  /**
   * What it has counted since it was made: in table nat the first packets of connections, in table filter all that it let
   * through or discarded. null for a rule that only leads to another chain.
   */
  packets: number | null;
  bytes: number | null;
}

/** A chain, its rules in the order in which they are tried. */
export interface ChainView {
  table: 'nat' | 'filter';
  name: string;
  /** What becomes of packets that no rule is about; null for a chain that others lead to. */
  policy: 'ACCEPT' | 'DROP' | null;
  /** How many rules lead to it; 0 for those that netfilter has itself. */
  references: number;
  rules: RuleView[];
}

/** A network of the deck. */
export interface RuleNetwork {
  number: number;
  name: string;
  subnets: string[];
  /** Its uplink, and the IP versions that it has; null for a network without. */
  uplink: { name: string; ipv4: boolean; ipv6: boolean } | null;
  /** The prefix that stands for its IPv6 prefix outside (RFC 6296); null without. */
  npt: string | null;
}

export interface RuleUplink {
  number: number;
  name: string;
}

export interface RuleParts {
  networks: readonly RuleNetwork[];
  uplinks: readonly RuleUplink[];
  published: readonly { id: number; network: number; address: string; published: PublishedPort }[];
  counters: readonly RuleCounter[];
}

const ANY: RuleView = {
  target: '',
  protocol: 'all',
  in: '*',
  out: '*',
  source: [],
  destination: [],
  detail: '',
  packets: null,
  bytes: null,
};

/** All chains, in the order in which a packet meets them. */
export function viewRules({ networks, uplinks, published, counters }: RuleParts): ChainView[] {
  const find = (kind: RuleKind, network: number, publish: number) =>
    counters.find((one) => one.kind === kind && one.network === network && one.publish === publish);
  const rule = (kind: RuleKind, network: number, publish: number, fields: Partial<RuleView>): RuleView => {
    const { packets = 0, bytes = 0 } = find(kind, network, publish) ?? {};
    return { ...ANY, ...fields, packets, bytes };
  };
  const named = new Map(networks.map((network) => [network.number, network]));
  const ports = published.flatMap(({ id, network, address, published }) => {
    const known = named.get(network);
    return known ? { id, network: known, address, published } : [];
  });
  const segments = [...networks, ...uplinks];

  const dnat = ports.map(({ id, network, address, published }) => {
    const { protocol, hostPort, hostPortEnd, port, portEnd } = published;
    const { host, ifname } = hostOf(published);
    const to = withPort(address, formatPorts({ first: port, last: portEnd }));
    return rule('DNAT', network.number, id, {
      target: 'DNAT',
      protocol,
      destination: [WILDCARDS.get(host) ?? host],
      detail: `${matchPorts(protocol, hostPort, hostPortEnd)} to:${to}${ifname === undefined ? '' : ` /* by ${ifname} of the host */`}`,
    });
  });
  const masquerade = networks.flatMap(({ number, subnets, uplink, npt }) => {
    if (uplink === null) return [];
    const { name: out } = uplink;
    const ipv4 = uplink.ipv4 ? subnets.filter((subnet) => !subnet.includes(':')) : [];
    const ipv6 = uplink.ipv6 ? subnets.filter((subnet) => subnet.includes(':')) : [];
    const rules: RuleView[] = [];
    if (npt !== null) {
      // Outward only, and with the translation that ip6tables' target of this name knows: NETMAP has another.
      const detail = `src-pfx ${ipv6[0]} dst-pfx ${npt} /* checksum-neutral, RFC 6296 */`;
      rules.push(rule('NPT', number, -1, { target: 'SNPT', out, source: ipv6, detail }));
    }
    const source = npt === null ? [...ipv4, ...ipv6] : ipv4;
    if (source.length > 0) rules.push(rule('MASQUERADE', number, -1, { target: 'MASQUERADE', out, source }));
    return rules;
  });
  const hairpin = ports.map(({ id, network, address, published }) =>
    rule('HAIRPIN', network.number, id, {
      target: 'MASQUERADE',
      protocol: published.protocol,
      out: network.name,
      source: networks.flatMap(({ subnets }) =>
        subnets.filter((subnet) => subnet.includes(':') === address.includes(':')),
      ),
      destination: [address],
      detail: `${matchPorts(published.protocol, published.port, published.portEnd)} /* hairpin, ${nameOf(published)} */`,
    }),
  );
  const accept = ports.map(({ id, network, address, published }) =>
    rule('PUBLISHED', network.number, id, {
      target: 'ACCEPT',
      protocol: published.protocol,
      out: network.name,
      destination: [address],
      // Also of those that came in by the network itself; to the endpoint's own address they need no port to be published.
      detail: `${matchPorts(published.protocol, published.port, published.portEnd)} ctstate DNAT /* ${nameOf(published)} */`,
    }),
  );
  // Whatever comes by an uplink and is neither an answer nor for a published port ends here.
  const unpublished = segments
    .filter(
      ({ number }) => uplinks.some((uplink) => uplink.number === number) || find('UNPUBLISHED', number, -1),
    )
    .map(({ number, name }) =>
      rule('UNPUBLISHED', number, -1, {
        target: 'DROP',
        in: name,
        detail: '/* not published; UDP to the deck itself: port unreachable */',
      }),
    );
  const invalid = segments.map(({ number, name }) =>
    rule('INVALID', number, -1, { target: 'DROP', in: name, detail: 'ctstate INVALID' }),
  );
  const established = networks.map(({ number, name }) =>
    rule('ESTABLISHED', number, -1, { target: 'ACCEPT', out: name, detail: 'ctstate RELATED,ESTABLISHED' }),
  );
  const outbound = networks.flatMap(({ number, name }) => [
    rule('OUTBOUND', number, -1, { target: 'ACCEPT', in: name, out: `!${name}` }),
    rule('INTRA', number, -1, { target: 'ACCEPT', in: name, out: name }),
  ]);

  return [
    {
      table: 'nat',
      name: 'PREROUTING',
      policy: 'ACCEPT',
      references: 0,
      rules: [{ ...ANY, target: 'DOCKER', detail: 'ADDRTYPE match dst-type LOCAL' }],
    },
    {
      table: 'nat',
      name: 'POSTROUTING',
      policy: 'ACCEPT',
      references: 0,
      rules: [...masquerade, ...hairpin],
    },
    { table: 'nat', name: 'DOCKER', policy: null, references: 1, rules: dnat },
    {
      table: 'filter',
      name: 'FORWARD',
      policy: 'DROP',
      references: 0,
      rules: [
        { ...ANY, target: 'DOCKER-USER' },
        ...invalid,
        ...established,
        { ...ANY, target: 'DOCKER' },
        ...outbound,
      ],
    },
    { table: 'filter', name: 'DOCKER', policy: null, references: 1, rules: [...accept, ...unpublished] },
    {
      table: 'filter',
      name: 'DOCKER-USER',
      policy: null,
      references: 1,
      rules: [{ ...ANY, target: 'RETURN' }],
    },
  ];
}

/** All addresses of one IP version, as they are written in rules. */
const WILDCARDS = new Map([
  ['0.0.0.0', '0.0.0.0/0'],
  ['::', '::/0'],
]);

/** What tells two publishes of one port of an endpoint apart: `web 8080`, `web 192.0.2.2:8000-8010`. */
function nameOf(published: PublishedPort): string {
  const { host, ifname } = hostOf(published);
  const ports = formatPorts({ first: published.hostPort, last: published.hostPortEnd });
  const at = WILDCARDS.has(host) ? ports : withPort(host, ports);
  return `${published.endpoint} ${at}${ifname === undefined ? '' : ` by ${ifname}`}`;
}

/** The parts of `0.0.0.0%eth1`. */
function hostOf(published: PublishedPort): { host: string; ifname?: string } {
  const [host, ifname] = published.host.split('%') as [string, string?];
  return { host, ...(ifname !== undefined && { ifname }) };
}

/** `tcp dpt:80`, `udp dpts:8000:8010`. */
function matchPorts(protocol: string, first: number, last: number): string {
  return first === last ? `${protocol} dpt:${first}` : `${protocol} dpts:${first}:${last}`;
}

function withPort(address: string, port: string): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
