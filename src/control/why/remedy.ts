import type { DropReasonName } from '../../../switch/drop-text.ts';
import type { Failure, StepKind } from '../../why/question.ts';
import type { WhyProtocol } from './grammar.ts';

/** What is known of a question whose answer is no. */
export interface Trouble {
  /** Names of containers at both ends, null for anybody else. */
  from: string | null;
  to: string | null;
  /** Names of the network or uplink in which each end is; null for none of ours. */
  fromNetwork: string | null;
  toNetwork: string | null;
  /** In text. */
  fromAddress: string;
  toAddress: string;
  protocol: WhyProtocol;
  port: number;
  /** What was refused, and whether who asks had sent it (and not who answers). */
  step: StepKind;
  isForward: boolean;
  /** By which network and out by which it was to go, when the deck routes it. */
  inNetwork: string | null;
  outNetwork: string | null;
  /** The rule of the user that refuses, and its place in the chain. */
  rule: { id: number; position: number } | null;
  /** The port of the deck's addresses as which the container that is asked has published the one in question; null if it has not. */
  publishedAs: number | null;
  /** A network with a way out that a container can be connected to; null when the deck has none. */
  openNetwork: string | null;
  /** Whether the destination stands for the loopback of the host. */
  isHostLoopback: boolean;
  /** The uplink at hand; null without one. */
  uplink: { name: string; isSockets: boolean; spec: string } | null;
}

/** What would make it yes: commands, tried in their order, and what they do in a few words. */
export interface Remedy {
  commands: string[];
  /** What to do or to know where no command of ours helps, or beside it. */
  words: string;
}

type Answer = (trouble: Trouble) => Remedy;

const advice =
  (words: string): Answer =>
  () => ({ commands: [], words });

const command = (words: string, ...commands: string[]): Remedy => ({ commands, words });

/**
 * The answer to each drop reason. What the deck's own questions cannot bring about has one as well: they are told of packets that
 * were captured.
 */
