import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DNS_LEN,
  DNS_OK,
  DNS_SILENCE,
  DnsQuery,
  DnsRcode,
  encodeDnsName,
  hashDnsName,
  isSameDnsName,
  isUnderDnsName,
  parseDnsQuery,
  readDnsName,
  skipDnsName,
  skipDnsRecord,
  skipPlainDnsName,
  writeDnsAnswer,
} from '../../wire/dns.ts';

/** In front of a message and behind it, so that offsets are not by chance 0 and what lies behind is not by chance the end. */
const BEFORE = 7;
const BEHIND = 9;

/** The message in the middle of bytes that are none of it. */
function placed(message: Uint8Array): { bytes: Uint8Array; at: number; end: number } {
  const bytes = new Uint8Array(BEFORE + message.length + BEHIND).fill(0xa5);
  bytes.set(message, BEFORE);
  return { bytes, at: BEFORE, end: BEFORE + message.length };
}

function parsed(message: Uint8Array): { fault: number; query: DnsQuery } {
  const { bytes, at, end } = placed(message);
  const query = new DnsQuery();
  return { fault: parseDnsQuery(bytes, at, end, query), query };
}

function question(packet: Partial<Packet> = {}): Uint8Array {
  return encode({
    type: 'query',
    id: 4711,
    flags: 0x100,
    questions: [{ type: 'A', name: 'Web.example' }],
    ...packet,
  } as Packet);
}

const edns = (fields: object = {}) => ({
  type: 'OPT' as const,
  name: '.',
  udpPayloadSize: 4096,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0x8000,
  flag_do: true,
  options: [],
  ...fields,
});

/** A message of these bytes behind a header with these counts. */
function raw(counts: readonly number[], ...parts: (readonly number[] | Uint8Array)[]): Uint8Array {
  const header = [0x12, 0x34, 1, 0, ...counts.flatMap((count) => [count >> 8, count & 255])];
  return Uint8Array.from([...header, ...parts.flatMap((part) => Array.from(part))]);
}

const NAME = encodeDnsName('web')!;
const ASK_A = [...NAME, 0, 1, 0, 1];

