import { basename } from 'node:path';
import { ContainerRecord } from './container.ts';
import type { AttachOptions, Endpoint } from './endpoint.ts';
import { conflict, notFound } from './error.ts';
import { findId, findNamed, newId } from './id.ts';
import { checkLabels } from './labels.ts';
import { checkName, isName, Names, quote } from './name.ts';
import { describeNamespace, type identifyNamespace, type NamespaceTarget } from './namespace.ts';
import type { NetworkRecord } from './network.ts';
import type { Identity } from './networks.ts';
import type { Undo } from './undo.ts';

/** Which containers there are, the oldest first, and whose each name and each namespace is. */
export class ContainerRegister {
  readonly #identify: typeof identifyNamespace;
  readonly #names = new Names('container');
  readonly #all = new Map<string, ContainerRecord>();
  /** The container's name by the identity of its namespace, from the moment on that it is being attached. */
  readonly #namespaces = new Map<string, string>();

  constructor(identify: typeof identifyNamespace) {
    this.#identify = identify;
  }

  list(): ContainerRecord[] {
    return Array.from(this.#all.values());
  }

  /** All endpoints, those of the oldest container first. */
  endpoints(): Endpoint[] {
    return this.list().flatMap(({ endpoints }) => Array.from(endpoints.values(), ({ endpoint }) => endpoint));
  }

  /** A container of that name or id, and no other. */
  named(nameOrId: string): ContainerRecord | undefined {
    return findNamed(this.#all, nameOrId);
  }

  /** A container by its name or id, or by the id of an endpoint. */
  find(nameOrId: string): ContainerRecord {
    const endpoint = () => findId(this.endpoints(), nameOrId, ({ id }) => id)?.container ?? '';
    const record = this.named(nameOrId) ?? this.#all.get(endpoint());
    if (!record) throw notFound(`there is no container ${quote(nameOrId)}; see "tapdeck ps"`);
    return record;
  }

  /** As `find`, one that is not being detached. */
  present(nameOrId: string): ContainerRecord {
    const record = this.find(nameOrId);
    if (record.leaving) throw notFound(`there is no container ${quote(nameOrId)}; see "tapdeck ps"`);
    return record;
  }

  /**
   * Takes name and namespace of a container to be.
   * @param was what it was before a restart; with a handover, its namespace need not exist yet
   */
  reserve(
    target: NamespaceTarget,
    network: NetworkRecord | null,
    { name: wanted, hostname, labels = {} }: AttachOptions,
    undo: Undo,
    was?: Identity & { handover?: unknown },
  ): ContainerRecord {
    const isHost = network?.driver === 'host';
    // One that does not exist yet is known by its path until it does.
    const namespace = was?.handover && 'path' in target ? target.path : this.#identify(target, isHost);
    const owner = isHost ? undefined : this.#namespaces.get(namespace);
    if (owner !== undefined) {
      throw conflict(
        `${describeNamespace(target)} is container ${owner} already; connect it to further networks with "tapdeck network connect NETWORK ${owner}"`,
      );
    }
    const id = was?.id ?? newId();
    const name = this.#names.reserve(wanted ?? this.#proposeName(target) ?? `container-${id.slice(0, 8)}`);
    undo.add(() => this.#names.release(name));
    if (!isHost) this.#namespaces.set(namespace, name);
    undo.add(() => this.#forgetNamespace(namespace, name));
    return new ContainerRecord({
      id,
      name,
      target,
      namespace,
      labels: Object.freeze(checkLabels(labels)),
      hostname: hostname === undefined ? null : checkName('host', hostname),
      createdAt: was?.createdAt ?? new Date().toISOString(),
    });
  }

  /** From here on it is there for all to find. */
  add(record: ContainerRecord): void {
    this.#all.set(record.name, record);
  }

  /** Forgets a container and gives back what was reserved for it. */
  remove({ name, namespace }: ContainerRecord): void {
    this.#all.delete(name);
    this.#names.release(name);
    this.#forgetNamespace(namespace, name);
  }

  /** Gives a container another name, and the old one back; its place in the order stays. */
  rename(record: ContainerRecord, wanted: string): void {
    const before = record.name;
    const records = this.list();
    record.name = this.#names.reserve(wanted);
    this.#all.clear();
    for (const each of records) this.#all.set(each.name, each);
    if (this.#namespaces.get(record.namespace) === before) this.#namespaces.set(record.namespace, wanted);
    this.#names.release(before);
  }

  /** The container's namespace is known now. Throws a `DeckError` when it is another container's. */
  settle(record: ContainerRecord, namespace: string): void {
    if (namespace === record.namespace) return;
    const owner = this.#namespaces.get(namespace);
    if (owner !== undefined) {
      throw conflict(`${describeNamespace(record.target)} is container ${owner} already; detach that one`);
    }
    this.#forgetNamespace(record.namespace, record.name);
    this.#namespaces.set(namespace, record.name);
    record.namespace = namespace;
  }

  /** Puts containers that came all at once into the order in which they are the oldest first; others come after them. */
  arrange(ids: readonly string[]): void {
    const records = this.list();
    const place = ({ id }: ContainerRecord) => (ids.includes(id) ? ids.indexOf(id) : ids.length);
    records.sort((one, other) => place(one) - place(other));
    this.#all.clear();
    for (const record of records) this.#all.set(record.name, record);
  }

  /** Whether the namespace of a container is still what it was. */
  isThere({ target, namespace, isHost }: ContainerRecord): boolean {
    try {
      return this.#identify(target, isHost) === namespace;
    } catch {
      return false;
    }
  }

  /** The host's namespace is not any one container's. */
  #forgetNamespace(namespace: string, name: string): void {
    if (this.#namespaces.get(namespace) === name) this.#namespaces.delete(namespace);
  }

  /** The namespace's file name: `blue` of /run/netns/blue. */
  #proposeName(target: NamespaceTarget): string | undefined {
    if (!('path' in target) || target.path.startsWith('/proc/')) return undefined;
    const name = basename(target.path);
    return isName(name) && !this.#names.has(name) ? name : undefined;
  }
}