export const REMEDIES: Readonly<Record<DropReasonName, Answer>> = {
  PKT_TOO_SMALL: advice('the sender has to write whole Ethernet headers of 14 bytes'),
  HDR_TRUNC: advice('the sender has to write whole headers'),
  IP_INHDR: advice('the sender has to write a right IPv4 header'),
  IP_CSUM: advice('the sender has to write a right header checksum'),
  IPV6_INHDR: advice('the sender has to write right IPv6 headers'),
  FRAG_INVALID: advice('the sender has to cut its datagrams rightly, or send smaller ones'),
  L4_INHDR: advice('the sender has to write a right TCP or UDP header'),
  ARP_INHDR: advice('the sender has to ask for IPv4 addresses on Ethernet'),
  VNET_INHDR: advice('the sender has to write an offload header that fits its frame'),
  MAC_RESERVED: advice('such frames stay on their link on every bridge; send to another MAC'),
  MAC_SOURCE_INVALID: advice('the sender has to send from a MAC of a single station'),
  MAC_OWN: (trouble) =>
    spoofed(trouble, "take away the loop, or give the sender another MAC than the gateway's"),
  MAC_FOREIGN: (trouble) => spoofed(trouble, "give the sender another MAC than another endpoint's"),
  FDB_SAME_PORT: advice('sender and receiver are behind one port, and reach each other without the deck'),
  PORT_ISOLATED: (trouble) => isolated(trouble),
  STORM_LIMIT: advice('the port floods too much; stop what floods, and ask again a second later'),
  NO_EGRESS: advice('nobody else is in the network; attach somebody with "tapdeck attach"'),
  PKT_TOO_BIG: (trouble) => {
    const network = trouble.outNetwork ?? trouble.toNetwork;
    return {
      commands: [],
      words: `the sender has to send packets that fit, or the way out ${network === null ? '' : `by ${network} `}a larger MTU`,
    };
  },
  FULL_RING: advice('the receiver has to read faster; see "tapdeck counters"'),
  LINK_DOWN: ({ to }) => ({
    commands: [],
    words: `the interface ${to === null ? 'of the receiver' : `in ${to}`} has to be up: ip link set up there`,
  }),
  PORT_GONE: advice('attach the receiver again: "tapdeck attach"'),
  NOMEM: advice('the switch has no memory for frames at the moment; ask again, and see "tapdeck drops"'),
  EXCEPTION: advice("this is a defect of tapdeck; please report it with the line in the daemon's log"),
  NETWORK_GONE: advice('the network is being removed; make it again with "tapdeck network create"'),
  ARP_NOT_FOR_US: advice('whoever has the address has to answer; the gateway does not answer for others'),
  ARP_SPOOF: (trouble) => spoofed(trouble, 'let it speak for its own address only'),
  ND_INVALID: advice('the sender has to follow RFC 4861: hop limit 255, code 0, a right checksum'),
  RA_GUARD: advice('only the gateway is a router here; stop what advertises one in the container'),
  ND_SPOOF: (trouble) => spoofed(trouble, 'let it speak for its own addresses only'),
  ND_NOT_FOR_US: advice('whoever has the address has to answer; the gateway does not answer for others'),
  VLAN_NOT_OURS: advice('send it untagged: the gateway is in no VLAN'),
  IP_MARTIAN_SOURCE: ({ isForward, from, to, fromNetwork, toNetwork }) => {
    const who = isForward ? from : to;
    const network = isForward ? fromNetwork : toNetwork;
    return {
      commands: [],
      words: `${who ?? 'the sender'} has to send from its own address in ${network ?? 'the network by which it sends'}`,
    };
  },
  IP_MARTIAN_DESTINATION: advice('no router forwards to such an address; name one of a single host'),
  IP_SOURCE_ROUTED: advice('the sender has to leave the source route out'),
  IP_INNOROUTES: (trouble) => wayOut(trouble),
  IP_TTL_EXCEEDED: advice('the sender has to send with a larger TTL'),
  IP_GROUP: advice('groups are not routed; sender and receivers have to be in one network'),
  UNHANDLED_PROTO: advice(
    'neither the gateway nor a socket of the host speaks this protocol; use TCP, UDP or ICMP',
  ),
  NO_SOCKET: (trouble) => nobodyListens(trouble),
  NEIGH_FAILED: (trouble) => nobodyThere(trouble),
  NEIGH_QUEUEFULL: (trouble) => nobodyThere(trouble),
  NEIGH_TABLE_FULL: advice('too many addresses are being asked for: stop the scan, see "tapdeck neigh"'),
  ICMP_CSUM: advice('the sender has to write a right ICMP checksum'),
  ICMP_UNHANDLED: advice('the gateway answers pings only; use an echo request'),
  L4_CSUM: advice('the sender has to write a right checksum'),
  FRAG_OVERLAP: advice('the sender has to cut its datagrams without overlaps'),
  FRAG_TIMEOUT: advice('the fragments that are missing have to come within the time'),
  FRAG_QUEUEFULL: advice('too many datagrams are in pieces; send smaller ones'),
  CT_INVALID: ({ protocol }) => ({
    commands: [],
    words:
      protocol === 'tcp'
        ? 'a connection begins with a SYN, and stays within its window; begin it anew'
        : 'begin with a question: an answer without one belongs to nothing',
  }),
  CT_TABLE_FULL: () => command('make room for more connections', 'tapdeck daemon --conntrack-max 524288'),
  CT_QUOTA: ({ from }) =>
    command(
      `make room for more connections of ${from ?? 'one endpoint'}`,
      'tapdeck daemon --conntrack-quota 131072',
    ),
  CT_CLASH: ({ fromAddress, protocol }) =>
    command(
      'forget the connection that has its ports; or let the sender use another source port',
      `tapdeck conntrack -D -p ${protocol} -s ${fromAddress}`,
    ),
  NAT_PORTS_EXHAUSTED: ({ uplink }) =>
    command(
      'give the uplink another address to translate to',
      `tapdeck daemon --uplink '${uplink?.spec ?? 'tap:NAME'},addr=CIDR'`,
    ),
  NAT_FILTERED: ({ to, port, protocol, uplink }) =>
    to !== null && port > 0
      ? command(
          'let strangers in to a published port',
          `tapdeck publish ${to} ${port}:${spec(port, protocol)}`,
        )
      : command(
          'let everybody in to ports that endpoints have mapped',
          `tapdeck daemon --uplink '${uplink?.spec ?? 'tap:NAME'},filtering=endpoint-independent'`,
        ),
  NOT_PUBLISHED: (trouble) => publish(trouble),
  ICMP_ERROR_UNRELATED: advice('an error has to quote a packet that was really sent'),
  ICMP_ERROR_MALFORMED: advice('an error has to quote the header and eight bytes of the packet'),
  PORT_ZERO: advice('port 0 is none; name another'),
  DESTINATION_DENIED: ({ uplink, fromNetwork, toAddress, isHostLoopback }) =>
    isHostLoopback
      ? command(
          `${toAddress} is the loopback of the host: only networks that are made so reach it, or bridge with tapdeck daemon --host-loopback`,
          `tapdeck network create --host-loopback ${fromNetwork === null ? 'NAME' : `${fromNetwork}-loopback`}`,
        )
      : command(
          `start the daemon without denying ${toAddress} (--deny, --no-host-access)`,
          `tapdeck daemon --uplink ${uplink?.isSockets ? 'socket' : `'${uplink?.spec ?? 'socket'}'`}`,
        ),
  UPLINK_GONE: ({ uplink }) =>
    command('start the deck again, with its uplink', `tapdeck daemon --uplink '${uplink?.spec ?? 'socket'}'`),
  MAC_SPOOF: (trouble) => spoofed(trouble, 'let it send from its own MAC'),
  IP_SPOOF: (trouble) => spoofed(trouble, 'let it send from its own address'),
  DHCP_GUARD: advice('only the gateway is a DHCP server here; stop the one in the container'),
  VLAN_DEPTH: advice('send with at most two VLAN tags'),
  NETWORK_ISOLATED: (trouble) => acrossNetworks(trouble),
  NETWORK_INTERNAL: (trouble) => intoInternal(trouble),
  USER_DROP: (trouble) => withoutRule(trouble),
  USER_REJECT: (trouble) => withoutRule(trouble),
  SOCKET_EXHAUSTED: advice('the daemon needs more descriptors: ulimit -n 65536 before "tapdeck daemon"'),
  SOCKET_ERROR: advice('the host itself has no way there; see "ip route get" on the host'),
  SOCKET_FULL: advice("the host's socket has no room; send slower"),
  PING_FORBIDDEN: () =>
    command('let ordinary users of the host ping', 'sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"'),
  DNS_MALFORMED: advice('port 53 of the gateway takes questions for names only'),
  DNS_BUSY: advice('too many questions are under way; ask again'),
  DHCP_MALFORMED: advice('port 67 of the gateway takes messages of DHCP clients only'),
  DHCP_FOREIGN: advice("the client has to ask by the endpoint's own MAC, and without a relay"),
  SNAP_ENCAPSULATED: advice('send Ethernet II frames, without LLC/SNAP'),
};

