import { closeSync } from 'node:fs';
import type { PortId } from '../../switch/frame.ts';
import { formatMac, MAC_DOCKER_HI, type Mac } from '../../wire/address.ts';
import type { DeniedPrefix, Filtering, UplinkOptions } from '../dataplane/commands.ts';
import type { hostAddresses } from '../device/host-addresses.ts';
import type { openPacket } from '../device/packet-socket.ts';
import type { openTapFor } from '../device/rootless.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import type { Segment } from '../uplink/segment.ts';
import { formatAddress, formatSubnet, toInt32, toWords } from './address.ts';
import { asDeckError, conflict, DeckError, notFound } from './error.ts';
import { HostPolicy } from './host-policy.ts';
import type { Subnets } from './ipam.ts';
import { DEFAULT_NETWORK, quote } from './name.ts';
import { checkMtu, DEFAULT_MTU } from './network.ts';
import type { HostAddress } from './published.ts';
import type { SocketUplinkSpec } from './socket-uplink-spec.ts';
import {
  DEFAULT_TAP_MTU,
  formatUplinkSpec,
  type InterfaceUplinkSpec,
  parseUplinkSpec,
  type UplinkAddresses,
  type UplinkSpec,
  uplinkName,
} from './uplink-spec.ts';

/** An uplink as it is shown to people and programs. */
export interface UplinkInfo {
  readonly name: string;
  readonly kind: 'tap' | 'packet' | 'socket';
  /** The interface on the other side; null for `socket`. */
  readonly ifname: string | null;
  /** Path of the namespace that has the interface; null for the host's. */
  readonly netns: string | null;
  /** The deck's on the segment. */
  readonly mac: string;
  readonly mtu: number;
  readonly ipv4: UplinkAddressesInfo | null;
  readonly ipv6: UplinkAddressesInfo | null;
  readonly filtering: Filtering;
  /** `gone` when its interface has vanished: what would leave by it is lost. */
  readonly state: 'up' | 'gone';
  /** Whether networks leave by it that name no other. */
  readonly default: boolean;
  /** What it was made from; means the same as what the user wrote. */
  readonly spec: string;
}

export interface UplinkAddressesInfo {
  readonly subnet: string;
  /** The deck's own first, then the others of the pool. */
  readonly addresses: readonly string[];
  readonly gateway: string;
}

/** One uplink of the deck. */
export class UplinkRecord {
  readonly name: string;
  readonly spec: UplinkSpec;
  readonly mac: Mac;
  readonly mtu: number;
  /** The data plane's number for it. */
  number = -1;
  port: PortId = -1;
  gone = false;

  constructor(spec: UplinkSpec, mac: Mac, mtu: number) {
    this.name = uplinkName(spec);
    this.spec = spec;
    this.mac = mac;
    this.mtu = mtu;
  }

  /** What ports can be published on; with sockets it is the host that knows its addresses. */
  hostAddresses(): HostAddress[] {
    if (this.spec.kind === 'socket') return [];
    return pools(this.spec).flatMap(({ subnet: { family }, addresses }) =>
      addresses.map((address) => ({ family, address, owner: `uplink ${this.name}` })),
    );
  }

  /** Of the interface that faces the deck; null where that is somebody's of whom the deck is not told. */
  get peer(): Mac | null {
    return this.spec.kind === 'packet' ? null : otherMac(this.spec, this.mac);
  }

  /** The interface on the other side, if there is one. */
  get ifname(): string | null {
    return this.spec.kind === 'socket' ? null : this.spec.ifname;
  }

  /** The data plane's number if sockets of the host wait for what is published. */
  get sockets(): number | null {
    return this.spec.kind === 'socket' ? this.number : null;
  }

  /**
   * As the data plane takes it.
   * @param denied what nobody reaches by it
   */
  options(denied: readonly DeniedPrefix[] = []): UplinkOptions {
    const { mac, mtu } = this;
    const { ipv4, ipv6, filtering } = this.spec;
    return {
      macHi: mac.hi,
      macLo: mac.lo,
      mtu,
      filtering,
      ipv4: ipv4 && { address: toInt32(ipv4.addresses[0]!), prefix: ipv4.subnet.prefix },
      ipv4Pool: ipv4?.addresses.slice(1).map(toInt32) ?? [],
      gateway4: ipv4 && toInt32(ipv4.gateway),
      ipv6: ipv6 && { address: toWords(ipv6.addresses[0]!), prefix: ipv6.subnet.prefix },
      ipv6Pool: ipv6?.addresses.slice(1).map(toWords) ?? [],
      gateway6: ipv6 && toWords(ipv6.gateway),
      ...(this.spec.kind === 'socket' && { isHost: true, denied }),
    };
  }
}

