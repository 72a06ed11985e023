import { get16 } from '../wire/bytes.ts';
import { type Carrier, carryList } from '../wire/carrier.ts';
import { type HashKey, hashN } from '../wire/hash.ts';
import { parse } from '../wire/parse.ts';
import { PROTO_TCP } from '../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_LEN,
  TCP_OPT_MSS_LEN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpFlags,
  tcpMss,
  tcpSequence,
  tcpWindow,
  writeTcp,
  writeTcpMss,
} from '../wire/tcp.ts';
import { fillTransportChecksum } from '../wire/transport.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame, PortId } from './frame.ts';
import { INPUT, NameStream, StreamState } from './name-stream.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { PEER_WORDS, Peer } from './peer.ts';
import { sendTcpReset } from './tcp-reset.ts';
import { CONSUME, drop, type Verdict } from './verdict.ts';

/** Connections at a time, in all and of one port. Who opens more loses his own oldest; who has none has somebody's. */
export const STREAMS = 1024;
const STREAMS_PER_PORT = 64;
/** Bytes of answers that may wait before the next question is read. */
const BACKLOG = 16 * 1024;
/** The largest message over TCP: its length has two bytes (RFC 1035 §4.2.2). */
const MESSAGE = 65_535;
/** Milliseconds from one whole question or answer to the next, after which a connection ends (RFC 7766 §6.2.3: "a few seconds"). */
const IDLE = 10_000;
/** Milliseconds that the other side has to close, too. */
const LINGER = 2000;
/** Milliseconds until something is sent again for the first time, and how often it is. */
const RETRANSMIT = 200;
const RETRIES = 5;
/** What a sender may assume who was told nothing (RFC 9293 §3.7.1). */
const DEFAULT_MSS = 536;
/**
 * The least size of segments, Linux's `tcp_min_snd_mss`, and how many are under way at most: else a question of a few bytes, from a sender
 * who takes segments of one, would be answered with thousands of frames at once (CVE-2019-11479).
 */
const LEAST_MSS = 48;
const MOST_SEGMENTS = 64;
const BUCKETS = 2048;

/** What stands behind the connections. */
export interface StreamService {
  /**
   * Answers a question in `out`: the length of the answer, 0 for a message that deserves none, or -1 when `answer` of the streams will be
   * told later.
   */
  ask(
    bytes: Uint8Array,
    at: number,
    end: number,
    network: Network,
    stream: StreamId,
    out: Uint8Array,
  ): number;
}

/** A connection in use, as `answer` takes it; and by which port it came. */
export interface StreamId {
  readonly index: number;
  readonly serial: number;
  readonly port: PortId;
}

/**
 * DNS over TCP on port 53 of the gateways (RFC 7766): a TCP that does as much as questions and answers take. Data is taken in order only,
 * answers are sent as far as the other side's window goes and again from the beginning when nothing is acknowledged; there are no options
 * but the segment size. So it lives in the switch, costs the host no descriptor, and is there in decks without any uplink.
 *
 * A connection has a place among few, a window of 2 KiB and ten seconds for each message: who holds a thousand of them open, or stops in
 * the middle of a question, costs nobody else anything (CVE-2024-8418), and who goes is forgotten at once (CVE-2026-35406).
 */
export class NameStreams {
  readonly #originator: Originator;
  readonly #networks: readonly (Network | undefined)[];
  readonly #service: StreamService;
  readonly #key0: number;
  readonly #key1: number;
  readonly #streams: NameStream[] = [];
  readonly #free: number[] = [];
  /** In use, the one that has been silent for longest first. */
  readonly #live = new Set<NameStream>();
  readonly #buckets = new Int32Array(BUCKETS).fill(-1);
  /** Who is at the other end, by index. */
  readonly #peers = new Int32Array(STREAMS * PEER_WORDS);
  readonly #byPort: number[] = [];
  readonly #peer = new Peer();
  readonly #words = new Int32Array(PEER_WORDS + 1);
  readonly #answer = new Uint8Array(MESSAGE);
  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(
    originator: Originator,
    networks: readonly (Network | undefined)[],
    service: StreamService,
    key: HashKey,
  ) {
    this.#originator = originator;
    this.#networks = networks;
    this.#service = service;
    this.#key0 = key[0];
    this.#key1 = key[1];
  }

