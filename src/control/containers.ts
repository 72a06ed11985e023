import type { PortId } from '../../switch/frame.ts';
import type { nameOfInterface } from '../device/handover.ts';
import type { setRoutesFor } from '../device/rootless.ts';
import { type Container, type ContainerRecord, type EndpointRecord, firstWayOut } from './container.ts';
import { ContainerRegister } from './container-register.ts';
import type { DeckEvents } from './deck-events.ts';
import type { AttachOptions, ConnectOptions, Endpoint } from './endpoint.ts';
import {
  type Draft,
  EndpointMaker,
  type EndpointMakerParts,
  type Handover,
  NO_PORT,
} from './endpoint-maker.ts';
import { checkCompany, checkFurther, checkPriority, netnsOf, noWayOut, targetOf } from './endpoint-wishes.ts';
import { asDeckError, conflict, invalid, notFound } from './error.ts';
import { findId } from './id.ts';
import { DEFAULT_NETWORK } from './name.ts';
import { describeNamespace, type identifyNamespace } from './namespace.ts';
import type { NetworkRecord } from './network.ts';
import type { Identity, Networks } from './networks.ts';
import type { PublishedPort, PublishedPorts, PublishTarget } from './published.ts';
import { type SavedContainer, saveContainer } from './saved-container.ts';

export interface ContainersParts extends EndpointMakerParts {
  setRoutes: typeof setRoutesFor;
  identify: typeof identifyNamespace;
  nameOfInterface: typeof nameOfInterface;
  networks: Networks;
  published: PublishedPorts;
  events: DeckEvents;
  log(level: 'warn' | 'error', message: string): void;
}

/** What an endpoint is that others know already: it was there before a restart, or is somebody else's. */
export interface EndpointIdentity {
  endpointId: string;
  /** Absent where the interface is ours to configure. */
  handover?: Handover;
}

/** The same of a container and its first endpoint. */
export interface ContainerIdentity extends Identity, EndpointIdentity {}

/** Milliseconds between two looks after containers without an interface. */
const LOOK_AT_SILENT = 2000;

/** The containers of a deck and their endpoints. */
export class Containers {
  readonly #parts: ContainersParts;
  readonly #register: ContainerRegister;
  readonly #byPort = new Map<PortId, EndpointRecord>();
  readonly #maker: EndpointMaker;
  #watching: NodeJS.Timeout | undefined;

  constructor(parts: ContainersParts) {
    this.#parts = parts;
    this.#register = new ContainerRegister(parts.identify);
    this.#maker = new EndpointMaker(parts);
  }

  /** The oldest first. */
  list(): Container[] {
    return this.#register.list().map((record) => this.#describe(record));
  }

  get(nameOrId: string): Container {
    return this.#describe(this.#register.find(nameOrId));
  }

  /** All endpoints, those of the oldest container first. */
  endpoints(): Endpoint[] {
    return this.#register.endpoints();
  }

  /** An endpoint by its id, or that by which the container of a name leaves. */
  endpoint(nameOrId: string): Endpoint {
    const named = this.#register.named(nameOrId);
    const found = named ? undefined : findId(this.endpoints(), nameOrId, ({ id }) => id);
    if (found) return found;
    const { wayOut, endpoints, name } = this.#register.find(nameOrId);
    const record = wayOut ?? endpoints.values().next().value;
    if (!record) throw notFound(`container ${name} is in no network; see "tapdeck network connect --help"`);
    return record.endpoint;
  }

  /** Whose port it is. */
  atPort(port: PortId): EndpointRecord | undefined {
    return this.#byPort.get(port);
  }

