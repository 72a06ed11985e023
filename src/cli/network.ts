import { familyOf } from '../control/address.ts';
import type { DaemonClient } from '../control/client.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { DeckError, invalid } from '../control/error.ts';
import { checkName, quote } from '../control/name.ts';
import type { CreateNetworkOptions, NetworkInfo } from '../control/network.ts';
import { wholeNumber } from './endpoint-options.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print, report } from './output.ts';
import { formatTable } from './table.ts';

/** `tapdeck network …`, spelled as in Docker. */

export interface CreateFlags {
  subnet?: string[];
  gateway?: string[];
  ipv6?: boolean;
  mtu?: string;
  internal?: boolean;
  hostLoopback?: boolean;
  opt?: string[];
}

export async function createNetwork(client: DaemonClient, name: string, flags: CreateFlags): Promise<number> {
  const { id } = await client.post<NetworkInfo>('/v1/networks', networkOptions(name, flags));
  process.stdout.write(`${id}\n`);
  return EXIT_DONE;
}

/** Sorts the repeatable options by family. Throws a `DeckError`. */
export function networkOptions(
  name: string,
  { subnet, gateway, ipv6, mtu, internal, hostLoopback, opt }: CreateFlags,
): CreateNetworkOptions {
  checkName('network', name);
  const driver = driverOptions(opt);
  if (mtu !== undefined && driver.mtu !== undefined) {
    throw invalid(
      `--mtu ${quote(mtu)} and -o ${DRIVER_MTU}=${driver.mtu} say the same; leave one of both out`,
    );
  }
  const [subnet4, subnet6] = byFamily('--subnet', subnet);
  const [gateway4, gateway6] = byFamily('--gateway', gateway);
  return {
    name,
    ...(subnet4 !== undefined && { subnet: subnet4 }),
    ...(subnet6 !== undefined && { ipv6Subnet: subnet6 }),
    ...(gateway4 !== undefined && { gateway: gateway4 }),
    ...(gateway6 !== undefined && { ipv6Gateway: gateway6 }),
    ...(ipv6 && { ipv6 }),
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu) }),
    ...(internal && { internal }),
    ...(hostLoopback && { hostLoopback }),
    ...driver,
  };
}

/** As Docker's bridge driver calls it. */
const DRIVER_MTU = 'com.docker.network.driver.mtu';

type DriverOptions = Pick<CreateNetworkOptions, 'uplink' | 'npt' | 'mtu' | 'hostLoopback'>;

/** The options of `-o`, which Docker leaves to the driver. Throws a `DeckError`. */
function driverOptions(given: readonly string[] = []): DriverOptions {
  const options: DriverOptions = {};
  const seen = new Set<string>();
  for (const option of given) {
    const equals = option.indexOf('=');
    const key = equals < 0 ? option : option.slice(0, equals);
    const value = equals < 0 ? '' : option.slice(equals + 1);
    if (seen.has(key)) throw invalid(`-o ${quote(key)} is given twice; give it once`);
    seen.add(key);
    switch (key) {
      case 'tapdeck.uplink':
        options.uplink = value;
        break;
      case 'tapdeck.npt':
        options.npt = value;
        break;
      case 'tapdeck.host_loopback':
        options.hostLoopback = truth(option, value);
        break;
      case DRIVER_MTU:
        options.mtu = wholeNumber(`-o ${DRIVER_MTU}`, value);
        break;
      default:
        throw invalid(
          `-o ${quote(option)}: there is no option ${quote(key)}; there are tapdeck.uplink=NAME, tapdeck.npt=PREFIX, tapdeck.host_loopback=true and ${DRIVER_MTU}=BYTES`,
        );
    }
    if (value === '') throw invalid(`-o ${quote(option)} has no value; write it as ${key}=VALUE`);
  }
  return options;
}

/** As Docker reads what is true in an option. */
function truth(option: string, value: string): boolean {
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0' || value === '') return false;
  throw invalid(`-o ${quote(option)}: ${quote(value)} is neither true nor false`);
}

function byFamily(option: string, values: readonly string[] = []): [string | undefined, string | undefined] {
  const found: [string | undefined, string | undefined] = [undefined, undefined];
  for (const value of values) {
    const index = familyOf(value) === 4 ? 0 : 1;
    if (found[index] !== undefined) {
      throw invalid(
        `${option} ${quote(value)}: a network has one IPv${index === 0 ? 4 : 6} subnet; make a network for each`,
      );
    }
    found[index] = value;
  }
  return found;
}