/** Where no drop reason tells it. */
export const FAILURE_REMEDIES: Readonly<Record<Exclude<Failure, 'dropped'>, Answer>> = {
  'no-route': (trouble) => wayOut(trouble),
  'no-neighbor': (trouble) => nobodyThere(trouble),
  refused: (trouble) => nobodyListens(trouble),
  astray: advice(
    'the answer has to come from the address that was asked; look at the routes of the containers',
  ),
  lost: advice('it waits in the deck for an answer of a neighbor; see "tapdeck neigh"'),
};

function spec(port: number, protocol: WhyProtocol): string {
  return protocol === 'udp' ? `${port}/udp` : `${port}`;
}

/** The options of a rule that match the packets in question, in one direction. */
function matching({ protocol, port }: Trouble, withPort: boolean): string {
  return `--proto ${protocol}${withPort && port > 0 ? ` --dport ${port}` : ''}`;
}

function rulesAcross(trouble: Trouble): string[] {
  const { inNetwork, outNetwork, step, isForward } = trouble;
  if (inNetwork === null || outNetwork === null) return [];
  const back = (one: string, other: string) =>
    `tapdeck rule add --in ${one} --out ${other} --state ESTABLISHED -j ACCEPT`;
  // Only one way is missing.
  if (step !== 'request') return [back(inNetwork, outNetwork)];
  const there = `tapdeck rule add --in ${inNetwork} --out ${outNetwork} ${matching(trouble, isForward)} -j ACCEPT`;
  return [there, back(outNetwork, inNetwork)];
}

function acrossNetworks(trouble: Trouble): Remedy {
  const { from, to, toNetwork, step } = trouble;
  if (step === 'request' && from !== null && to !== null && toNetwork !== null) {
    const rules = rulesAcross(trouble);
    return command(
      `connect ${from} to network ${toNetwork}, too${rules.length > 0 ? `; or let it through by rules: ${rules.join(' && ')}` : ''}`,
      `tapdeck network connect ${toNetwork} ${from}`,
    );
  }
  return command('let it through by a rule for each way', ...rulesAcross(trouble));
}

function intoInternal({ from, to, fromNetwork, toNetwork, openNetwork }: Trouble): Remedy {
  if (from !== null && to !== null && toNetwork !== null) {
    return command(
      `connect ${from} to network ${toNetwork}, too`,
      `tapdeck network connect ${toNetwork} ${from}`,
    );
  }
  const who = from ?? to;
  if (who !== null && openNetwork !== null && openNetwork !== (from === null ? toNetwork : fromNetwork)) {
    return command(
      `connect ${who} to a network with a way out, too`,
      `tapdeck network connect ${openNetwork} ${who}`,
    );
  }
  return { commands: [], words: 'an internal network has no way out; make another one without --internal' };
}

