import { randomBytes, randomInt } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { PortId } from '../../switch/frame.ts';
import { DNS_AD, DNS_CD, DNS_OK, DNS_RD, DnsQuery, DnsRcode, parseDnsQuery } from '../../wire/dns.ts';
import { Shares } from '../uplink/shares.ts';
import {
  type DnsAnswer,
  deliver,
  failure,
  isAnswerTo,
  readAnswer,
  type UpstreamQuestion,
  upstreamQuestion,
} from './dns-answer.ts';
import { askTcp, askUdp, type Upstream } from './dns-upstream.ts';
import { HostResolvConf, type ResolvConf } from './resolv-conf.ts';

/** Answers that are remembered, and bytes of them. */
const CACHE_ENTRIES = 4096;
const CACHE_BYTES = 4 * 1024 * 1024;
/** Questions to other servers at a time; each has a socket. */
const MOST_QUESTIONS = 256;
/** Milliseconds that all servers together have: less than the five seconds after which the C library asks again. */
const PATIENCE = 4500;
/** How often each server is asked. */
const ROUNDS = 2;
/** Milliseconds after which the first server is asked first again, when another was better. */
const RETURN = 30_000;

export interface ForwarderOptions {
  /** Of the host; /etc/resolv.conf. */
  resolvConf?: string;
  /** Of its name servers; 53. */
  port?: number;
  /** Milliseconds; 4500. */
  patience?: number;
  /** Monotonic milliseconds. */
  now?: () => number;
}

/** An answer that is remembered. */
interface Remembered {
  readonly answer: DnsAnswer;
  /** Milliseconds. */
  readonly since: number;
}

/**
 * Asks the host's name servers what the deck does not know. Equal questions that are under way are one (RFC 5452 §5: who could have
 * many of them sent would not have to guess often), answers are remembered for as long as they say.
 */
