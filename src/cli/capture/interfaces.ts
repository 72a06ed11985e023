import type { DaemonClient } from '../../control/client.ts';
import type { Container } from '../../control/container.ts';
import type { NetworkInfo } from '../../control/network.ts';
import type { UplinkInfo } from '../../control/uplink.ts';
import { EXIT_DONE, type Format, print } from '../output.ts';
import { formatTable } from '../table.ts';

/** What a capture can be of. */
export interface CaptureSource {
  /** As `-i` takes it, whatever else has the name. */
  readonly name: string;
  readonly kind: 'all' | 'network' | 'uplink' | 'container';
  readonly description: string;
}

/** All that the running deck has, the most general first. */
export async function captureSources(client: DaemonClient): Promise<CaptureSource[]> {
  const [networks, uplinks, containers] = await Promise.all([
    client.get<NetworkInfo[]>('/v1/networks'),
    client.get<UplinkInfo[]>('/v1/uplinks'),
    client.get<Container[]>('/v1/containers'),
  ]);
  const taken = new Set<string>();
  const name = (kind: string, short: string) => {
    const free = !taken.has(short);
    taken.add(short);
    return free ? short : `${kind}:${short}`;
  };
  return [
    { name: 'any', kind: 'all', description: 'everything that passes by' },
    ...networks
      .filter(({ driver }) => driver !== 'host' && driver !== 'null')
      .map((network) => ({
        name: name('network', network.name),
        kind: 'network' as const,
        description: [network.ipv4?.subnet, network.ipv6?.subnet].filter(Boolean).join(', '),
      })),
    ...uplinks.map((uplink) => ({
      name: name('uplink', uplink.name),
      kind: 'uplink' as const,
      description: uplink.spec,
    })),
    ...containers
      .filter(({ endpoints }) => endpoints.some(({ port }) => port >= 0))
      .map((container) => ({
        name: name('container', container.name),
        kind: 'container' as const,
        description: container.endpoints.map(({ network, ifname }) => `${ifname} in ${network}`).join(', '),
      })),
  ];
}

export async function printInterfaces(client: DaemonClient, format: Format): Promise<number> {
  const sources = await captureSources(client);
  print(format, sources, () =>
    formatTable(
      ['INTERFACE', 'KIND', 'WHAT'],
      sources.map(({ name, kind, description }) => [name, kind, description]),
    ),
  );
  return EXIT_DONE;
}
