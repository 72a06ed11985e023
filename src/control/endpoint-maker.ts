import { closeSync } from 'node:fs';
import type { PortId } from '../../switch/frame.ts';
import { formatMac, type Mac } from '../../wire/address.ts';
import type { PortSpec } from '../dataplane/commands.ts';
import type { openHandover } from '../device/handover.ts';
import type { openTapFor } from '../device/rootless.ts';
import type { OpenTap } from '../device/tap.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { formatAddress, parseStationMac, toInt32, toWords } from './address.ts';
import type { ContainerRecord, EndpointRecord } from './container.ts';
import type { ConnectOptions, Endpoint, LastingWishes } from './endpoint.ts';
import {
  checkAliases,
  checkHostAtGateway,
  checkLinks,
  checkNoWishes,
  checkPriority,
  localAddresses,
  netnsOf,
} from './endpoint-wishes.ts';
import { unavailable } from './error.ts';
import { newId } from './id.ts';
import { Ifnames } from './ifnames.ts';
import { describeNamespace } from './namespace.ts';
import { checkMtu, type NetworkRecord } from './network.ts';
import type { TapStore } from './tap-store.ts';
import type { Undo } from './undo.ts';

/**
 * That an interface is made in the namespace that tapdeck runs in, for somebody else who moves it into the container, names
 * it there and gives it addresses and routes: as Docker does with what a network driver makes.
 */
export interface Handover {
  /** Its name until then. */
  readonly ifname: string;
}

/** An endpoint whose addresses and names are reserved, and nothing else. */
export interface Draft {
  readonly container: ContainerRecord;
  readonly network: NetworkRecord;
  readonly endpoint: Omit<Endpoint, 'port' | 'ports'>;
  readonly options: ConnectOptions;
  readonly handover: Handover | undefined;
  /** null for an endpoint without an interface. */
  readonly mac: Mac | null;
  readonly ipv4: bigint | null;
  readonly ipv6: bigint | null;
  readonly undo: Undo;
}

/** Port of an endpoint in network `host` or `none`. */
export const NO_PORT: PortId = -1;

const NO_INTERFACE = { ifname: '', mac: '', mtu: 0, ipv4: null, ipv6: null, ipv6Outside: null } as const;

export interface EndpointMakerParts {
  plane: DataPlane;
  openTap: typeof openTapFor;
  openHandover: typeof openHandover;
  /** Where TAPs are kept for the next daemon, by the endpoint's id. */
  store: TapStore | undefined;
  undo(): Undo;
  /** Whether nothing new may begin any more. */
  closing(): boolean;
}

function lastingWishes({ ipv6, localAddresses, hostAtGateway, faults }: ConnectOptions): LastingWishes {
  return {
    ...(ipv6 !== undefined && { ipv6 }),
    ...(localAddresses && { localAddresses: [...localAddresses] }),
    ...(hostAtGateway && { hostAtGateway }),
    ...(faults !== undefined && { faults }),
  };
}

/** Makes endpoints, in two steps: what has to be theirs alone is taken first, and at once. */
export class EndpointMaker {
  readonly #parts: EndpointMakerParts;
  readonly #ifnames = new Ifnames();

  constructor(parts: EndpointMakerParts) {
    this.#parts = parts;
  }

  /** Takes everything that an endpoint needs for itself alone; synchronous, so that two never get the same. */
  draft(
    container: ContainerRecord,
    network: NetworkRecord,
    options: ConnectOptions,
    id = newId(),
    handover?: Handover,
  ): Draft {
    const undo = this.#parts.undo();
    try {
      return this.#reserve(container, network, options, { id, handover }, undo);
    } catch (error) {
      undo.run();
      throw error;
    }
  }

