import { basename } from 'node:path';
import type { Deck } from '../deck.ts';
import type { Endpoint } from '../endpoint.ts';
import { conflict, DeckError, invalid, notFound } from '../error.ts';
import { newId } from '../id.ts';
import type { CreateNetworkOptions, NetworkInfo } from '../network.ts';
import { specOf } from '../published-entry.ts';
import {
  ENABLE_IPV6,
  GENERIC,
  INTERNAL,
  inner,
  isMissing,
  listed,
  MAC_ADDRESS,
  type Message,
  macOf,
  optional,
  publishSpecs,
  required,
  texts,
  withoutPrefix,
} from './messages.ts';

/** The driver option that says what a network is called in the deck: Docker does not tell drivers its own name for it. */
const NAME = 'tapdeck.name';
/** What a container is called until Docker's name for it is known: this and its sandbox. */
export const UNNAMED = 'docker-';
/** Digits of Docker's id that people are shown. */
const SHORT_ID = 12;

/** An endpoint that Docker has announced. */
interface Announced {
  readonly networkId: string;
  readonly ip: string;
  readonly ip6: string | undefined;
  readonly mac: string;
}

export interface NetworkDriverParts {
  deck: Deck;
  /** Gives a subnet that IPAM holds for Docker to the deck; the answered function takes it back. */
  yieldSubnet(subnet: string): () => void;
  /** An interface has been made for a container, which Docker is about to move. */
  onJoined(container: string, endpointId: string): void;
}

/**
 * Docker's network driver (`docker network create -d tapdeck`) on a deck. Networks and endpoints have Docker's ids there, and
 * a container is that of a sandbox key, so the deck knows after a restart what Docker means.
 *
 * What Docker asks twice is done once, and what is to go may have gone already. What comes for something that is not there
 * is refused with the reason.
 */
