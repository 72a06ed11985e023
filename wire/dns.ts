/**
 * Messages of the domain name system (RFC 1035 §4), with EDNS (RFC 6891). All functions take absolute offsets and an end,
 * and none reads beyond it: messages come from anybody.
 *
 * Names are compared without regard to the case of A to Z and of nothing else (RFC 4343 §3).
 */
import { get16, get32, set16, set32 } from './bytes.ts';

export const DNS_PORT = 53;

/** Offsets in the header (RFC 1035 §4.1.1). */
export const DNS_ID = 0;
export const DNS_FLAGS = 2;
export const DNS_QDCOUNT = 4;
export const DNS_ANCOUNT = 6;
export const DNS_NSCOUNT = 8;
export const DNS_ARCOUNT = 10;
export const DNS_LEN = 12;

/** Bits of the flags; AD and CD are those of RFC 4035 §3.2. */
export const DNS_QR = 0x8000;
export const DNS_OPCODE = 0x7800;
export const DNS_AA = 0x0400;
export const DNS_TC = 0x0200;
export const DNS_RD = 0x0100;
export const DNS_RA = 0x0080;
export const DNS_AD = 0x0020;
export const DNS_CD = 0x0010;
export const DNS_RCODE = 0x000f;

/** Response codes (RFC 1035 §4.1.1, RFC 6891 §9); those from 16 on need EDNS. */
export const DnsRcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;
export type DnsRcode = (typeof DnsRcode)[keyof typeof DnsRcode];

/** Types of records and questions that somebody here knows. */
export const DnsType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  DS: 43,
  DNSKEY: 48,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

/** `A`, `AAAA`; `TYPE65` for a type that has no name here (RFC 3597 §5). */
export function dnsTypeName(type: number): string {
  return Object.entries(DnsType).find(([, number]) => number === type)?.[0] ?? `TYPE${type}`;
}

/** `NXDOMAIN`; `RCODE9` for one that has no name here. */
export function dnsRcodeName(rcode: number): string {
  return Object.entries(DnsRcode).find(([, number]) => number === rcode)?.[0] ?? `RCODE${rcode}`;
}

export const DNS_CLASS_IN = 1;

/** Octets of a label, and of a name with all its length octets (RFC 1035 §2.3.4). */
export const DNS_LABEL_MAX = 63;
export const DNS_NAME_MAX = 255;
/** The largest datagram without EDNS (RFC 1035 §2.3.4), and the least that EDNS means (RFC 6891 §6.2.3). */
export const DNS_UDP_MIN = 512;
/** Type, class, TTL and length of a record, behind its name. */
export const DNS_RECORD_LEN = 10;
/** Offsets in that part. */
export const DNS_RECORD_CLASS = 2;
export const DNS_RECORD_TTL = 4;
export const DNS_RECORD_RDLENGTH = 8;
/** The OPT record of EDNS without options: a root name and that part. */
export const DNS_OPT_LEN = 1 + DNS_RECORD_LEN;
/** EDNS: the DO bit in the low half of the OPT record's TTL (RFC 3225 §3). */
export const DNS_DO = 0x8000;

/** The two high bits of a length octet: a pointer to an earlier name (RFC 1035 §4.1.4). 01 and 10 are reserved. */
const POINTER = 0xc0;

