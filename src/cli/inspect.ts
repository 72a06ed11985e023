import type { DaemonClient } from '../control/client.ts';
import type { Container } from '../control/container.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { DeckError, notFound } from '../control/error.ts';
import { quote } from '../control/name.ts';
import type { NetworkInfo, PoolInfo } from '../control/network.ts';
import type { PublishedPort } from '../control/published.ts';
import { inspectEach, inspection } from './network.ts';

/** `tapdeck inspect NAME…`: a container, or else a network, of each name. */
export async function inspect(client: DaemonClient, names: readonly string[]): Promise<number> {
  const networks = await client.get<NetworkInfo[]>('/v1/networks');
  return inspectEach(names, async (name) => {
    const path = encodeURIComponent(name);
    const container = await found(() => client.get<Container>(`/v1/containers/${path}`));
    if (container) return containerInspection(container, networks);
    const network = await found(() => client.get<NetworkInfo>(`/v1/networks/${path}`));
    if (network) return inspection(network, await client.get<Endpoint[]>('/v1/endpoints'));
    throw notFound(
      `there is no container and no network ${quote(name)}; see "tapdeck ps" and "tapdeck network ls"`,
    );
  });
}

async function found<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof DeckError && error.code === 'not-found') return null;
    throw error;
  }
}

/** A container in the shape of `docker inspect`, as far as it has to do with networks. */
export function containerInspection(container: Container, networks: readonly NetworkInfo[]): object {
  const { id, name, createdAt, pid, netns, endpoints, ports, hostname, labels } = container;
  const of = (endpoint: Endpoint) => networks.find((network) => network.name === endpoint.network);
  return {
    Id: id,
    Name: `/${name}`,
    Created: createdAt,
    State: { Status: 'running', Running: true, Pid: pid ?? 0 },
    Config: { Hostname: hostname ?? name, Labels: labels },
    NetworkSettings: {
      SandboxKey: netns ?? `/proc/${pid}/ns/net`,
      Ports: portBindings(ports),
      Networks: Object.fromEntries(
        endpoints.map((endpoint) => [endpoint.network, endpointSettings(endpoint, of(endpoint))]),
      ),
    },
  };
}

/** Docker's `NetworkSettings.Networks`, with what it has no word for behind. */
function endpointSettings(endpoint: Endpoint, network: NetworkInfo | undefined): object {
  const { ipv4, ipv6, ipv6Outside, mac, ifname, mtu, aliases, links, gatewayPriority, allowSpoof } = endpoint;
  const prefix = (address: string | null, pool: PoolInfo | null | undefined) =>
    address === null || !pool ? 0 : Number(pool.subnet.slice(pool.subnet.indexOf('/') + 1));
  return {
    Links: links.length > 0 ? links : null,
    Aliases: aliases.length > 0 ? aliases : null,
    MacAddress: mac,
    GwPriority: gatewayPriority,
    NetworkID: network?.id ?? '',
    EndpointID: endpoint.id,
    Gateway: ipv4 === null ? '' : (network?.ipv4?.gateway ?? ''),
    IPAddress: ipv4 ?? '',
    IPPrefixLen: prefix(ipv4, network?.ipv4),
    IPv6Gateway: ipv6 === null ? '' : (network?.ipv6?.gateway ?? ''),
    GlobalIPv6Address: ipv6 ?? '',
    GlobalIPv6PrefixLen: prefix(ipv6, network?.ipv6),
    ...(ipv6Outside !== null && { IPv6OutsideAddress: ipv6Outside }),
    InterfaceName: ifname,
    Mtu: mtu,
    AllowSpoof: allowSpoof,
  };
}

/** `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`, one for each port of a range. */
function portBindings(ports: readonly PublishedPort[]): object {
  const bindings = new Map<string, { HostIp: string; HostPort: string }[]>();
  for (const { port, portEnd, protocol, host, hostPort, gateway } of ports) {
    for (let i = 0; i <= portEnd - port; i++) {
      const key = `${port + i}/${protocol}`;
      const binding = { HostIp: gateway ?? host, HostPort: String(hostPort + i) };
      bindings.set(key, [...(bindings.get(key) ?? []), binding]);
    }
  }
  return Object.fromEntries(bindings);
}
