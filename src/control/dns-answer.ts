import { get16, get32, set16, set32 } from '../../wire/bytes.ts';
import {
  DNS_AD,
  DNS_ANCOUNT,
  DNS_ARCOUNT,
  DNS_CD,
  DNS_FLAGS,
  DNS_ID,
  DNS_LEN,
  DNS_NSCOUNT,
  DNS_OPCODE,
  DNS_OPT_LEN,
  DNS_QDCOUNT,
  DNS_QR,
  DNS_RA,
  DNS_RCODE,
  DNS_RD,
  DNS_RECORD_LEN,
  DNS_RECORD_TTL,
  DNS_TC,
  type DnsQuery,
  DnsRcode,
  DnsType,
  dnsRecordTtl,
  isSameDnsName,
  skipDnsName,
  skipDnsRecord,
  writeDnsAnswer,
  writeDnsOpt,
} from '../../wire/dns.ts';

/** Seconds for which an answer is remembered at most, and the news that there is none (RFC 2308 §5: an hour or more is too long). */
const MOST_TTL = 3600;
const MOST_NEGATIVE_TTL = 900;
/** What we take over UDP: see `DNS_UDP_MAX`. */
const UDP_SIZE = 1232;

/** What another name server has said, without what was between it and us (its OPT record, RFC 6891 §6.1.1). */
export interface DnsAnswer {
  readonly message: Uint8Array;
  /** With the upper bits of EDNS. */
  readonly rcode: number;
  readonly truncated: boolean;
  /** Where the TTLs are. */
  readonly ttls: readonly number[];
  /** Seconds for which it may be remembered, 0 for not at all. */
  readonly lifetime: number;
  /** Whether there was an OPT record. */
  readonly edns: boolean;
}

/** A question for another name server. */
export interface UpstreamQuestion {
  /** The message. */
  readonly message: Uint8Array;
  /** Behind the question, in the message. */
  readonly questionEnd: number;
}

/**
 * Writes our own question for what `query` asks: another id, and letters in random case, which an answer has to have too: who does not
 * see the question has to guess these bits beside the id and the port (RFC 5452 §4; draft-vixie-dnsext-dns0x20).
 * @param bytes where the query is
 * @param coins random bits for the case of letters, one by one
 */
export function upstreamQuestion(
  query: DnsQuery,
  bytes: Uint8Array,
  id: number,
  coins: () => boolean,
  edns: boolean,
): UpstreamQuestion {
  const length = query.questionEnd - query.name;
  const message = new Uint8Array(DNS_LEN + length + (edns ? DNS_OPT_LEN : 0));
  set16(message, DNS_ID, id);
  set16(message, DNS_FLAGS, (query.flags & (DNS_RD | DNS_AD | DNS_CD)) as number);
  set16(message, DNS_QDCOUNT, 1);
  message.set(bytes.subarray(query.name, query.questionEnd), DNS_LEN);
  const nameLength = query.nameEnd - query.name;
  for (let i = DNS_LEN; i < DNS_LEN + nameLength; i++) {
    const letter = message[i]! & 0xdf;
    if (letter >= 0x41 && letter <= 0x5a && coins()) message[i]! ^= 0x20;
  }
  const questionEnd = DNS_LEN + length;
  if (edns) {
    set16(message, DNS_ARCOUNT, 1);
    writeDnsOpt(message, questionEnd, UDP_SIZE, 0, query.dnssec);
  }
  return { message, questionEnd };
}

/** Whether a message answers a question, and whether it does so in the letters' own case. */
export function isAnswerTo(
  { message, questionEnd }: UpstreamQuestion,
  answer: Uint8Array,
): 'yes' | 'caseless' | 'no' {
  if (answer.length < questionEnd || get16(answer, DNS_ID) !== get16(message, DNS_ID)) return 'no';
  if ((get16(answer, DNS_FLAGS) & (DNS_QR | DNS_OPCODE)) !== DNS_QR) return 'no';
  if (get16(answer, DNS_QDCOUNT) !== 1) return 'no';
  const nameEnd = questionEnd - 4;
  if (!isSameDnsName(answer, DNS_LEN, message, DNS_LEN, nameEnd - DNS_LEN)) return 'no';
  if (get32(answer, nameEnd) !== get32(message, nameEnd)) return 'no';
  return Buffer.compare(answer.subarray(DNS_LEN, nameEnd), message.subarray(DNS_LEN, nameEnd)) === 0
    ? 'yes'
    : 'caseless';
}

