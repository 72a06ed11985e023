import { copy } from '../wire/bytes.ts';
import { type Carrier, carryList } from '../wire/carrier.ts';
import { DNS_UDP_MIN } from '../wire/dns.ts';
import type { HashKey } from '../wire/hash.ts';
import { UDP_LEN, udpLength, udpSrcPort } from '../wire/udp.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame, PortId } from './frame.ts';
import { NameStreams, STREAMS, type StreamId, type StreamService } from './name-streams.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { PEER_WORDS, Peer } from './peer.ts';
import { DNS_UDP_MAX, ELSEWHERE, type Resolver, SILENCE } from './resolver.ts';
import { CONSUME, drop, type Verdict } from './verdict.ts';

/** Questions to others under way, in all and of one port: as many as dnsmasq's; and a share, beyond which a port gives up some for who has fewer. */
const PENDING = 256;
const PENDING_PER_PORT = 64;

const NETWORK = PEER_WORDS;
const PORT = PEER_WORDS + 1;
const SERIAL = PEER_WORDS + 2;
const STRIDE = PEER_WORDS + 3;
/** The port of a row that is free. */
const NOBODY = -1;
const SERIAL_MASK = 0x3fffff;

/** A question whose answer is not known here. */
export interface ForwardedQuery {
  /** Names it in `answer`. */
  readonly id: number;
  readonly network: number;
  readonly port: PortId;
  readonly message: Uint8Array;
  /** Bytes that the answer may have. */
  readonly limit: number;
  readonly overTcp: boolean;
}

/**
 * DNS on port 53 of the gateways, over UDP and over TCP. What the deck knows is answered at once, in a frame of the arena; the rest is given to
 * `onQuery`, and a row remembers who is to get the answer.
 */
export class NameServer implements StreamService {
  /** Hears of questions that others are to answer; while nobody listens they fail. */
  onQuery: ((query: ForwardedQuery) => void) | null = null;
  readonly #originator: Originator;
  readonly #resolver: Resolver;
  readonly #networks: readonly (Network | undefined)[];
  readonly #streams: NameStreams;
  readonly #peer = new Peer();
  readonly #rows = new Int32Array(PENDING * STRIDE);
  readonly #free = new Int32Array(PENDING);
  #freeCount = 0;
  /** Rows by port. */
  readonly #pending: number[] = [];

  /** @param networks by id */
  constructor(
    originator: Originator,
    resolver: Resolver,
    networks: readonly (Network | undefined)[],
    key: HashKey,
  ) {
    this.#streams = new NameStreams(originator, networks, this, key);
    this.#originator = originator;
    this.#resolver = resolver;
    this.#networks = networks;
    for (let row = PENDING - 1; row >= 0; row--) {
      this.#rows[row * STRIDE + PORT] = NOBODY;
      this.#free[this.#freeCount++] = row;
    }
  }

