import type { PortId } from '../../switch/frame.ts';
import { DeckNames } from '../capture/live/deck-names.ts';
import type { NameTable } from '../runtime/capture-messages.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { nameTable } from './capture-names.ts';
import type { Containers } from './containers.ts';
import type { Networks } from './networks.ts';
import type { PublishedPorts } from './published.ts';
import type { Uplinks } from './uplink.ts';
import type { UserRules } from './user-rules.ts';
import type { PortName } from './views.ts';

export interface PlaneNamesParts {
  plane: DataPlane;
  networks: Networks;
  uplinks: Uplinks;
  containers: Containers;
  published: PublishedPorts;
  userRules: UserRules;
}

/** What everything is called that has a number in the data plane. */
export class PlaneNames {
  readonly #parts: PlaneNamesParts;

  constructor(parts: PlaneNamesParts) {
    this.#parts = parts;
  }

  /** A port of a network or uplink. */
  port(port: PortId, network: number): PortName {
    const { containers, uplinks, networks } = this.#parts;
    const record = containers.atPort(port);
    if (record)
      return { network: record.network.name, endpoint: record.endpoint.name, ifname: record.endpoint.ifname };
    const uplink = uplinks.numbered(network);
    if (uplink?.port === port) return { network: uplink.name, endpoint: 'uplink', ifname: uplink.ifname };
    return { network: networks.segmentName(network), endpoint: 'gateway', ifname: null };
  }

  /** All names, as they are now. */
  async table(): Promise<NameTable> {
    const { plane, networks, uplinks, containers, published, userRules } = this.#parts;
    const { ports, gateways } = await plane.snapshot({ ports: true });
    return nameTable({
      ports: [...ports, ...gateways].map(({ port, network }) => ({
        port,
        segment: network,
        ...this.port(port, network),
      })),
      segments: [...networks.bridges(), ...uplinks.all()],
      networks: networks.bridges().map((network) => network.describe()),
      endpoints: containers.endpoints(),
      published: published.all(),
      userRules: userRules.list([]),
    });
  }

  /** The same, for stories of packets. */
  async forStories(): Promise<DeckNames> {
    const names = new DeckNames();
    names.replace(await this.table(), 0);
    return names;
  }
}
