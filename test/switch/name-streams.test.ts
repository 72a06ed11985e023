import { decode, encode } from 'dns-packet';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tcp } from '../../src/testing/frames.ts';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';
import { parse } from '../../wire/parse.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpFlags,
  tcpMss,
  tcpSequence,
} from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { expectNoLeak, FEW, packetOf } from './gateway-bed.ts';

const C1 = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const C2 = { mac: '02:42:0a:00:00:03', ipv4: '10.0.0.3', ipv6: 'fd00::3' };
const STATIONS = { c1: C1, c2: C2 };
type Name = keyof typeof STATIONS;

let deck: MemoryDeck;
/** Questions for others. */
let asked: { id: number; message: Uint8Array }[];

beforeEach(() => {
  deck = memoryDeck({
    seed: 1,
    arena: FEW,
    uplinks: { up: { ipv4: '198.51.100.2/24', gateway4: '198.51.100.1', mtu: 1500 } },
    networks: { lan: { ipv4: '10.0.0.1/16', ipv6: 'fd00::1/64', uplink: 'up', mtu: 1500 } },
    ports: { c1: { network: 'lan', station: C1 }, c2: { network: 'lan', station: C2 } },
  });
  deck.virtual.dataplane.arena.bytes.fill(0xa5);
  const many = Array.from({ length: 300 }, (_, i) => (0x0a000100 + i) | 0);
  deck.virtual.dataplane.setNames(deck.virtual.networkId('lan'), [
    { name: 'web', ipv4: [0x0a000003], ipv6: [] },
    { name: 'many', ipv4: many, ipv6: [] },
  ]);
  asked = [];
  deck.virtual.dataplane.onQuery = (query) => void asked.push(query);
});

/** Whatever was done, the account is right and no slot is lost. */
afterEach(() => {
  deck.tables();
  expectNoLeak(deck);
});

function message(name: string, id = 7): Uint8Array {
  const query = encode({ type: 'query', id, flags: 0x100, questions: [{ type: 'A', name }] });
  return Uint8Array.from([query.length >> 8, query.length & 255, ...query]);
}

interface Segment {
  flags: number;
  sequence: number;
  acknowledgment: number;
  mss: number;
  data: Uint8Array;
}

/** The container's side of a connection: it does what it is told and nothing by itself. */
class Client {
  readonly name: Name;
  readonly srcPort: number;
  readonly family: 4 | 6;
  window = 65_535;
  mss = 1460;
  /** Next of ours, and next expected. */
  sequence = 1000;
  expected = 0;
  received: number[] = [];

  constructor(srcPort = 40_000, name: Name = 'c1', family: 4 | 6 = 4) {
    this.srcPort = srcPort;
    this.name = name;
    this.family = family;
  }

  send(
    flags: string,
    data: Uint8Array | number = 0,
    sequence = this.sequence,
    acknowledgment = this.expected,
  ): void {
    const { srcPort, window, mss, family } = this;
    const ends = { from: STATIONS[this.name], to: deck.gateway('lan'), family };
    deck.send(
      this.name,
      tcp({ ...ends, srcPort, dstPort: 53, flags, sequence, acknowledgment, window, mss, data }),
    );
  }

  /** What came back, to this connection or any other of the port. */
  take(): Segment[] {
    return deck.take(this.name).map((frame) => {
      const packet = packetOf(frame);
      expect(parse(packet)).toBe(0);
      expect(transportChecksumOk(packet)).toBe(true);
      expect(packet.protocol).toBe(6);
      const { bytes, l4, payload, end } = packet;
      return {
        flags: tcpFlags(bytes, l4),
        sequence: tcpSequence(bytes, l4),
        acknowledgment: tcpAcknowledgment(bytes, l4),
        mss: tcpMss(bytes, l4),
        data: bytes.slice(payload, end),
      };
    });
  }

  open(): this {
    this.send('S');
    // Another may have had to go for it.
    const synAck = this.take().find(({ flags }) => (flags & TCP_SYN) !== 0);
    expect(synAck).toMatchObject({ flags: TCP_SYN | TCP_ACK, acknowledgment: this.sequence + 1 });
    this.sequence++;
    this.expected = (synAck!.sequence + 1) | 0;
    this.send('A');
    return this;
  }

