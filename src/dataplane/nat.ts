import {
  Conntrack,
  REFRESH_ORIGINAL,
  REFRESH_REPLY,
  REFUSED_CLASH,
  REFUSED_FULL,
  REFUSED_INVALID,
  REFUSED_QUOTA,
  SEEN_REPLY,
} from '../../nat/conntrack.ts';
import { MAPPING_FULL, Mappings, NO_EXTERNAL_ADDRESS, PORTS_EXHAUSTED } from '../../nat/mappings.ts';
import { Npt } from '../../nat/npt.ts';
import { type Publish, Publishes } from '../../nat/publishes.ts';
import { DEFAULT_TIMEOUTS } from '../../nat/timeouts.ts';
import {
  destinationPort,
  IPV4_MAPPED,
  invertTuple,
  kindProtocol,
  kindZone,
  portsWord,
  sourcePort,
  TUPLE_DST,
  TUPLE_KIND,
  TUPLE_PORTS,
  TUPLE_SRC,
  TUPLE_SRC_IPV4,
  TUPLE_WORDS,
} from '../../nat/tuple.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { SERVICES } from '../../switch/services.ts';
import { Action, Stage } from '../../switch/trace.ts';
import type { Carrier } from '../../wire/carrier.ts';
import { CopiedRows } from '../../wire/copied-rows.ts';
import type { HashKey } from '../../wire/hash.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import type { Random } from '../../wire/random.ts';
import type { ConntrackOptions, FlowEvent, NetworkOptions, PublishOptions } from './commands.ts';
import { describeFlow } from './flows.ts';
import type { Uplink } from './uplink.ts';

/** Connections that a deck tracks when nothing else is said. */
export const DEFAULT_CONNTRACK_MAX = 262_144;

/** Refusals of `open...` beside those of `Conntrack.open`. */
const REFUSED_PORTS = -5;
const REFUSED_NO_ADDRESS = -6;

/** Where the reply tuple is in `words`. */
export const REPLY_AT = TUPLE_WORDS;

/**
 * Connections, and what is decided about one when it begins: which addresses and ports its packets have on the other
 * side of the deck. One scratch pair of tuples, `words`, is the working space of one packet: the original direction as
 * `extractTuple` read it, and behind it the reply, which the `to...` methods write.
 */
export class Nat {
  readonly conntrack: Conntrack;
  readonly mappings: Mappings;
  readonly publishes = new Publishes();
  readonly words = new Int32Array(2 * TUPLE_WORDS);
  /** Hears what happens to connections; null while nobody listens. */
  onFlow: ((event: FlowEvent) => void) | null = null;
  /**
   * Hears of connections that are ended though neither end has, with an endpoint, a publish or a network, or on request: by
   * both of their tuples, one call each. Of those that are not TCP, which share what their mapping has outside, only of the
   * last. Null while nobody listens.
   */
  onSevered: ((tuples: Int32Array, at: number) => void) | null = null;
  /** By row: the mapping by whose port the connection came in, or -1. */
  readonly #entry: Int32Array;
  /** By mapping: the connections in which its endpoint has said something. */
  readonly #spoken: Int32Array;
  readonly #entries: CopiedRows;
  readonly #speakers: CopiedRows;
  readonly #prefixes = new Map<number, Npt>();
  /** The deck's addresses by segment (uplink or network), as `mappings` numbers them: IPv4 first, in the order of `own...`. */
  readonly #segments = new Map<number, { network: Network; indices: readonly number[]; isUplink: boolean }>();
  /** The segments on whose addresses each publish is, by its id. */
  readonly #exposed = new Map<number, Set<number>>();
  #nextPublish = 1;
  /** Of the latest call from outside, for events of connections that end. */
  #now = 0;

  constructor(key: HashKey, random: Random, options: ConntrackOptions = {}) {
    const { capacity = DEFAULT_CONNTRACK_MAX, quota = Math.max(1, capacity >> 2), loose = true } = options;
    const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.conntrack = new Conntrack({ capacity, quota, timeouts, loose, key });
    this.conntrack.onClosed = (row) => this.#closed(row);
    // A flow holds two at most, its own and the one by which it came in; and one that begins has its mapping before another
    // flow is given up for it.
    this.mappings = new Mappings({ capacity: 2 * capacity + 1, flows: capacity, key, random });
    this.#entry = new Int32Array(capacity + 1);
    this.#spoken = new Int32Array(2 * capacity + 1);
    this.#entries = new CopiedRows({ column: this.#entry, stride: 1 });
    this.#speakers = new CopiedRows({ column: this.#spoken, stride: 1 });
  }

