import type { PortId } from '../../switch/frame.ts';
import type { DeckPort } from '../capture/live/port-names.ts';
import type { NameTable } from '../runtime/capture-messages.ts';
import type { Endpoint } from './endpoint.ts';
import type { NetworkInfo } from './network.ts';
import type { PublishedPort } from './published.ts';
import type { PortName } from './views.ts';

/** What a deck has, and its numbers. */
export interface NamedParts {
  /** All ports, and the network or uplink of each. */
  ports: readonly (PortName & { port: PortId; segment: number })[];
  /** Networks and uplinks. */
  segments: readonly { readonly number: number; readonly name: string }[];
  networks: readonly NetworkInfo[];
  endpoints: readonly Endpoint[];
  published: readonly { readonly id: number; readonly published: PublishedPort }[];
  /** Of the user's, in their order. */
  userRules: readonly { readonly id: number; readonly position: number }[];
}

/** What a capture calls everything. */
export function nameTable({
  ports,
  segments,
  networks,
  endpoints,
  published,
  userRules,
}: NamedParts): NameTable {
  const byPort = new Map(endpoints.map((endpoint) => [endpoint.port, endpoint]));
  return {
    ports: ports.map((one) => deckPort(one, byPort.get(one.port), networks)),
    addresses: addresses(networks, endpoints),
    networks: segments.map(({ number, name }) => [number, name]),
    publishes: published.map(({ id, published }) => [id, publishText(published)]),
    rules: isolationRules(segments, networks),
    userRules: userRules.map(({ id, position }) => [id, position]),
  };
}

/** Where `tapdeck rules` lists the rules that drop between networks: see `viewRules`. */
function isolationRules(
  segments: NamedParts['segments'],
  networks: readonly NetworkInfo[],
): NameTable['rules'] {
  const numberOf = (name: string) => segments.find((segment) => segment.name === name)?.number ?? -1;
  const internal = networks.filter((network) => network.internal);
  return [
    ...networks.map(({ name }, i) => ['ISOLATED', numberOf(name), i + 1] as const),
    ...internal.flatMap(({ name }, i) => [
      ['INTERNAL_OUT', numberOf(name), 2 * i + 1] as const,
      ['INTERNAL_IN', numberOf(name), 2 * i + 2] as const,
    ]),
  ];
}

function deckPort(
  { port, segment, network, endpoint, ifname }: NamedParts['ports'][number],
  container: Endpoint | undefined,
  networks: readonly NetworkInfo[],
): DeckPort {
  if (container) {
    const { id, mac } = container;
    const name = `${endpoint} ${ifname}`;
    return {
      port,
      segment,
      key: `${id} ${name}`,
      name,
      description: `network ${network}`,
      mac,
      isDeck: false,
    };
  }
  if (endpoint === 'uplink') {
    const name = `uplink ${network}`;
    const description = ifname === null ? 'sockets of the host' : `interface ${ifname}`;
    return { port, segment, key: name, name, description, mac: undefined, isDeck: false };
  }
  const mac = networks.find(({ name }) => name === network)?.mac;
  const name = `gateway ${network}`;
  return { port, segment, key: name, name, description: `network ${network}`, mac, isDeck: true };
}

function addresses(networks: readonly NetworkInfo[], endpoints: readonly Endpoint[]): NameTable['addresses'] {
  const named: [string, string[]][] = [];
  for (const { name, ipv4, ipv6 } of networks) {
    for (const pool of [ipv4, ipv6]) if (pool) named.push([pool.gateway, [`gateway.${name}`]]);
  }
  for (const { name, ipv4, ipv6 } of endpoints) {
    // One for each address: of several, some readers show the first and some the last.
    for (const address of [ipv4, ipv6]) if (address) named.push([address, [name]]);
  }
  return named;
}

function publishText({ endpoint, protocol, host, hostPort, port }: PublishedPort): string {
  return `${endpoint} ${host.includes(':') ? `[${host}]` : host}:${hostPort}->${port}/${protocol}`;
}
