import { HOLD } from '../../switch/verdict.ts';
import { isGroup, type Mac } from '../../wire/address.ts';
import { ARP_REPLY, ARP_REQUEST, arpOper, arpShaHi, arpShaLo, arpSpa, arpTpa } from '../../wire/arp.ts';
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
} from '../../wire/ethernet.ts';
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, icmpCode, icmpType, isIcmpError } from '../../wire/icmp.ts';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  isIcmpv6Error,
} from '../../wire/icmpv6.ts';
import { ipv4Dst, ipv4Src } from '../../wire/ipv4.ts';
import { ipv6Dst, ipv6Src } from '../../wire/ipv6.ts';
import { ndTarget } from '../../wire/nd.ts';
import type { Packet } from '../../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  tcpDstPort,
  tcpFlags,
  tcpSequence,
  tcpSrcPort,
} from '../../wire/tcp.ts';
import { udpDstPort, udpSrcPort } from '../../wire/udp.ts';
import type { CollectedStory } from '../trace/story-collector.ts';
import type { SavedDataplane } from './fork.ts';
import { datagram, type Ends, echo, neighborAnswer, neighborQuestion, parsed, segment } from './packets.ts';
import type { SentFrame } from './probe-device.ts';
import type { Address, DeckReply, Failure, Outcome, Question, Station, Step, StepKind } from './question.ts';
import { Trial } from './trial.ts';

/** Milliseconds for which a frame may wait in the deck: a neighbor is given up after three. */
const PATIENCE = 10_000;

/** Initial sequence numbers: by them segments are known again on the other side. */
const CLIENT = 0x1a2b_3c4d;
const SERVER = 0x5d6e_7f80;
const DATA = Uint8Array.from('tapdeck why', (letter) => letter.charCodeAt(0));
const NOTHING = new Uint8Array(0);
/** A question for the name server of a gateway: the root's own servers. */
const DNS_QUESTION = Uint8Array.of(0x77, 0x68, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1);
const DNS_PORT = 53;

type MutableStep = { -readonly [K in keyof Step]: Step[K] };

/** A packet as it came to somebody. */
interface Arrival {
  station: number;
  packet: Packet;
}

/** What is looked for among the frames that the deck sends. */
interface Awaited {
  sender: number;
  source: Address;
  isSought: (packet: Packet) => boolean;
  arrival: Arrival | null;
  /** Where it came though it was not meant for there. */
  astray: number;
  reply: DeckReply | null;
}

/** Raised inside a conversation that has come to its end. */
class Ended extends Error {
  readonly failure: Failure;
  readonly at: number;

  constructor(failure: Failure, at: number) {
    super(failure);
    this.failure = failure;
    this.at = at;
  }
}

/**
 * What would become of a question, tried on a copy of the data plane: both ends act as the kernels of hosts do, the deck between
 * them is the code that forwards, on tables that are as they are. The data plane itself is only read.
 */
export function ask(saved: SavedDataplane, question: Question): Outcome {
  return new Conversation(saved, question).run();
}

class Conversation {
  readonly #trial: Trial;
  readonly #question: Question;
  readonly #stations: readonly Station[];
  readonly #steps: MutableStep[] = [];
  /** What is on its way, and its packet id: it may go on because of something else that is sent. */
  #current: { step: MutableStep; packet: number } | null = null;
  /** What stations have learned: the MAC of an address, by station. */
  readonly #macs = new Map<string, Mac>();
  #awaited: Awaited | null = null;
  #now: number;
  #assumed = false;

  constructor(saved: SavedDataplane, question: Question) {
    this.#trial = new Trial(saved);
    this.#question = question;
    this.#stations = question.stations;
    this.#now = saved.now;
  }