  write(data: Uint8Array): void {
    this.send('PA', data);
    this.sequence += data.length;
  }

  /** Takes and acknowledges what comes, in its order; answers the segments. */
  read(): Segment[] {
    const all: Segment[] = [];
    for (let segments = this.take(); segments.length > 0; segments = this.take()) {
      let isNew = false;
      for (const segment of segments) {
        all.push(segment);
        if (segment.sequence !== this.expected) continue;
        this.received.push(...segment.data);
        const fin = (segment.flags & TCP_FIN) !== 0 ? 1 : 0;
        isNew ||= segment.data.length + fin > 0;
        this.expected = (this.expected + segment.data.length + fin) | 0;
      }
      if (isNew) this.send('A');
    }
    return all;
  }

  /** The whole messages that were received. */
  messages() {
    const bytes = Buffer.from(this.received);
    const messages = [];
    for (let at = 0; at + 2 <= bytes.length && at + 2 + bytes.readUInt16BE(at) <= bytes.length; ) {
      const end = at + 2 + bytes.readUInt16BE(at);
      messages.push(decode(bytes.subarray(at + 2, end)));
      at = end;
    }
    return messages;
  }
}

describe('a question over TCP', () => {
  test.each([4, 6] as const)(
    'is answered, over IPv%s, and the connection closes as its client wants it',
    (family) => {
      const client = new Client(40_000, 'c1', family).open();
      client.write(message('web'));
      client.read();
      expect(client.messages()).toMatchObject([{ id: 7, answers: [{ data: '10.0.0.3' }] }]);
      client.send('FA');
      client.sequence++;
      const [fin] = client.read();
      expect(fin).toMatchObject({ flags: TCP_FIN | TCP_ACK, acknowledgment: client.sequence });
      // Forgotten: what comes now is of no connection.
      client.send('A');
      expect(client.take()).toMatchObject([{ flags: TCP_RST }]);
    },
  );

  test('is answered in one connection as often as it is asked, also at once and in pieces', () => {
    const client = new Client().open();
    const both = Uint8Array.from([...message('web', 1), ...message('web', 2), ...message('absent', 3)]);
    for (const byte of both) client.write(Uint8Array.of(byte));
    client.read();
    client.write(both);
    client.read();
    expect(client.messages().map(({ id }) => id)).toEqual([1, 2, 3, 1, 2, 3]);
    expect(client.messages()[2]).toMatchObject({ rcode: 'NXDOMAIN' });
  });

  test('has answers as long as they are, in segments that the link and the client take', () => {
    const client = new Client().open();
    client.write(message('many'));
    const segments = client.read();
    expect(Math.max(...segments.map(({ data }) => data.length))).toBe(1460);
    const [answer] = client.messages();
    expect(answer!.answers).toHaveLength(300);
    expect(answer).toMatchObject({ flag_tc: false });
  });

  test('about a name outside waits for the answer, and what comes behind it waits too', () => {
    const client = new Client().open();
    client.write(message('www.example.com', 1));
    client.write(message('web', 2));
    client.read();
    expect(client.messages()).toEqual([]);
    expect(asked).toHaveLength(1);
    const answer = encode({ type: 'response', id: 1, questions: [{ type: 'A', name: 'www.example.com' }] });
    deck.virtual.dataplane.answerQuery(asked[0]!.id, answer, deck.now);
    client.read();
    expect(client.messages().map(({ id }) => id)).toEqual([1, 2]);
    // The answer of somebody who was asked twice.
    deck.virtual.dataplane.answerQuery(asked[0]!.id, answer, deck.now);
    expect(client.take()).toEqual([]);
  });

  test('that deserves no answer ends the connection', () => {
    for (const bytes of [
      [0, 3, 1, 2, 3],
      [0xff, 0xff],
      [0, 0],
    ]) {
      const client = new Client().open();
      client.write(Uint8Array.from(bytes));
      expect(client.take()).toMatchObject([{ flags: TCP_RST | TCP_ACK }]);
    }
  });

  test('that is followed by the end of what its client says is answered before the end', () => {
    const client = new Client().open();
    client.send('FPA', message('web'));
    client.sequence += message('web').length + 1;
    const segments = client.read();
    expect(client.messages()).toHaveLength(1);
    expect(segments.at(-1)!.flags & TCP_FIN).toBe(TCP_FIN);
  });
});