export class NetworkDriver {
  readonly #parts: NetworkDriverParts;
  /** By id, from CreateEndpoint to DeleteEndpoint. */
  readonly #announced = new Map<string, Announced>();
  /** What was published for an endpoint last, as text. */
  readonly #programmed = new Map<string, string>();
  /** What was asked of an endpoint is done in order: Docker may have given up waiting for the last answer. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: NetworkDriverParts) {
    this.#parts = parts;
  }

  capabilities() {
    return { Scope: 'local', ConnectivityScope: 'local' };
  }

  async createNetwork(message: Message) {
    const { deck } = this.#parts;
    const id = required(message, 'NetworkID');
    const options = networkOptions(id, message);
    const known = this.#findNetwork(id);
    if (known) {
      if (known.ipv4?.subnet === options.subnet && known.ipv6?.subnet === options.ipv6Subnet) return {};
      throw conflict(`network ${known.name} is there already, with subnet ${known.ipv4?.subnet}`);
    }
    const wanted = [options.subnet, options.ipv6Subnet].filter((one) => one !== undefined);
    const takeBack = wanted.map((subnet) => this.#parts.yieldSubnet(subnet));
    try {
      await deck.createNetwork(options, { id, createdAt: new Date().toISOString() });
    } catch (error) {
      for (const take of takeBack) take();
      throw withRemedy(error);
    }
    return {};
  }

  async deleteNetwork(message: Message) {
    const network = this.#findNetwork(required(message, 'NetworkID'));
    if (network) await this.#parts.deck.removeNetwork(network.name).catch(unlessMissing);
    return {};
  }

  createEndpoint(message: Message) {
    const id = required(message, 'EndpointID');
    const network = this.#network(message);
    const wishes = inner(message, 'Interface');
    const address = optional(wishes, 'Address');
    if (address === undefined) {
      throw invalid(
        `endpoint ${short(id)} has no IPv4 address; make the network with an IPAM driver that gives one`,
      );
    }
    const ip6 = optional(wishes, 'AddressIPv6');
    const wantedMac = optional(wishes, 'MacAddress');
    const ip = withoutPrefix(address);
    const announced: Announced = {
      networkId: network.id,
      ip,
      ip6: ip6 && withoutPrefix(ip6),
      mac: wantedMac ?? macOf(ip),
    };
    const known = this.#known(id);
    if (known && (known.ip !== ip || known.networkId !== network.id)) {
      throw conflict(`endpoint ${short(id)} is there already, with address ${known.ip}`);
    }
    this.#announced.set(id, announced);
    // Only what Docker has left open may be answered.
    return { Interface: wantedMac === undefined ? { MacAddress: announced.mac } : {} };
  }

  operationalInfo(message: Message) {
    const known = this.#known(required(message, 'EndpointID'));
    return { Value: known ? { [MAC_ADDRESS]: known.mac } : {} };
  }

  deleteEndpoint(message: Message) {
    const id = required(message, 'EndpointID');
    return this.#inTurn(id, async () => {
      await this.#drop(id);
      this.#announced.delete(id);
      return {};
    });
  }

  join(message: Message) {
    const id = required(message, 'EndpointID');
    const sandbox = required(message, 'SandboxKey');
    if (!sandbox.startsWith('/')) throw invalid(`sandbox key ${sandbox} is no path`);
    const network = this.#network(message);
    return this.#inTurn(id, async () => {
      const known = this.#known(id);
      if (!known || known.networkId !== network.id) {
        throw notFound(
          `there is no endpoint ${short(id)} in network ${network.name}: tapdeck was started again after Docker had announced it; start the container again`,
        );
      }
      const ifname = `td${id.slice(0, SHORT_ID)}`;
      const there = this.#endpoint(id);
      // Asked twice, the interface is still there for Docker to take; else it takes a new one.
      const isWaiting = there?.netns === sandbox && there.ifname === ifname;
      if (!isWaiting) {
        await this.#drop(id);
        await this.#connect(id, known, { sandbox, network, ifname });
      }
      return {
        InterfaceName: { SrcName: ifname, DstPrefix: 'eth' },
        ...(!network.internal && { Gateway: network.ipv4!.gateway }),
        ...(!network.internal && known.ip6 !== undefined && { GatewayIPv6: network.ipv6!.gateway }),
        StaticRoutes: [],
        // Without it Docker gives containers of internal networks another way out, by a bridge of its own.
        DisableGatewayService: network.internal,
      };
    });
  }

  leave(message: Message) {
    const id = required(message, 'EndpointID');
    return this.#inTurn(id, async () => {
      const known = this.#known(id);
      // It may be joined again.
      if (known) this.#announced.set(id, known);
      await this.#drop(id);
      return {};
    });
  }

  programExternalConnectivity(message: Message) {
    const id = required(message, 'EndpointID');
    const specs = publishSpecs(inner(message, 'Options'));
    return this.#inTurn(id, async () => {
      const { deck } = this.#parts;
      const endpoint = this.#endpoint(id);
      if (!endpoint) {
        throw notFound(`endpoint ${short(id)} is not joined, so no ports of it can be published`);
      }
      const { containerId, network, gatewayPriority } = endpoint;
      const text = specs.join(' ');
      if (this.#programmed.get(id) === text) return {};
      // By which Docker has the container leave is not for us to choose.
      if (gatewayPriority !== 1) await deck.prioritize(network, containerId, 1);
      await this.#withdraw(endpoint);
      if (specs.length > 0) await deck.publish(containerId, specs);
      this.#programmed.set(id, text);
      return {};
    });
  }

  revokeExternalConnectivity(message: Message) {
    const id = required(message, 'EndpointID');
    return this.#inTurn(id, async () => {
      const endpoint = this.#endpoint(id);
      if (!endpoint) return {};
      await this.#withdraw(endpoint);
      await this.#parts.deck.prioritize(endpoint.network, endpoint.containerId, 0);
      return {};
    });
  }

  async #connect(
    id: string,
    { ip, ip6, mac }: Announced,
    { sandbox, network, ifname }: { sandbox: string; network: NetworkInfo; ifname: string },
  ): Promise<void> {
    const { deck, onJoined } = this.#parts;
    const options = { ip, ...(ip6 !== undefined && { ip6 }), mac };
    const was = { endpointId: id, handover: { ifname } };
    const container = deck.containers().find(({ netns }) => netns === sandbox);
    const { containerId } = container
      ? await deck.connect(network.name, container.id, options, was)
      : await deck.attach(
          { ...options, netns: sandbox, name: `${UNNAMED}${basename(sandbox)}`, network: network.name },
          { ...was, id: newId(), createdAt: new Date().toISOString() },
        );
    onJoined(containerId, id);
  }

  /** Takes the interface away; the container goes with its last. */
  async #drop(id: string): Promise<void> {
    const { deck } = this.#parts;
    this.#programmed.delete(id);
    const endpoint = this.#endpoint(id);
    if (!endpoint) return;
    const { network, containerId } = endpoint;
    const isLast = deck.container(containerId).endpoints.length === 1;
    // The routes in the container are Docker's.
    await (isLast ? deck.detach(containerId) : deck.disconnect(network, containerId, false)).catch(
      unlessMissing,
    );
  }

  async #withdraw({ id, containerId }: Endpoint): Promise<void> {
    const { deck } = this.#parts;
    this.#programmed.delete(id);
    const specs = deck.container(containerId).ports.map(specOf);
    if (specs.length > 0) await deck.unpublish(containerId, specs).catch(unlessMissing);
  }

  #findNetwork(id: string): NetworkInfo | undefined {
    return this.#parts.deck.networks().find((network) => network.id === id);
  }

  #network(message: Message): NetworkInfo {
    const id = required(message, 'NetworkID');
    const network = this.#findNetwork(id);
    if (network) return network;
    throw notFound(
      `there is no network ${short(id)} on this deck, which has lost its state or is another than that which it was made on; remove it with "docker network rm" and create it again`,
    );
  }

  #endpoint(id: string): Endpoint | undefined {
    return this.#parts.deck.endpoints().find((endpoint) => endpoint.id === id);
  }

  /** What is known of an endpoint, also of one that another daemon was told of and that is connected. */
  #known(id: string): Announced | undefined {
    const announced = this.#announced.get(id);
    if (announced) return announced;
    const endpoint = this.#endpoint(id);
    const network = this.#parts.deck.networks().find(({ name }) => name === endpoint?.network);
    if (!endpoint || !network) return undefined;
    const { ipv4, ipv6, mac } = endpoint;
    return { networkId: network.id, ip: ipv4!, ip6: ipv6 ?? undefined, mac };
  }

  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(id) ?? Promise.resolve()).then(work, work);
    this.#turns.set(id, mine);
    const forget = () => {
      if (this.#turns.get(id) === mine) this.#turns.delete(id);
    };
    mine.then(forget, forget);
    return mine;
  }
}

