import type { ContainerRecord } from './container.ts';
import type { ConnectOptions } from './endpoint.ts';
import type { Identity } from './networks.ts';
import type { PublishedPort } from './published.ts';
import { specOf } from './published-entry.ts';

/** What makes a container again after a restart, as long as its namespace lives. */
export interface SavedContainer extends Identity {
  name: string;
  /** As the user named it: one of both. */
  netns?: string;
  pid?: number;
  /** Identity of its namespace. */
  namespace: string;
  hostname?: string;
  labels: Record<string, string>;
  /** In the order in which they came. */
  endpoints: SavedEndpoint[];
  /** Published ports, as `parsePublishSpec` reads them. */
  publish: string[];
}

export interface SavedEndpoint extends ConnectOptions {
  id: string;
  network: string;
}

/** The container as a later deck can make it again; null when it cannot: it is going, or nobody could find its namespace. */
export function saveContainer(
  record: ContainerRecord,
  published: readonly PublishedPort[],
): SavedContainer | null {
  const { id, name, createdAt, netns, pid, namespace, hostname, labels, endpoints } = record;
  if (record.leaving || isUnknown(record)) return null;
  return {
    id,
    name,
    createdAt,
    ...(netns !== null && { netns }),
    ...(pid !== null && { pid }),
    namespace,
    ...(hostname !== null && { hostname }),
    labels: { ...labels },
    endpoints: Array.from(endpoints.values()).flatMap(({ endpoint, leaving, wishes, settle }) =>
      leaving || settle
        ? []
        : {
            id: endpoint.id,
            network: endpoint.network,
            ...(endpoint.ipv4 !== null && { ip: endpoint.ipv4 }),
            ...(endpoint.ipv6 !== null && { ip6: endpoint.ipv6 }),
            mac: endpoint.mac,
            ifname: endpoint.ifname,
            mtu: endpoint.mtu,
            aliases: [...endpoint.aliases],
            links: [...endpoint.links],
            gatewayPriority: endpoint.gatewayPriority,
            allowSpoof: endpoint.allowSpoof,
            ...wishes,
          },
    ),
    publish: published.map(specOf),
  };
}

/** Whether its namespace has not been seen, so that nobody could find it again. */
function isUnknown({ endpoints }: ContainerRecord): boolean {
  return endpoints.size > 0 && Array.from(endpoints.values()).every(({ settle }) => settle !== null);
}
