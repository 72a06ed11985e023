import { familyOf } from '../control/address.ts';
import type { DaemonClient } from '../control/client.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { DeckError, invalid } from '../control/error.ts';
import { parseLabels } from '../control/labels.ts';
import { checkName, quote } from '../control/name.ts';
import type { CreateNetworkOptions, NetworkInfo, PoolInfo } from '../control/network.ts';
import { LIST_FILTERS, networkFilter, PRUNE_FILTERS } from '../control/network-filter.ts';
import { withDriverOptions } from '../control/network-options.ts';
import { confirmed } from './confirm.ts';
import { connectOptions, wholeNumber } from './endpoint-options.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print, report } from './output.ts';
import { formatTable } from './table.ts';

/** `tapdeck network …`, spelled as in Docker. */

export interface CreateFlags {
  driver?: string;
  subnet?: string[];
  gateway?: string[];
  ipRange?: string[];
  auxAddress?: string[];
  ipv6?: boolean;
  mtu?: string;
  internal?: boolean;
  hostLoopback?: boolean;
  label?: string[];
  opt?: string[];
}

export async function createNetwork(client: DaemonClient, name: string, flags: CreateFlags): Promise<number> {
  const { id } = await client.post<NetworkInfo>('/v1/networks', networkOptions(name, flags));
  process.stdout.write(`${id}\n`);
  return EXIT_DONE;
}

/** Sorts the repeatable options by family, and checks what can be checked without the deck. Throws a `DeckError`. */
export function networkOptions(
  name: string,
  {
    driver,
    subnet,
    gateway,
    ipRange,
    auxAddress,
    ipv6,
    mtu,
    internal,
    hostLoopback,
    label,
    opt,
  }: CreateFlags,
): CreateNetworkOptions {
  checkName('network', name);
  const [subnet4, subnet6] = byFamily('--subnet', subnet);
  const [gateway4, gateway6] = byFamily('--gateway', gateway);
  const [range4, range6] = byFamily('--ip-range', ipRange);
  const auxAddresses = pairs('--aux-address', auxAddress);
  for (const aux of Object.keys(auxAddresses)) checkName('auxiliary address', aux);
  const options: CreateNetworkOptions = {
    name,
    ...(driver !== undefined && { driver }),
    ...(subnet4 !== undefined && { subnet: subnet4 }),
    ...(subnet6 !== undefined && { ipv6Subnet: subnet6 }),
    ...(gateway4 !== undefined && { gateway: gateway4 }),
    ...(gateway6 !== undefined && { ipv6Gateway: gateway6 }),
    ...(range4 !== undefined && { ipRange: range4 }),
    ...(range6 !== undefined && { ipv6Range: range6 }),
    ...(auxAddress !== undefined && { auxAddresses }),
    ...(ipv6 && { ipv6 }),
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu) }),
    ...(internal && { internal }),
    ...(hostLoopback && { hostLoopback }),
    ...(label !== undefined && { labels: parseLabels(label) }),
    ...(opt !== undefined && { options: pairs('-o', opt) }),
  };
  withDriverOptions(options);
  return options;
}

