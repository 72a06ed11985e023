import { get32 } from '../../wire/bytes.ts';
import { IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_SRC } from '../../wire/ipv6.ts';
import type { HostPort } from './host-port.ts';
import { LOOPBACK_IPV4 } from './loopback.ts';

const PORTS = 65_536;

interface PublishedPort {
  row: number;
  host: HostPort['host'];
  /** Clients on the host's loopback with another address than 127.0.0.1, by port. */
  clients: Map<number, number>;
}

/** Clients remembered for one port: there are few but 127.0.0.1. */
const CLIENTS = 1024;

/** Which UDP socket of the host answers from which of its addresses and ports. */
export class PublishedPorts {
  /** By port; IPv6 from `PORTS` on. Few have more than one. */
  readonly #ports = new Map<number, PublishedPort[]>();

  /** @param host the host's address that the socket is bound to: an int32 or four words; null for all of them */
  add(row: number, port: number, isIpv6: boolean, host: HostPort['host']): void {
    const key = isIpv6 ? PORTS + port : port;
    const others = this.#ports.get(key);
    const published = { row, host, clients: new Map<number, number>() };
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
   * All of 127/8 is one address to the deck: notes which of them has asked with this port. Answers go to the last one; to
   * 127.0.0.1 when too many ask.
   */
  remember(row: number, port: number, clientPort: number, client: number): void {
    const published = this.#ports.get(port)?.find((other) => other.row === row);
    if (published === undefined) return;
    if (client === LOOPBACK_IPV4) published.clients.delete(clientPort);
    else if (published.clients.size < CLIENTS || published.clients.has(clientPort)) {
      published.clients.set(clientPort, client);
    }
  }

  /** Whom on the host's loopback an answer from `port` to `clientPort` is for. */
  client(port: number, clientPort: number): number {
    const published = this.#ports.get(port);
    if (published === undefined) return LOOPBACK_IPV4;
    for (const { clients } of published) {
      const client = clients.get(clientPort);
      if (client !== undefined) return client;
    }
    return LOOPBACK_IPV4;
  }
}
