import { parseArgs } from 'node:util';
import {
  formatAddress,
  parseAddress,
  parseStationMac,
  parseSubnet,
  type Subnet,
} from '../../control/address.ts';
import { invalid } from '../../control/error.ts';
import { checkIfname, quote } from '../../control/name.ts';

/** slirp4netns's command line, as its callers write it: Podman, RootlessKit, and people. */

export const DEFAULT_CIDR = '10.0.2.0/24';
/** What its callers believe to be where: they add these to the network's address. */
const GATEWAY = 2n;
const NAME_SERVER = 3n;
const GUEST = 100n;
/** So that all of these lie in the network. */
const LONGEST_PREFIX = 25;
const LARGEST_MTU = 65521;
/** tapdeck's networks carry this. */
const LARGEST_PACKET = 65520;

/** The addresses that callers of slirp4netns expect in a network. */
export interface Habits {
  subnet: string;
  gateway: string;
  nameServer: string;
  guest: string;
}

/** The network namespace that is to be connected. */
export type Target = { netns: string } | { pid: number };

export interface Options {
  target: Target;
  ifname: string;
  /** Whether we give the interface its addresses; else the caller does. */
  configure: boolean;
  readyFd: number | undefined;
  exitFd: number | undefined;
  mtu: number;
  ipv6: boolean;
  apiSocket: string | undefined;
  habits: Habits;
  hostLoopback: boolean;
  mac: string | undefined;
}

/** What is to be printed in place of doing anything. */
export type Question = 'help' | 'version';

const OPTIONS = {
  configure: { type: 'boolean', short: 'c' },
  'exit-fd': { type: 'string', short: 'e' },
  'ready-fd': { type: 'string', short: 'r' },
  mtu: { type: 'string', short: 'm' },
  'enable-ipv6': { type: 'boolean', short: '6' },
  'api-socket': { type: 'string', short: 'a' },
  cidr: { type: 'string' },
  'disable-host-loopback': { type: 'boolean' },
  'netns-type': { type: 'string' },
  'userns-path': { type: 'string' },
  'enable-sandbox': { type: 'boolean' },
  'enable-seccomp': { type: 'boolean' },
  'outbound-addr': { type: 'string' },
  'outbound-addr6': { type: 'string' },
  'disable-dns': { type: 'boolean' },
  macaddress: { type: 'string' },
  'target-type': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

/** What tapdeck cannot do in place of slirp4netns, and why. */
const REFUSED = {
  'outbound-addr': 'connections have the address that the routes of the host give them',
  'outbound-addr6': 'connections have the address that the routes of the host give them',
  'disable-dns': 'containers find one another by the name server of their network',
} as const;

/** Throws a `DeckError` for what slirp4netns does not know, and for what tapdeck does not do. */
export function readOptions(args: readonly string[]): Options | Question {
  const { values, positionals } = parse(args);
  if (values.help) return 'help';
  if (values.version) return 'version';
  for (const [option, why] of Object.entries(REFUSED)) {
    if (values[option as keyof typeof REFUSED] === undefined) continue;
    throw invalid(`--${option} is not for tapdeck: ${why}; leave it out`);
  }
  const { configure = false, cidr = DEFAULT_CIDR, macaddress } = values;
  const kind = values['target-type'] ?? 'netns';
  if (kind !== 'netns')
    throw invalid(`--target-type ${quote(kind)}: tapdeck connects network namespaces; use netns`);
  if (macaddress !== undefined) {
    if (!configure) throw invalid('--macaddress is only valid with --configure');
    parseStationMac(macaddress);
  }
  const [target, ifname = 'tap0', ...rest] = positionals;
  if (target === undefined)
    throw invalid('which network namespace? Give a PID, or --netns-type=path and its path');
  if (rest.length > 0)
    throw invalid(`${quote(rest[0]!)} is one argument too many; give PID|PATH and TAPNAME`);
  return {
    target: readTarget(values['netns-type'] ?? 'pid', target),
    ifname: checkIfname(ifname),
    configure,
    readyFd: descriptor('ready-fd', values['ready-fd']),
    exitFd: descriptor('exit-fd', values['exit-fd']),
    mtu: readMtu(values.mtu),
    ipv6: values['enable-ipv6'] ?? false,
    apiSocket: values['api-socket'],
    habits: habitsOf(cidr),
    hostLoopback: !values['disable-host-loopback'],
    mac: macaddress,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    // "Unknown option '--foo'. To specify …"
    throw invalid(`${(error as Error).message.split('. ')[0]}; see --help`);
  }
}

function readTarget(kind: string, text: string): Target {
  if (kind === 'path') return { netns: text };
  if (kind !== 'pid') throw invalid(`--netns-type ${quote(kind)} is neither path nor pid`);
  if (/^[1-9]\d{0,9}$/.test(text)) return { pid: Number(text) };
  throw invalid(`${quote(text)} is not the PID of a process; a path takes --netns-type=path`);
}

function descriptor(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw invalid(`--${option} ${quote(text)} is not the number of a descriptor`);
}

function readMtu(text = '1500'): number {
  const mtu = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (mtu < 68 || mtu > LARGEST_MTU) throw invalid(`--mtu ${quote(text)} is not one of 68 to ${LARGEST_MTU}`);
  return Math.min(mtu, LARGEST_PACKET);
}

/** The addresses that callers count on in a network. Throws a `DeckError`. */
export function habitsOf(cidr: string): Habits {
  const subnet: Subnet = parseSubnet(4, cidr);
  if (subnet.prefix > LONGEST_PREFIX) {
    throw invalid(
      `--cidr ${cidr} is too small for address ${GUEST} in it; give /${LONGEST_PREFIX} or larger`,
    );
  }
  const at = (offset: bigint) => formatAddress(4, subnet.base + offset);
  return { subnet: cidr, gateway: at(GATEWAY), nameServer: at(NAME_SERVER), guest: at(GUEST) };
}

/** Whether a text is an address of IPv4. */
export function isIpv4(text: string): boolean {
  try {
    parseAddress(4, text);
    return true;
  } catch {
    return false;
  }
}
