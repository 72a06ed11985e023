import { set16, set32 } from '../wire/bytes.ts';
import { type Carrier, carryList } from '../wire/carrier.ts';
import {
  DNS_AA,
  DNS_ANCOUNT,
  DNS_ARCOUNT,
  DNS_CLASS_IN,
  DNS_LEN,
  DNS_NSCOUNT,
  DNS_OK,
  DNS_OPT_LEN,
  DNS_RA,
  DNS_RCODE,
  DNS_SILENCE,
  DNS_TC,
  DnsQuery,
  DnsRcode,
  DnsType,
  parseDnsQuery,
  writeDnsAnswer,
  writeDnsOpt,
  writeDnsRecord,
} from '../wire/dns.ts';
import { setIpv6Address } from '../wire/ipv6.ts';
import type { PortId } from './frame.ts';
import { containsIpv6 } from './martian.ts';
import type { Network } from './network.ts';
import { isLocalName, ReverseName, Zone } from './zone.ts';

/**
 * Seconds for which an address may be remembered, that of Kubernetes' names. Containers come and go, and one that comes
 * again may have another address: Docker's 600 is ten minutes of connections into nowhere. With 0, one that asks before each of
 * its requests would be answered each time for nothing.
 */
export const LOCAL_TTL = 5;
/**
 * The largest answer over UDP, in bytes: on every link it goes without fragments, and so without what forged fragments can do to it
 * (draft-ietf-dnsop-avoid-fragmentation, DNS flag day 2020). What is larger is asked for over TCP.
 */
export const DNS_UDP_MAX = 1232;

/** What `resolve` answers beside the length of an answer. */
export const SILENCE = -1;
export const ELSEWHERE = -2;

/** RNAME and MNAME of the SOA record are the root and the name itself; then five numbers (RFC 1035 §3.3.13). */
const SOA_RDLENGTH = 2 + 1 + 20;

/** What one network's gateway knows. */
interface Known {
  readonly network: Network;
  zone: Zone | null;
}

/** What the gateways' name servers have done since the start. */
export interface ResolverCounters {
  /** Questions answered here: with records, with the news that there are none, or with an error. */
  answered: number;
  /** Questions about names outside from networks without a way there: REFUSED. */
  refused: number;
  /** Questions passed on, and those for which too many were under way. */
  forwarded: number;
  busy: number;
}

/**
 * The name server of the gateways: it knows the names of the deck and who may hear of which. What it does not know it answers with
 * ELSEWHERE, for others to ask outside.
 *
 * A port asks the zones of the networks that it searches, in their order, and before them one of its own (links). The first that
 * knows the name answers (Docker's habit), with all addresses of the name there.
 */
export class Resolver {
  readonly counters: ResolverCounters = { answered: 0, refused: 0, forwarded: 0, busy: 0 };
  readonly query = new DnsQuery();
  /** By network. */
  readonly #known: (Known | undefined)[] = [];
  /** By port: the networks whose names it sees, and its own. */
  readonly #search: (readonly number[] | undefined)[] = [];
  readonly #own: (Zone | undefined)[] = [];
  readonly #reverse = new ReverseName();
  // Where the name of the question was found.
  #zone: Zone | null = null;
  #entry = -1;