  run(): Outcome {
    let failure: Failure | null = null;
    let at: number;
    try {
      const { protocol } = this.#question;
      at = protocol === 'tcp' ? this.#connect() : this.#exchange();
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
      ({ failure, at } = error);
    }
    return { steps: this.#steps, failure, at, assumed: this.#assumed };
  }

  // ---- what is said ----

  /** SYN, SYN+ACK, ACK with data, data: each has to arrive. Answers the station that answers. */
  #connect(): number {
    const { source, destination, port } = this.#question;
    const from = this.#freePort();
    const say = (kind: StepKind, flags: number, sequence: number, acknowledgment: number, data: Uint8Array) =>
      this.#say(
        kind,
        this.#question.from,
        source,
        destination,
        (ends) => segment(ends, from, port, { flags, sequence, acknowledgment, data }),
        (packet) => isSegment(packet, sequence, flags),
      );
    const request = say('request', TCP_SYN, CLIENT, 0, NOTHING);
    if (request === null) return this.#question.from;
    const answer = (kind: StepKind, to: Arrival, flags: number, sequence: number, data: Uint8Array) =>
      this.#answer(
        kind,
        to,
        (ends, [here, there]) =>
          segment(ends, here, there, {
            flags,
            sequence,
            acknowledgment: CLIENT + 1 + (kind === 'data' ? DATA.length : 0),
            data,
          }),
        (packet) => isSegment(packet, sequence, flags) && tcpSrcPort(packet.bytes, packet.l4) === port,
      );
    answer('answer', request, TCP_SYN | TCP_ACK, SERVER, NOTHING);
    const data = say('acknowledgment', TCP_ACK | TCP_PSH, CLIENT + 1, SERVER + 1, DATA);
    if (data === null) throw new Ended('lost', this.#question.from);
    answer('data', data, TCP_ACK | TCP_PSH, SERVER + 1, DATA);
    return request.station;
  }

  /** A datagram or an echo request, and what answers it. */
  #exchange(): number {
    const { protocol, source, destination, port } = this.#question;
    const identifier = this.#freePort();
    const data = protocol === 'udp' && port === DNS_PORT ? DNS_QUESTION : DATA;
    const request = this.#say(
      'request',
      this.#question.from,
      source,
      destination,
      (ends) =>
        protocol === 'udp' ? datagram(ends, identifier, port, data) : echo(ends, false, identifier, data),
      (packet) => isMessage(packet, data) && !isEchoReply(packet),
    );
    if (request === null) return this.#question.from;
    this.#answer(
      'answer',
      request,
      (ends, [here, there]) =>
        protocol === 'udp' ? datagram(ends, here, there, data) : echo(ends, true, here, data),
      (packet) =>
        isMessage(packet, data) &&
        !isEchoRequest(packet) &&
        portsOf(packet)[0] === (protocol === 'udp' ? port : identifier),
    );
    return request.station;
  }

  /** An answer to what has arrived, from the address to which it came. */
  #answer(
    kind: StepKind,
    { station, packet }: Arrival,
    build: (ends: Ends, ports: readonly [number, number]) => Uint8Array,
    isSought: (packet: Packet) => boolean,
  ): void {
    const { source, destination } = this.#question;
    const [theirs, ours] = portsOf(packet);
    const arrival = this.#say(
      kind,
      station,
      destinationOf(packet),
      sourceOf(packet),
      (ends) => build(ends, [ours, theirs]),
      isSought,
    );
    if (arrival === null) throw new Ended('lost', station);
    const isExpected =
      isSame(sourceOf(arrival.packet), destination) && isSame(destinationOf(arrival.packet), source);
    if (!isExpected) throw new Ended('astray', arrival.station);
  }

  /**
   * Sends something; answers to whom it comes, or null when the deck itself has answered it. Anything else ends the
   * conversation.
   */
  #say(
    kind: StepKind,
    from: number,
    source: Address,
    destination: Address,
    build: (ends: Ends) => Uint8Array,
    isSought: (packet: Packet) => boolean,
  ): Arrival | null {
    const way = this.#way(from, destination);
    if (way === null) throw new Ended('no-route', from);
    const [index, hop] = way;
    const station = this.#stations[index]!;
    const mac = this.#resolve(index, source, hop);
    const known =
      mac ?? this.#stations.find((other) => other.ip !== null && isSame(other.ip.address, hop))?.mac;
    if (known === undefined) throw new Ended('no-neighbor', index);
    const awaited: Awaited = { sender: index, source, isSought, arrival: null, astray: -1, reply: null };
    this.#awaited = awaited;
    const ends = { srcMac: station.mac, dstMac: known, src: source, dst: destination };
    const step = this.#send(kind, index, build(ends));
    if (step.verdict === HOLD) this.#wait(step, awaited);
    this.#awaited = null;
    step.arrived = awaited.arrival?.station ?? -1;
    step.reply = awaited.reply;
    if (mac === null) {
      // Nobody would have sent it: it only shows why the question was not heard.
      throw new Ended(step.drops.length > 0 ? 'dropped' : 'no-neighbor', index);
    }
    if (awaited.arrival !== null) {
      if (this.#stations[awaited.arrival.station]!.outside !== null && kind === 'request')
        this.#assumed = true;
      return awaited.arrival;
    }
    if (awaited.reply?.kind === 'answer') return null;
    if (awaited.reply !== null) throw new Ended('refused', index);
    if (step.drops.length > 0) throw new Ended('dropped', index);
    throw awaited.astray >= 0 ? new Ended('astray', awaited.astray) : new Ended('lost', index);
  }

  /** By which station a host sends to an address, and who is next there. */
  #way(from: number, destination: Address): [station: number, hop: Address] | null {
    const { bound } = this.#question;
    const { host } = this.#stations[from]!;
    const mine = Array.from(this.#stations.entries()).filter(([index, one]) =>
      bound && from === this.#question.from ? index === from : one.host === host,
    );
    let onLink = -1;
    let longest = -1;
    for (const [index, { ip }] of mine) {
      if (ip === null || ip.prefix <= longest || !isIn(destination, ip.address, ip.prefix)) continue;
      onLink = index;
      longest = ip.prefix;
    }
    if (onLink >= 0) return [onLink, destination];
    for (const [index, { ip, outside }] of mine) {
      const hop = outside ? outside.deck.find((one) => one.length === destination.length) : ip?.gateway;
      if (hop) return [index, hop];
    }
    return null;
  }

  /** The MAC of a neighbor, asked for if it is not known; null when nobody answers. */
  #resolve(index: number, source: Address, target: Address): Mac | null {
    const key = neighborKey(index, target);
    if (!this.#macs.has(key)) {
      const { mac, ip, outside } = this.#stations[index]!;
      // A router asks by its own address for whomever it forwards.
      const asker = outside !== null && ip !== null ? ip.address : source;
      const step = this.#send('neighbor-question', index, neighborQuestion(mac, asker, target));
      step.target = target;
      step.answered = this.#macs.has(key);
    }
    return this.#macs.get(key) ?? null;
  }

  // ---- the deck between them ----

  /** A station sends a frame; all others hear what comes of it at once. */
  #send(kind: StepKind, from: number, frame: Uint8Array): MutableStep {
    const { stories, ...result } = this.#trial.receive(this.#stations[from]!.port, frame, this.#now);
    const step: MutableStep = {
      kind,
      from,
      frame,
      ...result,
      stories: [],
      arrived: -1,
      reply: null,
      target: null,
      answered: false,
      waited: 0,
    };
    this.#steps.push(step);
    const [first] = stories;
    if (!kind.startsWith('neighbor') && first !== undefined) this.#current = { step, packet: first.packet };
    this.#tell(step, stories);
    this.#hear(step.sent);
    return step;
  }

  /** Lets time pass until what was held has gone its way. */
  #wait(step: MutableStep, awaited: Awaited): void {
    const began = this.#now;
    while (awaited.arrival === null && awaited.reply === null) {
      const due = this.#trial.deck.deadline();
      if (due > began + PATIENCE) break;
      this.#now = Math.max(this.#now, due);
      const { stories, sent, drops } = this.#trial.expire(this.#now);
      step.sent = [...step.sent, ...sent];
      step.drops = [...step.drops, ...drops];
      this.#tell(step, stories);
      this.#hear(sent);
    }
    step.waited = this.#now - began;
  }

  /** What was observed belongs to `step`, or to what is on its way. */
  #tell(step: MutableStep, stories: readonly CollectedStory[]): void {
    for (const { packet, rows } of stories) {
      const owner = this.#current?.packet === packet ? this.#current.step : step;
      owner.stories = [...owner.stories, rows];
    }
  }

  #hear(sent: readonly SentFrame[]): void {
    for (const { port, frame } of sent) {
      const packet = parsed(frame);
      if (packet === null) continue;
      const { bytes, at } = packet;
      for (const [index, station] of this.#stations.entries()) {
        if (station.port !== port) continue;
        const isHeard =
          isGroup(ethDstHi(bytes, at)) ||
          station.outside !== null ||
          (ethDstHi(bytes, at) === station.mac.hi && ethDstLo(bytes, at) === station.mac.lo);
        if (isHeard) this.#take(index, packet);
      }
    }
  }

  #take(index: number, packet: Packet): void {
    const { bytes, at, l3, l4, etherType, protocol } = packet;
    const sender = { hi: ethSrcHi(bytes, at), lo: ethSrcLo(bytes, at) };
    if (etherType === ETHERTYPE_ARP) {
      const spa = [arpSpa(bytes, l3)];
      if (arpOper(bytes, l3) === ARP_REQUEST) this.#answerNeighbor(index, [arpTpa(bytes, l3)], spa, sender);
      else if (arpOper(bytes, l3) === ARP_REPLY) {
        this.#macs.set(neighborKey(index, spa), { hi: arpShaHi(bytes, l3), lo: arpShaLo(bytes, l3) });
      }
      return;
    }
    if (etherType !== ETHERTYPE_IPV4 && etherType !== ETHERTYPE_IPV6) return;
    if (protocol === PROTO_ICMPV6 && l4 !== 0) {
      const type = bytes[l4]!;
      if (type === ICMPV6_NEIGHBOR_SOLICITATION || type === ICMPV6_NEIGHBOR_ADVERTISEMENT) {
        const target = [0, 1, 2, 3].map((word) => ndTarget(bytes, l4, word));
        if (type === ICMPV6_NEIGHBOR_SOLICITATION)
          this.#answerNeighbor(index, target, sourceOf(packet), sender);
        else this.#macs.set(neighborKey(index, target), sender);
        return;
      }
    }
    const awaited = this.#awaited;
    if (awaited === null || l4 === 0 || isGroup(ethDstHi(bytes, at))) return;
    const to = destinationOf(packet);
    if (awaited.isSought(packet)) {
      if (this.#owns(index, to)) awaited.arrival ??= { station: index, packet };
      else awaited.astray = index;
    } else if (index === awaited.sender && isSame(to, awaited.source)) {
      awaited.reply ??= this.#replyOf(packet);
    }
  }

  /** Answers who asks for an address of the station's host. */
  #answerNeighbor(index: number, target: Address, asker: Address, mac: Mac): void {
    const station = this.#stations[index]!;
    if (!this.#owns(index, target)) return;
    if (station.outside !== null) this.#assumed = true;
    const ends = { srcMac: station.mac, dstMac: mac, src: target, dst: asker };
    this.#send('neighbor-answer', index, neighborAnswer(ends));
  }

  #owns(index: number, address: Address): boolean {
    const { host, outside } = this.#stations[index]!;
    if (outside !== null) return !outside.deck.some((one) => isSame(one, address));
    return this.#stations.some(
      (one) => one.host === host && one.ip !== null && isSame(one.ip.address, address),
    );
  }

  /** What the deck says to who has sent the packet that is on its way. */
  #replyOf(packet: Packet): DeckReply | null {
    const { bytes, l4, protocol } = packet;
    const type = icmpType(bytes, l4);
    const code = icmpCode(bytes, l4);
    const isError =
      (protocol === PROTO_ICMP && isIcmpError(type)) || (protocol === PROTO_ICMPV6 && isIcmpv6Error(type));
    if (isError) return { kind: 'icmp-error', type, code };
    if (protocol === PROTO_TCP && (tcpFlags(bytes, l4) & TCP_RST) !== 0) {
      return { kind: 'reset', type: 0, code: 0 };
    }
    const isFromDestination = isSame(sourceOf(packet), this.#question.destination);
    const isAnswer = protocol === PROTO_TCP || protocol === PROTO_UDP || isEchoReply(packet);
    return isFromDestination && isAnswer ? { kind: 'answer', type: 0, code: 0 } : null;
  }

  /** A source port, or an identifier, that no connection of the asker has. */
  #freePort(): number {
    for (let port = 61_000; ; port++) {
      if (this.#trial.deck.flowPage({ srcPort: port }, 0, this.#now).flows.length === 0 || port === 65_535)
        return port;
    }
  }
}

