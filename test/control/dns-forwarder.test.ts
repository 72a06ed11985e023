import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readAnswer } from '../../src/control/dns-answer.ts';
import { DnsForwarder } from '../../src/control/dns-forwarder.ts';
import { a, InventedServer } from './invented-server.ts';

let server: InventedServer;
/** At 127.0.0.2, which only some tests name. */
let second: InventedServer;
let folder: string;
let path: string;
let now: number;
let forwarder: DnsForwarder;

beforeEach(async () => {
  [server, second] = (await InventedServer.open('127.0.0.1', '127.0.0.2')) as [
    InventedServer,
    InventedServer,
  ];
  folder = mkdtempSync(join(tmpdir(), 'dns-'));
  path = join(folder, 'resolv.conf');
  writeFileSync(path, 'nameserver 127.0.0.1');
  now = 0;
  forwarder = make();
});

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all([server.close(), second.close()]);
  rmSync(folder, { recursive: true });
});

/** Longer than any test: where a server is to fail by its silence, the test has the clock. */
const PATIENCE = 240_000;

/** Sockets keep their own. */
function takeClock(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
}

function make(patience = PATIENCE): DnsForwarder {
  return new DnsForwarder({ resolvConf: path, port: server.port, patience, now: () => now });
}

const OPT = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  options: [],
};

interface Ask {
  type?: string;
  limit?: number;
  overTcp?: boolean;
  edns?: boolean;
  flags?: number;
  id?: number;
  asker?: number;
}

type Decoded = Packet & {
  rcode: string;
  flag_tc: boolean;
  flag_ad: boolean;
  flag_ra: boolean;
  flag_rd: boolean;
};

async function ask(
  name: string,
  { type = 'A', limit = 512, overTcp = false, edns = false, flags = 0x100, id = 77, asker = 0 }: Ask = {},
): Promise<Decoded> {
  const query = encode({
    type: 'query',
    id,
    flags,
    questions: [{ name, type }],
    ...(edns && { additionals: [OPT] }),
  } as Packet);
  const answer = await forwarder.answer(query, limit, overTcp, asker);
  expect(answer.length).toBeLessThanOrEqual(limit);
  return decode(Buffer.from(answer)) as unknown as Decoded;
}