describe('a question', () => {
  test('is read with its name, type, class and flags', () => {
    const { fault, query } = parsed(question());
    expect(fault).toBe(DNS_OK);
    expect(query).toMatchObject({
      id: 4711,
      flags: 0x100,
      labels: 2,
      type: 1,
      class: 1,
      edns: false,
      udpSize: 512,
    });
    expect(query.nameEnd - query.name).toBe('\x03Web\x07example\x00'.length);
    expect(query.questionEnd).toBe(query.nameEnd + 4);
  });

  test('has EDNS: its size, at least 512, and the DO bit', () => {
    expect(parsed(question({ additionals: [edns()] as never })).query).toMatchObject({
      edns: true,
      udpSize: 4096,
      dnssec: true,
    });
    expect(parsed(question({ additionals: [edns({ udpPayloadSize: 12 })] as never })).query.udpSize).toBe(
      512,
    );
  });

  test('with a version of EDNS that nobody knows is BADVERS', () => {
    const { fault, query } = parsed(question({ additionals: [edns({ ednsVersion: 1 })] as never }));
    expect(fault).toBe(DnsRcode.BADVERS);
    expect(query.edns).toBe(true);
  });

  test.each([
    ['two OPT records', question({ additionals: [edns(), edns()] as never })],
    ['an OPT record with a name', raw([1, 0, 0, 1], ASK_A, NAME, [0, 41, 16, 0, 0, 0, 0, 0, 0, 0])],
    ['an OPT record among the answers', raw([1, 1, 0, 0], ASK_A, [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0])],
    ['no question', raw([0, 0, 0, 0])],
    ['two questions', raw([2, 0, 0, 0], ASK_A, ASK_A)],
    ['a name that is a pointer', raw([1, 0, 0, 0], [0xc0, 12, 0, 1, 0, 1])],
    ['a name that ends in a pointer', raw([1, 0, 0, 0], [1, 0x61, 0xc0, 12, 0, 1, 0, 1])],
    ['a label of kind 01', raw([1, 0, 0, 0], [0x41, 0x61, 0, 0, 1, 0, 1])],
    ['a label of kind 10', raw([1, 0, 0, 0], [0x81, 0x61, 0, 0, 1, 0, 1])],
    [
      'a name of 256 octets',
      raw([1, 0, 0, 0], ...[63, 63, 63, 62].map((n) => [n, ...Array(n).fill(97)]), [0, 0, 1, 0, 1]),
    ],
    [
      'a record whose data is not there',
      raw([1, 0, 0, 1], ASK_A, [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3]),
    ],
    ['records that are not there', raw([1, 0, 0xffff, 0xffff], ASK_A)],
  ])('with %s is FORMERR', (_, message) => {
    expect(parsed(message).fault).toBe(DnsRcode.FORMERR);
  });

  test('with a name of 255 octets is right', () => {
    const labels = [63, 63, 63, 61].map((n) => [n, ...Array(n).fill(97)]);
    expect(parsed(raw([1, 0, 0, 0], ...labels, [0, 0, 1, 0, 1])).fault).toBe(DNS_OK);
  });

  test('of another opcode is not implemented', () => {
    const message = question();
    message[2]! |= 0x28;
    expect(parsed(message).fault).toBe(DnsRcode.NOTIMP);
  });

  test('that is an answer, or has no header, must not be answered', () => {
    const message = question();
    message[2]! |= 0x80;
    expect(parsed(message).fault).toBe(DNS_SILENCE);
    for (let length = 0; length < DNS_LEN; length++) {
      expect(parsed(question().subarray(0, length)).fault).toBe(DNS_SILENCE);
    }
  });

  test('that is cut anywhere is no question, and nothing behind it is read', () => {
    const message = question({ additionals: [edns()] as never });
    for (let length = DNS_LEN; length < message.length; length++) {
      expect(parsed(message.subarray(0, length)).fault, `${length} bytes`).toBe(DnsRcode.FORMERR);
    }
  });

  test('of any bytes is read or refused, and what is read lies inside', () => {
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc.tuple(fc.uint8Array({ maxLength: 80 }), fc.nat(40), fc.nat(255)).map(([bytes, at, value]) => {
        const whole = Uint8Array.from([...question({ additionals: [edns()] as never }), ...bytes]);
        whole[at % whole.length] = value;
        return whole;
      }),
    );
    fc.assert(
      fc.property(message, (bytes) => {
        const { fault, query } = parsed(bytes);
        if (fault === DNS_SILENCE || query.questionEnd === 0) return;
        expect(query.name).toBe(BEFORE + DNS_LEN);
        expect(query.nameEnd).toBeGreaterThan(query.name);
        expect(query.questionEnd).toBeLessThanOrEqual(BEFORE + bytes.length);
        const { bytes: all, at, end } = placed(bytes);
        expect(readDnsName(all, at, query.name, end)).toBeTypeOf('string');
      }),
      { numRuns: 2000 },
    );
  });
});

