import { DeckError, invalid } from '../../control/error.ts';
import type { Habits } from './options.ts';
import { isIpv4 } from './options.ts';

/** slirp4netns's API: one request of JSON on a connection, one answer, and the end. */

/** A request is shorter than this. */
export const LARGEST_REQUEST = 4095;

const PROTOCOLS = ['tcp', 'udp', 'tcp4', 'udp4', 'tcp6', 'udp6'] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** A port of the host that is the container's. */
export interface HostForward {
  proto: Protocol;
  host_addr: string;
  host_port: number;
  guest_addr: string;
  guest_port: number;
}

/** Who does what is asked. Methods throw a `DeckError`. */
export interface Forwarder {
  /** @param spec as `tapdeck publish` takes it */
  publish(spec: string): Promise<void>;
  unpublish(spec: string): Promise<void>;
}

/** Addresses by which callers mean the container itself. */
export interface Guest {
  habits: Habits;
  /** What it really has. */
  own: readonly (string | null)[];
}

/** Answers requests, and remembers what has been forwarded. */
export class HostForwards {
  readonly #forwarder: Forwarder;
  readonly #guest: Guest;
  readonly #all = new Map<number, HostForward>();
  #next = 1;

  constructor(forwarder: Forwarder, guest: Guest) {
    this.#forwarder = forwarder;
    this.#guest = guest;
  }

  /** What has been forwarded, as `tapdeck publish` takes it. */
  specs(): string[] {
    return Array.from(this.#all.values(), specOf);
  }

  /** The answer to a request, which is one whatever was asked. */
  async answer(request: string): Promise<object> {
    try {
      return await this.#do(request);
    } catch (error) {
      return { error: { desc: `bad request: ${(error as Error).message}` } };
    }
  }

  async #do(request: string): Promise<object> {
    let asked: unknown;
    try {
      asked = JSON.parse(request);
    } catch {
      throw invalid('cannot parse JSON');
    }
    const { execute, arguments: given } = Object(asked) as { execute?: unknown; arguments?: unknown };
    switch (execute) {
      case 'add_hostfwd':
        return this.#add(fieldsOf(given));
      case 'list_hostfwd':
        return { entries: Array.from(this.#all, ([id, forward]) => ({ id, ...forward })) };
      case 'remove_hostfwd':
        return this.#remove(fieldsOf(given));
      case undefined:
        throw invalid('no execute found');
      default:
        throw invalid('unknown execute');
    }
  }

  async #add(given: Record<string, unknown>): Promise<object> {
    const forward = readForward(given, this.#guest);
    try {
      await this.#forwarder.publish(specOf(forward));
    } catch (error) {
      throw invalid(`add_hostfwd: ${(error as Error).message}`);
    }
    const id = this.#next++;
    this.#all.set(id, forward);
    return { return: { id } };
  }

  async #remove({ id }: Record<string, unknown>): Promise<object> {
    const forward = typeof id === 'number' ? this.#all.get(id) : undefined;
    if (!forward) throw invalid('remove_hostfwd: bad arguments.id');
    try {
      await this.#forwarder.unpublish(specOf(forward));
    } catch (error) {
      // One that the daemon does not have any more is gone as asked for.
      if (!(error instanceof DeckError && error.code === 'not-found'))
        throw invalid(`remove_hostfwd: ${(error as Error).message}`);
    }
    this.#all.delete(id as number);
    return { return: {} };
  }
}

function fieldsOf(given: unknown): Record<string, unknown> {
  if (typeof given === 'object' && given !== null) return given as Record<string, unknown>;
  throw invalid('no arguments found');
}

function readForward(given: Record<string, unknown>, { habits, own }: Guest): HostForward {
  const proto = PROTOCOLS.find((one) => one === given['proto']);
  if (!proto) throw invalid('add_hostfwd: bad arguments.proto');
  const isIpv6 = proto.endsWith('6');
  const hostPort = portOf(given, 'host_port');
  const guestPort = portOf(given, 'guest_port');
  const hostAddress = textOf(given, 'host_addr') ?? (isIpv6 ? '::' : '0.0.0.0');
  if (isIpv6 === isIpv4(hostAddress)) throw invalid('add_hostfwd: bad arguments.host_addr');
  const guest = textOf(given, 'guest_addr') ?? (isIpv6 ? (own[1] ?? '::') : habits.guest);
  if (![habits.guest, '0.0.0.0', '::', ...own].includes(guest)) {
    throw invalid(
      `add_hostfwd: bad arguments.guest_addr: the container is ${own.filter(Boolean).join(' and ')}`,
    );
  }
  return { proto, host_addr: hostAddress, host_port: hostPort, guest_addr: guest, guest_port: guestPort };
}

function textOf(given: Record<string, unknown>, key: string): string | undefined {
  const value = given[key] ?? '';
  if (typeof value !== 'string') throw invalid(`add_hostfwd: bad arguments.${key}`);
  return value === '' ? undefined : value;
}

function portOf(given: Record<string, unknown>, key: string): number {
  const value = given[key];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535) return value;
  throw invalid(`add_hostfwd: bad arguments.${key}`);
}

function specOf({ proto, host_addr, host_port, guest_port }: HostForward): string {
  const host = host_addr.includes(':') ? `[${host_addr}]` : host_addr;
  return `${host}:${host_port}:${guest_port}/${proto.slice(0, 3)}`;
}