export class DnsForwarder {
  readonly #conf: HostResolvConf;
  readonly #port: number;
  readonly #patience: number;
  readonly #now: () => number;
  readonly #cache = new LRUCache<string, Remembered>({
    max: CACHE_ENTRIES,
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ answer }, key) => answer.message.length + key.length,
  });
  readonly #underWay = new Map<string, Promise<DnsAnswer | null>>();
  readonly #shares = new Shares();
  /** The server that answered last, and since when it is asked first. */
  #preferred = '';
  #preferredSince = 0;
  #random = Buffer.alloc(0);
  #bit = 0;

  constructor({
    resolvConf,
    port = 53,
    patience = PATIENCE,
    now = () => performance.now(),
  }: ForwarderOptions = {}) {
    this.#conf = new HostResolvConf(resolvConf, now);
    this.#port = port;
    this.#patience = patience;
    this.#now = now;
  }

  /** What the host's resolv.conf says now. */
  get hostConf(): ResolvConf {
    return this.#conf.read();
  }

  /**
   * Answers a message in at most `limit` bytes: SERVFAIL when no server can be asked. An empty answer is none.
   * @param overTcp whether the asker takes as much as there is, so that others are asked over TCP too
   * @param asker who asks, by the port of the switch: of many, each has a share
   */
  async answer(message: Uint8Array, limit: number, overTcp: boolean, asker: PortId): Promise<Uint8Array> {
    const query = new DnsQuery();
    // The data plane has read it before; this is what it found.
    if (parseDnsQuery(message, 0, message.length, query) !== DNS_OK) return new Uint8Array();
    const key = keyOf(query, message);
    const known = this.#cache.get(key);
    if (known !== undefined) {
      const age = Math.floor((this.#now() - known.since) / 1000);
      if (age < known.answer.lifetime) return deliver(known.answer, query, message, limit, age);
      this.#cache.delete(key);
    }
    const answer = await this.#ask(key, query, message, overTcp, asker);
    return answer === null
      ? failure(query, message, DnsRcode.SERVFAIL)
      : deliver(answer, query, message, limit, 0);
  }

  #ask(
    key: string,
    query: DnsQuery,
    message: Uint8Array,
    overTcp: boolean,
    asker: PortId,
  ): Promise<DnsAnswer | null> {
    const task = `${key} ${overTcp}`;
    const running = this.#underWay.get(task);
    if (running !== undefined) return running;
    if (!this.#shares.may(asker, MOST_QUESTIONS - this.#underWay.size)) return Promise.resolve(null);
    this.#shares.take(asker);
    const asking = this.#askAll(query, message, overTcp)
      .then((answer) => {
        if (answer !== null && answer.lifetime > 0) this.#cache.set(key, { answer, since: this.#now() });
        return answer;
      })
      .finally(() => {
        this.#underWay.delete(task);
        this.#shares.give(asker);
      });
    this.#underWay.set(task, asking);
    return asking;
  }

  /** Asks one server after the other until one has an answer; null when none has. */
  async #askAll(query: DnsQuery, message: Uint8Array, overTcp: boolean): Promise<DnsAnswer | null> {
    const servers = this.#servers();
    const timeout = this.#patience / (ROUNDS * servers.length);
    let refusal: DnsAnswer | null = null;
    for (let i = 0; i < ROUNDS * servers.length; i++) {
      const server = servers[i % servers.length]!;
      const answer = await this.#askOne(server, query, message, overTcp, timeout).catch(() => null);
      if (answer === null) continue;
      // It cannot or does not want to, and another may (as the C library does it).
      if (
        answer.rcode !== DnsRcode.SERVFAIL &&
        answer.rcode !== DnsRcode.REFUSED &&
        answer.rcode !== DnsRcode.NOTIMP
      ) {
        this.#prefer(server.address);
        return answer;
      }
      refusal ??= answer;
      // All have said so: asking again changes nothing.
      if (i >= servers.length - 1) break;
    }
    return refusal;
  }

  async #askOne(
    server: Upstream,
    query: DnsQuery,
    message: Uint8Array,
    overTcp: boolean,
    timeout: number,
  ): Promise<DnsAnswer | null> {
    const answer = await this.#exchange(server, this.#question(query, message, true), overTcp, timeout);
    // RFC 6891 §6.2.2: a server that does not know EDNS.
    if (answer?.rcode !== DnsRcode.FORMERR || answer.edns) return answer;
    return this.#exchange(server, this.#question(query, message, false), overTcp, timeout);
  }

  async #exchange(
    server: Upstream,
    question: UpstreamQuestion,
    overTcp: boolean,
    timeout: number,
  ): Promise<DnsAnswer | null> {
    const { message, questionEnd } = question;
    const isAnswer = (answer: Uint8Array) => isAnswerTo(question, answer) !== 'no';
    if (!overTcp) {
      const answer = await askUdp(server, message, timeout, isAnswer);
      if (isAnswerTo(question, answer) === 'yes') return readAnswer(answer, questionEnd);
      // A server that does not keep the case, or somebody who has guessed all but that: over TCP there is nothing to guess.
    }
    return readAnswer(await askTcp(server, message, timeout, isAnswer), questionEnd);
  }

  #question(query: DnsQuery, message: Uint8Array, edns: boolean): UpstreamQuestion {
    return upstreamQuestion(query, message, randomInt(65_536), () => this.#coin(), edns);
  }

  #coin(): boolean {
    if (this.#bit >= 8 * this.#random.length) {
      this.#random = randomBytes(256);
      this.#bit = 0;
    }
    const bit = this.#bit++;
    return (this.#random[bit >> 3]! & (1 << (bit & 7))) !== 0;
  }

  /** The host's servers, that which answered last first. */
  #servers(): Upstream[] {
    const { nameservers } = this.#conf.read();
    if (this.#now() - this.#preferredSince > RETURN) this.#preferred = '';
    const first = Math.max(0, nameservers.indexOf(this.#preferred));
    return [...nameservers.slice(first), ...nameservers.slice(0, first)].map((address) => ({
      address,
      port: this.#port,
    }));
  }

  #prefer(address: string): void {
    if (address === this.#preferred) return;
    this.#preferred = address;
    this.#preferredSince = this.#now();
  }
}

/**
 * What makes a question the same as another: name, type, class, and what the asker wants of DNSSEC and of the server's own asking
 * (RD): who does not want it gets a referral or a refusal, which is no answer for who does.
 */
function keyOf({ name, nameEnd, questionEnd, flags, dnssec }: DnsQuery, message: Uint8Array): string {
  const text = Buffer.from(message.buffer, message.byteOffset + name, nameEnd - name).toString('latin1');
  const rest = Buffer.from(message.buffer, message.byteOffset + nameEnd, questionEnd - nameEnd).toString(
    'hex',
  );
  return `${text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())} ${rest} ${flags & (DNS_RD | DNS_AD | DNS_CD)} ${dnssec}`;
}