describe('names', () => {
  const label = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), minLength: 1, maxLength: 63 });
  const name = fc
    .array(label, { minLength: 1, maxLength: 6 })
    .map((labels) => labels.join('.'))
    .filter((text) => text.length <= 253);

  test('are written and read back', () => {
    fc.assert(
      fc.property(name, (text) => {
        const { bytes, at, end } = placed(encodeDnsName(text)!);
        // Pointers count from the message, of which the name is behind the header.
        expect(readDnsName(bytes, at - DNS_LEN, at, end)).toBe(text);
        expect(skipDnsName(bytes, at, end)).toBe(end);
        expect(skipPlainDnsName(bytes, at, end)).toBe(end);
      }),
    );
  });

  test('that cannot be are not written', () => {
    const cases = ['a..b', '.a', 'x'.repeat(64), `${'x'.repeat(63)}.`.repeat(4), 'ü', 'a.\u{1f600}'];
    for (const text of cases) expect(encodeDnsName(text), text).toBeUndefined();
    expect(encodeDnsName('')).toEqual(Uint8Array.of(0));
    expect(encodeDnsName('a.')).toEqual(Uint8Array.of(1, 97, 0));
  });

  test('are the same whatever the case of their letters, and of nothing else', () => {
    fc.assert(
      fc.property(name, fc.infiniteStream(fc.boolean()), (text, cases) => {
        const a = encodeDnsName(text)!;
        const b = encodeDnsName(
          Array.from(text, (c) => (cases.next().value ? c.toUpperCase() : c.toLowerCase())).join(''),
        )!;
        expect(isSameDnsName(a, 0, b, 0, a.length)).toBe(true);
        expect(hashDnsName(1, a, 0, a.length)).toBe(hashDnsName(1, b, 0, b.length));
      }),
    );
    // 0x40 and 0x60, 0x5b and 0x7b differ by the bit by which letters do.
    for (const [a, b] of [
      ['@', '`'],
      ['[', '{'],
    ] as const) {
      expect(isSameDnsName(encodeDnsName(a)!, 0, encodeDnsName(b)!, 0, 3)).toBe(false);
    }
  });

  test('are under a suffix by whole labels', () => {
    const suffix = encodeDnsName('tapdeck.internal')!;
    const isUnder = (text: string) => {
      const bytes = encodeDnsName(text)!;
      return isUnderDnsName(bytes, 0, bytes.length, suffix);
    };
    expect(['tapdeck.internal', 'host.TAPDECK.internal', 'a.b.tapdeck.Internal'].map(isUnder)).toEqual([
      true,
      true,
      true,
    ]);
    expect(['xtapdeck.internal', 'internal', 'tapdeck.internal.x', 'a'].map(isUnder)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  test('with pointers are read as dns-packet reads them', () => {
    const message = encode({
      type: 'response',
      questions: [{ type: 'A', name: 'a.example.org' }],
      answers: [{ type: 'CNAME', name: 'a.example.org', ttl: 1, data: 'b.example.org' }],
    });
    const pointer = [0xc0, DNS_LEN + 2];
    const bytes = Uint8Array.from([...message, 1, 0x78, ...pointer]);
    expect(readDnsName(bytes, 0, message.length, bytes.length)).toBe('x.example.org');
    expect(skipDnsName(bytes, message.length, bytes.length)).toBe(bytes.length);
  });

  test.each([
    ['to itself', [0xc0, DNS_LEN]],
    ['forwards', [0xc0, DNS_LEN + 2, 1, 0x61, 0]],
    ['to each other', [0xc0, DNS_LEN + 2, 0xc0, DNS_LEN]],
    ['into the header', [0xc0, 0]],
    ['to the label before', [1, 0x61, 0xc0, DNS_LEN]],
    ['and cut', [0xc0]],
  ])('with a pointer %s are refused', (_, name) => {
    const bytes = Uint8Array.from([...new Uint8Array(DNS_LEN), ...name]);
    expect(readDnsName(bytes, 0, DNS_LEN, bytes.length)).toBeUndefined();
  });

  test('of any bytes are read in bounded steps', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: DNS_LEN, maxLength: 400 }), fc.nat(399), (bytes, from) => {
        const text = readDnsName(bytes, 0, from, bytes.length);
        if (text === undefined) return;
        // Escapes are of four characters each at most.
        expect(text.length).toBeLessThanOrEqual(4 * 255);
        expect(skipDnsName(bytes, from, bytes.length)).toBeGreaterThan(from);
      }),
      { numRuns: 2000 },
    );
  });

  test('with what cannot be printed are escaped', () => {
    const bytes = Uint8Array.from([...new Uint8Array(DNS_LEN), 4, 0x61, 0x2e, 0x5c, 0x09, 0]);
    expect(readDnsName(bytes, 0, DNS_LEN, bytes.length)).toBe('a\\.\\\\\\009');
  });
});

test('an answer begins with the question as it was asked, in its own case', () => {
  const { bytes, at, end } = placed(question());
  const query = new DnsQuery();
  parseDnsQuery(bytes, at, end, query);
  const out = new Uint8Array(100).fill(0xa5);
  const length = writeDnsAnswer(out, 0, query, bytes, 0x0400 | DnsRcode.NXDOMAIN);
  const answer = decode(Buffer.from(out.subarray(0, length)));
  expect(answer).toMatchObject({
    id: 4711,
    type: 'response',
    rcode: 'NXDOMAIN',
    flag_aa: true,
    flag_rd: true,
  });
  expect(answer.questions).toEqual([{ name: 'Web.example', type: 'A', class: 'IN' }]);
});

test('records are stepped over, and not beyond the end', () => {
  const message = encode({
    type: 'response',
    questions: [],
    answers: [{ type: 'TXT', name: 'a', ttl: 1, data: ['x'.repeat(200)] }],
  });
  const { bytes, at, end } = placed(message);
  expect(skipDnsRecord(bytes, at + DNS_LEN, end)).toBe(end);
  for (let cut = at + DNS_LEN; cut < end; cut++) expect(skipDnsRecord(bytes, at + DNS_LEN, cut)).toBe(-1);
});
