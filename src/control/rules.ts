import type { RuleCounter, RuleKind } from '../dataplane/commands.ts';
import { formatPorts } from './publish-spec.ts';
import type { PublishedPort } from './published.ts';
import {
  hostOf,
  hostPorts,
  matchPorts,
  nameOf,
  portRange,
  ports,
  portsWord,
  shownPorts,
  WILDCARDS,
  withPort,
} from './rule-ports.ts';
import { ANY, type ChainView, type RuleView } from './rule-view.ts';
import { wordsOfRule } from './rule-words.ts';
import type { UserRuleInfo } from './user-rules.ts';

/**
 * What the data plane does, written as the rules by which Docker has the kernel do it: netfilter's tables, Docker's chains.
 * But for those of the user nothing reads these rules; they are a way to say what happens, with what was counted where it
 * happens.
 */

/** A network of the deck. */
export interface RuleNetwork {
  number: number;
  name: string;
  subnets: string[];
  /** Its uplink, and the IP versions that it has; null for a network without. */
  uplink: { name: string; ipv4: boolean; ipv6: boolean } | null;
  /** The prefix that stands for its IPv6 prefix outside (RFC 6296); null without. */
  npt: string | null;
  /** Nothing goes into it or out of it. */
  internal: boolean;
  /** Whether its endpoints reach each other. */
  icc: boolean;
  /** Whether what leaves by the uplink gets its address. */
  masquerade: boolean;
}

export interface RuleUplink {
  number: number;
  name: string;
}

export interface RuleParts {
  networks: readonly RuleNetwork[];
  uplinks: readonly RuleUplink[];
  published: readonly { id: number; network: number; address: string; published: PublishedPort }[];
  userRules: readonly UserRuleInfo[];
  counters: readonly RuleCounter[];
}

const ISOLATION_1 = 'DOCKER-ISOLATION-STAGE-1';
const ISOLATION_2 = 'DOCKER-ISOLATION-STAGE-2';
const REST: RuleView = { ...ANY, target: 'RETURN', words: 'all else goes on with the next chain' };

/** All chains, in the order in which a packet meets them. */
export function viewRules(parts: RuleParts): ChainView[] {
  const rules = new RuleWriter(parts);
  return [
    {
      table: 'nat',
      name: 'PREROUTING',
      policy: 'ACCEPT',
      references: 0,
      rules: [
        {
          ...ANY,
          target: 'DOCKER',
          detail: 'ADDRTYPE match dst-type LOCAL',
          words: 'what is sent to an address of the deck may be for a published port',
        },
      ],
    },
    {
      table: 'nat',
      name: 'POSTROUTING',
      policy: 'ACCEPT',
      references: 0,
      rules: [...rules.masquerade(), ...rules.hairpin()],
    },
    { table: 'nat', name: 'DOCKER', policy: null, references: 1, rules: rules.dnat() },
    { table: 'filter', name: 'INPUT', policy: 'ACCEPT', references: 0, rules: rules.input() },
    {
      table: 'filter',
      name: 'FORWARD',
      policy: 'DROP',
      references: 0,
      rules: [
        { ...ANY, target: 'DOCKER-USER', words: 'rules of your own come first' },
        { ...ANY, target: ISOLATION_1, words: 'then it is seen to that networks are kept apart' },
        ...rules.invalid(),
        ...rules.established(),
        { ...ANY, target: 'DOCKER', words: 'what comes from outside goes to published ports only' },
        ...rules.outbound(),
      ],
    },
    { table: 'filter', name: 'DOCKER-USER', policy: null, references: 1, rules: rules.user() },
    { table: 'filter', name: ISOLATION_1, policy: null, references: 1, rules: rules.isolation1() },
    {
      table: 'filter',
      name: ISOLATION_2,
      policy: null,
      references: parts.networks.length,
      rules: rules.isolation2(),
    },
    {
      table: 'filter',
      name: 'DOCKER',
      policy: null,
      references: 1,
      rules: [...rules.published(), ...rules.unpublished()],
    },
  ];
}

