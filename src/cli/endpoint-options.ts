import { parseAddress, parseStationMac } from '../control/address.ts';
import type { AttachOptions, ConnectOptions } from '../control/endpoint.ts';
import { checkAliases, checkLinks, checkPriority } from '../control/endpoint-wishes.ts';
import { invalid } from '../control/error.ts';
import { parseLabels } from '../control/labels.ts';
import { checkIfname, checkName, quote } from '../control/name.ts';
import { parsePublishSpec } from '../control/publish-spec.ts';
import { parseFaults } from '../device/faults.ts';

/** Options of the commands that make an endpoint, as commander gives them. */
export interface EndpointFlags {
  /** The first is that whose endpoint the other options are about. */
  network?: string[];
  name?: string;
  hostname?: string;
  label?: string[];
  ip?: string;
  ip6?: string;
  mac?: string;
  ifname?: string;
  mtu?: string;
  networkAlias?: string[];
  link?: string[];
  gwPriority?: string;
  allowSpoof?: boolean;
  faults?: string;
  publish?: string[];
}

/**
 * Checks what can be checked without the deck, before anything is made: mistakes of form are mistakes of
 * usage. Throws a `DeckError`.
 */
export function endpointOptions(flags: EndpointFlags): Omit<AttachOptions, 'netns' | 'pid'> {
  const { network: networks = [], name, hostname, label, networkAlias, faults, publish } = flags;
  if (name !== undefined) checkName('container', name);
  if (hostname !== undefined) checkName('host', hostname);
  if (faults !== undefined) checkFaults(faults);
  for (const spec of publish ?? []) parsePublishSpec(spec);
  const [first, ...further] = networks.map(networkWish);
  const own = connectOptions({ ...flags, ...(networkAlias && { alias: networkAlias }) });
  const twice = first && Object.keys(first).find((key) => key !== 'network' && Object.hasOwn(own, key));
  if (twice !== undefined) {
    throw invalid(`--network ${quote(networks[0]!)} and another option say ${twice}; leave one of both out`);
  }
  return {
    ...first,
    ...(further.length > 0 && { networks: further }),
    ...(name !== undefined && { name }),
    ...(hostname !== undefined && { hostname }),
    ...(label !== undefined && { labels: parseLabels(label) }),
    ...own,
    ...(faults !== undefined && { faults }),
    ...(publish !== undefined && { publish }),
  };
}

/** Name of the network that the first `--network` means. */
export function firstNetwork({ network = [] }: EndpointFlags): string | undefined {
  return network[0] === undefined ? undefined : networkWish(network[0]).network;
}

/** Options about one endpoint in one network, as commander gives them. */
interface ConnectFlags {
  ip?: string;
  ip6?: string;
  mac?: string;
  ifname?: string;
  mtu?: string;
  alias?: string[];
  link?: string[];
  gwPriority?: string;
  allowSpoof?: boolean;
}

/** As `endpointOptions`, of one endpoint. */
export function connectOptions(flags: ConnectFlags): ConnectOptions {
  const { ip, ip6, mac, ifname, mtu, alias, link, gwPriority, allowSpoof } = flags;
  if (ip !== undefined) parseAddress(4, ip);
  if (ip6 !== undefined) parseAddress(6, ip6);
  if (mac !== undefined) parseStationMac(mac);
  if (ifname !== undefined) checkIfname(ifname);
  return {
    ...(ip !== undefined && { ip }),
    ...(ip6 !== undefined && { ip6 }),
    ...(mac !== undefined && { mac }),
    ...(ifname !== undefined && { ifname }),
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu) }),
    ...(alias !== undefined && { aliases: checkAliases(alias) }),
    ...(link !== undefined && { links: checkLinks(link) }),
    ...(gwPriority !== undefined && { gatewayPriority: priority(gwPriority) }),
    ...(allowSpoof && { allowSpoof }),
  };
}

/** The keys of Docker's long form of `--network`, and the flag that each is. */
const WISHES = new Map<string, keyof ConnectFlags>([
  ['ip', 'ip'],
  ['ip6', 'ip6'],
  ['mac-address', 'mac'],
  ['interface-name', 'ifname'],
  ['alias', 'alias'],
  ['link', 'link'],
  ['gw-priority', 'gwPriority'],
]);

/** `front`, or `name=front,ip=10.0.0.9,alias=db,gw-priority=1`, as Docker takes it. */
function networkWish(text: string): { network: string } & ConnectOptions {
  if (!text.includes('=')) return { network: checkName('network', text) };
  let network: string | undefined;
  const flags: ConnectFlags = {};
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split(/=(.*)/s);
    const flag = WISHES.get(key);
    if (key === 'name' && network === undefined) network = value;
    else if (flag === 'alias' || flag === 'link') flags[flag] = [...(flags[flag] ?? []), value];
    else if (flag !== undefined && flags[flag] === undefined) Object.assign(flags, { [flag]: value });
    else {
      throw invalid(
        `--network ${quote(text)}: ${quote(part)} makes no sense; write it as name=NETWORK and, once each, ${Array.from(WISHES.keys()).join(', ')}`,
      );
    }
  }
  if (network === undefined)
    throw invalid(`--network ${quote(text)} names no network; begin it with name=NETWORK`);
  return { network: checkName('network', network), ...connectOptions(flags) };
}

function priority(text: string): number {
  if (!/^-?\d{1,10}$/.test(text)) {
    throw invalid(`--gw-priority ${quote(text)} is not a whole number; the highest one is the way out`);
  }
  return checkPriority(Number(text));
}

function checkFaults(faults: string): void {
  try {
    parseFaults(faults);
  } catch (error) {
    throw invalid(`--${(error as Error).message}`);
  }
}

/** What every interface takes as a number. */
const HIGHEST_NUMBER = 2 ** 31 - 1;

/** The number in an option's value. Throws a `DeckError` for everything that is not a whole positive one. */
export function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw invalid(`${option} ${quote(text)} is not a whole number above zero`);
  const number = Number(text);
  if (number > HIGHEST_NUMBER) throw invalid(`${option} ${text} is out of range; use 1 to ${HIGHEST_NUMBER}`);
  return number;
}
