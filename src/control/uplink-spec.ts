import { DEFAULT_FILTERING, FILTERINGS, type Filtering } from '../dataplane/commands.ts';
import {
  checkHost,
  type Family,
  familyOf,
  formatAddress,
  parseAddress,
  parseInterfaceAddress,
  type Subnet,
  subnetSize,
} from './address.ts';
import { DeckError, invalid } from './error.ts';
import { checkIfname, quote } from './name.ts';
import { namespacePath } from './namespace.ts';
import { checkMtu } from './network.ts';
import { formatSocketUplink, SOCKET, type SocketUplinkSpec, socketUplink } from './socket-uplink-spec.ts';

/** Addresses of one IP version on an uplink. */
export interface UplinkAddresses {
  readonly subnet: Subnet;
  /** The deck's: the first is its own, all together are the pool for source NAT. */
  readonly addresses: readonly bigint[];
  /** The next hop for all that lies beyond; for a `tap` the address that the interface on the other side gets. */
  readonly gateway: bigint;
}

/**
 * By an interface.
 *
 * - `tap`: an interface `ifname` appears in the host's namespace (or in `netns`) and has the gateway's address. What is
 *   beyond is the matter of whoever owns that namespace: the deck's addresses are on the link, so nothing needs a route
 *   back; forwarding (`sysctl net.ipv4.ip_forward=1`) and whether the host translates once more are theirs to decide.
 * - `packet`: an interface `ifname` that is there already, beside its own use of it.
 */
export interface InterfaceUplinkSpec {
  readonly kind: 'tap' | 'packet';
  /** The interface, after which the uplink is called too. */
  readonly ifname: string;
  /** Path of the namespace that has the interface; null for the host's. */
  readonly netns: string | null;
  /** Largest IP packet; null for the default of a `tap`, 1,500, and for that of the interface of a `packet`. */
  readonly mtu: number | null;
  readonly filtering: Filtering;
  readonly ipv4: UplinkAddresses | null;
  readonly ipv6: UplinkAddresses | null;
}

/** By what way packets leave the deck. */
export type UplinkSpec = InterfaceUplinkSpec | SocketUplinkSpec;

/** What an uplink is called: after its interface, or `socket`. */
export function uplinkName(spec: UplinkSpec): string {
  return spec.kind === 'socket' ? SOCKET : spec.ifname;
}

/** The MTU of an uplink of kind `tap` when none is given: that of the world. */
export const DEFAULT_TAP_MTU = 1500;

const KEYS = {
  tap: ['addr', 'gw', 'netns', 'mtu', 'filtering'],
  packet: ['addr', 'gw', 'netns', 'filtering'],
  socket: ['filtering', 'host-access', 'deny'],
} as const;
const EXAMPLES = {
  tap: 'tap:td0,addr=192.0.2.2/24',
  packet: 'packet:eth1,addr=192.0.2.7/24,gw=192.0.2.1',
} as const;
/** Of these there may be several. */
const LISTS: readonly string[] = ['addr', 'gw', 'deny'];

/**
 * Reads `tap:NAME,addr=CIDR[,addr=CIDR…][,gw=A][,netns=PATH][,mtu=N][,filtering=…]` or
 * `packet:NAME,addr=CIDR[,addr=CIDR…],gw=A[,netns=PATH][,filtering=…]`, with a `gw` for each IP version when there are
 * addresses of both, or `socket[,filtering=…][,host-access=no][,deny=PREFIX…]`. Throws a `DeckError` of one line.
 */
export function parseUplinkSpec(text: string): UplinkSpec {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof DeckError) throw invalid(`uplink ${quote(text)}: ${error.message}`);
    throw error;
  }
}

function parse(text: string): UplinkSpec {
  const [head, ...fields] = text.split(',') as [string, ...string[]];
  if (head === SOCKET) return parseSocket(fields);
  const colon = head.indexOf(':');
  const kind = head.slice(0, Math.max(colon, 0));
  if (kind !== 'tap' && kind !== 'packet') {
    const what =
      colon < 0 ? 'it does not say of what kind it is' : `there is no kind ${quote(kind)} of uplink`;
    throw invalid(`${what}; write it as in ${EXAMPLES.tap} or ${EXAMPLES.packet}, or socket`);
  }
  const ifname = checkIfname(head.slice(colon + 1));
  const values = collect(kind, fields);
  const addr = values.get('addr') ?? [];
  const gw = values.get('gw') ?? [];
  if (addr.length === 0) {
    throw invalid(`it has no address; give the deck one on it with addr=, as in ${EXAMPLES[kind]}`);
  }
  const ipv4 = addressesOf(4, kind, addr, gw);
  const ipv6 = addressesOf(6, kind, addr, gw);
  const mtu = values.get('mtu')?.[0];
  const netns = values.get('netns')?.[0];
  return {
    kind,
    ifname,
    netns: netns === undefined ? null : namespacePath(netns),
    mtu: mtu === undefined ? null : checkMtu(wholeNumber(mtu), ipv6 !== null),
    filtering: filteringOf(values),
    ipv4,
    ipv6,
  };
}

function parseSocket(fields: readonly string[]): SocketUplinkSpec {
  const values = collect('socket', fields);
  return socketUplink(filteringOf(values), values.get('host-access'), values.get('deny'));
}

