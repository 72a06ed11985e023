import { familyOf, formatAddress, formatSubnet, parseAddress } from './address.ts';
import { invalid } from './error.ts';
import { quote } from './name.ts';
import type { CreateNetworkOptions, NetworkRecord } from './network.ts';

/** The options of `network create -o`, which Docker leaves to the driver: its own, and ours. */

const MTU = 'com.docker.network.driver.mtu';
const ICC = 'com.docker.network.bridge.enable_icc';
const MASQUERADE = 'com.docker.network.bridge.enable_ip_masquerade';
const HOST_BINDING = 'com.docker.network.bridge.host_binding_ipv4';
const UPLINK = 'tapdeck.uplink';
const NPT = 'tapdeck.npt';
const HOST_LOOPBACK = 'tapdeck.host_loopback';
const DHCP = 'tapdeck.dhcp';
const DNS = 'tapdeck.dns';

/** What the options say, where they say something. */
export interface DriverOptions {
  mtu?: number;
  icc?: boolean;
  masquerade?: boolean;
  /** IPv4; null for all addresses. */
  hostBinding?: bigint | null;
  uplink?: string;
  npt?: string;
  hostLoopback?: boolean;
  /** Whether the gateway answers DHCP. */
  dhcp?: boolean;
  /** Further addresses of the gateway, where programs look for its name server that know no other. */
  dns?: readonly string[];
}

const READERS: Readonly<Record<string, (text: string) => DriverOptions>> = {
  [MTU]: (text) => ({ mtu: bytes(text) }),
  [ICC]: (text) => ({ icc: truth(text) }),
  [MASQUERADE]: (text) => ({ masquerade: truth(text) }),
  [HOST_BINDING]: (text) => ({ hostBinding: binding(text) }),
  [UPLINK]: (uplink) => ({ uplink }),
  [NPT]: (npt) => ({ npt }),
  [HOST_LOOPBACK]: (text) => ({ hostLoopback: truth(text) }),
  [DHCP]: (text) => ({ dhcp: truth(text) }),
  [DNS]: (text) => ({ dns: addresses(text) }),
};

/** Throws a `DeckError` for an option that there is not, and for a value that it cannot have. */
export function readDriverOptions(options: Readonly<Record<string, string>>): DriverOptions {
  const read: DriverOptions = {};
  for (const [key, text] of Object.entries(options)) {
    if (!Object.hasOwn(READERS, key)) {
      throw invalid(
        `option ${quote(key)}: there is no such option of a network; there are ${Object.keys(READERS).join(', ')}`,
      );
    }
    if (text === '') throw invalid(`option ${key} has no value; write it as ${key}=VALUE`);
    try {
      Object.assign(read, READERS[key]!(text));
    } catch (error) {
      throw invalid(`option ${key}=${text}: ${(error as Error).message}`);
    }
  }
  return read;
}

/** The wishes for a network, with those of its options among them. Throws a `DeckError` where two say the same. */
export function withDriverOptions(
  wishes: CreateNetworkOptions,
): Omit<CreateNetworkOptions, 'options'> & DriverOptions {
  const { options = {}, ...fields } = wishes;
  const read = readDriverOptions(options);
  for (const [field, key] of [
    ['mtu', MTU],
    ['uplink', UPLINK],
    ['npt', NPT],
    ['hostLoopback', HOST_LOOPBACK],
  ] as const) {
    if (fields[field] !== undefined && read[field] !== undefined) {
      throw invalid(`${field} ${fields[field]} and option ${key} say the same; leave one of both out`);
    }
  }
  return { ...fields, ...read };
}

/** The options by which the same network would be made again. */
export function describeOptions({ mtu, way, traits }: NetworkRecord): Record<string, string> {
  const { icc, masquerade, hostBinding, dhcp, dns } = traits;
  return {
    ...(!icc && { [ICC]: 'false' }),
    ...(!masquerade && { [MASQUERADE]: 'false' }),
    ...(hostBinding !== null && { [HOST_BINDING]: formatAddress(4, hostBinding) }),
    [MTU]: String(mtu),
    ...(way.uplink && { [UPLINK]: way.uplink.name }),
    ...(way.npt && { [NPT]: formatSubnet(way.npt) }),
    ...(way.hostLoopback && { [HOST_LOOPBACK]: 'true' }),
    ...(dhcp && { [DHCP]: 'true' }),
    ...(dns.length > 0 && { [DNS]: dns.join(',') }),
  };
}

function bytes(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw invalid(`${quote(text)} is not a whole number above zero`);
}

/** As Docker reads what is true in an option. */
function truth(text: string): boolean {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw invalid(`${quote(text)} is neither true nor false`);
}

function addresses(text: string): string[] {
  return text.split(',').map((address) => {
    const family = familyOf(address);
    return formatAddress(family, parseAddress(family, address));
  });
}

function binding(text: string): bigint | null {
  const address = parseAddress(4, text);
  return address === 0n ? null : address;
}