  #reserve(
    container: ContainerRecord,
    network: NetworkRecord,
    options: ConnectOptions,
    { id, handover }: { id: string; handover: Handover | undefined },
    undo: Undo,
  ): Draft {
    const { name } = container;
    network.members.add(name);
    // By the name that it has then.
    undo.add(() => void network.members.delete(container.name));
    const common = {
      id,
      name,
      container: name,
      containerId: container.id,
      network: network.name,
      netns: container.netns,
      pid: container.pid,
      aliases: Object.freeze(checkAliases(options.aliases)),
      links: Object.freeze(checkLinks(options.links)),
      gatewayPriority: checkPriority(options.gatewayPriority ?? 0),
      allowSpoof: options.allowSpoof ?? false,
      createdAt: new Date().toISOString(),
    };
    if (!network.isBridge) {
      checkNoWishes(network, options);
      const endpoint = { ...common, ...NO_INTERFACE };
      return { container, network, endpoint, options, handover, mac: null, ipv4: null, ipv6: null, undo };
    }
    const ipv4 = network.reserveAddress(4, options.ip, name, undo);
    const hasIpv6 = options.ipv6 !== false || options.ip6 !== undefined;
    const ipv6 = hasIpv6 ? network.reserveAddress(6, options.ip6, name, undo) : null;
    localAddresses(network, options.localAddresses);
    if (options.hostAtGateway) checkHostAtGateway(network);
    const mac = options.mac
      ? network.reserveMac(parseStationMac(options.mac), options.mac)
      : network.deriveMac(ipv4, ipv6);
    undo.add(() => network.releaseMac(mac));
    const mtu = checkMtu(options.mtu ?? network.mtu, ipv6 !== null, network.mtu);
    // What is handed over is named by others: see `settle`.
    const ifname = handover?.ifname ?? this.#takeIfname(container, options.ifname, undo);
    const endpoint = {
      ...common,
      ifname,
      mac: formatMac(mac.hi, mac.lo),
      mtu,
      ipv4: ipv4 === null ? null : formatAddress(4, ipv4),
      ipv6: ipv6 === null ? null : formatAddress(6, ipv6),
      ipv6Outside: network.outside(ipv6),
    };
    return { container, network, endpoint, options, handover, mac, ipv4, ipv6, undo };
  }

  #takeIfname(container: ContainerRecord, wanted: string | undefined, undo: Undo): string {
    return this.#ifnames.reserve(container.namespace, wanted, describeNamespace(container.target), undo);
  }

  /**
   * Makes the interface and the port of an endpoint; gives back what was reserved for it when that cannot be.
   * @param isFirst whether nothing leads out of the container yet
   */
  async open(draft: Draft, isFirst: boolean): Promise<EndpointRecord> {
    const { container, network, endpoint, options, handover, ipv4, ipv6, undo } = draft;
    try {
      return {
        endpoint: Object.freeze({ ...endpoint, port: await this.#makePort(draft, isFirst), ports: [] }),
        container,
        network,
        ipv4,
        ipv6,
        wishes: lastingWishes(options),
        settle: handover ? (ifname) => this.#takeIfname(container, ifname, undo) : null,
        release: () => {
          network.releaseAddresses(ipv4, ipv6);
          undo.run();
        },
        vanished: false,
        leaving: null,
      };
    } catch (error) {
      undo.run();
      throw error;
    }
  }

  async #makePort(draft: Draft, isFirst: boolean): Promise<PortId> {
    const { network, endpoint, options, mac, ipv4, ipv6 } = draft;
    if (mac === null) return NO_PORT;
    const { plane, store, closing } = this.#parts;
    const tap = await this.#openTap(draft, isFirst);
    try {
      await store?.keep(endpoint.id, tap.fd);
      if (closing()) {
        closeSync(tap.fd);
        throw unavailable('the deck is closing; start it again');
      }
      const spec: PortSpec = { network: network.number, mac, mtu: endpoint.mtu };
      if (endpoint.allowSpoof) spec.guard = false;
      if (options.hostAtGateway) spec.hostAtGateway = true;
      if (ipv4 !== null) spec.ipv4 = toInt32(ipv4);
      if (ipv6 !== null) spec.ipv6 = toWords(ipv6);
      return await plane.addTap(tap, spec, options.faults);
    } catch (error) {
      await store?.drop(endpoint.id);
      throw error;
    }
  }

  /** The TAP that it had before a restart as it is now, or another one. */
  async #openTap(
    { container, network, endpoint, options, handover, ipv4, ipv6 }: Draft,
    isFirst: boolean,
  ): Promise<OpenTap> {
    const { openTap, openHandover, store } = this.#parts;
    const { id, ifname, mac, mtu } = endpoint;
    const kept = store?.take(id);
    if (kept) return { ...kept, mac, mtu };
    if (handover) return openHandover({ ifname, mac, mtu });
    // A namespace has one default route, and an internal network leads nowhere.
    const leadsOut = isFirst && !network.way.internal && !options.takeOver;
    return openTap({
      netns: netnsOf(container.target),
      ifname,
      mac,
      mtu,
      addresses: [
        ...(ipv4 === null ? [] : [`${endpoint.ipv4}/${network.ipv4!.subnet.prefix}`]),
        ...(ipv6 === null ? [] : [`${endpoint.ipv6}/${network.ipv6!.subnet.prefix}`]),
        // Behind its own, so that these are the source of what it sends.
        ...localAddresses(network, options.localAddresses),
      ],
      ...(options.takeOver && { replace: true }),
      ...(leadsOut && ipv4 !== null && { gateway4: formatAddress(4, network.ipv4!.gateway) }),
      ...(leadsOut && ipv6 !== null && { gateway6: formatAddress(6, network.ipv6!.gateway) }),
    });
  }
}
