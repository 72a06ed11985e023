import { CHECKSUM } from './checksum.ts';
import { IP } from './ip.ts';
import { RFC4787 } from './rfc4787.ts';
import { RFC5382 } from './rfc5382.ts';
import { RFC5508 } from './rfc5508.ts';
import { RFC7857 } from './rfc7857.ts';
import type { Row } from './row.ts';

/** A standard, and its requirements. */
export interface Chapter {
  title: string;
  rows: readonly Row[];
}

export const CHAPTERS: readonly Chapter[] = [
  { title: 'RFC 4787: UDP', rows: RFC4787 },
  { title: 'RFC 7857: updates', rows: RFC7857 },
  { title: 'RFC 5382: TCP', rows: RFC5382 },
  { title: 'RFC 5508: ICMP', rows: RFC5508 },
  { title: 'IP and ICMP as a router', rows: IP },
  { title: 'RFC 1624: checksums', rows: CHECKSUM },
];

export const ROWS: readonly Row[] = CHAPTERS.flatMap(({ rows }) => rows);