/** What uplinks are made of; tests put other things there. */
export interface UplinkParts {
  dataPlane: DataPlane;
  openTap: typeof openTapFor;
  openPacket: typeof openPacket;
  /** The host's own addresses. */
  hostAddresses: typeof hostAddresses;
}

/** The ways out of a deck, the default first. They come and go with the deck. */
export class Uplinks {
  readonly #parts: UplinkParts;
  readonly #subnets: Subnets;
  readonly #records: UplinkRecord[] = [];
  #watch: NodeJS.Timeout | undefined;

  constructor(parts: UplinkParts, subnets: Subnets) {
    this.#parts = parts;
    this.#subnets = subnets;
  }

  /** Makes them in their order. Throws a `DeckError` at the first that cannot be made; those before it stay. */
  async open(specs: readonly (UplinkSpec | string)[]): Promise<void> {
    const parsed = specs.map((spec) => (typeof spec === 'string' ? parseUplinkSpec(spec) : spec));
    // What does not fit together is said before anything is made.
    for (const [i, spec] of parsed.entries()) {
      const name = uplinkName(spec);
      if (name === DEFAULT_NETWORK) {
        throw conflict(
          `uplink ${name} has the name of network ${name}, which every deck has; give it another interface`,
        );
      }
      if (!parsed.slice(0, i).some((other) => uplinkName(other) === name)) continue;
      throw conflict(
        spec.kind === 'socket'
          ? `uplink ${name} is given twice; one is enough for all networks`
          : `uplink ${name} is given twice; an uplink is called after its interface, so give one another`,
      );
    }
    for (const spec of parsed) {
      for (const pool of [spec.ipv4, spec.ipv6]) {
        if (pool) await named(spec, () => this.#subnets.take(pool.subnet, `uplink ${uplinkName(spec)}`));
      }
    }
    for (const spec of parsed) this.#records.push(await named(spec, () => this.#make(spec)));
  }

  list(): UplinkInfo[] {
    return this.#records.map((record, i) => describe(record, i === 0));
  }

  all(): readonly UplinkRecord[] {
    return this.#records;
  }

  /** Null when the deck has none. */
  get default(): UplinkRecord | null {
    return this.#records[0] ?? null;
  }

  get(name: string): UplinkRecord {
    const record = this.#records.find((one) => one.name === name);
    if (record) return record;
    const others =
      this.#records.length === 0
        ? 'the deck has none; start it with --uplink'
        : `there are ${this.#records.map((one) => one.name).join(', ')}`;
    throw notFound(`there is no uplink ${quote(name)}; ${others}`);
  }

  /** The one with the data plane's number. */
  numbered(number: number): UplinkRecord | undefined {
    return this.#records.find((record) => record.number === number);
  }

  /** Notes that the device of a port has vanished; answers the uplink whose it was. */
  vanished(port: PortId): UplinkRecord | undefined {
    const record = this.#records.find((one) => one.port === port && !one.gone);
    if (record) record.gone = true;
    return record;
  }

  #make(spec: UplinkSpec): Promise<UplinkRecord> {
    if (spec.kind === 'socket') return this.#makeSocket(spec);
    return spec.kind === 'tap' ? this.#makeTap(spec) : this.#makePacket(spec);
  }