  carry(carrier: Carrier): void {
    const streams = carrier.number(this.#streams.length);
    for (let i = 0; i < streams; i++) {
      this.#streams[i] ??= new NameStream(i);
      this.#streams[i].carry(carrier);
    }
    carryList(carrier, this.#free);
    const live = carrier.plain(Array.from(this.#live, ({ index }) => index));
    this.#live.clear();
    for (const index of live) this.#live.add(this.#streams[index]);
    carrier.column(this.#buckets);
    carrier.column(this.#peers);
    carryList(carrier, this.#byPort);
    this.deadline = carrier.number(this.deadline);
  }

  get size(): number {
    return this.#live.size;
  }

  /** A parsed TCP segment to port 53 of a gateway, its checksum right, which came in by `network`. */
  input(frame: Frame, network: Network, now: number): Verdict {
    const flags = tcpFlags(frame.bytes, frame.l4);
    this.#peer.read(frame);
    const stream = this.#find(frame.ingress);
    if (stream === null) {
      if ((flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) === TCP_SYN)
        return this.#open(frame, network, now);
      sendTcpReset(this.#originator, frame, network, now);
      return drop(DropReason.NO_SOCKET);
    }
    this.#segment(stream, frame, flags, now);
    return CONSUME;
  }

  /** The answer to a question for which `ask` had none yet; an empty one ends the connection. */
  answer(index: number, serial: number, message: Uint8Array, now: number): void {
    const stream = this.#streams[index];
    if (
      stream === undefined ||
      stream.state === StreamState.FREE ||
      stream.serial !== serial ||
      !stream.waiting
    )
      return;
    stream.waiting = false;
    this.#load(stream);
    if (message.length === 0) {
      this.#abort(stream, now);
      return;
    }
    stream.append(message, message.length);
    this.#read(stream, now);
    this.#transmit(stream, now);
    this.#settle(stream, now);
  }

  /** Forgets the connections of a port that is going. */
  removePort(port: PortId): void {
    for (const stream of this.#live) if (stream.port === port) this.#forget(stream);
  }

  /** Sends again what was not acknowledged, and ends what is over. */
  expire(now: number): void {
    if (now < this.deadline) return;
    this.deadline = Number.POSITIVE_INFINITY;
    for (const stream of this.#live) {
      this.#load(stream);
      if (now >= stream.end) this.#timeUp(stream, now);
      else if (now >= stream.resend) this.#sendAgain(stream, now);
      if (stream.state !== StreamState.FREE) this.#due(stream);
    }
  }

  // ---- connections ----

  #find(port: PortId): NameStream | null {
    const peers = this.#peers;
    const words = this.#words;
    for (let i = this.#buckets[this.#bucket(port)]; i >= 0; i = this.#streams[i].next) {
      const at = i * PEER_WORDS;
      if (this.#streams[i].port !== port || (peers[at] & 1) !== (words[0] & 1)) continue;
      let same = true;
      for (let word = 2; word < PEER_WORDS; word++) if (peers[at + word] !== words[word]) same = false;
      if (same) return this.#streams[i];
    }
    return null;
  }

  /** The bucket of who is in `#peer`, whom it writes to `#words`. The MAC says nothing: it may change. */
  #bucket(port: PortId): number {
    const words = this.#words;
    this.#peer.save(words, 0);
    words[PEER_WORDS] = port;
    return hashN(this.#key0, this.#key1, words, 2, PEER_WORDS - 1) & (BUCKETS - 1);
  }

  #open(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l4, ingress } = frame;
    const stream = this.#take(ingress, now);
    // The one that went may have been somebody else's.
    this.#peer.read(frame);
    const bucket = this.#bucket(ingress);
    this.#peer.save(this.#peers, stream.index * PEER_WORDS);
    stream.next = this.#buckets[bucket];
    this.#buckets[bucket] = stream.index;
    stream.state = StreamState.SYN_RECEIVED;
    stream.serial = (stream.serial + 1) & 0xfffff;
    stream.port = ingress;
    stream.network = network.id;
    stream.rcvNxt = (tcpSequence(bytes, l4) + 1) | 0;
    stream.sndUna = this.#initialSequence(now);
    stream.window = tcpWindow(bytes, l4);
    stream.mss = Math.min(Math.max(tcpMss(bytes, l4) || DEFAULT_MSS, LEAST_MSS), this.#room(network));
    stream.inputLength = 0;
    stream.outputLength = 0;
    stream.sent = 0;
    stream.most = 0;
    stream.retries = 0;
    stream.waiting = false;
    stream.finReceived = false;
    stream.finWanted = false;
    stream.finSent = false;
    stream.finAcknowledged = false;
    stream.end = now + IDLE;
    this.#live.add(stream);
    this.#byPort[ingress] = (this.#byPort[ingress] ?? 0) + 1;
    this.#synchronize(stream, now);
    this.#due(stream);
    return CONSUME;
  }

  /**
   * A free place. Of a port that has as many as it may, and when all are taken, that of its own which has been silent for
   * longest; of a port that has none, anybody's.
   */
  #take(port: PortId, now: number): NameStream {
    const isFull = this.#free.length === 0 && this.#streams.length === STREAMS;
    if (isFull || (this.#byPort[port] ?? 0) >= STREAMS_PER_PORT) {
      const stream = this.#mostSilent(port)!;
      this.#load(stream);
      this.#abort(stream, now);
    }
    const index = this.#free.pop();
    if (index !== undefined) return this.#streams[index];
    const stream = new NameStream(this.#streams.length);
    this.#streams.push(stream);
    return stream;
  }

  #mostSilent(port: PortId): NameStream | undefined {
    for (const stream of this.#live) if (stream.port === port) return stream;
    return this.#live.values().next().value;
  }

  /** RFC 6528: of a hash, for a secret twice with what nobody sees in between, and the time. */
  #initialSequence(now: number): number {
    const words = this.#words;
    const inner = hashN(this.#key1, this.#key0, words, 2, PEER_WORDS - 1);
    const outer = hashN(this.#key1 ^ inner, (this.#key0 + inner) | 0, words, 2, PEER_WORDS - 1);
    return (Math.floor(now * 250) + outer) | 0;
  }

  /** Bytes of a segment that the network's link has room for. */
  #room(network: Network): number {
    return network.mtu - (this.#peer.isIpv4 ? 20 : 40) - TCP_LEN;
  }

  #forget(stream: NameStream): void {
    this.#load(stream);
    const bucket = this.#bucket(stream.port);
    if (this.#buckets[bucket] === stream.index) this.#buckets[bucket] = stream.next;
    else {
      let before = this.#streams[this.#buckets[bucket]];
      while (before.next !== stream.index) before = this.#streams[before.next];
      before.next = stream.next;
    }
    stream.state = StreamState.FREE;
    this.#live.delete(stream);
    this.#byPort[stream.port]!--;
    // What a long answer took is given back.
    if (stream.output.length > INPUT) stream.output = new Uint8Array(INPUT);
    this.#free.push(stream.index);
  }

  /** Who is at the other end of a stream: for all that is sent. */
  #load(stream: NameStream): void {
    this.#peer.load(this.#peers, stream.index * PEER_WORDS);
  }

  // ---- segments ----

  #segment(stream: NameStream, frame: Frame, flags: number, now: number): void {
    const { bytes, l4, payload, end } = frame;
    const sequence = tcpSequence(bytes, l4);
    if ((flags & TCP_RST) !== 0) {
      // RFC 5961 §3.2: only exactly at the window's beginning; anywhere else in it, it may be a stranger's.
      if (sequence === stream.rcvNxt) this.#forget(stream);
      else if (this.#isInWindow(stream, sequence)) this.#acknowledge(stream, now);
      return;
    }
    if ((flags & TCP_SYN) !== 0) {
      // Ours was lost; or a stranger's (RFC 5961 §4.2).
      if (stream.state === StreamState.SYN_RECEIVED && ((sequence + 1) | 0) === stream.rcvNxt)
        this.#synchronize(stream, now);
      else this.#acknowledge(stream, now);
      return;
    }
    if ((flags & TCP_ACK) === 0 || !this.#acknowledged(stream, frame, now)) return;
    let length = end - payload;
    const skip = (stream.rcvNxt - sequence) | 0;
    const isNext = skip >= 0 && skip <= length;
    // RFC 9293 §3.10.7.4: what takes room is acknowledged, and what is out of place is told where its place is.
    const isToAcknowledge = length > 0 || (flags & TCP_FIN) !== 0 || skip !== 0;
    if (isNext && !stream.finReceived) {
      length = Math.min(length - skip, INPUT - stream.inputLength);
      for (let i = 0; i < length; i++) stream.input[stream.inputLength + i] = bytes[payload + skip + i];
      stream.inputLength += length;
      stream.rcvNxt = (stream.rcvNxt + length) | 0;
      if ((flags & TCP_FIN) !== 0 && payload + skip + length === end) {
        stream.rcvNxt = (stream.rcvNxt + 1) | 0;
        stream.finReceived = true;
      }
    }
    // Also without anything new: what was acknowledged has made room for further answers.
    this.#read(stream, now);
    if (stream.state === StreamState.FREE) return;
    if (!this.#transmit(stream, now) && isToAcknowledge) this.#acknowledge(stream, now);
    this.#settle(stream, now);
  }

  #isInWindow(stream: NameStream, sequence: number): boolean {
    const offset = (sequence - stream.rcvNxt) | 0;
    return offset >= 0 && offset < INPUT;
  }

  /** Takes the acknowledgment and window of a segment; false when the segment is to be ignored. */
  #acknowledged(stream: NameStream, frame: Frame, now: number): boolean {
    const { bytes, l4 } = frame;
    const count = (tcpAcknowledgment(bytes, l4) - stream.sndUna) | 0;
    if (stream.state === StreamState.SYN_RECEIVED) {
      if (count !== 1) {
        // RFC 9293 §3.10.7.4: of something else, before anything was agreed on.
        const network = this.#networks[stream.network];
        if (network !== undefined) sendTcpReset(this.#originator, frame, network, now);
        return false;
      }
      stream.state = StreamState.ESTABLISHED;
      stream.sndUna = (stream.sndUna + 1) | 0;
      stream.retries = 0;
      stream.resend = Number.POSITIVE_INFINITY;
    } else {
      if (count > stream.most) {
        this.#acknowledge(stream, now);
        return false;
      }
      if (count > 0) this.#advance(stream, count, now);
    }
    stream.window = tcpWindow(bytes, l4);
    return true;
  }

  #advance(stream: NameStream, count: number, now: number): void {
    stream.acknowledge(count);
    stream.retries = 0;
    stream.resend = stream.isUnacknowledged ? now + RETRANSMIT : Number.POSITIVE_INFINITY;
    if (stream.outputLength === 0 && !stream.finWanted) this.#active(stream, now);
  }

  /** A whole message has come or gone. */
  #active(stream: NameStream, now: number): void {
    stream.end = now + IDLE;
    this.#live.delete(stream);
    this.#live.add(stream);
  }

  /** Answers the whole questions that have come, one after the other. */
  #read(stream: NameStream, now: number): void {
    let at = 0;
    // Behind our last there is no place for an answer: who has asked meanwhile asks again elsewhere (RFC 7766 §6.2.4).
    const mayAnswer = !stream.finWanted;
    while (mayAnswer && !stream.waiting && stream.outputLength < BACKLOG && stream.inputLength - at >= 2) {
      const length = get16(stream.input, at);
      const end = at + 2 + length;
      if (length > INPUT - 2) {
        // No question is so long.
        this.#abort(stream, now);
        return;
      }
      if (end > stream.inputLength) break;
      this.#active(stream, now);
      const network = this.#networks[stream.network]!;
      const answer = this.#service.ask(stream.input, at + 2, end, network, stream, this.#answer);
      at = end;
      if (answer > 0) stream.append(this.#answer, answer);
      else if (answer === 0) {
        this.#abort(stream, now);
        return;
      } else stream.waiting = true;
    }
    stream.input.copyWithin(0, at, stream.inputLength);
    stream.inputLength -= at;
    // What is left will never be whole: the other side has sent its last.
    const isOver = stream.finReceived && !stream.waiting && stream.outputLength < BACKLOG;
    if (isOver) this.#finish(stream, now);
  }

  #finish(stream: NameStream, now: number): void {
    if (stream.finWanted) return;
    stream.finWanted = true;
    stream.end = now + LINGER;
  }

  /** Forgets a connection that both sides have closed, or sees to it that what is due is done. */
  #settle(stream: NameStream, now: number): void {
    if (stream.state === StreamState.FREE) return;
    // Nobody waits for what might still be under way (RFC 9293 §3.6.1): nothing is, on a link inside one machine.
    if (stream.finReceived && stream.finAcknowledged) this.#forget(stream);
    else {
      if (stream.resend === Number.POSITIVE_INFINITY && stream.isUnacknowledged)
        stream.resend = now + RETRANSMIT;
      this.#due(stream);
    }
  }

  #due({ resend, end }: NameStream): void {
    this.deadline = Math.min(this.deadline, resend, end);
  }

  // ---- time ----

  #timeUp(stream: NameStream, now: number): void {
    // Others have their own time, which is bounded.
    if (stream.waiting) {
      stream.end = now + IDLE;
      return;
    }
    if (stream.state === StreamState.SYN_RECEIVED || stream.finWanted || stream.outputLength > 0) {
      this.#abort(stream, now);
      return;
    }
    this.#finish(stream, now);
    this.#transmit(stream, now);
    this.#settle(stream, now);
  }

  #sendAgain(stream: NameStream, now: number): void {
    if (stream.retries++ >= RETRIES) {
      this.#abort(stream, now);
      return;
    }
    stream.resend = now + (RETRANSMIT << stream.retries);
    if (stream.state === StreamState.SYN_RECEIVED) {
      this.#emit(stream, TCP_SYN | TCP_ACK, 0, 0, now);
      return;
    }
    stream.sent = 0;
    stream.finSent = false;
    // RFC 9293 §3.8.6.1: a byte beyond a window of 0 finds out whether it still is.
    if (stream.window === 0) stream.window = 1;
    this.#transmit(stream, now);
  }

  // ---- what is sent ----

  #synchronize(stream: NameStream, now: number): void {
    stream.resend = now + RETRANSMIT;
    this.#emit(stream, TCP_SYN | TCP_ACK, 0, 0, now);
  }

  #acknowledge(stream: NameStream, now: number): void {
    this.#emit(stream, TCP_ACK, stream.sent + (stream.finSent ? 1 : 0), 0, now);
  }

  #abort(stream: NameStream, now: number): void {
    this.#emit(stream, TCP_RST | TCP_ACK, stream.sent + (stream.finSent ? 1 : 0), 0, now);
    this.#forget(stream);
  }

  /** Sends what the window lets through; whether it sent anything. */
  #transmit(stream: NameStream, now: number): boolean {
    if (stream.state !== StreamState.ESTABLISHED) return false;
    let isSent = false;
    const most = Math.min(stream.outputLength, stream.window, MOST_SEGMENTS * stream.mss);
    while (stream.sent < most) {
      const length = Math.min(stream.mss, most - stream.sent);
      if (!this.#emit(stream, TCP_ACK | TCP_PSH, stream.sent, length, now)) break;
      stream.sent += length;
      stream.most = Math.max(stream.most, stream.sent);
      isSent = true;
    }
    if (stream.finWanted && !stream.finSent && stream.sent === stream.outputLength) {
      if (this.#emit(stream, TCP_FIN | TCP_ACK, stream.sent, 0, now)) {
        stream.finSent = true;
        stream.most = stream.sent + 1;
        isSent = true;
      }
    }
    return isSent;
  }

  /** Sends a segment with `length` bytes of the output from `offset` on, to who is in `#peer`. */
  #emit(stream: NameStream, flags: number, offset: number, length: number, now: number): boolean {
    const network = this.#networks[stream.network];
    if (network === undefined) return false;
    const peer = this.#peer;
    const header = (flags & TCP_SYN) !== 0 ? TCP_LEN + TCP_OPT_MSS_LEN : TCP_LEN;
    const frame = this.#originator.allocate(peer.headers + header + length);
    if (frame === undefined) return false;
    const { bytes } = frame;
    const tcp = peer.writeHeaders(frame, network, PROTO_TCP, header + length);
    const sequence = (stream.sndUna + offset) | 0;
    const window = INPUT - stream.inputLength;
    const { localPort, remotePort } = peer;
    const data = writeTcp(bytes, tcp, localPort, remotePort, sequence, stream.rcvNxt, flags, window, header);
    if (header > TCP_LEN) writeTcpMss(bytes, data, this.#room(network));
    for (let i = 0; i < length; i++) bytes[tcp + header + i] = stream.output[offset + i];
    parse(frame);
    fillTransportChecksum(frame);
    this.#originator.send(frame, network, now);
    return true;
  }
}
