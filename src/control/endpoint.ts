import type { PortId } from '../../switch/frame.ts';
import type { PublishedPort } from './published.ts';

/** What connects one container to one network: an interface there, a port here, and the addresses. */
export interface Endpoint {
  /** 64 hexadecimal digits. */
  readonly id: string;
  /** Name of its container. */
  readonly name: string;
  /** The same, as what it is. */
  readonly container: string;
  readonly containerId: string;
  /** Name of the network. */
  readonly network: string;
  /** The interface inside the namespace; empty in network `host` or `none`, where there is none. */
  readonly ifname: string;
  readonly mac: string;
  /** Largest IP packet, bytes. */
  readonly mtu: number;
  /** Without the prefix length, which is the subnet's; null in a network without IPv4. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  /** The IPv6 address under which it stands outside if its network has another prefix there (RFC 6296); else null. */
  readonly ipv6Outside: string | null;
  /** The port of the switch; -1 without an interface. */
  readonly port: PortId;
  /** The namespace as it was given: a path, or null when it was given by a process. */
  readonly netns: string | null;
  readonly pid: number | null;
  /** Further names by which others of the network find it. */
  readonly aliases: readonly string[];
  /** Containers and the names by which this one finds them, as `db:database`. */
  readonly links: readonly string[];
  /** Of the endpoints of a container, that with the highest is its way out; then the first network by name. */
  readonly gatewayPriority: number;
  /** Whether it may send under other addresses than its own. */
  readonly allowSpoof: boolean;
  /** What is published of it at this time. */
  readonly ports: readonly PublishedPort[];
  /** RFC 3339. */
  readonly createdAt: string;
}

/** What an endpoint in one network is to be. What is left out is chosen. */
export interface ConnectOptions {
  /** By default the lowest free address. */
  ip?: string;
  ip6?: string;
  /** By default 02:42 and the IPv4 address, as Docker does it. */
  mac?: string;
  /** By default `eth0`, or the next one of the namespace. */
  ifname?: string;
  /** By default, and at most, the network's. */
  mtu?: number;
  /** Further names by which others of the network find it. */
  aliases?: string[];
  /** Containers and the names by which this one finds them: `db:database`, or `db` for its own name. */
  links?: string[];
  /** 0 by default; see `Endpoint`. */
  gatewayPriority?: number;
  /** No by default. */
  allowSpoof?: boolean;
  /** false: no IPv6 address, though the network has them. */
  ipv6?: boolean;
  /**
   * Further addresses of the interface, of which nobody else hears: they are the container's own idea of itself. In the
   * network's subnet they must be auxiliary addresses, which no endpoint gets.
   */
  localAddresses?: string[];
  /** Whether TCP and UDP to the gateway's address lead to the loopback of the host; no by default, and only by uplink `socket`. */
  hostAtGateway?: boolean;
  /**
   * Whether somebody else configures the interface besides: it takes the place of a TAP of its name that is there already,
   * and no default route leads to it. No by default.
   */
  takeOver?: boolean;
  /** Faults to inject on purpose, as `loss=1%,delay=10ms,seed=7`: what `src/device/faults.ts` reads. */
  faults?: string;
}

/** Options that hold for as long as the endpoint is there, and are not to be seen in it. */
export type LastingWishes = Pick<ConnectOptions, 'ipv6' | 'localAddresses' | 'hostAtGateway' | 'faults'>;

/** What a container and its first endpoint are to be. What is left out is chosen. */
export interface AttachOptions extends ConnectOptions {
  /** Path of the network namespace. Either this or `pid`. */
  netns?: string;
  /** A process in the network namespace. */
  pid?: number;
  /** Name of the network; `bridge`. */
  network?: string;
  /** Further networks, to which it is connected at once: to all of them, or it is not made. */
  networks?: ({ network: string } & ConnectOptions)[];
  /** By default the namespace's file name if it is free, else `container-` and a part of the id. */
  name?: string;
  /** The container's own idea of its name; for name resolution. */
  hostname?: string;
  labels?: Record<string, string>;
  /** Ports to publish, in Docker's grammar: `8080:80`, `192.0.2.2:53:53/udp`. */
  publish?: string[];
}
