import { get32 } from '../../wire/bytes.ts';
import { IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_SRC } from '../../wire/ipv6.ts';
import type { HostPort } from './host-port.ts';

const PORTS = 65_536;

/** A client of the host's own: its address on the IPv4 loopback, or its sockaddr_in6. */
export type Client = number | Uint8Array;

interface PublishedPort {
  row: number;
  host: HostPort['host'];
  /** Clients of the host's own with another address than 127.0.0.1 and ::1, by port; who was used last is last. */
  clients: Map<number, KnownClient>;
}

interface KnownClient {
  client: Client;
  /** When it has last asked or was last answered, ms; up to `GRAIN` earlier. */
  used: number;
}

/** Clients remembered for one port: there are few but 127.0.0.1 and ::1. */
const CLIENTS = 1024;
/** Milliseconds after which the deck has forgotten the connection, and lets no answer through (RFC 4787 REQ-5). */
const IDLE = 300_000;
/** Milliseconds for which a use is not noted again. */
const GRAIN = 1000;

/** Which UDP socket of the host answers from which of its addresses and ports. */
export class PublishedPorts {
  /** By port; IPv6 from `PORTS` on. Few have more than one. */
  readonly #ports = new Map<number, PublishedPort[]>();

  /** @param host the host's address that the socket is bound to: an int32 or four words; null for all of them */
  add(row: number, port: number, isIpv6: boolean, host: HostPort['host']): void {
    const key = isIpv6 ? PORTS + port : port;
    const others = this.#ports.get(key);
    const published = { row, host, clients: new Map() };
    if (others === undefined) this.#ports.set(key, [published]);
    else others.push(published);
  }

  remove(row: number, port: number, isIpv6: boolean): void {
    const key = isIpv6 ? PORTS + port : port;
    const others = this.#ports.get(key)?.filter((other) => other.row !== row) ?? [];
    if (others.length === 0) this.#ports.delete(key);
    else this.#ports.set(key, others);
  }

  /** The row of the socket that a packet with this source address and port comes from, or -1. */
  find(bytes: Uint8Array, l3: number, port: number, isIpv6: boolean): number {
    const published = this.#ports.get(isIpv6 ? PORTS + port : port);
    if (published === undefined) return -1;
    let wildcard = -1;
    for (const { row, host } of published) {
      if (host === null) wildcard = row;
      else if (typeof host === 'number') {
        if (host === get32(bytes, l3 + IPV4_SRC)) return row;
      } else {
        let same = true;
        for (let i = 0; i < 4; i++) same &&= host[i] === get32(bytes, l3 + IPV6_SRC + 4 * i);
        if (same) return row;
      }
    }
    return wildcard;
  }

  /**
   * All of 127/8 is one address to the deck, and so are ::1 and what is link-local: notes which of them has asked with this
   * port. Answers go to the last one.
   * @param client null for 127.0.0.1 and ::1; a sockaddr is copied
   * @returns false when too many ask: its answer would go to somebody else
   */
  remember(
    row: number,
    port: number,
    isIpv6: boolean,
    clientPort: number,
    client: Client | null,
    now: number,
  ): boolean {
    const key = isIpv6 ? PORTS + port : port;
    const clients = this.#ports.get(key)?.find((other) => other.row === row)?.clients;
    if (clients === undefined) return false;
    const known = clients.get(clientPort);
    if (client === null) {
      if (known !== undefined) clients.delete(clientPort);
      return true;
    }
    if (known !== undefined && isSame(known.client, client)) {
      touch(clients, clientPort, known, now);
      return true;
    }
    if (known !== undefined) clients.delete(clientPort);
    else if (clients.size === CLIENTS) {
      const oldest = clients.keys().next().value!;
      if (now - clients.get(oldest)!.used < IDLE + GRAIN) return false;
      clients.delete(oldest);
    }
    clients.set(clientPort, { client: typeof client === 'number' ? client : client.slice(), used: now });
    return true;
  }

  /** Whom of the host's own an answer of the row, from `port` to `clientPort`, is for; null for 127.0.0.1 or ::1. */
  client(row: number, port: number, isIpv6: boolean, clientPort: number, now: number): Client | null {
    const published = this.#ports.get(isIpv6 ? PORTS + port : port);
    if (published === undefined) return null;
    for (const { row: other, clients } of published) {
      if (other !== row) continue;
      const known = clients.get(clientPort);
      if (known === undefined) return null;
      touch(clients, clientPort, known, now);
      return known.client;
    }
    return null;
  }
}

function touch(clients: Map<number, KnownClient>, port: number, known: KnownClient, now: number): void {
  if (now - known.used < GRAIN) return;
  known.used = now;
  clients.delete(port);
  clients.set(port, known);
}

function isSame(one: Client, other: Client): boolean {
  if (typeof one !== 'object' || typeof other !== 'object') return one === other;
  for (let i = 0; i < other.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