describe('a question about a name outside', () => {
  it('is asked of the host, and the answer comes back under its id, in its case', async () => {
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7')], additionals: [OPT] as never });
    const answer = await ask('WwW.eXample.com');
    expect(answer).toMatchObject({ id: 77, rcode: 'NOERROR', flag_ra: true, flag_rd: true, flag_tc: false });
    expect(answer.questions).toMatchObject([{ name: 'WwW.eXample.com' }]);
    expect(answer.answers).toMatchObject([{ data: '192.0.2.7', ttl: 60 }]);
    // EDNS is between two neighbors: who did not say it does not hear it.
    expect(answer.additionals).toEqual([]);
    expect(server.asked).toMatchObject([{ type: 'A', overTcp: false }]);
    expect(server.asked[0]!.query.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }]);
  });

  it('goes out under ids, ports and in letters that nobody can guess', async () => {
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7', 0)] });
    for (let i = 0; i < 20; i++) await ask('a-name-of-many-letters.example.com', { id: 77 });
    const distinct = (of: (one: (typeof server.asked)[number]) => unknown) =>
      new Set(server.asked.map(of)).size;
    expect(distinct(({ id }) => id)).toBeGreaterThan(15);
    expect(distinct(({ from }) => from)).toBeGreaterThan(15);
    expect(distinct(({ name }) => name)).toBeGreaterThan(15);
    expect(distinct(({ name }) => name.toLowerCase())).toBe(1);
  });

  it('is asked also while one has as many questions as he may, which nobody answers', async () => {
    takeClock();
    server.say = ({ name }) =>
      name.toLowerCase().endsWith('silent') ? undefined : { answers: [a(name, '192.0.2.7')] };
    const flood = Array.from({ length: 300 }, (_, i) => ask(`${i}.silent`, { asker: 1 }));
    expect((await ask('one-more.silent', { asker: 1 })).rcode).toBe('SERVFAIL');
    expect(server.asked.some(({ name }) => name.toLowerCase() === 'one-more.silent')).toBe(false);
    expect(await ask('a.example', { asker: 2 })).toMatchObject({ answers: [{ data: '192.0.2.7' }] });
    await vi.advanceTimersByTimeAsync(PATIENCE);
    expect((await Promise.all(flood)).every(({ rcode }) => rcode === 'SERVFAIL')).toBe(true);
    // When they are over, so is what he had.
    expect(await ask('b.example', { asker: 1 })).toMatchObject({ answers: [{ data: '192.0.2.7' }] });
  });

  it('is not answered by what answers something else', async () => {
    const forged: ((query: Packet) => Packet)[] = [
      ({ id, questions }) => ({ type: 'response', id: (id! + 1) & 0xffff, questions: questions! }),
      ({ id }) => ({ type: 'response', id: id!, questions: [{ type: 'A', name: 'other.example' }] }),
      ({ id, questions }) => ({
        type: 'response',
        id: id!,
        questions: [{ type: 'AAAA', name: questions![0]!.name }],
      }),
      ({ id }) => ({ type: 'response', id: id!, questions: [] }),
      ({ id, questions }) => ({ type: 'query', id: id!, questions: questions! }),
    ];
    for (const forge of forged) {
      server.say = ({ name }, query) => {
        const { id, questions } = query;
        const answers = [a(name, '192.0.2.7', 0)];
        return [
          encode({ ...forge(query), answers: [a(name, '192.0.2.66', 0)] }),
          encode({ type: 'response', id: id!, questions: questions!, answers }),
        ];
      };
      expect((await ask('example.com')).answers).toMatchObject([{ data: '192.0.2.7' }]);
    }
  });

  it('is asked over TCP when the case of its letters is lost', async () => {
    server.say = ({ name }, { id, questions }, overTcp) => {
      const lower = questions!.map((question) => ({ ...question, name: question.name.toLowerCase() }));
      return encode({
        type: 'response',
        id: id!,
        questions: lower,
        answers: [a(name, overTcp ? '192.0.2.1' : '192.0.2.66')],
      });
    };
    const answer = await ask('a-name-of-many-letters.example.com');
    expect(answer.answers).toMatchObject([{ data: '192.0.2.1' }]);
    expect(server.asked.map(({ overTcp }) => overTcp)).toEqual([false, true]);
  });

  it('is asked over TCP when it came so, and the answer may be long', async () => {
    server.say = ({ name }) => ({
      answers: Array.from({ length: 1000 }, (_, i) => a(name, `10.1.${i >> 8}.${i & 255}`)),
    });
    const answer = await ask('many.example', { overTcp: true, limit: 65_535 });
    expect(answer.answers).toHaveLength(1000);
    expect(server.asked).toMatchObject([{ overTcp: true }]);
    // What is remembered of it is cut for who asks over UDP.
    const cut = await ask('many.example');
    expect(cut).toMatchObject({ flag_tc: true, answers: [] });
    expect(server.asked).toHaveLength(1);
  });

  it('comes back with TC when the answer has it, and nothing of that is remembered', async () => {
    server.say = ({ name }) => ({ flags: 0x200, answers: [a(name, '192.0.2.7')] });
    expect(await ask('big.example')).toMatchObject({ flag_tc: true });
    await ask('big.example');
    expect(server.asked).toHaveLength(2);
  });

  it('is told the upper bits of a response code only with EDNS', async () => {
    server.say = () => ({ additionals: [{ ...OPT, extendedRcode: 1 }] as never });
    expect((await ask('odd.example')).rcode).toBe('SERVFAIL');
    expect((await ask('odd.example', { edns: true })).additionals).toMatchObject([{ extendedRcode: 1 }]);
  });

  it('is asked once when many ask the same, and each gets his own', async () => {
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7', 0)] });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, id) => ask(id % 2 ? 'X.example' : 'x.example', { id })),
    );
    expect(server.asked).toHaveLength(1);
    expect(answers.map(({ id }) => id)).toEqual(Array.from({ length: 50 }, (_, id) => id));
    expect(answers[1]!.questions![0]!.name).toBe('X.example');
  });

  it('does not take EDNS to a server that does not know it', async () => {
    server.say = ({ name }, { additionals }) =>
      additionals!.length > 0 ? { flags: 1 } : { answers: [a(name, '192.0.2.7')] };
    expect((await ask('old.example')).answers).toMatchObject([{ data: '192.0.2.7' }]);
  });
});

describe('what is remembered', () => {
  it('is an answer for as long as it says, and grows old', async () => {
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7', 60), a(name, '192.0.2.8', 100)] });
    await ask('example.com');
    now = 20_500;
    expect((await ask('EXAMPLE.com')).answers).toMatchObject([{ ttl: 40 }, { ttl: 80 }]);
    expect(server.asked).toHaveLength(1);
    now = 60_000;
    await ask('example.com');
    expect(server.asked).toHaveLength(2);
  });

  it('is that there is nothing, for as long as the SOA says', async () => {
    const soa = { mname: 'ns', rname: 'root', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 30 };
    const authorities = [{ type: 'SOA' as const, name: 'example.com', ttl: 90, data: soa }];
    server.say = () => ({ flags: 3, authorities });
    expect((await ask('no.example.com')).rcode).toBe('NXDOMAIN');
    now = 29_000;
    expect((await ask('no.example.com')).rcode).toBe('NXDOMAIN');
    expect(server.asked).toHaveLength(1);
    now = 30_000;
    await ask('no.example.com');
    expect(server.asked).toHaveLength(2);
    server.say = () => ({ flags: 3 });
    now = 100_000;
    await ask('never.example.com');
    await ask('never.example.com');
    expect(server.asked).toHaveLength(4);
  });

  it('are not failures, and not what was asked otherwise', async () => {
    server.say = () => ({ flags: 2 });
    await ask('bad.example');
    await ask('bad.example');
    expect(server.asked).toHaveLength(2);
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7')] });
    await ask('x.example');
    await ask('x.example', { type: 'AAAA' });
    await ask('x.example', { flags: 0x110 });
    expect(server.asked).toHaveLength(5);
    await ask('x.example', { edns: true });
    expect(server.asked).toHaveLength(5);
  });

  it('is not for who wants another asked, what a server says who is not to ask others', async () => {
    // RFC 1034 §4.3.1: without recursion there is a referral, or a refusal.
    server.say = ({ name }, { flags = 0 }) =>
      (flags & 0x100) !== 0 ? { answers: [a(name, '192.0.2.7')] } : { flags: 5 };
    const [direct, wanted] = await Promise.all([ask('x.example', { flags: 0 }), ask('x.example')]);
    expect([direct.rcode, wanted.rcode]).toEqual(['REFUSED', 'NOERROR']);
    expect((await ask('x.example', { flags: 0 })).rcode).toBe('REFUSED');
  });
});