describe('more questions than answers have room to wait', () => {
  test.each([
    ['goes on', 'PA'],
    ['has sent its last', 'FPA'],
  ])('are all answered, one after the other, when their client %s', (_, flags) => {
    const client = new Client().open();
    const ids = Array.from({ length: 12 }, (_, i) => i + 1);
    const questions = Uint8Array.from(ids.flatMap((id) => [...message('many', id)]));
    client.send(flags, questions);
    client.sequence += questions.length + (flags.includes('F') ? 1 : 0);
    const segments = client.read();
    expect(client.messages().map(({ id }) => id)).toEqual(ids);
    expect(segments.at(-1)!.flags & TCP_FIN).toBe(flags.includes('F') ? TCP_FIN : 0);
  });
});

describe('a question that comes behind our last', () => {
  test('has no answer in the place of our FIN: the client asks again in another connection', () => {
    const client = new Client().open();
    deck.advance(10_000);
    const [fin] = client.take();
    expect(fin!.flags & TCP_FIN).toBe(TCP_FIN);
    client.write(message('web'));
    const answers = client.take();
    expect(answers.every(({ data }) => data.length === 0)).toBe(true);
    expect(answers.at(-1)).toMatchObject({ sequence: fin!.sequence + 1, acknowledgment: client.sequence });
    client.expected = (fin!.sequence + 1) | 0;
    client.send('FA');
    client.sequence++;
    expect(client.take().at(-1)).toMatchObject({ flags: TCP_ACK, acknowledgment: client.sequence });
  });
});

describe('segments that are lost', () => {
  test('are sent again: ours, until they are acknowledged', () => {
    const client = new Client().open();
    client.write(message('many'));
    const first = client.take();
    deck.advance(200);
    const again = client.take();
    expect(again.map(({ sequence }) => sequence)).toEqual(first.map(({ sequence }) => sequence));
    // An acknowledgment of the first sending comes late.
    client.received.push(...first[0]!.data);
    client.expected = (client.expected + first[0]!.data.length) | 0;
    client.send('A');
    deck.advance(500);
    client.read();
    expect(client.messages()[0]!.answers).toHaveLength(300);
  });

  test('are asked for: theirs, by acknowledging what has come', () => {
    const client = new Client().open();
    const bytes = message('web');
    client.send('PA', bytes.slice(10), client.sequence + 10);
    expect(client.take()).toMatchObject([{ flags: TCP_ACK, acknowledgment: client.sequence }]);
    client.send('PA', bytes.slice(0, 10));
    expect(client.take()).toMatchObject([{ acknowledgment: client.sequence + 10 }]);
    // Sent again from the beginning, half of it known.
    client.send('PA', bytes);
    client.sequence += bytes.length;
    client.read();
    expect(client.messages()).toHaveLength(1);
    client.send('PA', bytes, client.sequence - bytes.length);
    expect(client.take()).toMatchObject([
      { flags: TCP_ACK, acknowledgment: client.sequence, data: new Uint8Array() },
    ]);
  });

  test('may be those of the handshake, on either side', () => {
    const client = new Client();
    client.send('S');
    const [synAck] = client.take();
    deck.advance(200);
    expect(client.take()).toEqual([synAck]);
    client.send('S');
    expect(client.take()).toEqual([synAck]);
    client.sequence++;
    client.expected = (synAck!.sequence + 1) | 0;
    client.write(message('web'));
    client.read();
    expect(client.messages()).toHaveLength(1);
  });

  test('for ever end the connection', () => {
    const client = new Client().open();
    client.write(message('web'));
    client.take();
    deck.advance(20_000);
    const last = client.take();
    expect(last.at(-1)!.flags & TCP_RST).toBe(TCP_RST);
    expect(last.length).toBeLessThan(10);
  });
});