  async #makeSocket(spec: SocketUplinkSpec): Promise<UplinkRecord> {
    const { dataPlane, hostAddresses } = this.#parts;
    const record = new UplinkRecord(spec, deckMac(spec), DEFAULT_MTU);
    const policy = new HostPolicy(spec, hostAddresses);
    record.number = await dataPlane.addUplink(record.options(policy.denied));
    const station = (mac: Mac, one: 'own' | 'other') => ({
      mac,
      ipv4: toInt32(one === 'own' ? spec.ipv4.addresses[0]! : spec.ipv4.gateway),
      ipv6: toWords(one === 'own' ? spec.ipv6.addresses[0]! : spec.ipv6.gateway),
    });
    const segment: Segment = {
      deck: station(record.mac, 'own'),
      device: station(otherMac(spec, record.mac), 'other'),
    };
    await this.#add(record, () => dataPlane.addSockets(record.number, segment, record.mtu));
    if (!spec.hostAccess) {
      this.#watch = setInterval(() => {
        if (policy.changed()) dataPlane.deny(record.number, policy.denied).catch(() => {});
      }, LOOK_AT_HOST).unref();
    }
    return record;
  }

  /** Stops looking at the host. */
  close(): void {
    clearInterval(this.#watch);
  }

  async #makeTap(spec: InterfaceUplinkSpec): Promise<UplinkRecord> {
    const { dataPlane, openTap } = this.#parts;
    const record = new UplinkRecord(spec, deckMac(spec), spec.mtu ?? DEFAULT_TAP_MTU);
    const { mtu } = record;
    const mac = otherMac(spec, record.mac);
    const tap = await openTap({
      netns: spec.netns ?? HOST,
      ifname: spec.ifname,
      mac: formatMac(mac.hi, mac.lo),
      mtu,
      addresses: pools(spec).map(
        ({ subnet, gateway }) => `${formatAddress(subnet.family, gateway)}/${subnet.prefix}`,
      ),
      exclusive: true,
    }).catch((error: Error) => {
      // What the device says is about containers, which an ordinary user may have.
      if (spec.netns !== null || !error.message.includes('in which we are not root')) throw error;
      throw new DeckError(
        'permission',
        "an interface in the host's namespace takes root; run tapdeck as root, or give a namespace of your own with netns=PATH",
        { cause: error },
      );
    });
    return this.#connect(record, tap.fd, (network) => dataPlane.addTap(tap, { network, mtu }));
  }

  async #makePacket(spec: InterfaceUplinkSpec): Promise<UplinkRecord> {
    const { dataPlane, openPacket } = this.#parts;
    const mac = deckMac(spec);
    const socket = openPacket({
      ifname: spec.ifname,
      mac: formatMac(mac.hi, mac.lo),
      addresses: pools(spec).flatMap(addressTexts),
      ...(spec.netns !== null && { netns: spec.netns }),
    });
    const mtu = Math.min(socket.mtu, DEFAULT_MTU);
    const record = new UplinkRecord(spec, mac, mtu);
    return this.#connect(record, socket.fd, (network) => dataPlane.addPacket(socket, { network, mtu }));
  }

  /** Makes the uplink in the data plane and connects the device, which `add` hands over. */
  async #connect(
    record: UplinkRecord,
    fd: number,
    add: (uplink: number) => Promise<PortId>,
  ): Promise<UplinkRecord> {
    const { dataPlane } = this.#parts;
    try {
      // What an interface that is there already may have, and a network may not.
      checkMtu(record.mtu, record.spec.ipv6 !== null);
      record.number = await dataPlane.addUplink(record.options());
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return this.#add(record, () => add(record.number));
  }

  /** Connects the device of an uplink that the data plane knows. */
  async #add(record: UplinkRecord, add: () => Promise<PortId>): Promise<UplinkRecord> {
    try {
      record.port = await add();
      return record;
    } catch (error) {
      await this.#parts.dataPlane.removeUplink(record.number).catch(() => {});
      throw error;
    }
  }
}

/** Says which uplink it was that something failed with. */
async function named<T>(spec: UplinkSpec, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = asDeckError(error);
    throw new DeckError(code, `uplink ${uplinkName(spec)}: ${message}`, { cause: error });
  }
}

function pools({ ipv4, ipv6 }: UplinkSpec): UplinkAddresses[] {
  return [ipv4, ipv6].filter((pool) => pool !== null);
}

function addressTexts({ subnet, addresses }: UplinkAddresses): string[] {
  return addresses.map((address) => formatAddress(subnet.family, address));
}

/** 02:42 and the deck's IPv4 address, or the end of its IPv6 address, as endpoints have it. */
function deckMac(spec: UplinkSpec): Mac {
  return { hi: MAC_DOCKER_HI, lo: toInt32(pools(spec)[0]!.addresses[0]!) };
}

/** Of the interface that faces the deck: likewise after its address, and another than the deck's. */
function otherMac(spec: UplinkSpec, deck: Mac): Mac {
  const lo = toInt32(pools(spec)[0]!.gateway);
  return { hi: lo === deck.lo ? LOCAL_HI : MAC_DOCKER_HI, lo };
}

const HOST = '/proc/self/ns/net';

/** Milliseconds between two looks at the host's addresses, when endpoints are to be kept from them. */
const LOOK_AT_HOST = 2000;

/** Another beginning that is locally administered and no group address. */
const LOCAL_HI = 0x0642;

function describe({ name, ifname, spec, mac, mtu, gone }: UplinkRecord, isDefault: boolean): UplinkInfo {
  const { kind, ipv4, ipv6, filtering } = spec;
  return {
    name,
    kind,
    ifname,
    netns: spec.kind === 'socket' ? null : spec.netns,
    mac: formatMac(mac.hi, mac.lo),
    mtu,
    ipv4: describeAddresses(ipv4),
    ipv6: describeAddresses(ipv6),
    filtering,
    state: gone ? 'gone' : 'up',
    default: isDefault,
    spec: formatUplinkSpec(spec),
  };
}

function describeAddresses(pool: UplinkAddresses | null): UplinkAddressesInfo | null {
  return (
    pool && {
      subnet: formatSubnet(pool.subnet),
      addresses: addressTexts(pool),
      gateway: formatAddress(pool.subnet.family, pool.gateway),
    }
  );
}