function neighborKey(station: number, address: Address): string {
  return `${station} ${address.join(' ')}`;
}

function isSame(one: Address, other: Address): boolean {
  return one.length === other.length && one.every((word, i) => word === other[i]);
}

function isIn(address: Address, base: Address, prefix: number): boolean {
  if (address.length !== base.length) return false;
  return address.every((word, i) => {
    const bits = Math.min(32, Math.max(0, prefix - 32 * i));
    return bits === 0 || (word ^ base[i]!) >>> (32 - bits) === 0;
  });
}

function sourceOf({ bytes, l3, etherType }: Packet): Address {
  if (etherType === ETHERTYPE_IPV4) return [ipv4Src(bytes, l3)];
  return [0, 1, 2, 3].map((word) => ipv6Src(bytes, l3, word));
}

function destinationOf({ bytes, l3, etherType }: Packet): Address {
  if (etherType === ETHERTYPE_IPV4) return [ipv4Dst(bytes, l3)];
  return [0, 1, 2, 3].map((word) => ipv6Dst(bytes, l3, word));
}

/** Source and destination port; of ICMP its identifier, twice. */
function portsOf({ bytes, l4, protocol }: Packet): readonly [number, number] {
  if (protocol === PROTO_TCP) return [tcpSrcPort(bytes, l4), tcpDstPort(bytes, l4)];
  if (protocol === PROTO_UDP) return [udpSrcPort(bytes, l4), udpDstPort(bytes, l4)];
  const identifier = (bytes[l4 + 4]! << 8) | bytes[l4 + 5]!;
  return [identifier, identifier];
}

function isSegment({ bytes, l4, protocol }: Packet, sequence: number, flags: number): boolean {
  return (
    protocol === PROTO_TCP && tcpFlags(bytes, l4) === flags && tcpSequence(bytes, l4) >>> 0 === sequence >>> 0
  );
}

function isMessage({ bytes, payload, end, l4, protocol }: Packet, data: Uint8Array): boolean {
  if (protocol !== PROTO_UDP && protocol !== PROTO_ICMP && protocol !== PROTO_ICMPV6) return false;
  const at = protocol === PROTO_UDP ? payload : l4 + 8;
  return end - at === data.length && data.every((byte, i) => bytes[at + i] === byte);
}

function isEchoReply({ bytes, l4, protocol }: Packet): boolean {
  return protocol === PROTO_ICMP
    ? bytes[l4] === ICMP_ECHO_REPLY
    : protocol === PROTO_ICMPV6 && bytes[l4] === ICMPV6_ECHO_REPLY;
}

function isEchoRequest({ bytes, l4, protocol }: Packet): boolean {
  return protocol === PROTO_ICMP
    ? bytes[l4] === ICMP_ECHO_REQUEST
    : protocol === PROTO_ICMPV6 && bytes[l4] === ICMPV6_ECHO_REQUEST;
}