/** `key=value` texts, each key once. Throws a `DeckError`. */
function pairs(option: string, texts: readonly string[] = []): Record<string, string> {
  const found = new Map<string, string>();
  for (const text of texts) {
    const equals = text.indexOf('=');
    if (equals < 1) throw invalid(`${option} ${quote(text)} makes no sense; write it as KEY=VALUE`);
    const key = text.slice(0, equals);
    if (found.has(key)) throw invalid(`${option} ${quote(key)} is given twice; give it once`);
    found.set(key, text.slice(equals + 1));
  }
  return Object.fromEntries(found);
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

export interface ListFlags {
  quiet?: boolean;
  filter?: string[];
  trunc?: boolean;
}

export async function listNetworks(
  client: DaemonClient,
  format: Format,
  { quiet, filter = [], trunc = true }: ListFlags,
): Promise<number> {
  const matches = networkFilter(filter, LIST_FILTERS, Date.now());
  const networks = (await client.get<NetworkInfo[]>('/v1/networks')).filter(matches);
  if (quiet) {
    process.stdout.write(networks.map(({ id }) => `${shown(id, trunc)}\n`).join(''));
    return EXIT_DONE;
  }
  print(format, networks, () => networkTable(networks, trunc));
  return EXIT_DONE;
}

/** Docker's columns. */
export function networkTable(networks: readonly NetworkInfo[], trunc = true): string {
  return formatTable(
    ['NETWORK ID', 'NAME', 'DRIVER', 'SCOPE'],
    networks.map(({ id, name, driver }) => [shown(id, trunc), name, driver, 'local']),
  );
}

function shown(id: string, trunc: boolean): string {
  return trunc ? id.slice(0, 12) : id;
}

/** Prints what exists of the networks that were named, also when one of them does not. */
export async function inspectNetworks(client: DaemonClient, names: readonly string[]): Promise<number> {
  const endpoints = await client.get<Endpoint[]>('/v1/endpoints');
  return inspectEach(names, async (name) =>
    inspection(await client.get<NetworkInfo>(networkPath(name)), endpoints),
  );
}

/** Prints what is found of several things as one JSON text; the exit code is 1 when one is not there. */
export async function inspectEach(
  names: readonly string[],
  find: (name: string) => Promise<object>,
): Promise<number> {
  const found: object[] = [];
  let code = EXIT_DONE;
  for (const name of names) {
    try {
      found.push(await find(name));
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      report(error);
      code = EXIT_FAILED;
    }
  }
  process.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
  return code;
}

function networkPath(name: string): string {
  return `/v1/networks/${encodeURIComponent(name)}`;
}

/** A network in the shape of `docker network inspect`. */
export function inspection(network: NetworkInfo, endpoints: readonly Endpoint[]): object {
  const { id, name, driver, createdAt, ipv4, ipv6, internal, options, labels } = network;
  const members = endpoints.filter((endpoint) => endpoint.network === name);
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    Scope: 'local',
    Driver: driver,
    EnableIPv4: ipv4 !== null,
    EnableIPv6: ipv6 !== null,
    IPAM: {
      Driver: 'default',
      Options: {},
      Config: [ipv4, ipv6].flatMap((pool) => (pool ? poolConfig(pool) : [])),
    },
    Internal: internal && driver === 'bridge',
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      members.map((endpoint) => [
        endpoint.containerId,
        {
          Name: endpoint.name,
          EndpointID: endpoint.id,
          MacAddress: endpoint.mac,
          IPv4Address: withPrefix(endpoint.ipv4, ipv4),
          IPv6Address: withPrefix(endpoint.ipv6, ipv6),
          ...(endpoint.ipv6Outside !== null && { IPv6OutsideAddress: endpoint.ipv6Outside }),
        },
      ]),
    ),
    Options: options,
    Labels: labels,
  };
}

function poolConfig({ subnet, gateway, ipRange, auxAddresses }: PoolInfo): object {
  return {
    Subnet: subnet,
    ...(ipRange !== null && { IPRange: ipRange }),
    Gateway: gateway,
    ...(Object.keys(auxAddresses).length > 0 && { AuxiliaryAddresses: auxAddresses }),
  };
}

function withPrefix(address: string | null, pool: PoolInfo | null): string {
  return address === null || !pool ? '' : `${address}${pool.subnet.slice(pool.subnet.indexOf('/'))}`;
}

export interface ConnectFlags {
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

export async function connectNetwork(
  client: DaemonClient,
  network: string,
  container: string,
  flags: ConnectFlags,
): Promise<number> {
  await client.post<Endpoint>(`${networkPath(network)}/connect`, { container, ...connectOptions(flags) });
  return EXIT_DONE;
}

export async function disconnectNetwork(
  client: DaemonClient,
  network: string,
  container: string,
): Promise<number> {
  await client.post<Endpoint>(`${networkPath(network)}/disconnect`, { container });
  return EXIT_DONE;
}

export interface PruneFlags {
  force?: boolean;
  filter?: string[];
}

/** Removes what nobody uses, after the user has said so. */
export async function pruneNetworks(
  client: DaemonClient,
  format: Format,
  { force, filter = [] }: PruneFlags,
): Promise<number> {
  // What makes no sense is said before anybody is asked.
  networkFilter(filter, PRUNE_FILTERS, Date.now());
  const warning = 'This will remove all custom networks not used by at least one container.';
  if (!force && !(await confirmed(warning))) return EXIT_DONE;
  const removed = await client.post<NetworkInfo[]>('/v1/networks/prune', { filters: filter });
  print(format, removed, () =>
    removed.length === 0 ? '' : `Deleted Networks:\n${removed.map(({ name }) => `${name}\n`).join('')}\n`,
  );
  return EXIT_DONE;
}

/** Removes several; goes on when one cannot be removed. */
export async function removeNetworks(client: DaemonClient, names: readonly string[]): Promise<number> {
  return eachOf(names, async (name) => {
    await client.delete(networkPath(name));
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