  /**
   * @param networks by id; those of the state are there already
   * @param key of the zones
   */
  carry(carrier: Carrier, networks: readonly (Network | undefined)[], key: number): void {
    Object.assign(this.counters, carrier.plain(this.counters));
    const ids = carrier.plain(this.#known.flatMap((known, id) => (known === undefined ? [] : [id])));
    for (const id of ids) {
      this.#known[id] ??= { network: networks[id]!, zone: null };
      this.#known[id].zone = carryZone(carrier, this.#known[id].zone, key);
    }
    carryList(carrier, this.#search);
    const owners = carrier.plain(this.#own.flatMap((own, port) => (own === undefined ? [] : [port])));
    for (const port of owners) {
      this.#own[port] = carryZone(carrier, this.#own[port] ?? null, key) ?? undefined;
    }
  }

  /** From now on the gateway of `network` answers. */
  serve(network: Network): void {
    this.#known[network.id] = { network, zone: null };
  }

  withdraw(network: number): void {
    this.#known[network] = undefined;
  }

  serves(network: number): boolean {
    return this.#known[network] !== undefined;
  }

  /** The names of a network. */
  setZone(network: number, zone: Zone): void {
    const known = this.#known[network];
    if (!known) throw new RangeError(`network ${network} has no names`);
    known.zone = zone;
  }

  /**
   * Which networks' names a port sees, its own network's alone by default.
   * @param own names that it sees before them, and nobody else does
   */
  setSearch(port: PortId, networks: readonly number[], own: Zone | null): void {
    this.#search[port] = Array.from(networks);
    this.#own[port] = own ?? undefined;
  }

  forgetPort(port: PortId): void {
    this.#search[port] = undefined;
    this.#own[port] = undefined;
  }

  /**
   * Answers the message `bytes[at]` to `bytes[end - 1]`, which came in by `port` of `network`, in `out` from `outAt` on, in at most
   * `limit` bytes or what the asker takes.
   * @param limit at least 512; over TCP 65535, and what the asker takes over UDP does not count
   * @returns the length of the answer, SILENCE for none, ELSEWHERE for a question that others are to answer
   */
  resolve(
    bytes: Uint8Array,
    at: number,
    end: number,
    network: Network,
    port: PortId,
    out: Uint8Array,
    outAt: number,
    limit: number,
    overTcp: boolean,
  ): number {
    const { query, counters } = this;
    const fault = parseDnsQuery(bytes, at, end, query);
    if (fault === DNS_SILENCE) return SILENCE;
    const most = overTcp ? limit : Math.min(limit, query.udpSize);
    const ra = this.#hasWay(network) ? DNS_RA : 0;
    if (fault !== DNS_OK) {
      counters.answered++;
      return this.#error(bytes, out, outAt, fault, ra);
    }
    if (query.class !== DNS_CLASS_IN || query.type === DnsType.AXFR || query.type === DnsType.IXFR) {
      counters.answered++;
      return this.#error(bytes, out, outAt, DnsRcode.REFUSED, ra);
    }
    if (this.#find(bytes, network, port)) {
      counters.answered++;
      return this.#answer(bytes, out, outAt, most, ra);
    }
    if (this.#isLocal(bytes)) {
      counters.answered++;
      return this.#error(bytes, out, outAt, DnsRcode.NXDOMAIN, DNS_AA | ra);
    }
    if (ra === 0) {
      counters.refused++;
      return this.#error(bytes, out, outAt, DnsRcode.REFUSED, 0);
    }
    return ELSEWHERE;
  }

  /** Whether questions about the world leave the network at all: those of an internal one do not (CVE-2024-29018). */
  #hasWay(network: Network): boolean {
    return network.uplink >= 0;
  }

  #find(bytes: Uint8Array, network: Network, port: PortId): boolean {
    const own = this.#own[port];
    if (own !== undefined && this.#findIn(own, bytes)) return true;
    const search = this.#search[port];
    if (search === undefined) return this.#findIn(this.#known[network.id]?.zone, bytes);
    for (let i = 0; i < search.length; i++) {
      if (this.#findIn(this.#known[search[i]]?.zone, bytes)) return true;
    }
    return false;
  }

  #findIn(zone: Zone | null | undefined, bytes: Uint8Array): boolean {
    if (zone === undefined || zone === null) return false;
    const { name, nameEnd } = this.query;
    const entry = zone.find(bytes, name, nameEnd);
    this.#zone = zone;
    this.#entry = entry;
    return entry >= 0;
  }

  /** Whether nobody outside is to be asked about a name that is not known here. */
  #isLocal(bytes: Uint8Array): boolean {
    const { name, nameEnd, labels, type } = this.query;
    // A name without dots is a container's, and which ones there might be is nobody else's business. What resolvers ask about the
    // top-level domains themselves is not about containers.
    if (labels === 1 && !isInfrastructure(type)) return true;
    if (isLocalName(bytes, name, nameEnd)) return true;
    return this.#reverse.read(bytes, name, nameEnd) && this.#isOurs(this.#reverse);
  }

  /** Whether an address, or all of a prefix, is in the subnet of a network of the deck. */
  #isOurs({ family, bits, words }: ReverseName): boolean {
    for (const known of this.#known) {
      if (known === undefined) continue;
      const { network } = known;
      if (family === 4) {
        if (bits >= network.ipv4Prefix && network.containsIpv4(words[0])) return true;
      } else if (
        bits >= network.ipv6Prefix &&
        containsIpv6(network, words[0], words[1], words[2], words[3])
      ) {
        return true;
      }
    }
    return false;
  }