describe('when a server fails', () => {
  it('the next one is asked, and stays first until half a minute has passed', async () => {
    writeFileSync(path, 'nameserver 127.0.0.1\nnameserver 127.0.0.2');
    takeClock();
    server.say = () => undefined;
    second.say = ({ name }) => ({ answers: [a(name, '192.0.2.7', 0)] });
    /** Lets the time of the first one pass, which has been asked as often. */
    const wait = async (times: number) => {
      await expect.poll(() => server.asked.length).toBe(times);
      await vi.advanceTimersByTimeAsync(PATIENCE / 4);
    };
    const asking = ask('a.example');
    await wait(1);
    expect((await asking).rcode).toBe('NOERROR');
    expect([server.asked.length, second.asked.length]).toEqual([1, 1]);
    await ask('b.example');
    expect([server.asked.length, second.asked.length]).toEqual([1, 2]);
    now = 31_000;
    const again = ask('c.example');
    await wait(2);
    await again;
    expect([server.asked.length, second.asked.length]).toEqual([2, 3]);
  });

  it('who refuses is not the last one to be asked, and what all say is the answer', async () => {
    writeFileSync(path, 'nameserver 127.0.0.1\nnameserver 127.0.0.2');
    server.say = () => ({ flags: 5 });
    second.say = ({ name }) => ({ answers: [a(name, '192.0.2.7')] });
    expect((await ask('a.example')).answers).toMatchObject([{ data: '192.0.2.7' }]);
    forwarder = make();
    second.say = () => ({ flags: 2 });
    expect((await ask('a.example')).rcode).toBe('REFUSED');
  });

  it.each([
    ['does not answer', 'nameserver 127.0.0.1'],
    ['cannot be asked, for want of a way to it', 'nameserver 255.255.255.255'],
    ['is not there', 'nameserver 127.0.0.3'],
  ])('that %s, and no other is there, the answer is SERVFAIL', async (_, text) => {
    writeFileSync(path, text);
    forwarder = make(200);
    server.say = () => undefined;
    expect((await ask('a.example', { edns: true })).rcode).toBe('SERVFAIL');
  });

  it('and says what cannot be read, the answer is SERVFAIL', async () => {
    server.say = (question, { id }) => {
      const whole = encode({
        type: 'response',
        id: id!,
        questions: [question],
        answers: [a(question.name, '192.0.2.7')],
      });
      return whole.subarray(0, whole.length - 2);
    };
    expect((await ask('a.example')).rcode).toBe('SERVFAIL');
  });

  it('the others of resolv.conf are known as soon as it names them', async () => {
    writeFileSync(path, 'nameserver 255.255.255.255');
    server.say = ({ name }) => ({ answers: [a(name, '192.0.2.7')] });
    expect((await ask('a.example')).rcode).toBe('SERVFAIL');
    writeFileSync(path, 'nameserver 127.0.0.1');
    now = 1000;
    expect((await ask('a.example')).rcode).toBe('NOERROR');
  });
});

describe('an answer of any bytes', () => {
  it('is read or refused', () => {
    const whole = encode({
      type: 'response',
      questions: [{ type: 'A', name: 'a' }],
      answers: [a('a', '192.0.2.1'), { type: 'TXT', name: 'a', ttl: 1, data: ['x'] }],
      additionals: [OPT] as never,
    });
    const questionEnd = 12 + 3 + 4;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.integer({ min: questionEnd, max: whole.length }),
        (changes, length) => {
          const bytes = Uint8Array.from(whole.subarray(0, length));
          for (const [at, value] of changes) if (at < length) bytes[at] = value;
          const answer = readAnswer(bytes, questionEnd);
          if (answer === null) return;
          expect(answer.message.length).toBeLessThanOrEqual(length);
          for (const at of answer.ttls) expect(at + 4).toBeLessThanOrEqual(answer.message.length);
          expect(answer.lifetime).toBeGreaterThanOrEqual(0);
          expect(answer.lifetime).toBeLessThanOrEqual(3600);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