export async function listNetworks(
  client: DaemonClient,
  format: Format,
  { quiet }: { quiet?: boolean },
): Promise<number> {
  const networks = await client.get<NetworkInfo[]>('/v1/networks');
  if (quiet) {
    process.stdout.write(networks.map(({ id }) => `${id.slice(0, 12)}\n`).join(''));
    return EXIT_DONE;
  }
  print(format, networks, () => networkTable(networks));
  return EXIT_DONE;
}

export function networkTable(networks: readonly NetworkInfo[]): string {
  return formatTable(
    ['NETWORK ID', 'NAME', 'DRIVER', 'SCOPE', 'SUBNETS', 'MTU', 'UPLINK'],
    networks.map(({ id, name, driver, ipv4, ipv6, mtu, internal, uplink }) => [
      id.slice(0, 12),
      name,
      driver,
      'local',
      [ipv4?.subnet, ipv6?.subnet].filter(Boolean).join(', '),
      mtu,
      internal ? 'internal' : (uplink ?? '-'),
    ]),
  );
}

/** Prints what exists of the networks that were named, also when one of them does not. */
export async function inspectNetworks(client: DaemonClient, names: readonly string[]): Promise<number> {
  const endpoints = await client.get<Endpoint[]>('/v1/endpoints');
  const found: object[] = [];
  let code = EXIT_DONE;
  for (const name of names) {
    try {
      const network = await client.get<NetworkInfo>(`/v1/networks/${encodeURIComponent(name)}`);
      found.push(inspection(network, endpoints));
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      report(error);
      code = EXIT_FAILED;
    }
  }
  process.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
  return code;
}

/** A network in the shape of `docker network inspect`. */
export function inspection(network: NetworkInfo, endpoints: readonly Endpoint[]): object {
  const { id, name, createdAt, ipv4, ipv6, mtu, internal, uplink, npt, hostLoopback } = network;
  const prefixOf = (subnet: string | undefined) => subnet?.slice(subnet.indexOf('/')) ?? '';
  const withPrefix = (address: string | null, subnet: string | undefined) =>
    address === null ? '' : `${address}${prefixOf(subnet)}`;
  const members = endpoints.filter((endpoint) => endpoint.network === name);
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    Scope: 'local',
    Driver: 'tapdeck',
    EnableIPv4: ipv4 !== null,
    EnableIPv6: ipv6 !== null,
    IPAM: {
      Driver: 'default',
      Options: {},
      Config: [ipv4, ipv6].flatMap((pool) => (pool ? [{ Subnet: pool.subnet, Gateway: pool.gateway }] : [])),
    },
    Internal: internal,
    Attachable: true,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      members.map((endpoint) => [
        endpoint.id,
        {
          Name: endpoint.name,
          EndpointID: endpoint.id,
          MacAddress: endpoint.mac,
          IPv4Address: withPrefix(endpoint.ipv4, ipv4?.subnet),
          IPv6Address: withPrefix(endpoint.ipv6, ipv6?.subnet),
          ...(endpoint.ipv6Outside !== null && { IPv6OutsideAddress: endpoint.ipv6Outside }),
        },
      ]),
    ),
    Options: {
      [DRIVER_MTU]: String(mtu),
      ...(uplink !== null && { 'tapdeck.uplink': uplink }),
      ...(npt !== null && { 'tapdeck.npt': npt }),
      ...(hostLoopback && { 'tapdeck.host_loopback': 'true' }),
    },
    Labels: {},
  };
}

/** Removes several; goes on when one cannot be removed. */
export async function removeNetworks(client: DaemonClient, names: readonly string[]): Promise<number> {
  return eachOf(names, async (name) => {
    await client.delete(`/v1/networks/${encodeURIComponent(name)}`);
  });
}

/** Does something for each name and prints those for which it was done; the exit code is 1 when one failed. */
export async function eachOf(
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<number> {
  let code = EXIT_DONE;
  for (const name of names) {
    try {
      await work(name);
      process.stdout.write(`${name}\n`);
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      report(error);
      code = EXIT_FAILED;
    }
  }
  return code;
}