  /** All of them, the oldest first, as a later deck can make them again. */
  save(): SavedContainer[] {
    return this.#register
      .list()
      .flatMap((record) => saveContainer(record, this.#parts.published.of(record.name)) ?? []);
  }

  /** Puts containers that came all at once into the order in which they are the oldest first; others come after them. */
  arrange(ids: readonly string[]): void {
    this.#register.arrange(ids);
  }

  /** Makes a container again that was in no network. */
  restoreAlone(options: AttachOptions, was: Identity): void {
    const undo = this.#parts.undo();
    const container = this.#register.reserve(targetOf(options), null, options, undo, was);
    this.#register.add(container);
    this.#parts.events.emit('container', { action: 'create', container: this.#describe(container) });
    this.#watch();
  }

  /** Makes a container of a network namespace and connects it to its first network. */
  async attach(options: AttachOptions, was?: ContainerIdentity): Promise<Endpoint> {
    const { networks, published, events } = this.#parts;
    const undo = this.#parts.undo();
    try {
      // Everything that two attaches could both want is reserved before the first `await`.
      const target = targetOf(options);
      const network = networks.get(options.network ?? DEFAULT_NETWORK);
      const further = checkFurther(options.networks, network, networks);
      const container = this.#register.reserve(target, network, options, undo, was);
      const drafts = this.#drafts(container, [[network, options], ...further], was);
      try {
        // Before anything is made: a port that cannot be had costs nothing then.
        undo.add(() => void published.withdraw(container.name));
        await this.#publishAt(container, drafts, options.publish ?? []);
      } catch (error) {
        for (const draft of drafts) draft.undo.run();
        throw error;
      }
      const records = await this.#openAll(drafts);

      this.#register.add(container);
      events.emit('container', { action: 'create', container: this.#describe(container) });
      this.#enter(container, records, published.of(container.name));
      if (records.length > 1 || !network.isBridge) await this.#route(container);
      return container.endpoints.get(network.name)?.endpoint ?? records[0]!.endpoint;
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  /** Connects a container to a further network. */
  connect(
    networkName: string,
    nameOrId: string,
    options: ConnectOptions = {},
    was?: EndpointIdentity,
  ): Promise<Endpoint> {
    const { id } = this.#register.present(nameOrId);
    return this.#register.find(id).inTurn(async () => {
      const container = this.#register.present(id);
      const { name, endpoints, target } = container;
      const network = this.#parts.networks.get(networkName);
      if (endpoints.has(network.name)) {
        throw conflict(
          `container ${name} is in network ${network.name} already; disconnect it first to connect it otherwise`,
        );
      }
      checkCompany(`container ${name}`, [
        ...Array.from(endpoints.values(), (other) => other.network),
        network,
      ]);
      if (network.driver === 'host') {
        throw conflict(
          `container ${name} has a network namespace of its own and cannot be connected to network ${network.name}`,
        );
      }
      // What is handed over may be meant for a namespace that does not exist yet.
      if (!was?.handover && !this.#register.isThere(container)) {
        throw conflict(
          `the namespace of container ${name} is not that of ${describeNamespace(target)} any more; detach it and attach it again`,
        );
      }
      const draft = this.#maker.draft(container, network, options, was?.endpointId, was?.handover);
      const before = container.wayOut;
      const record = await this.#maker.open(draft, before === null);
      this.#enter(container, [record]);
      if (!was?.handover && (before !== null || !network.isBridge)) await this.#route(container);
      await this.#moved(container, before);
      return container.endpoints.get(network.name)?.endpoint ?? record.endpoint;
    });
  }

  /**
   * Takes a container out of a network: that interface disappears. The container stays, also without any.
   * @param routes whether its default routes are made again; not where they are somebody else's
   */
  disconnect(networkName: string, nameOrId: string, routes = true): Promise<Endpoint> {
    const container = this.#register.present(nameOrId);
    return container.inTurn(async () => {
      const network = this.#parts.networks.get(networkName);
      const record = container.endpoints.get(network.name);
      if (!record || record.leaving) {
        const others = Array.from(container.endpoints.keys()).join(', ');
        throw notFound(
          `container ${container.name} is not in network ${network.name}; it is in ${others || 'none'}`,
        );
      }
      if (network.driver === 'host') {
        throw invalid(
          `container ${container.name} has no network of its own to leave network ${network.name} with; detach it`,
        );
      }
      const before = container.wayOut;
      // While the interface is there still, so that at no time packets have nowhere to go.
      container.endpoints.delete(network.name);
      if (routes && network.isBridge) await this.#route(container, record.endpoint.ifname);
      await this.#leave(record, 'detach');
      await this.#moved(container, before);
      this.#watch();
      return record.endpoint;
    });
  }

  /** Removes a container with all its endpoints, given by its name or id, or by the id of an endpoint. */
  async detach(nameOrId: string): Promise<Container> {
    const record = this.#register.present(nameOrId);
    const container = this.#describe(record);
    await this.#remove(record, 'detach');
    return container;
  }

  /**
   * Looks what has become of the interfaces that were handed over for a container; answers whether it is known of all of
   * them. Throws a `DeckError` when the namespace is that of another container of the deck.
   */
  settle(nameOrId: string): boolean {
    const container = this.#register.present(nameOrId);
    const { target, endpoints } = container;
    if (!container.isUnsettled || !('path' in target)) return true;
    let namespace: string;
    try {
      namespace = this.#parts.identify(target);
    } catch {
      return false;
    }
    this.#register.settle(container, namespace);
    for (const record of endpoints.values()) {
      const ifname = record.settle && this.#parts.nameOfInterface(target.path, record.endpoint.mac);
      // Under its old name it has been moved, and not yet renamed.
      if (!ifname || ifname === record.endpoint.ifname) continue;
      record.endpoint = Object.freeze({ ...record.endpoint, ifname: record.settle!(ifname) });
      record.settle = null;
    }
    this.#parts.events.emit('container', { action: 'settle', container: this.#describe(container) });
    return !container.isUnsettled;
  }

  /** Gives a container another name. Throws a `DeckError` when it cannot be one, or is in use. */
  rename(nameOrId: string, wanted: string): Promise<Container> {
    const { id } = this.#register.present(nameOrId);
    return this.#register.find(id).inTurn(async () => {
      const container = this.#register.present(id);
      const before = container.name;
      if (wanted === before) return this.#describe(container);
      this.#register.rename(container, wanted);
      for (const record of container.endpoints.values()) {
        record.network.rename(before, wanted, record);
        record.endpoint = Object.freeze({ ...record.endpoint, name: wanted, container: wanted });
      }
      this.#parts.published.rename(before, wanted);
      this.#placePorts(container, this.#parts.published.of(wanted));
      const described = this.#describe(container);
      this.#parts.events.emit('container', { action: 'rename', container: described, before });
      return described;
    });
  }

  /** Changes the gateway priority of an endpoint, and where published ports lead with it. The routes in the namespace stay. */
  prioritize(networkName: string, nameOrId: string, priority: number): Promise<Endpoint> {
    const { id } = this.#register.present(nameOrId);
    return this.#register.find(id).inTurn(async () => {
      const container = this.#register.present(id);
      const network = this.#parts.networks.get(networkName);
      const record = container.endpoints.get(network.name);
      if (!record) throw notFound(`container ${container.name} is not in network ${network.name}`);
      const before = container.wayOut;
      const gatewayPriority = checkPriority(priority);
      record.endpoint = Object.freeze({ ...record.endpoint, gatewayPriority });
      await this.#moved(container, before);
      return record.endpoint;
    });
  }