/** A letter as it is compared. */
function fold(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

/**
 * The offset behind a name, which may end in a pointer (where it points is not looked at); -1 when it does not end before
 * `end`, is longer than 255 octets, or has a label of a reserved kind.
 */
export function skipDnsName(bytes: Uint8Array, at: number, end: number): number {
  for (let next = at; next < end; ) {
    const length = bytes[next];
    if (length === 0) return next + 1 - at > DNS_NAME_MAX ? -1 : next + 1;
    if ((length & POINTER) === POINTER) return next + 2 > end || next + 2 - at > DNS_NAME_MAX ? -1 : next + 2;
    if (length > DNS_LABEL_MAX) return -1;
    next += 1 + length;
  }
  return -1;
}

/** The offset behind a name without pointers; -1 when it is not one. */
export function skipPlainDnsName(bytes: Uint8Array, at: number, end: number): number {
  const next = skipDnsName(bytes, at, end);
  // A name that ends in a pointer does not end in the empty label of the root: walked again, no pointer may occur.
  if (next < 0) return -1;
  for (let label = at; ; label += 1 + bytes[label]) {
    if (bytes[label] === 0) return next;
    if ((bytes[label] & POINTER) !== 0) return -1;
  }
}

/** The offset behind a record, or -1 when it does not end before `end`. */
export function skipDnsRecord(bytes: Uint8Array, at: number, end: number): number {
  const fixed = skipDnsName(bytes, at, end);
  if (fixed < 0 || fixed + DNS_RECORD_LEN > end) return -1;
  const next = fixed + DNS_RECORD_LEN + get16(bytes, fixed + DNS_RECORD_RDLENGTH);
  return next > end ? -1 : next;
}

/**
 * A name as text, in the case in which it is written; `.` for the root, and what is no printable character, a dot in a label or a
 * backslash as RFC 4343 §2.1 has it (`\.`, `\009`). undefined when it is malformed.
 *
 * A pointer must point to before where the name, or the pointed-to part of it, began: so every step goes further back, and no
 * loop is possible (RFC 1035 §4.1.4: "a prior occurrence").
 *
 * @param start the message's first byte, which pointers count from
 */
export function readDnsName(bytes: Uint8Array, start: number, at: number, end: number): string | undefined {
  let text = '';
  let octets = 1;
  let began = at;
  for (let next = at; next < end; ) {
    const length = bytes[next];
    if (length === 0) return text === '' ? '.' : text;
    if ((length & POINTER) === POINTER) {
      if (next + 2 > end) return undefined;
      const target = start + (get16(bytes, next) & 0x3fff);
      if (target >= began || target < start + DNS_LEN) return undefined;
      began = target;
      next = target;
      continue;
    }
    octets += 1 + length;
    if (length > DNS_LABEL_MAX || next + 1 + length > end || octets > DNS_NAME_MAX) return undefined;
    if (text !== '') text += '.';
    for (let i = next + 1; i <= next + length; i++) text += printed(bytes[i]);
    next += 1 + length;
  }
  return undefined;
}

function printed(byte: number): string {
  if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, '0')}`;
  const character = String.fromCharCode(byte);
  return character === '.' || character === '\\' ? `\\${character}` : character;
}

/**
 * The wire form of a name in text, whose labels are of any ASCII characters but dots; a final dot changes nothing. undefined when it
 * cannot be one: an empty label, one of more than 63 characters, more than 255 octets in all, or characters beyond ASCII.
 */
export function encodeDnsName(text: string): Uint8Array | undefined {
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  const labels = name === '' ? [] : name.split('.');
  const bytes = new Uint8Array(name === '' ? 1 : name.length + 2);
  if (bytes.length > DNS_NAME_MAX) return undefined;
  let at = 0;
  for (const label of labels) {
    if (label.length === 0 || label.length > DNS_LABEL_MAX) return undefined;
    bytes[at++] = label.length;
    for (let i = 0; i < label.length; i++) {
      const code = label.charCodeAt(i);
      if (code > 0x7f) return undefined;
      bytes[at++] = code;
    }
  }
  return bytes;
}

/** Whether two ranges of equal length are the same plain name, the case of letters apart. */
export function isSameDnsName(
  a: Uint8Array,
  aAt: number,
  b: Uint8Array,
  bAt: number,
  length: number,
): boolean {
  // Length octets are below 0x41, and so none of them is folded.
  for (let i = 0; i < length; i++) if (fold(a[aAt + i]) !== fold(b[bAt + i])) return false;
  return true;
}

/** Hash of a plain name as int32, the case of letters apart (FNV-1a with a key). */
export function hashDnsName(key: number, bytes: Uint8Array, at: number, end: number): number {
  let hash = key ^ 0x811c9dc5;
  for (let i = at; i < end; i++) hash = Math.imul(hash ^ fold(bytes[i]), 0x01000193);
  return hash ^ (hash >>> 15);
}

/** Whether a plain name is `suffix`, a plain name too, or a name under it. */
export function isUnderDnsName(bytes: Uint8Array, at: number, end: number, suffix: Uint8Array): boolean {
  for (let label = at; end - label >= suffix.length; label += 1 + bytes[label]) {
    if (end - label === suffix.length) return isSameDnsName(bytes, label, suffix, 0, suffix.length);
  }
  return false;
}

/** What a message asks; filled by `parseDnsQuery` and reused, so that no question makes an object. */
export class DnsQuery {
  id = 0;
  flags = 0;
  /** The name's first byte and the one behind it. */
  name = 0;
  nameEnd = 0;
  /** Labels of the name, the root's not counted. */
  labels = 0;
  type = 0;
  class = 0;
  /** Behind the question; 0 when there is none that can be read, and none to be echoed then. */
  questionEnd = 0;
  /** Whether there is an OPT record (EDNS). */
  edns = false;
  /** EDNS: the largest answer over UDP that the asker takes, at least 512; 512 without EDNS. */
  udpSize = DNS_UDP_MIN;
  /** EDNS: 0, or what we do not know. */
  version = 0;
  /** EDNS: whether the asker wants DNSSEC's records. */
  dnssec = false;
}

/** What `parseDnsQuery` answers beside a response code for what is wrong: nothing is, or it must not be answered. */
export const DNS_OK = 0;
export const DNS_SILENCE = -1;

/**
 * Reads a question. Answers DNS_OK; a response code for what is wrong, where `query` has as much as the answer needs; or
 * DNS_SILENCE for what must not be answered: too short to have an id, or itself an answer (two servers would go on for ever).
 */
export function parseDnsQuery(bytes: Uint8Array, at: number, end: number, query: DnsQuery): number {
  query.questionEnd = 0;
  query.edns = false;
  query.udpSize = DNS_UDP_MIN;
  query.version = 0;
  query.dnssec = false;
  if (end - at < DNS_LEN) return DNS_SILENCE;
  const flags = get16(bytes, at + DNS_FLAGS);
  query.id = get16(bytes, at + DNS_ID);
  query.flags = flags;
  if ((flags & DNS_QR) !== 0) return DNS_SILENCE;
  if ((flags & DNS_OPCODE) !== 0) return DnsRcode.NOTIMP;
  // RFC 9619 §4: more than one question is an error, and so is none here.
  if (get16(bytes, at + DNS_QDCOUNT) !== 1) return DnsRcode.FORMERR;
  const name = at + DNS_LEN;
  // There is no earlier name that a pointer could point to.
  const nameEnd = skipPlainDnsName(bytes, name, end);
  if (nameEnd < 0 || nameEnd + 4 > end) return DnsRcode.FORMERR;
  query.name = name;
  query.nameEnd = nameEnd;
  query.labels = countLabels(bytes, name);
  query.type = get16(bytes, nameEnd);
  query.class = get16(bytes, nameEnd + 2);
  query.questionEnd = nameEnd + 4;
  return readAdditional(bytes, at, end, query);
}

function countLabels(bytes: Uint8Array, at: number): number {
  let labels = 0;
  for (let label = at; bytes[label] !== 0; label += 1 + bytes[label]) labels++;
  return labels;
}

/** Walks over all records behind the question, and finds the OPT record. */
function readAdditional(bytes: Uint8Array, at: number, end: number, query: DnsQuery): number {
  const others = get16(bytes, at + DNS_ANCOUNT) + get16(bytes, at + DNS_NSCOUNT);
  const count = others + get16(bytes, at + DNS_ARCOUNT);
  let record = query.questionEnd;
  for (let i = 0; i < count; i++) {
    const next = skipDnsRecord(bytes, record, end);
    if (next < 0) return DnsRcode.FORMERR;
    const fixed = skipDnsName(bytes, record, end);
    if (get16(bytes, fixed) === DnsType.OPT) {
      // RFC 6891 §6.1.1: at most one, in the additional section, and its name is the root.
      if (query.edns || i < others || bytes[record] !== 0) return DnsRcode.FORMERR;
      query.edns = true;
      query.udpSize = Math.max(DNS_UDP_MIN, get16(bytes, fixed + DNS_RECORD_CLASS));
      query.version = bytes[fixed + DNS_RECORD_TTL + 1];
      query.dnssec = (get16(bytes, fixed + DNS_RECORD_TTL + 2) & DNS_DO) !== 0;
    }
    record = next;
  }
  return query.version > 0 ? DnsRcode.BADVERS : DNS_OK;
}

/**
 * Writes a header with the question of `query` behind it, byte for byte as it was asked (so also in its case), if it has one;
 * answers the offset behind. The counts of the other sections are 0.
 * @param flags of the answer; the opcode, RD and CD are the question's (RFC 1035 §4.1.1, RFC 4035 §3.2.2)
 */
export function writeDnsAnswer(
  out: Uint8Array,
  at: number,
  query: DnsQuery,
  bytes: Uint8Array,
  flags: number,
): number {
  set16(out, at + DNS_ID, query.id);
  set16(out, at + DNS_FLAGS, DNS_QR | (query.flags & (DNS_OPCODE | DNS_RD | DNS_CD)) | flags);
  set16(out, at + DNS_QDCOUNT, query.questionEnd === 0 ? 0 : 1);
  set16(out, at + DNS_ANCOUNT, 0);
  set16(out, at + DNS_NSCOUNT, 0);
  set16(out, at + DNS_ARCOUNT, 0);
  let next = at + DNS_LEN;
  if (query.questionEnd !== 0) {
    for (let i = query.name; i < query.questionEnd; i++) out[next++] = bytes[i];
  }
  return next;
}

/** A pointer to the question's name, which always stands behind the header. */
const TO_QUESTION = (POINTER << 8) | DNS_LEN;

/** Writes a record of class IN whose name is the question's, up to its data; answers the offset of the data. */
export function writeDnsRecord(
  out: Uint8Array,
  at: number,
  type: number,
  ttl: number,
  rdlength: number,
): number {
  set16(out, at, TO_QUESTION);
  set16(out, at + 2, type);
  set16(out, at + 4, DNS_CLASS_IN);
  set32(out, at + 6, ttl);
  set16(out, at + 10, rdlength);
  return at + 12;
}

/** Writes an OPT record without options; answers the offset behind it. The low bits of `rcode` are in the header. */
export function writeDnsOpt(
  out: Uint8Array,
  at: number,
  udpSize: number,
  rcode: number,
  dnssec: boolean,
): number {
  out[at] = 0;
  set16(out, at + 1, DnsType.OPT);
  set16(out, at + 3, udpSize);
  out[at + 5] = rcode >>> 4;
  out[at + 6] = 0;
  set16(out, at + 7, dnssec ? DNS_DO : 0);
  set16(out, at + 9, 0);
  return at + DNS_OPT_LEN;
}

/** TTL of the record whose part behind the name is at `fixed`, in seconds (RFC 2181 §8: with the top bit set it is 0). */
export function dnsRecordTtl(bytes: Uint8Array, fixed: number): number {
  return Math.max(0, get32(bytes, fixed + DNS_RECORD_TTL));
}