/** Reads an answer to a question that ends at `questionEnd`; null when it is malformed. */
export function readAnswer(bytes: Uint8Array, questionEnd: number): DnsAnswer | null {
  const flags = get16(bytes, DNS_FLAGS);
  const counts = [DNS_ANCOUNT, DNS_NSCOUNT, DNS_ARCOUNT].map((at) => get16(bytes, at));
  const [answers, authorities, additionals] = counts as [number, number, number];
  const ttls: number[] = [];
  let rcode = flags & DNS_RCODE;
  let least = MOST_TTL;
  let negative = 0;
  let end = bytes.length;
  let edns = false;
  let at = questionEnd;
  const total = answers + authorities + additionals;
  for (let i = 0; i < total; i++) {
    const next = skipDnsRecord(bytes, at, bytes.length);
    if (next < 0) return null;
    const fixed = skipDnsName(bytes, at, bytes.length);
    const type = get16(bytes, fixed);
    if (type === DnsType.OPT) {
      // The last record of all, where everybody puts it: without it all others stay where they are.
      if (edns || i !== total - 1 || i < answers + authorities) return null;
      edns = true;
      rcode |= bytes[fixed + DNS_RECORD_TTL]! << 4;
      end = at;
    } else {
      const ttl = dnsRecordTtl(bytes, fixed);
      ttls.push(fixed + DNS_RECORD_TTL);
      least = Math.min(least, ttl);
      // RFC 2308 §5: the lesser of the SOA's TTL and its MINIMUM, its last number.
      if (
        type === DnsType.SOA &&
        i >= answers &&
        i < answers + authorities &&
        next - fixed >= DNS_RECORD_LEN + 20
      ) {
        negative = Math.min(MOST_NEGATIVE_TTL, ttl, Math.max(0, get32(bytes, next - 4)));
      }
    }
    at = next;
  }
  if (!edns) end = at;
  const message = bytes.slice(0, end);
  if (edns) set16(message, DNS_ARCOUNT, additionals - 1);
  const truncated = (flags & DNS_TC) !== 0;
  let lifetime = 0;
  if (!truncated && (rcode === DnsRcode.NXDOMAIN || (rcode === DnsRcode.NOERROR && answers === 0))) {
    lifetime = negative;
  } else if (!truncated && rcode === DnsRcode.NOERROR) lifetime = least;
  return { message, rcode, truncated, ttls, lifetime, edns };
}

/**
 * The answer as `query` is to have it: its id, its question in its case, its EDNS, and no more than `limit` bytes.
 * @param bytes where the query is
 * @param age seconds for which the answer was remembered
 */
export function deliver(
  { message, rcode, ttls }: DnsAnswer,
  query: DnsQuery,
  bytes: Uint8Array,
  limit: number,
  age: number,
): Uint8Array {
  // Without EDNS nobody can be told the upper bits.
  if (rcode > DNS_RCODE && !query.edns) return failure(query, bytes, DnsRcode.SERVFAIL);
  const room = query.edns ? DNS_OPT_LEN : 0;
  const isWhole = message.length + room <= limit;
  const length = isWhole ? message.length : DNS_LEN + query.questionEnd - query.name;
  const out = new Uint8Array(length + room);
  out.set(message.subarray(0, length));
  out.set(bytes.subarray(query.name, query.questionEnd), DNS_LEN);
  set16(out, DNS_ID, query.id);
  const kept = get16(message, DNS_FLAGS) & ~(DNS_RD | DNS_CD);
  set16(out, DNS_FLAGS, kept | DNS_RA | (query.flags & (DNS_RD | DNS_CD)) | (isWhole ? 0 : DNS_TC));
  if (isWhole) for (const at of ttls) set32(out, at, Math.max(0, get32(message, at) - age));
  else for (const at of [DNS_ANCOUNT, DNS_NSCOUNT, DNS_ARCOUNT]) set16(out, at, 0);
  if (query.edns) {
    set16(out, DNS_ARCOUNT, get16(out, DNS_ARCOUNT) + 1);
    writeDnsOpt(out, length, UDP_SIZE, rcode, query.dnssec);
  }
  return out;
}

/** An answer without records. */
export function failure(query: DnsQuery, bytes: Uint8Array, rcode: number): Uint8Array {
  const out = new Uint8Array(DNS_LEN + query.questionEnd - query.name + DNS_OPT_LEN);
  let end = writeDnsAnswer(out, 0, query, bytes, DNS_RA | rcode);
  if (query.edns) {
    set16(out, DNS_ARCOUNT, 1);
    end = writeDnsOpt(out, end, UDP_SIZE, rcode, query.dnssec);
  }
  return out.subarray(0, end);
}
