import { parseArgs } from 'node:util';
import { formatAddress, parseAddress, parseSubnet } from '../../control/address.ts';
import { invalid } from '../../control/error.ts';
import { checkIfname, quote } from '../../control/name.ts';
import type { CreateNetworkOptions } from '../../control/network.ts';
import { guestNetwork } from '../slirp4netns/guest-network.ts';
import { habitsOf, type Target } from '../slirp4netns/options.ts';

/** pasta's command line, as Podman and RootlessKit write it. */

export interface PastaOptions {
  target: Target;
  ifname: string;
  mtu: number;
  ipv6: boolean;
  network: CreateNetworkOptions;
  /** The address that the caller believes to be the container's, which it gets besides. */
  guest: string | undefined;
  /** Whether the gateway leads to the host's loopback. */
  hostLoopback: boolean;
  /** As `tapdeck publish` takes it. */
  publish: string[];
  pidFile: string | undefined;
  foreground: boolean;
}

const OPTIONS = {
  'config-net': { type: 'boolean' },
  netns: { type: 'string' },
  userns: { type: 'string' },
  'ns-ifname': { type: 'string', short: 'I' },
  mtu: { type: 'string', short: 'm' },
  address: { type: 'string', short: 'a' },
  netmask: { type: 'string', short: 'n' },
  gateway: { type: 'string', short: 'g' },
  'dns-forward': { type: 'string', multiple: true },
  'map-gw': { type: 'boolean' },
  'no-map-gw': { type: 'boolean' },
  'ipv4-only': { type: 'boolean', short: '4' },
  'tcp-ports': { type: 'string', short: 't', multiple: true },
  'udp-ports': { type: 'string', short: 'u', multiple: true },
  'tcp-ns': { type: 'string', short: 'T' },
  'udp-ns': { type: 'string', short: 'U' },
  pid: { type: 'string', short: 'P' },
  foreground: { type: 'boolean', short: 'f' },
  quiet: { type: 'boolean', short: 'q' },
  stderr: { type: 'boolean', short: 'e' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

/** Where Podman has the name server of containers of pasta. */
const NAME_SERVER = '169.254.1.1';
const LARGEST_PACKET = 65520;

/** Throws a `DeckError` for what pasta does not know, and for what tapdeck does not do. */
export function readPastaOptions(args: readonly string[]): PastaOptions | 'help' | 'version' {
  const { values, positionals } = parse(args);
  if (values.help) return 'help';
  if (values.version) return 'version';
  if (!values['config-net']) throw invalid('tapdeck gives the interface its addresses; add --config-net');
  for (const option of ['tcp-ns', 'udp-ns'] as const) {
    const ports = values[option] ?? 'none';
    if (ports !== 'none')
      throw invalid(`--${option} ${quote(ports)}: the host's ports are at its addresses; use none`);
  }
  return {
    target: readTarget(values.netns, positionals),
    ifname: checkIfname(values['ns-ifname'] ?? 'eth0'),
    mtu: readMtu(values.mtu),
    ipv6: !values['ipv4-only'],
    ...readNetwork(values),
    hostLoopback: !values['no-map-gw'],
    publish: [
      ...(values['tcp-ports'] ?? []).flatMap((text) => readPorts('tcp', text)),
      ...(values['udp-ports'] ?? []).flatMap((text) => readPorts('udp', text)),
    ],
    pidFile: values.pid,
    foreground: values.foreground ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const [, option] = /'(-[^' ]*)/.exec(message) ?? [];
    // In getopt's words: by these Podman knows that an option is too new, and does without it.
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw invalid(`unrecognized option '${option}'`);
    throw invalid(message.split('. ')[0]!);
  }
}

function readTarget(netns: string | undefined, positionals: readonly string[]): Target {
  if (netns !== undefined && positionals.length === 0) return { netns };
  const [first = '', ...more] = positionals;
  if (netns === undefined && more.length === 0 && first.includes('/')) return { netns: first };
  if (netns === undefined && more.length === 0 && /^[1-9]\d{0,9}$/.test(first)) return { pid: Number(first) };
  throw invalid(
    'tapdeck connects a namespace that is there, and starts no command; give --netns PATH, or a PID',
  );
}

function readMtu(text = String(LARGEST_PACKET)): number {
  const mtu = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (mtu < 1280 || mtu > 65535) throw invalid(`--mtu ${quote(text)} is not one of 1280 to 65535`);
  return Math.min(mtu, LARGEST_PACKET);
}

/** The network that has the addresses that the caller wants: those that slirp4netns has, or any. */
function readNetwork({
  address,
  netmask = '24',
  gateway,
  'dns-forward': forwards = [],
}: ReturnType<typeof parse>['values']): Pick<PastaOptions, 'network' | 'guest'> {
  const dns = forwards.map((text) => formatAddress(4, parseAddress(4, text)));
  if (address === undefined) {
    if (gateway !== undefined) throw invalid(`--gateway ${gateway} takes an --address`);
    const [own = NAME_SERVER] = dns;
    const name = own === NAME_SERVER ? 'pasta' : `pasta-${own}`;
    return { network: { name, ipv6: true, options: { 'tapdeck.dns': own } }, guest: undefined };
  }
  const subnet = subnetOf(address, netmask);
  const habits = habitsOf(subnet);
  const { guest, gateway: expected, nameServer } = habits;
  const fits =
    address === guest && (gateway ?? expected) === expected && dns.every((one) => one === nameServer);
  if (!fits) {
    throw invalid(
      `--address ${address}: in ${subnet} tapdeck has ${guest} for the container, gateway ${expected} and name server ${nameServer}; give these, or no --address`,
    );
  }
  return { network: guestNetwork(habits), guest };
}

function subnetOf(address: string, netmask: string): string {
  const prefix = /^\d{1,2}$/.test(netmask) ? Number(netmask) : 0;
  if (prefix < 1 || prefix > 32)
    throw invalid(`--netmask ${quote(netmask)} is not the length of a prefix; use 24`);
  const size = 1n << BigInt(32 - prefix);
  const base = (parseAddress(4, address) / size) * size;
  const text = `${formatAddress(4, base)}/${prefix}`;
  parseSubnet(4, text);
  return text;
}

/** pasta's `[ADDRESS[%IFNAME]/]PORTS[:PORTS],…` as `tapdeck publish` takes it. */
export function readPorts(protocol: 'tcp' | 'udp', text: string): string[] {
  if (text === 'none') return [];
  const option = protocol === 'tcp' ? '-t' : '-u';
  const match = /^(?:([^/]*)\/)?([\d,:-]+)$/.exec(text);
  if (!match)
    throw invalid(
      `${option} ${quote(text)}: tapdeck publishes ports that are named, as 8080:80; use these, or none`,
    );
  const [, place = '', ports = ''] = match;
  const host = place === '' ? '' : place.includes(':') ? `[${place}]:` : `${place}:`;
  return ports.split(',').map((part) => {
    const [outside = '', inside = outside] = part.split(':');
    return `${host}${outside}:${inside}/${protocol}`;
  });
}