describe('a client that takes little', () => {
  test('gets as much as its window has room for', () => {
    const client = new Client();
    client.window = 100;
    client.open();
    client.write(message('many'));
    for (let i = 0; i < 200 && client.messages().length === 0; i++) client.read();
    expect(client.messages()[0]!.answers).toHaveLength(300);
  });

  test('and takes segments of a byte only, gets no more than a few frames at once, of more than that', () => {
    const client = new Client();
    client.mss = 1;
    client.open();
    client.write(message('many'));
    const first = client.take();
    expect(first.length).toBeLessThanOrEqual(64);
    expect(first.map(({ data }) => data.length)).toEqual(new Array(first.length).fill(48));
    for (const { data } of first) client.received.push(...data);
    client.expected += 48 * first.length;
    client.send('A');
    client.read();
    expect(client.received.length).toBe(2 + (client.received[0]! << 8) + client.received[1]!);
    expect(decode(Buffer.from(client.received.slice(2))).answers).toHaveLength(300);
  });

  test('is asked whether it takes more by a byte, and given up when it never does', () => {
    const client = new Client().open();
    client.window = 0;
    client.send('A');
    client.write(message('web'));
    expect(client.take()).toMatchObject([{ data: new Uint8Array(), acknowledgment: client.sequence }]);
    deck.advance(200);
    const [probe] = client.take();
    expect(probe!.data).toHaveLength(1);
    client.received.push(...probe!.data);
    client.expected++;
    client.window = 65_535;
    client.send('A');
    client.read();
    expect(client.messages()).toHaveLength(1);

    client.window = 0;
    client.send('A');
    client.write(message('web'));
    deck.advance(30_000);
    expect(client.take().at(-1)!.flags & TCP_RST).toBe(TCP_RST);
  });
});