  /** @param networks by id; those of the state are there already */
  carry(carrier: Carrier, networks: readonly (Network | undefined)[]): void {
    this.conntrack.carry(carrier);
    this.mappings.carry(carrier);
    this.publishes.carry(carrier);
    carrier.rows(this.#entries, Math.min(this.conntrack.high + 1, this.#entry.length));
    carrier.rows(this.#speakers, this.mappings.high);
    const segments = carrier.plain(
      Array.from(this.#segments, ([id, { indices, isUplink }]) => ({ id, indices, isUplink })),
    );
    this.#segments.clear();
    for (const { id, ...segment } of segments) {
      this.#segments.set(id, { ...segment, network: networks[id]! });
    }
    const exposed = carrier.plain(Array.from(this.#exposed, ([id, on]) => ({ id, on: [...on] })));
    this.#exposed.clear();
    for (const { id, on } of exposed) this.#exposed.set(id, new Set(on));
    // A translation of prefixes has no state, and follows from what the network was made of.
    this.#prefixes.clear();
    for (const network of networks) {
      const npt = network && prefixTranslation(network.options);
      if (npt) this.#prefixes.set(network.id, npt);
    }
    this.#nextPublish = carrier.number(this.#nextPublish);
    this.#now = carrier.number(this.#now);
  }

  // ---- the destination of a new connection ----

  /** The publish to which the packet goes, whose destination is an address of `owner`; or -1. */
  findPublish(owner: Network): number {
    const { publishes, words } = this;
    const row = publishes.find(words, 0);
    return row >= 0 && this.#exposed.get(publishes.id(row))!.has(owner.id) ? row : -1;
  }

  networkOfPublish(row: number): number {
    return this.publishes.network(row);
  }

  /** The mapping to whose external port the packet goes, whose destination is an address of `owner`; or -1. */
  findMapping(owner: Network): number {
    const mapping = this.mappings.findExternal(this.words, 0, owner.id);
    // RFC 4787 REQ-6, RFC 7857 §7: it is there for as long as its endpoint speaks, and not for as long as strangers do.
    return mapping >= 0 && this.#spoken[mapping] > 0 ? mapping : -1;
  }

  networkOfMapping(row: number): number {
    return this.mappings.insideZone(row);
  }

  /** Whether the mapping's endpoint has spoken to the sender's address (RFC 4787 §5, address-dependent filtering). */
  isPeer(mapping: number): boolean {
    return this.mappings.hasPeer(mapping, this.words, TUPLE_SRC);
  }

  /** The connection goes to the destination that it names, in `egress`. */
  toNetwork(egress: Network): void {
    invertTuple(this.words, 0, REPLY_AT, egress.id);
  }

  /** The connection goes to the endpoint that published the port. */
  toPublish(row: number): void {
    const { words, publishes } = this;
    invertTuple(words, 0, REPLY_AT, publishes.network(row));
    publishes.copyAddress(row, words, REPLY_AT + TUPLE_SRC);
    const ports = words[TUPLE_PORTS];
    const target = publishes.targetPort(row, destinationPort(ports));
    words[REPLY_AT + TUPLE_PORTS] = portsWord(target, sourcePort(ports));
  }

  /** The connection goes to the endpoint whose mapping it is. */
  toMapping(row: number): void {
    const { words, mappings } = this;
    invertTuple(words, 0, REPLY_AT, mappings.insideZone(row));
    mappings.copyInside(row, words, REPLY_AT + TUPLE_SRC);
    words[REPLY_AT + TUPLE_PORTS] = portsWord(mappings.insidePort(row), sourcePort(words[TUPLE_PORTS]));
  }

  /** The connection goes to the next hop of an uplink; false when there is none of the IP version. */
  toNextHop({ network, hasGateway4, gateway4, hasGateway6, gateway6 }: Uplink, isIpv4: boolean): boolean {
    if (isIpv4 ? !hasGateway4 : !hasGateway6) return false;
    invertTuple(this.words, 0, REPLY_AT, network.id);
    if (isIpv4) this.words[REPLY_AT + TUPLE_SRC_IPV4] = gateway4;
    else for (let i = 0; i < 4; i++) this.words[REPLY_AT + TUPLE_SRC + i] = gateway6[i];
    return true;
  }

  // ---- its source, and its beginning ----

  /**
   * Opens the connection as `words` has it; its row, or a refusal.
   * @param flags SNAT, DNAT, NPT: what is translated
   * @param publish row of the publish by which it came in, or -1
   * @param entry mapping by whose external port it came in, or -1
   * @param exempt whether it came from an uplink
   */
  open(frame: Frame, flags: number, publish: number, entry: number, exempt: boolean, now: number): number {
    const { conntrack, mappings } = this;
    this.#now = now;
    // First: the flow that is given up to make room may be the one that holds it.
    if (entry >= 0) mappings.retain(entry);
    const row = conntrack.open(this.words, 0, frame, frame.ingress, exempt, now);
    if (row < 0) {
      if (entry >= 0) mappings.release(entry);
      return row;
    }
    conntrack.status[row] |= flags;
    conntrack.publish[row] = publish;
    this.#entries.keep(row);
    this.#entry[row] = entry;
    // RFC 4787 REQ-6, RFC 7857 §7: who comes in from outside does not keep alive the mapping by which he came.
    if (entry >= 0 && exempt) conntrack.status[row] &= ~REFRESH_ORIGINAL;
    if (frame.trace !== null) frame.trace.point(frame, Stage.PREROUTING, Action.OPENED, row);
    if (this.onFlow !== null) this.tell('NEW', row, now);
    return row;
  }

  /** As `open`, with the source that the sender's endpoint has on the segment of `outside` (RFC 4787 REQ-1). */
  openMasqueraded(
    frame: Frame,
    flags: number,
    outside: Network,
    publish: number,
    entry: number,
    now: number,
  ): number {
    const { mappings, words, conntrack } = this;
    const mapping = mappings.map(words, 0, outside.id);
    if (mapping < 0) return refusalOf(mapping);
    mappings.retain(mapping);
    mappings.copyExternal(mapping, words, REPLY_AT + TUPLE_DST);
    const ports = words[REPLY_AT + TUPLE_PORTS];
    words[REPLY_AT + TUPLE_PORTS] = portsWord(sourcePort(ports), mappings.externalPort(mapping));
    const row = this.open(frame, flags, publish, entry, false, now);
    if (row < 0) {
      mappings.release(mapping);
      return row;
    }
    conntrack.mapping[row] = mapping;
    this.#speakers.keep(mapping);
    this.#spoken[mapping]++;
    mappings.addPeer(mapping, words, TUPLE_DST);
    // RFC 4787 REQ-6: only the endpoint itself keeps its mapping alive, or anybody outside could for ever.
    conntrack.status[row] &= ~REFRESH_REPLY;
    return row;
  }

  /** An endpoint has answered a connection for the first time. */
  answered(row: number): void {
    const entry = this.#entry[row];
    if (entry < 0) return;
    this.#speakers.keep(entry);
    this.#spoken[entry]++;
  }

  /** As `open`, with the source that the network's other prefix gives the endpoint (RFC 6296). */
  openTranslatedPrefix(frame: Frame, network: Network, flags: number, now: number): number {
    if (!this.#prefixes.get(network.id)!.outward(this.words, REPLY_AT + TUPLE_DST)) return REFUSED_NO_ADDRESS;
    return this.open(frame, flags, -1, -1, false, now);
  }

  hasPrefix(network: Network): boolean {
    return this.#prefixes.has(network.id);
  }

  /** The network of whose other prefix the packet's destination is, or -1. */
  findPrefix(): number {
    for (const [network, prefix] of this.#prefixes)
      if (prefix.isOutside(this.words, TUPLE_DST)) return network;
    return -1;
  }

  /** The connection goes to the endpoint of `network` whose address in the other prefix it names; false when there is none. */
  toPrefix(network: number): boolean {
    invertTuple(this.words, 0, REPLY_AT, network);
    return this.#prefixes.get(network)!.inward(this.words, REPLY_AT + TUPLE_SRC);
  }

  /** The drop reason of a refusal. */
  reasonOf(refusal: number): DropReason {
    switch (refusal) {
      case REFUSED_FULL:
        return DropReason.CT_TABLE_FULL;
      case REFUSED_QUOTA:
        return DropReason.CT_QUOTA;
      case REFUSED_CLASH:
        return DropReason.CT_CLASH;
      case REFUSED_PORTS:
        return DropReason.NAT_PORTS_EXHAUSTED;
      case REFUSED_NO_ADDRESS:
        return DropReason.IP_INNOROUTES;
      default:
        return DropReason.CT_INVALID;
    }
  }

  /** Whether the refusal is for want of room, and not the packet's own fault. */
  isForLack(refusal: number): boolean {
    return refusal !== REFUSED_INVALID;
  }

  // ---- time and events ----

  expire(now: number): void {
    this.#now = now;
    this.conntrack.expire(now);
  }

  /** Tells whoever listens. */
  tell(event: FlowEvent['event'], row: number, now: number): void {
    this.onFlow?.({ event, flow: describeFlow(this, row, now) });
  }

  #closed(row: number): void {
    const { conntrack, mappings } = this;
    if (this.onFlow !== null) this.tell('DESTROY', row, this.#now);
    const entry = this.#entry[row];
    if (entry >= 0) {
      this.#speakers.keep(entry);
      if ((conntrack.status[row] & SEEN_REPLY) !== 0) this.#spoken[entry]--;
      mappings.release(entry);
    }
    const mapping = conntrack.mapping[row];
    if (mapping < 0) return;
    this.#speakers.keep(mapping);
    this.#spoken[mapping]--;
    mappings.removePeer(mapping, conntrack.tuples, row * 2 * TUPLE_WORDS + TUPLE_DST);
    mappings.release(mapping);
  }

  // ---- configuration ----

  /**
   * Makes the addresses of an uplink, or of a network's gateway, addresses to translate to. What is published on all
   * gateways is published on this one, too.
   */
  addNetwork(network: Network, isUplink: boolean, npt: Npt | null): void {
    const indices: number[] = [];
    for (const address of network.ownIpv4) {
      indices.push(this.mappings.addAddress(network.id, ipv4Words(address)));
    }
    for (let i = 0; i < network.ownIpv6.length; i += 4) {
      indices.push(this.mappings.addAddress(network.id, Array.from(network.ownIpv6.subarray(i, i + 4))));
    }
    this.#segments.set(network.id, { network, indices, isUplink });
    if (!isUplink) {
      for (const index of indices) {
        for (const { protocol, port } of SERVICES) this.mappings.claim(index, protocol, port, port);
      }
      for (const publish of this.publishes.list())
        if (publish.host === null && !publish.uplinkOnly) this.#expose(publish, network.id);
    }
    if (npt !== null) this.#prefixes.set(network.id, npt);
  }

  /** Ends the connections of a network and those that go by one of its addresses, and forgets these. */
  removeNetwork(id: number, now: number): void {
    const { mapping, tuples } = this.conntrack;
    this.closeWhere((row) => {
      const at = row * 2 * TUPLE_WORDS;
      return (
        kindZone(tuples[at + TUPLE_KIND]) === id ||
        kindZone(tuples[at + TUPLE_WORDS + TUPLE_KIND]) === id ||
        // Hairpinned: both ends may be elsewhere.
        (mapping[row] >= 0 && this.mappings.uplink(mapping[row]) === id)
      );
    }, now);
    this.mappings.removeUplink(id);
    this.#segments.delete(id);
    this.#prefixes.delete(id);
    for (const segments of this.#exposed.values()) segments.delete(id);
  }

  /** Ends the connections that an endpoint has begun or that lead to it. */
  removeEndpoint(
    network: number,
    port: PortId,
    addresses: readonly (readonly number[])[],
    now: number,
  ): void {
    const { owner, tuples } = this.conntrack;
    const is = (at: number) =>
      kindZone(tuples[at + TUPLE_KIND]) === network &&
      addresses.some((words) => words.every((word, i) => tuples[at + TUPLE_SRC + i] === word));
    this.closeWhere((row) => {
      const at = row * 2 * TUPLE_WORDS;
      return owner[row] === port || is(at) || is(at + TUPLE_WORDS);
    }, now);
  }

  /** Ends the connections for which `matches`; answers how many. */
  closeWhere(matches: (row: number) => boolean, now: number): number {
    this.#now = now;
    const { conntrack, mappings } = this;
    const { mapping, tuples } = conntrack;
    let count = 0;
    for (let row = 0; row < conntrack.high; row++) {
      if (!conntrack.isLive(row) || !matches(row)) continue;
      const at = row * 2 * TUPLE_WORDS;
      const isTcp = kindProtocol(tuples[at + TUPLE_KIND]) === PROTO_TCP;
      if (isTcp || (mapping[row] >= 0 && mappings.isHeldOnce(mapping[row]))) {
        this.onSevered?.(tuples, at);
        this.onSevered?.(tuples, at + TUPLE_WORDS);
      }
      conntrack.close(row);
      count++;
    }
    return count;
  }

  /**
   * Publishes ports on the addresses of some segments; answers the publish's id. Throws RangeError, and changes nothing,
   * when another publish has one of the ports.
   */
  publish(options: PublishOptions, segments: readonly number[]): number {
    const { network, protocol, target, from, to, uplinkOnly = false } = options;
    const family = typeof options.address === 'number' ? 4 : 6;
    const address = addressWords(options.address);
    const host = options.host === null ? null : addressWords(options.host);
    const conflict = this.publishes.conflict({ protocol, family, host, from, to });
    if (conflict >= 0) {
      const ports = from === to ? `port ${from} is` : `ports ${from} to ${to} are`;
      throw new RangeError(`${ports} published already`);
    }
    const publish: Publish = {
      id: this.#nextPublish++,
      network,
      address,
      target,
      protocol,
      family,
      host,
      uplinkOnly,
      from,
      to,
    };
    this.publishes.add(publish);
    this.#exposed.set(publish.id, new Set());
    for (const segment of segments) this.#expose(publish, segment);
    return publish.id;
  }

  /** Takes a publish back, and ends the connections that came in by it. Does nothing when it is gone already. */
  unpublish(id: number, now: number): void {
    const row = this.publishes.row(id);
    if (row < 0) return;
    const { protocol, from, to } = this.publishes.at(row)!;
    this.closeWhere((flow) => this.conntrack.publish[flow] === row, now);
    for (const segment of this.#exposed.get(id)!) {
      for (const address of this.#addressesOf(this.publishes.at(row)!, segment)) {
        for (const range of this.#free(segment, protocol, from, to)) {
          this.mappings.unclaim(address, protocol, range.from, range.to);
        }
      }
    }
    this.#exposed.delete(id);
    this.publishes.remove(id);
  }

  /** From now on no mapping gets the publish's ports on a segment (CVE-2021-3773, "port shadow"). */
  #expose(publish: Publish, segment: number): void {
    const { id, protocol, from, to } = publish;
    for (const address of this.#addressesOf(publish, segment)) {
      for (const range of this.#free(segment, protocol, from, to)) {
        this.mappings.claim(address, protocol, range.from, range.to);
      }
    }
    this.#exposed.get(id)!.add(segment);
  }

  /** The parts of a range of ports that are not a gateway's own. */
  #free(segment: number, protocol: number, from: number, to: number): { from: number; to: number }[] {
    const ranges: { from: number; to: number }[] = [];
    let first = from;
    if (!this.#segments.get(segment)!.isUplink) {
      for (const service of SERVICES) {
        if (service.protocol !== protocol || service.port < first || service.port > to) continue;
        if (service.port > first) ranges.push({ from: first, to: service.port - 1 });
        first = service.port + 1;
      }
    }
    if (first <= to) ranges.push({ from: first, to });
    return ranges;
  }

  /** The external addresses of a segment on which the publish is, as `mappings` numbers them. */
  #addressesOf(publish: Publish, segment: number): number[] {
    const { network, indices } = this.#segments.get(segment)!;
    const isIpv6 = publish.family === 6;
    const count = network.ownIpv4.length;
    const family = isIpv6 ? indices.slice(count) : indices.slice(0, count);
    const { host } = publish;
    if (host === null) return family;
    return family.filter((_, i) =>
      isIpv6
        ? host.every((word, j) => network.ownIpv6[4 * i + j] === word)
        : network.ownIpv4[i] === host[TUPLE_SRC_IPV4],
    );
  }
}

/** The translation of the network's IPv6 prefix that is asked for, or null. Throws RangeError when it is impossible. */
export function prefixTranslation({ npt, ipv6 }: NetworkOptions): Npt | null {
  return npt && ipv6 ? new Npt(ipv6.address, ipv6.prefix, npt.address, npt.prefix) : null;
}

function refusalOf(refusal: number): number {
  switch (refusal) {
    case PORTS_EXHAUSTED:
      return REFUSED_PORTS;
    case NO_EXTERNAL_ADDRESS:
      return REFUSED_NO_ADDRESS;
    case MAPPING_FULL:
      return REFUSED_FULL;
    default:
      return REFUSED_INVALID;
  }
}

function ipv4Words(address: number): number[] {
  return [0, 0, IPV4_MAPPED, address];
}

/** The four words that a tuple has for an address. */
export function addressWords(address: number | readonly number[]): readonly number[] {
  return typeof address === 'number' ? ipv4Words(address) : address;
}