interface PortOfNetwork {
  id: number;
  network: RuleNetwork;
  address: string;
  published: PublishedPort;
}

class RuleWriter {
  readonly #parts: RuleParts;
  readonly #segments: readonly RuleUplink[];
  readonly #ports: readonly PortOfNetwork[];

  constructor(parts: RuleParts) {
    this.#parts = parts;
    const { networks, uplinks, published } = parts;
    this.#segments = [...networks, ...uplinks];
    this.#ports = published.flatMap((port) => {
      const network = networks.find(({ number }) => number === port.network);
      return network ? { ...port, network } : [];
    });
  }

  dnat(): RuleView[] {
    return this.#ports.map(({ id, network, address, published }) => {
      const { endpoint, protocol, port, portEnd } = published;
      const { host, ifname } = hostOf(published);
      const where = WILDCARDS.has(host) ? 'the deck' : host;
      const by = ifname === undefined ? '' : ` by interface ${ifname} of the host`;
      const to = withPort(address, formatPorts({ first: port, last: portEnd }));
      return this.#rule('DNAT', network.number, id, {
        target: 'DNAT',
        protocol,
        destination: [WILDCARDS.get(host) ?? host],
        destinationPorts: hostPorts(published),
        to: { address, ports: ports(published) },
        detail: `${matchPorts(protocol, hostPorts(published))} to:${to}${ifname === undefined ? '' : ` /* by ${ifname} of the host */`}`,
        words: `${protocol.toUpperCase()} to ${shownPorts(hostPorts(published))} of ${where}${by} goes to ${shownPorts(ports(published))} of ${endpoint}`,
      });
    });
  }

  masquerade(): RuleView[] {
    return this.#parts.networks.flatMap(({ number, name, subnets, uplink, npt, masquerade }) => {
      if (uplink === null) return [];
      const { name: out } = uplink;
      const ipv4 = uplink.ipv4 ? subnets.filter((subnet) => !subnet.includes(':')) : [];
      const ipv6 = uplink.ipv6 ? subnets.filter((subnet) => subnet.includes(':')) : [];
      const rules: RuleView[] = [];
      if (npt !== null) {
        // Outward only, and with the translation that ip6tables' target of this name knows: NETMAP has another.
        const detail = `src-pfx ${ipv6[0]} dst-pfx ${npt} /* checksum-neutral, RFC 6296 */`;
        const words = `what network ${name} sends out by ${out} over IPv6 has addresses of ${npt} there`;
        rules.push(this.#rule('NPT', number, -1, { target: 'SNPT', out, source: ipv6, detail, words }));
      }
      const source = npt === null ? [...ipv4, ...ipv6] : ipv4;
      const words = `what network ${name} sends out by ${out} has the deck's address there`;
      if (masquerade && source.length > 0)
        rules.push(this.#rule('MASQUERADE', number, -1, { target: 'MASQUERADE', out, source, words }));
      return rules;
    });
  }

  hairpin(): RuleView[] {
    return this.#ports.map(({ id, network, address, published }) =>
      this.#rule('HAIRPIN', network.number, id, {
        target: 'MASQUERADE',
        protocol: published.protocol,
        out: network.name,
        source: this.#parts.networks.flatMap(({ subnets }) =>
          subnets.filter((subnet) => subnet.includes(':') === address.includes(':')),
        ),
        destination: [address],
        destinationPorts: ports(published),
        detail: `${matchPorts(published.protocol, ports(published))} /* hairpin, ${nameOf(published)} */`,
        words: `endpoints that use the published port of ${published.endpoint} are answered by the way that they came`,
      }),
    );
  }

  input(): RuleView[] {
    return [
      ...this.#parts.networks
        .filter(({ internal }) => internal)
        .map(({ number, name }) =>
          this.#rule('INTERNAL_INPUT', number, -1, {
            target: 'DROP',
            in: name,
            detail: "/* another network's gateway */",
            words: `internal network ${name} reaches no gateway but its own`,
          }),
        ),
      ...this.#segments
        .filter(({ number }) => this.#find('CLOSED_TCP', number, -1) !== undefined)
        .map(({ number, name }) =>
          this.#rule('CLOSED_TCP', number, -1, {
            target: 'REJECT',
            protocol: 'tcp',
            in: name,
            detail: 'reject-with tcp-reset',
            words: `TCP from ${this.#place(name)} to a port of the deck itself that nobody has is reset`,
          }),
        ),
      ...this.#segments
        .filter(({ number }) => this.#find('CLOSED_UDP', number, -1) !== undefined)
        .map(({ number, name }) =>
          this.#rule('CLOSED_UDP', number, -1, {
            target: 'REJECT',
            protocol: 'udp',
            in: name,
            detail: 'reject-with icmp-port-unreachable',
            words: `UDP from ${this.#place(name)} to a port of the deck itself that nobody has is refused`,
          }),
        ),
    ];
  }

  invalid(): RuleView[] {
    return this.#segments.map(({ number, name }) =>
      this.#rule('INVALID', number, -1, {
        target: 'DROP',
        in: name,
        states: ['INVALID'],
        detail: 'ctstate INVALID',
        words: `what comes from ${this.#place(name)} and can be of no connection is dropped`,
      }),
    );
  }

  established(): RuleView[] {
    return this.#parts.networks.map(({ number, name }) =>
      this.#rule('ESTABLISHED', number, -1, {
        target: 'ACCEPT',
        out: name,
        states: ['RELATED', 'ESTABLISHED'],
        detail: 'ctstate RELATED,ESTABLISHED',
        words: `what belongs to a connection that stands may enter network ${name}`,
      }),
    );
  }

  outbound(): RuleView[] {
    return this.#parts.networks.flatMap(({ number, name, icc, internal }) => [
      ...(internal
        ? []
        : [
            this.#rule('OUTBOUND', number, -1, {
              target: 'ACCEPT',
              in: name,
              out: `!${name}`,
              words: `network ${name} may send to the outside`,
            }),
          ]),
      icc
        ? this.#rule('INTRA', number, -1, {
            target: 'ACCEPT',
            in: name,
            out: name,
            words: `endpoints of network ${name} reach each other`,
          })
        : this.#rule('ICC', number, -1, {
            target: 'DROP',
            in: name,
            out: name,
            detail: '/* icc=false */',
            words: `endpoints of network ${name} may not reach each other`,
          }),
    ]);
  }

  user(): RuleView[] {
    const rules = this.#parts.userRules.map((info): RuleView => {
      const { id, action, protocol, sport, dport, icmpType, state = [], comment, packets, bytes } = info;
      const sourcePorts = sport === undefined ? null : portRange(sport);
      const destinationPorts = dport === undefined ? null : portRange(dport);
      const match = [
        ...(sourcePorts || destinationPorts ? [protocol!] : []),
        ...(sourcePorts ? [portsWord('s', sourcePorts)] : []),
        ...(destinationPorts ? [portsWord('d', destinationPorts)] : []),
        ...(icmpType === undefined ? [] : [`${protocol}type ${icmpType}`]),
        ...(state.length > 0 ? [`ctstate ${state.join(',')}`] : []),
        ...(comment === undefined ? [] : [`/* ${comment} */`]),
        ...(action === 'REJECT' ? [`reject-with ${answerOf(info)}`] : []),
        ...(info.active ? [] : ['/* asleep */']),
      ];
      return {
        ...ANY,
        target: action,
        protocol: protocol ?? 'all',
        in: info.in ?? '*',
        out: info.out ?? '*',
        source: info.src === undefined ? [] : [info.src],
        destination: info.dst === undefined ? [] : [info.dst],
        sourcePorts,
        destinationPorts,
        states: [...state],
        detail: match.join(' '),
        words: wordsOfRule(info, (name) => this.#place(name)),
        rule: id,
        packets,
        bytes,
      };
    });
    return [...rules, REST];
  }

  isolation1(): RuleView[] {
    const internal = this.#parts.networks.filter(({ internal }) => internal);
    return [
      ...internal.flatMap(({ number, name, subnets }) => [
        this.#rule('INTERNAL_OUT', number, -1, {
          target: 'DROP',
          in: name,
          destination: subnets.map((subnet) => `!${subnet}`),
          words: `traffic of internal network ${name} may not leave it, whatever DOCKER-USER accepts`,
        }),
        this.#rule('INTERNAL_IN', number, -1, {
          target: 'DROP',
          out: name,
          source: subnets.map((subnet) => `!${subnet}`),
          words: `nothing from elsewhere may enter internal network ${name}, whatever DOCKER-USER accepts`,
        }),
      ]),
      ...this.#parts.networks.map(({ name }) => ({
        ...ANY,
        target: ISOLATION_2,
        in: name,
        out: `!${name}`,
        words: `what leaves network ${name} must not be on its way to another network`,
      })),
      REST,
    ];
  }

  isolation2(): RuleView[] {
    const rules = this.#parts.networks.map(({ number, name }) => {
      const others = this.#parts.networks.filter((other) => other.number !== number);
      return this.#rule('ISOLATED', number, -1, {
        target: 'DROP',
        out: name,
        words: `traffic of ${listed(others.map((other) => other.name))} may not enter network ${name}`,
      });
    });
    return [...rules, REST];
  }

  published(): RuleView[] {
    return this.#ports.map(({ id, network, address, published }) =>
      this.#rule('PUBLISHED', network.number, id, {
        target: 'ACCEPT',
        protocol: published.protocol,
        out: network.name,
        destination: [address],
        destinationPorts: ports(published),
        states: ['DNAT'],
        // Also of those that came in by the network itself; to the endpoint's own address they need no port to be published.
        detail: `${matchPorts(published.protocol, ports(published))} ctstate DNAT /* ${nameOf(published)} */`,
        words: `who comes to the published port of ${published.endpoint} reaches its ${shownPorts(ports(published))}`,
      }),
    );
  }

  /** Whatever comes by an uplink and is neither an answer nor for a published port ends here. */
  unpublished(): RuleView[] {
    const { uplinks } = this.#parts;
    return this.#segments
      .filter(
        ({ number }) =>
          uplinks.some((uplink) => uplink.number === number) || this.#find('UNPUBLISHED', number, -1),
      )
      .map(({ number, name }) =>
        this.#rule('UNPUBLISHED', number, -1, {
          target: 'DROP',
          in: name,
          detail: '/* not published */',
          words: `what comes from ${this.#place(name)} and is for no published port is dropped`,
        }),
      );
  }

  #place(name: string): string {
    return `${this.#parts.uplinks.some((uplink) => uplink.name === name) ? 'uplink' : 'network'} ${name}`;
  }

  #find(kind: RuleKind, network: number, publish: number): RuleCounter | undefined {
    return this.#parts.counters.find(
      (one) => one.kind === kind && one.network === network && one.publish === publish,
    );
  }

  #rule(kind: RuleKind, network: number, publish: number, fields: Partial<RuleView>): RuleView {
    const { packets = 0, bytes = 0 } = this.#find(kind, network, publish) ?? {};
    return { ...ANY, ...fields, packets, bytes };
  }
}

/** With what a rule of the user's answers. */
function answerOf({ rejectWith, protocol }: UserRuleInfo): string {
  if (rejectWith !== undefined) return rejectWith;
  if (protocol === undefined) return 'tcp-reset,icmp-port-unreachable';
  return protocol === 'tcp' ? 'tcp-reset' : 'icmp-port-unreachable';
}

/** `network back`, `networks back, bridge and 3 more`. */
function listed(names: readonly string[]): string {
  if (names.length === 0) return 'other networks';
  const shown = names.slice(0, 3).join(', ');
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `${names.length === 1 ? 'network' : 'networks'} ${shown}${more}`;
}