describe('who holds connections and does nothing with them', () => {
  test('has each of them for ten seconds, also when he says a byte now and then', () => {
    const idle = new Client(40_000).open();
    const slow = new Client(40_001).open();
    slow.write(Uint8Array.of(0));
    deck.advance(9000);
    slow.write(Uint8Array.of(40));
    slow.take();
    deck.advance(1000);
    expect(slow.take().map(({ flags }) => flags & TCP_FIN)).toEqual([TCP_FIN, TCP_FIN]);
    // Both get our end, and when theirs does not come, a reset.
    deck.advance(2000);
    expect(slow.take().filter(({ flags }) => (flags & TCP_RST) !== 0)).toHaveLength(2);
    idle.send('A');
    expect(idle.take()).toMatchObject([{ flags: TCP_RST }]);
  });

  test('has 64 at a time and loses his own oldest, while all others have theirs', () => {
    const other = new Client(50_000, 'c2').open();
    const first = new Client(30_000).open();
    for (let i = 1; i <= 1000; i++) new Client(30_000 + i).open();
    first.send('A');
    expect(first.take().at(-1)!.flags).toBe(TCP_RST);
    const last = new Client(31_000);
    last.take();
    other.write(message('web'));
    other.read();
    expect(other.messages()).toHaveLength(1);
    expect(deck.virtual.dataplane.deadline()).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  test('at as many ports as it takes has none when somebody else wants one', () => {
    const ports = Array.from({ length: 16 }, (_, i) => `m${i}`);
    for (const [i, name] of ports.entries()) {
      const station = { mac: `02:42:0a:00:01:${i.toString(16).padStart(2, '0')}`, ipv4: `10.0.1.${i + 1}` };
      deck.attach(name, { network: 'lan', station });
      const ends = { from: station, to: deck.gateway('lan'), family: 4 as const, dstPort: 53, flags: 'S' };
      for (let n = 0; n < 64; n++) deck.send(name, tcp({ ...ends, srcPort: 30_000 + n }));
    }
    const client = new Client().open();
    client.write(message('web'));
    client.read();
    expect(client.messages()).toHaveLength(1);
    // Who had been silent for longest has made room, and knows.
    expect(deck.take('m0').filter((frame) => (frame[47]! & TCP_RST) !== 0)).toHaveLength(1);
  });

  test('and then resets them leaves nothing behind', () => {
    for (let i = 0; i < 2000; i++) {
      const client = new Client(30_000 + (i % 1000)).open();
      client.write(message('web').slice(0, 5));
      client.send('R', 0, client.sequence);
      client.take();
      client.sequence = 1000;
    }
    // When what was due for them is over, nothing is any more.
    deck.advance(200);
    expect(deck.virtual.dataplane.deadline()).toBeGreaterThan(deck.now + 100_000);
    deck.advance(20_000);
    expect(new Client().take()).toEqual([]);
  });
});

describe('segments of strangers', () => {
  test('do not end a connection unless they know its place exactly (RFC 5961)', () => {
    const client = new Client().open();
    client.send('R', 0, client.sequence + 1);
    expect(client.take()).toMatchObject([{ flags: TCP_ACK, acknowledgment: client.sequence }]);
    client.send('R', 0, client.sequence - 1);
    client.send('R', 0, client.sequence + 5000);
    expect(client.take()).toEqual([]);
    client.send('S', 0, 77);
    expect(client.take()).toMatchObject([{ flags: TCP_ACK, acknowledgment: client.sequence }]);
    client.send('A', 0, client.sequence, client.expected + 1);
    expect(client.take()).toMatchObject([{ flags: TCP_ACK }]);
    client.write(message('web'));
    client.read();
    expect(client.messages()).toHaveLength(1);
    client.send('R');
    client.send('A');
    expect(client.take()).toMatchObject([{ flags: TCP_RST }]);
  });

  test('of no connection are reset, and resets are not', () => {
    const client = new Client();
    for (const flags of ['A', 'FA', 'SA', 'SF']) {
      client.send(flags);
      expect(client.take(), flags).toHaveLength(1);
    }
    client.send('R');
    client.send('RA');
    expect(client.take()).toEqual([]);
  });

  test('begin with numbers that do not follow from one another', () => {
    const numbers = Array.from({ length: 50 }, (_, i) => new Client(30_000 + i).open().expected);
    const steps = numbers.slice(1).map((number, i) => (number - numbers[i]!) | 0);
    expect(new Set(steps.map((step) => step >> 24)).size).toBeGreaterThan(20);
  });
});

test('a port that goes takes its connections with it', () => {
  const client = new Client().open();
  client.write(message('www.example.com'));
  client.take();
  deck.detach('c1');
  deck.attach('c1');
  deck.virtual.dataplane.answerQuery(asked[0]!.id, new Uint8Array(20), deck.now);
  client.send('A');
  expect(client.take()).toMatchObject([{ flags: TCP_RST }]);
});

test('any segments in any order keep the account and leave nothing behind', () => {
  const step = fc.record({
    srcPort: fc.integer({ min: 30_000, max: 30_003 }),
    flags: fc.constantFrom('S', 'A', 'PA', 'FA', 'R', 'SA', 'FPA', 'SF', 'RA'),
    offset: fc.constantFrom(0, 0, 0, 0, 1, -1, 5, -100, 3000, 2 ** 31),
    acked: fc.constantFrom(0, 0, 0, 1, -1, 100, 2 ** 31),
    data: fc.oneof(
      fc.constant(message('web')),
      fc.constant(message('www.example.com')),
      fc.uint8Array({ maxLength: 40 }),
    ),
    wait: fc.constantFrom(0, 0, 0, 100, 1000, 11_000),
    answer: fc.boolean(),
    window: fc.constantFrom(65_535, 100, 0),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clients = new Map<number, Client>();
      for (const { srcPort, flags, offset, acked, data, wait, answer, window } of steps) {
        const client = clients.get(srcPort) ?? new Client(srcPort);
        clients.set(srcPort, client);
        client.window = window;
        const bytes = flags.includes('P') ? data : 0;
        client.send(flags, bytes, client.sequence + offset, client.expected + acked);
        for (const segment of client.take()) {
          // What it acknowledges is where we are, so that most segments mean something.
          if ((segment.flags & TCP_RST) === 0) client.sequence = segment.acknowledgment;
          client.expected =
            (segment.sequence + segment.data.length + ((segment.flags & (TCP_SYN | TCP_FIN)) !== 0 ? 1 : 0)) |
            0;
        }
        if (answer)
          for (const { id } of asked.splice(0))
            deck.virtual.dataplane.answerQuery(id, new Uint8Array(30), deck.now);
        deck.advance(wait);
      }
      deck.advance(60_000);
      for (const { id } of asked.splice(0))
        deck.virtual.dataplane.answerQuery(id, new Uint8Array(), deck.now);
      deck.advance(60_000);
      deck.take('c1');
      deck.tables();
      for (const [srcPort, { sequence }] of clients) {
        const last = new Client(srcPort);
        last.send('A', 0, sequence, 0);
        expect(last.take()).toMatchObject([{ flags: TCP_RST }]);
      }
    }),
    { numRuns: 150 },
  );
});