/** What Docker asks of a network, in the deck's words. Throws a `DeckError`. */
/**
 * An error with what can be done by Docker's words: it chooses subnets out of the same pools as the deck, and does not know what
 * is taken here, and it has an option more.
 */
function withRemedy(error: unknown): unknown {
  if (!(error instanceof DeckError)) return error;
  const { code, message } = error;
  if (/ overlaps with .*; choose another$/.test(message)) {
    return new DeckError(
      code,
      `${message} with --subnet, or leave it to the deck with --ipam-driver tapdeck`,
    );
  }
  if (/: there is no such option of a network; /.test(message))
    return new DeckError(code, `${message}, ${NAME}`);
  return error;
}

function networkOptions(id: string, message: Message): CreateNetworkOptions {
  const wishes = inner(message, 'Options');
  const { [NAME]: name = `docker-${short(id)}`, ...options } = texts(inner(wishes, GENERIC));
  const ipv4 = onlyPool(message, 'IPv4Data');
  if (!ipv4) throw invalid('a network of tapdeck has an IPv4 subnet; do not leave it out');
  const ipv6 = onlyPool(message, 'IPv6Data');
  if (wishes[ENABLE_IPV6] === true && !ipv6) {
    throw invalid('an IPv6 network of Docker has an IPv6 subnet; give one with --subnet');
  }
  return {
    name,
    subnet: ipv4.subnet,
    ...(ipv4.gateway !== undefined && { gateway: ipv4.gateway }),
    ...(ipv6 && { ipv6: true, ipv6Subnet: ipv6.subnet }),
    ...(ipv6?.gateway !== undefined && { ipv6Gateway: ipv6.gateway }),
    auxAddresses: { ...ipv4.auxAddresses, ...ipv6?.auxAddresses },
    ...(wishes[INTERNAL] === true && { internal: true }),
    options,
  };
}

function onlyPool(message: Message, key: string) {
  const [data, ...others] = listed(message, key);
  if (others.length > 0) {
    throw invalid('a network of tapdeck has one subnet of an IP version; give one --subnet for each');
  }
  if (!data) return null;
  const subnet = required(data, 'Pool');
  if (/\/0$/.test(subnet)) throw invalid(`subnet ${subnet} is none; use another IPAM driver than null`);
  const gateway = optional(data, 'Gateway');
  const aux = Object.entries(texts(inner(data, 'AuxAddresses')));
  return {
    subnet,
    gateway: gateway && withoutPrefix(gateway),
    auxAddresses: Object.fromEntries(aux.map(([name, address]) => [name, withoutPrefix(address)])),
  };
}

function short(id: string): string {
  return id.slice(0, SHORT_ID);
}

function unlessMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}