  /** An answer without records; with EDNS when the question had it (RFC 6891 §6.1.1). */
  #error(bytes: Uint8Array, out: Uint8Array, at: number, rcode: number, flags: number): number {
    const end = writeDnsAnswer(out, at, this.query, bytes, flags | (rcode & DNS_RCODE));
    return this.#finish(out, at, end, rcode);
  }

  #finish(out: Uint8Array, at: number, end: number, rcode: number): number {
    if (!this.query.edns) return end - at;
    set16(out, at + DNS_ARCOUNT, 1);
    return writeDnsOpt(out, end, DNS_UDP_MAX, rcode, false) - at;
  }

  /** The records of the name that was found, as many as fit. */
  #answer(bytes: Uint8Array, out: Uint8Array, at: number, most: number, flags: number): number {
    const { query } = this;
    const { type, edns } = query;
    const zone = this.#zone!;
    const entry = this.#entry;
    const limit = at + most - (edns ? DNS_OPT_LEN : 0);
    const begin = writeDnsAnswer(out, at, query, bytes, DNS_AA | flags);
    // RFC 8482 §4.1: of all types (ANY), the addresses.
    const isAny = type === DnsType.ANY;
    const ipv4 = type === DnsType.A || isAny ? zone.countIpv4(entry) : 0;
    const ipv6 = type === DnsType.AAAA || isAny ? zone.countIpv6(entry) : 0;
    const pointer = type === DnsType.PTR || isAny ? zone.pointerLength(entry) : 0;
    const turn = ipv4 + ipv6 > 1 ? zone.turn(entry) : 0;
    let end = begin;
    let count = 0;
    for (let i = 0; i < ipv4 && end + 16 <= limit; i++, count++) {
      const data = writeDnsRecord(out, end, DnsType.A, LOCAL_TTL, 4);
      set32(out, data, zone.ipv4(entry, (turn + i) % ipv4));
      end = data + 4;
    }
    for (let i = 0; i < ipv6 && end + 28 <= limit; i++, count++) {
      const data = writeDnsRecord(out, end, DnsType.AAAA, LOCAL_TTL, 16);
      const index = (turn + i) % ipv6;
      setIpv6Address(
        out,
        data,
        zone.ipv6(entry, index, 0),
        zone.ipv6(entry, index, 1),
        zone.ipv6(entry, index, 2),
        zone.ipv6(entry, index, 3),
      );
      end = data + 16;
    }
    if (pointer > 0 && end + 12 + pointer <= limit) {
      end = zone.writePointer(entry, out, writeDnsRecord(out, end, DnsType.PTR, LOCAL_TTL, pointer));
      count++;
    }
    set16(out, at + DNS_ANCOUNT, count);
    const whole = ipv4 + ipv6 + (pointer > 0 ? 1 : 0);
    if (count < whole) {
      // RFC 2181 §9: not all that was asked for is there.
      set16(out, at + 2, (out[at + 2] << 8) | out[at + 3] | DNS_TC);
    } else if (whole === 0 && end + 12 + SOA_RDLENGTH <= limit) {
      end = writeSoa(out, end);
      set16(out, at + DNS_NSCOUNT, 1);
    }
    return this.#finish(out, at, end, DnsRcode.NOERROR);
  }

  /** Writes the answer that nobody outside could be asked, to a question that `resolve` answered ELSEWHERE; answers its length. */
  fail(bytes: Uint8Array, out: Uint8Array, at: number): number {
    return this.#error(bytes, out, at, DnsRcode.SERVFAIL, DNS_RA);
  }
}

function carryZone(carrier: Carrier, zone: Zone | null, key: number): Zone | null {
  const names = carrier.constant(zone?.names ?? null);
  if (names === null) return null;
  const carried = zone ?? new Zone(names, key);
  carried.carry(carrier);
  return carried;
}

/**
 * SOA of the name itself, with an answer that has no records (RFC 2308 §2.2): the last number is the seconds for which that may be
 * remembered. Programs ask for both kinds of addresses, and most names have only one. An answer that there is no such name (NXDOMAIN) has
 * no SOA and is not remembered (RFC 2308 §5): the container may be there in a moment.
 */
function writeSoa(out: Uint8Array, at: number): number {
  const data = writeDnsRecord(out, at, DnsType.SOA, LOCAL_TTL, SOA_RDLENGTH);
  // MNAME: the question's name, by pointer; RNAME: the root, as nobody is responsible.
  set16(out, data, 0xc000 | DNS_LEN);
  out[data + 2] = 0;
  const numbers = data + 3;
  set32(out, numbers, 1);
  set32(out, numbers + 4, 3600);
  set32(out, numbers + 8, 600);
  set32(out, numbers + 12, 86_400);
  set32(out, numbers + 16, LOCAL_TTL);
  return data + SOA_RDLENGTH;
}

/** Types by which resolvers learn how the top of the tree is delegated and signed. */
function isInfrastructure(type: number): boolean {
  return type === DnsType.NS || type === DnsType.SOA || type === DnsType.DS || type === DnsType.DNSKEY;
}
