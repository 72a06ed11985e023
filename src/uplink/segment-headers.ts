import { isIpv4Host, isIpv6Host } from '../../switch/martian.ts';
import { type Ipv6, isIpv6LinkLocal } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from '../../wire/ethernet.ts';
import { IPV4_DST, IPV4_LEN, IPV4_SRC, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_LEN, IPV6_SRC, setIpv6Address, writeIpv6 } from '../../wire/ipv6.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import {
  type DatagramMessage,
  SOCKADDR_IN_ADDRESS,
  SOCKADDR_IN6_ADDRESS,
  SOCKADDR_IN6_SCOPE,
} from './datagram-message.ts';
import type { ErrorQueue } from './error-queue.ts';
import { isHostsOwnIpv6, isLoopbackIpv4, LOOPBACK_IPV4 } from './loopback.ts';
import type { Client } from './published-ports.ts';
import type { Segment } from './segment.ts';

/** Hop limit of what came without the kernel's saying how far it had still to go. */
const TTL = 64;
/** The deck is a router still to be passed. */
const TTL_LEAST = 2;

/**
 * Between the addresses of frames on the segment and those of the host's datagram sockets: the host's loopback is the
 * device's address on the segment, in both directions, and all others are what they are.
 */
export class SegmentHeaders {
  readonly #segment: Segment;
  #identification = 0;

  constructor(segment: Segment) {
    this.#segment = segment;
  }

  /** Whether the packet comes from the deck's own address, and not from one of the host's (a published port's). */
  isFromDeck(bytes: Uint8Array, l3: number, isIpv6: boolean): boolean {
    const { ipv4, ipv6 } = this.#segment.deck;
    return isIpv6 ? isAt(bytes, l3 + IPV6_SRC, ipv6) : get32(bytes, l3 + IPV4_SRC) === ipv4;
  }

  /**
   * Writes a packet's destination to the message's name, without a port; false when no socket may send there: multicast,
   * broadcast, the host's loopback by its own name, and what is no host's address.
   * @param client whom of the host's own the device's address stands for: an address on the host's IPv4 loopback, or a
   * sockaddr_in6; null for 127.0.0.1 and ::1
   */
  writeName(
    message: DatagramMessage,
    bytes: Uint8Array,
    l3: number,
    isIpv6: boolean,
    client: Client | null,
  ): boolean {
    const { name, nameView } = message;
    const { device } = this.#segment;
    nameView.setUint16(0, isIpv6 ? AF_INET6 : AF_INET, true);
    if (!isIpv6) {
      const address = get32(bytes, l3 + IPV4_DST);
      const loopback = typeof client === 'number' ? client : LOOPBACK_IPV4;
      nameView.setInt32(SOCKADDR_IN_ADDRESS, address === device.ipv4 ? loopback : address);
      return isIpv4Host(address);
    }
    const at = l3 + IPV6_DST;
    const w0 = get32(bytes, at);
    const own = isAt(bytes, at, device.ipv6);
    if (own && client !== null && typeof client !== 'number') {
      name.set(client);
      return true;
    }
    // Flow information stays 0, and so does the scope.
    nameView.setUint32(SOCKADDR_IN6_SCOPE, 0);
    for (let i = 0; i < 16; i++) name[SOCKADDR_IN6_ADDRESS + i] = own ? +(i === 15) : bytes[at + i]!;
    return isIpv6Host(w0, get32(bytes, at + 4), get32(bytes, at + 8)) && !isIpv6LinkLocal(w0);
  }

  /**
   * Writes Ethernet and IP header of what a socket has received. IPv4 without DF: its sender's network may have cut it,
   * and the kernel does not say.
   * @param length bytes behind the IP header
   * @param local whether it is for one of the host's addresses, and not the deck's: that which the message has noted
   */
  writeReceived(
    message: DatagramMessage,
    bytes: Uint8Array,
    at: number,
    isIpv6: boolean,
    protocol: number,
    length: number,
    local: boolean,
  ): void {
    const { name, control, localAt, tos } = message;
    const { deck, device } = this.#segment;
    const ttl = message.ttl < 0 ? TTL : Math.max(TTL_LEAST, message.ttl);
    const type = isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
    const l3 = writeEthernet(bytes, at, deck.mac.hi, deck.mac.lo, device.mac.hi, device.mac.lo, type);
    if (isIpv6) {
      writeIpv6(bytes, l3, length, protocol, ttl, tos);
      if (isHostsOwnIpv6(name, SOCKADDR_IN6_ADDRESS)) writeAddress(bytes, l3 + IPV6_SRC, device.ipv6);
      else copy16(name, SOCKADDR_IN6_ADDRESS, bytes, l3 + IPV6_SRC);
      if (local) copy16(control, localAt, bytes, l3 + IPV6_DST);
      else writeAddress(bytes, l3 + IPV6_DST, deck.ipv6);
      return;
    }
    const from = get32(name, SOCKADDR_IN_ADDRESS);
    const src = isLoopbackIpv4(from) ? device.ipv4 : from;
    const dst = local ? get32(control, localAt) : deck.ipv4;
    this.#identification = (this.#identification + 1) & 0xffff;
    writeIpv4(bytes, l3, IPV4_LEN + length, protocol, ttl, src, dst, this.#identification, 0, tos);
  }

  /**
   * Writes the IP header of a packet that an error is about, as it was when it came from the deck. Its TTL has run out, or
   * nobody knows.
   * @param length bytes behind the IP header
   * @param local whether it came from one of the host's addresses, that which the queue has noted
   * @returns the offset behind the header
   */
  writeQuoted(
    queue: ErrorQueue,
    bytes: Uint8Array,
    l3: number,
    isIpv6: boolean,
    protocol: number,
    length: number,
    local: boolean,
  ): number {
    const { destination, control, localAt } = queue;
    const { deck, device } = this.#segment;
    const at = queue.destinationAt(isIpv6);
    if (isIpv6) {
      writeIpv6(bytes, l3, length, protocol, 1);
      if (local) copy16(control, localAt, bytes, l3 + IPV6_SRC);
      else writeAddress(bytes, l3 + IPV6_SRC, deck.ipv6);
      if (isHostsOwnIpv6(destination, at)) writeAddress(bytes, l3 + IPV6_DST, device.ipv6);
      else copy16(destination, at, bytes, l3 + IPV6_DST);
      return l3 + IPV6_LEN;
    }
    const src = local ? get32(control, localAt) : deck.ipv4;
    const to = get32(destination, at);
    const dst = isLoopbackIpv4(to) ? device.ipv4 : to;
    return writeIpv4(bytes, l3, IPV4_LEN + length, protocol, 1, src, dst);
  }
}

function isAt(bytes: Uint8Array, at: number, words: Ipv6): boolean {
  return (
    get32(bytes, at) === words[0] &&
    get32(bytes, at + 4) === words[1] &&
    get32(bytes, at + 8) === words[2] &&
    get32(bytes, at + 12) === words[3]
  );
}

function writeAddress(bytes: Uint8Array, at: number, words: Ipv6): void {
  setIpv6Address(bytes, at, words[0], words[1], words[2], words[3]);
}

function copy16(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number): void {
  for (let i = 0; i < 16; i++) to[toAt + i] = from[fromAt + i]!;
}