  /** Publishes ports of a container. */
  async publish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    const { id } = this.#register.present(nameOrId);
    // Behind a disconnect that is under way: else the ports would lead to an address that is no more its own.
    return this.#register.find(id).inTurn(async () => {
      const container = this.#register.present(id);
      const record = container.wayOut;
      if (!record) throw noWayOut(container);
      try {
        return await this.#parts.published.publish(this.#publishTarget(record), specs);
      } finally {
        // Also when it failed: somebody may have looked while some of it was there.
        this.#showPorts(container);
      }
    });
  }

  async unpublish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    const container = this.#register.present(nameOrId);
    const withdrawn = await this.#parts.published.unpublish(container.name, specs);
    this.#showPorts(container);
    return withdrawn;
  }

  /** The device of a port has vanished. Without its last interface a container is gone. */
  gone(port: PortId): void {
    const record = this.#byPort.get(port);
    if (!record) return;
    const { container } = record;
    // From now on the number may be another's.
    this.#byPort.delete(port);
    record.vanished = true;
    // Behind a connect that is under way: by that the container has another interface.
    void container.inTurn(async () => {
      if (record.leaving) return;
      const { wayOut: before, endpoints } = container;
      if (Array.from(endpoints.values()).every(({ vanished }) => vanished)) {
        void this.#remove(container, 'gone');
        return;
      }
      await this.#leave(record, 'gone');
      if (container.leaving || !this.#register.isThere(container)) return;
      await this.#route(container);
      await this.#moved(container, before);
    });
  }

  /** Removes all containers. */
  async removeAll(why: 'detach' | 'gone'): Promise<void> {
    clearInterval(this.#watching);
    await Promise.allSettled(this.#register.list().map((record) => this.#remove(record, why)));
  }

  /**
   * Gives the namespace of a container the default routes that it is to have; that it cannot is no reason to fail.
   * @param leaving an interface that is there still, and whose route is to go
   */
  async #route(container: ContainerRecord, leaving?: string): Promise<void> {
    if (container.isHost) return;
    const own = Array.from(container.endpoints.values(), ({ endpoint }) => endpoint.ifname);
    const ifnames = leaving === undefined ? own : [...own, leaving];
    try {
      await this.#parts.setRoutes({ netns: netnsOf(container.target), ifnames, ...container.routes });
    } catch (error) {
      this.#parts.log(
        'warn',
        `cannot change the default routes of container ${container.name}: ${(error as Error).message}`,
      );
    }
  }

  /** Has the ports of a container lead to its way out, when that is another than it was. */
  async #moved(container: ContainerRecord, before: EndpointRecord | null): Promise<void> {
    const { name, wayOut } = container;
    if (wayOut === before || container.leaving) return;
    const waiting = await this.#parts.published.move(name, wayOut && this.#publishTarget(wayOut));
    if (waiting > 0) {
      this.#parts.log(
        'warn',
        `${waiting} published ports of container ${name} lead nowhere until it is in a network again where they can`,
      );
    }
    this.#showPorts(container);
  }

  #drafts(
    container: ContainerRecord,
    wishes: readonly (readonly [NetworkRecord, ConnectOptions])[],
    was?: EndpointIdentity,
  ): Draft[] {
    const drafts: Draft[] = [];
    try {
      for (const [network, options] of wishes) {
        const first = drafts.length === 0 ? was : undefined;
        drafts.push(this.#maker.draft(container, network, options, first?.endpointId, first?.handover));
      }
      return drafts;
    } catch (error) {
      for (const draft of drafts) draft.undo.run();
      throw error;
    }
  }

  /** Opens all endpoints of a container to be, or none. */
  async #openAll(drafts: readonly Draft[]): Promise<EndpointRecord[]> {
    const opened: EndpointRecord[] = [];
    try {
      for (const draft of drafts) opened.push(await this.#maker.open(draft, firstWayOut(opened) === null));
      return opened;
    } catch (error) {
      for (const draft of drafts.slice(opened.length + 1)) draft.undo.run();
      for (const { endpoint, release } of opened) {
        await this.#close(endpoint).catch(() => {});
        release();
      }
      throw error;
    }
  }

  /**
   * From here on endpoints are there for all to see.
   * @param ports what is published of a container that has just been made
   */
  #enter(
    container: ContainerRecord,
    records: readonly EndpointRecord[],
    ports: readonly PublishedPort[] = [],
  ): void {
    for (const record of records) {
      container.endpoints.set(record.network.name, record);
      if (record.endpoint.port !== NO_PORT) this.#byPort.set(record.endpoint.port, record);
    }
    if (ports.length > 0) this.#placePorts(container, ports);
    for (const { endpoint } of records) this.#parts.events.emit('attach', endpoint);
    if (ports.length > 0) this.#tellPorts(container, ports);
    this.#watch();
  }

  /** Removes a container; once, whoever asks. */
  #remove(record: ContainerRecord, why: 'detach' | 'gone'): Promise<void> {
    // Behind a connect that is under way, so that nothing comes to a container that has gone.
    record.leaving ??= record.inTurn(async () => {
      const { name, endpoints } = record;
      await this.#parts.published.withdraw(name);
      const container = this.#describe(record);
      await Promise.all(Array.from(endpoints.values(), (endpoint) => this.#leave(endpoint, why)));
      this.#register.remove(record);
      this.#parts.events.emit('container', { action: 'remove', container });
    });
    return record.leaving;
  }

  /** Removes an endpoint's port, then gives back what was reserved for it; once, whoever asks. */
  #leave(record: EndpointRecord, why: 'detach' | 'gone'): Promise<void> {
    record.leaving ??= (async () => {
      const { endpoint, container, network } = record;
      if (!record.vanished) this.#byPort.delete(endpoint.port);
      try {
        if (why === 'detach' && !record.vanished) await this.#close(endpoint);
        else await this.#parts.store?.drop(endpoint.id);
      } catch (error) {
        this.#parts.log(
          'error',
          `cannot remove the port of container ${endpoint.name} in network ${network.name}: ${(error as Error).message}`,
        );
      }
      if (container.endpoints.get(network.name) === record) container.endpoints.delete(network.name);
      record.release();
      this.#parts.events.emit(why, endpoint);
    })();
    return record.leaving;
  }

  /** Takes an endpoint's interface away. */
  async #close({ id, port }: Endpoint): Promise<void> {
    if (port === NO_PORT) return;
    await this.#parts.store?.drop(id);
    await this.#parts.plane.removePort(port);
  }

  #describe(record: ContainerRecord): Container {
    return record.describe(this.#parts.published.of(record.name));
  }

  #publishTarget({
    container,
    network,
    ipv4,
    ipv6,
  }: Pick<Draft, 'container' | 'network' | 'ipv4' | 'ipv6'>): PublishTarget {
    return { endpoint: container.name, ipv4, ipv6, ...this.#parts.networks.publishPlace(network) };
  }

  /** Publishes what a container is to have from the start on. */
  async #publishAt(
    container: ContainerRecord,
    drafts: readonly Draft[],
    specs: readonly string[],
  ): Promise<void> {
    if (specs.length === 0) return;
    const wayOut = firstWayOut(drafts);
    if (!wayOut) throw noWayOut(container, drafts[0]!.network);
    await this.#parts.published.publish(this.#publishTarget(wayOut), specs);
  }

  /** Looks now and then after containers without an interface, whose end nobody else tells. */
  #watch(): void {
    if (this.#watching || this.#silent().length === 0) return;
    this.#watching = setInterval(() => {
      for (const container of this.#silent()) {
        if (!this.#register.isThere(container)) void this.#remove(container, 'gone');
      }
      if (this.#silent().length > 0) return;
      clearInterval(this.#watching);
      this.#watching = undefined;
    }, LOOK_AT_SILENT).unref();
  }

  #silent(): ContainerRecord[] {
    return this.#register
      .list()
      .filter(({ endpoints }) =>
        Array.from(endpoints.values()).every(({ endpoint }) => endpoint.port === NO_PORT),
      );
  }

  /** What is published has changed. */
  #showPorts(container: ContainerRecord): void {
    const ports = this.#parts.published.of(container.name);
    this.#placePorts(container, ports);
    this.#tellPorts(container, ports);
  }

  #placePorts(container: ContainerRecord, ports: readonly PublishedPort[]): void {
    const { wayOut } = container;
    for (const record of container.endpoints.values()) {
      record.endpoint = Object.freeze({ ...record.endpoint, ports: record === wayOut ? ports : [] });
    }
  }

  #tellPorts({ name }: ContainerRecord, ports: readonly PublishedPort[]): void {
    this.#parts.events.emit('publish', { action: 'change', container: name, ports });
  }
}