  carry(carrier: Carrier): void {
    this.#streams.carry(carrier);
    carrier.column(this.#rows);
    this.#freeCount = carrier.number(this.#freeCount);
    carrier.column(this.#free);
    carryList(carrier, this.#pending);
  }

  /** Whether the gateway of `network` is a name server. */
  serves(network: Network): boolean {
    return this.#resolver.serves(network.id);
  }

  /** A parsed UDP datagram to port 53 of a gateway, its checksum right, which came in by `network`. */
  input(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l4, ingress } = frame;
    if (udpSrcPort(bytes, l4) === 0) return drop(DropReason.PORT_ZERO);
    const peer = this.#peer;
    peer.read(frame);
    const headers = peer.headers + UDP_LEN;
    const limit = Math.max(DNS_UDP_MIN, Math.min(DNS_UDP_MAX, network.mtu - headers));
    const answer = this.#originator.allocate(headers + limit);
    if (answer === undefined) return drop(DropReason.NOMEM);
    const from = l4 + UDP_LEN;
    const end = l4 + udpLength(bytes, l4);
    const out = answer.at + headers;
    let length = this.#resolver.resolve(bytes, from, end, network, ingress, answer.bytes, out, limit, false);
    if (length === ELSEWHERE) {
      const { onQuery } = this;
      if (onQuery === null) length = this.#resolver.fail(bytes, answer.bytes, out);
      else {
        this.#originator.arena.release(answer);
        return this.#forward(frame, from, end, network, limit, onQuery);
      }
    }
    if (length === SILENCE) {
      this.#originator.arena.release(answer);
      return drop(DropReason.DNS_MALFORMED);
    }
    peer.sendUdp(this.#originator, answer, length, network, now);
    return CONSUME;
  }

  /** A parsed TCP segment to port 53 of a gateway, its checksum right, which came in by `network`. */
  inputTcp(frame: Frame, network: Network, now: number): Verdict {
    return this.#streams.input(frame, network, now);
  }

  /** Answers a question of a connection: see `StreamService`. */
  ask(
    bytes: Uint8Array,
    at: number,
    end: number,
    network: Network,
    { index, serial, port }: StreamId,
    out: Uint8Array,
  ): number {
    const resolver = this.#resolver;
    const length = resolver.resolve(bytes, at, end, network, port, out, 0, out.length, true);
    if (length === SILENCE) return 0;
    if (length !== ELSEWHERE) return length;
    if (this.onQuery === null) return resolver.fail(bytes, out, 0);
    resolver.counters.forwarded++;
    this.onQuery({
      id: -1 - (index + serial * STREAMS),
      network: network.id,
      port,
      message: bytes.slice(at, end),
      limit: out.length,
      overTcp: true,
    });
    return -1;
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    return this.#streams.deadline;
  }

  expire(now: number): void {
    this.#streams.expire(now);
  }

  /** Keeps who asked, and passes the question on. This makes an object, and so does all that follows from it. */
  #forward(
    frame: Frame,
    from: number,
    end: number,
    network: Network,
    limit: number,
    onQuery: (query: ForwardedQuery) => void,
  ): Verdict {
    const port = frame.ingress;
    const { counters, query } = this.#resolver;
    const own = this.#pending[port] ?? 0;
    const mayAsk = own < PENDING_PER_PORT && (this.#freeCount > 0 || this.#makeRoom(own));
    if (!mayAsk) {
      counters.busy++;
      return drop(DropReason.DNS_BUSY);
    }
    counters.forwarded++;
    this.#pending[port] = own + 1;
    const row = this.#free[--this.#freeCount];
    const rows = this.#rows;
    const at = row * STRIDE;
    this.#peer.save(rows, at);
    rows[at + NETWORK] = network.id;
    rows[at + PORT] = port;
    rows[at + SERIAL] = (rows[at + SERIAL] + 1) & SERIAL_MASK;
    onQuery({
      id: row + rows[at + SERIAL] * PENDING,
      network: network.id,
      port,
      message: frame.bytes.slice(from, end),
      limit: Math.min(limit, query.udpSize),
      overTcp: false,
    });
    return CONSUME;
  }

  /**
   * Sends the answer to a question that was passed on; an empty one says nothing. Does nothing when the asker has gone, and for an
   * answer that is longer than the question's limit.
   */
  answer(id: number, message: Uint8Array, now: number): void {
    if (id < 0) {
      const index = (-1 - id) % STREAMS;
      this.#streams.answer(index, (-1 - id - index) / STREAMS, message, now);
      return;
    }
    const row = id % PENDING;
    const rows = this.#rows;
    const at = row * STRIDE;
    if (rows[at + PORT] === NOBODY || rows[at + SERIAL] !== (id - row) / PENDING) return;
    const network = this.#networks[rows[at + NETWORK]];
    this.#peer.load(rows, at);
    this.#forget(row);
    if (network === undefined || message.length === 0 || message.length > DNS_UDP_MAX) return;
    const headers = this.#peer.headers + UDP_LEN;
    const frame = this.#originator.allocate(headers + message.length);
    if (frame === undefined) return;
    copy(message, 0, frame.bytes, frame.at + headers, message.length);
    this.#peer.sendUdp(this.#originator, frame, message.length, network, now);
  }

  /** Nobody at the port waits for answers any more. */
  removePort(port: PortId): void {
    this.#resolver.forgetPort(port);
    this.#streams.removePort(port);
    for (let row = 0; row < PENDING; row++) if (this.#rows[row * STRIDE + PORT] === port) this.#forget(row);
  }

  /**
   * All rows are taken: a question of the port that has most of them is given up for one who has so many, as if its answer
   * had been lost. False when nobody has two more.
   */
  #makeRoom(own: number): boolean {
    let victim = -1;
    let most = own + 1;
    for (let row = 0; row < PENDING; row++) {
      const count = this.#pending[this.#rows[row * STRIDE + PORT]]!;
      if (count <= most) continue;
      most = count;
      victim = row;
    }
    if (victim < 0) return false;
    this.#resolver.counters.busy++;
    this.#forget(victim);
    return true;
  }

  #forget(row: number): void {
    const at = row * STRIDE + PORT;
    this.#pending[this.#rows[at]]!--;
    this.#rows[at] = NOBODY;
    this.#free[this.#freeCount++] = row;
  }
}