function isolated({ from, to, protocol, port, fromNetwork }: Trouble): Remedy {
  if (from !== null && to !== null) {
    const own = command(
      'give them a network of their own, in which endpoints reach each other',
      `tapdeck network create ${from}-${to}`,
      `tapdeck network connect ${from}-${to} ${from}`,
      `tapdeck network connect ${from}-${to} ${to}`,
    );
    if (protocol === 'icmp') return own;
    return {
      commands: own.commands,
      words: `${own.words}; or publish the port and use it by the gateway's address: tapdeck publish ${to} ${port}:${spec(port, protocol)}`,
    };
  }
  return {
    commands: [],
    words: `network ${fromNetwork ?? 'NAME'} keeps its endpoints apart; make one without com.docker.network.bridge.enable_icc=false`,
  };
}

function publish({ to, port, protocol, toAddress, publishedAs }: Trouble): Remedy {
  const who = to ?? 'CONTAINER';
  if (protocol === 'icmp') {
    return {
      commands: [],
      words: `nobody outside reaches an endpoint by ping, only its published ports: tapdeck publish ${who} PORT`,
    };
  }
  if (publishedAs !== null) {
    return {
      commands: [],
      words: `from outside ${who} is reached at the deck's addresses only; ask for host:${spec(publishedAs, protocol)}, as which port ${port} is published`,
    };
  }
  return command(
    to === null
      ? 'let a container publish the port'
      : `nobody outside reaches ${toAddress} itself; publish the port, and ask for host:${spec(port, protocol)}`,
    `tapdeck publish ${who} ${port}:${spec(port, protocol)}`,
  );
}

function nobodyListens({ protocol, port, step }: Trouble): Remedy {
  if (protocol === 'icmp' || step !== 'request') {
    return { commands: [], words: 'the deck refuses it; the steps above say by what rule' };
  }
  return command(
    'the gateway itself answers on port 53 only; let a container publish the port',
    `tapdeck publish CONTAINER ${port}:${spec(port, protocol)}`,
  );
}

function nobodyThere({ from, toAddress, toNetwork }: Trouble): Remedy {
  if (toNetwork === null) {
    return { commands: [], words: `the router of the uplink has to answer; see "tapdeck neigh"` };
  }
  return command(
    `nobody in network ${toNetwork} has ${toAddress}; to give it to a container`,
    `tapdeck network connect --ip${toAddress.includes(':') ? '6' : ''} ${toAddress} ${toNetwork} ${from === null ? 'CONTAINER' : 'OTHER'}`,
  );
}

function wayOut({ from, fromNetwork, openNetwork, to, toNetwork, isForward }: Trouble): Remedy {
  const [who, network] = isForward ? [from, fromNetwork] : [to, toNetwork];
  if (from !== null && to !== null && toNetwork !== null && toNetwork !== fromNetwork) {
    return command(
      `connect ${from} to network ${toNetwork}, too`,
      `tapdeck network connect ${toNetwork} ${from}`,
    );
  }
  if (who !== null && openNetwork !== null && openNetwork !== network) {
    return command(
      `connect ${who} to a network with a way out, too`,
      `tapdeck network connect ${openNetwork} ${who}`,
    );
  }
  return command('give the deck a way out for this IP version', 'tapdeck daemon --uplink socket');
}

function spoofed({ from, to, isForward, fromNetwork, toNetwork }: Trouble, words: string): Remedy {
  const [who, network] = isForward ? [from, fromNetwork] : [to, toNetwork];
  return command(
    `${words}; or, if it is to speak for others, allow that`,
    `tapdeck network disconnect ${network ?? 'NETWORK'} ${who ?? 'CONTAINER'}`,
    `tapdeck network connect --allow-spoof ${network ?? 'NETWORK'} ${who ?? 'CONTAINER'}`,
  );
}

function withoutRule(trouble: Trouble): Remedy {
  const { rule, inNetwork, outNetwork, isForward, step } = trouble;
  if (rule === null)
    return { commands: [], words: 'a rule in DOCKER-USER refuses it; see "tapdeck rule ls"' };
  const ways = [
    ...(inNetwork === null ? [] : [`--in ${inNetwork}`]),
    ...(outNetwork === null ? [] : [`--out ${outNetwork}`]),
    matching(trouble, isForward && step === 'request'),
  ];
  return command(
    `remove rule ${rule.id}; or let this through by another in front of it: tapdeck rule add ${ways.join(' ')} -j ACCEPT --position ${rule.position}`,
    `tapdeck rule rm ${rule.id}`,
  );
}