function filteringOf(values: ReadonlyMap<string, string[]>): Filtering {
  const filtering = values.get('filtering')?.[0] ?? DEFAULT_FILTERING;
  if (isFiltering(filtering)) return filtering;
  throw invalid(`there is no filtering ${quote(filtering)}; choose one of ${FILTERINGS.join(', ')}`);
}

/** The values of each key, in their order. */
function collect(kind: UplinkSpec['kind'], fields: readonly string[]): ReadonlyMap<string, string[]> {
  const known: readonly string[] = KEYS[kind];
  const values = new Map<string, string[]>();
  for (const field of fields) {
    const equals = field.indexOf('=');
    const key = equals < 0 ? field : field.slice(0, equals);
    const value = equals < 0 ? '' : field.slice(equals + 1);
    if (key === 'mtu' && kind === 'packet') {
      throw invalid('the MTU of a packet uplink is that of the interface; leave mtu= out');
    }
    if (!known.includes(key)) {
      throw invalid(`there is no ${quote(key)} here; what follows the name is ${known.join('=, ')}=`);
    }
    if (value === '') throw invalid(`${key}= has no value; give it one or leave it out`);
    const list = values.get(key) ?? [];
    if (list.length > 0 && !LISTS.includes(key)) throw invalid(`${key}= is given twice; give it once`);
    values.set(key, [...list, value]);
  }
  return values;
}

function addressesOf(
  family: Family,
  kind: InterfaceUplinkSpec['kind'],
  addr: readonly string[],
  gw: readonly string[],
): UplinkAddresses | null {
  const own = addr.filter((text) => familyOf(text) === family).map(parseInterfaceAddress);
  const gateways = gw.filter((text) => familyOf(text) === family);
  const [first] = own;
  if (!first) {
    if (gateways[0] === undefined) return null;
    parseAddress(family, gateways[0]);
    throw invalid(
      `gw=${gateways[0]} is IPv${family}, and no addr= is; give the deck an IPv${family} address`,
    );
  }
  const { subnet } = first;
  const addresses: bigint[] = [];
  for (const { address, subnet: other } of own) {
    const text = formatAddress(family, address);
    if (other.base !== subnet.base || other.prefix !== subnet.prefix) {
      throw invalid(
        `address ${text}/${other.prefix} is not in the subnet of ${formatAddress(family, first.address)}/${subnet.prefix}; make an uplink for each subnet`,
      );
    }
    if (addresses.includes(address)) throw invalid(`address ${text} is given twice; give it once`);
    addresses.push(address);
  }
  return { subnet, addresses, gateway: gatewayOf(kind, subnet, addresses, gateways) };
}

function gatewayOf(
  kind: InterfaceUplinkSpec['kind'],
  subnet: Subnet,
  addresses: readonly bigint[],
  given: readonly string[],
): bigint {
  const { family } = subnet;
  if (given.length > 1) throw invalid(`gw= is given twice for IPv${family}; a subnet has one next hop`);
  const [text] = given;
  if (text === undefined) {
    if (kind === 'packet') {
      throw invalid(`it has no IPv${family} next hop; name the router of the segment with gw=ADDRESS`);
    }
    return otherHost(subnet, addresses);
  }
  const gateway = parseAddress(family, text);
  if (addresses.includes(gateway)) {
    throw invalid(`gw=${text} is the deck's own address; give that of the other side`);
  }
  // A router may be known by its link-local address alone (RFC 4861 §6.3.4).
  const linkLocal = family === 6 && kind === 'packet' && gateway >> 118n === 0xfe80n >> 6n;
  if (linkLocal) return gateway;
  try {
    checkHost(subnet, gateway);
  } catch (error) {
    throw invalid(`gw=${text}: ${(error as Error).message}`);
  }
  return gateway;
}

/** The first address of the subnet that is not the deck's. */
function otherHost(subnet: Subnet, addresses: readonly bigint[]): bigint {
  const last = subnet.base + subnetSize(subnet) - (subnet.family === 4 ? 2n : 1n);
  let address = subnet.base + 1n;
  while (addresses.includes(address)) address++;
  if (address > last) {
    throw invalid('no address of the subnet is left for the other side; give the deck fewer or a larger one');
  }
  return address;
}

function isFiltering(text: string): text is Filtering {
  return (FILTERINGS as readonly string[]).includes(text);
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw invalid(`mtu=${text} is not a whole number above zero`);
  return Number(text);
}

/** The text of a specification, the same for all that mean the same; `parseUplinkSpec` reads it. */
export function formatUplinkSpec(spec: UplinkSpec): string {
  if (spec.kind === 'socket') return formatSocketUplink(spec);
  const { kind, ifname, netns, mtu, filtering, ipv4, ipv6 } = spec;
  const parts = [`${kind}:${ifname}`];
  for (const pool of [ipv4, ipv6]) {
    if (!pool) continue;
    const { family, prefix } = pool.subnet;
    parts.push(...pool.addresses.map((address) => `addr=${formatAddress(family, address)}/${prefix}`));
    parts.push(`gw=${formatAddress(family, pool.gateway)}`);
  }
  if (netns !== null) parts.push(`netns=${netns}`);
  if (kind === 'tap') parts.push(`mtu=${mtu ?? DEFAULT_TAP_MTU}`);
  parts.push(`filtering=${filtering}`);
  return parts.join(',');
}
