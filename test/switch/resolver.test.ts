import { type Answer, decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type IpOptions, udp } from '../../src/testing/frames.ts';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';
import type { Frame } from '../../switch/frame.ts';
import { LOCAL_TTL } from '../../switch/resolver.ts';
import type { ZoneName } from '../../switch/zone.ts';
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { UDP_LEN, udpDstPort, udpSrcPort } from '../../wire/udp.ts';
import { FEW, packetOf, read } from './gateway-bed.ts';

const C1 = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const D1 = { mac: '02:42:0a:01:00:02', ipv4: '10.1.0.2', ipv6: 'fd01::2' };
const EXT = { mac: '02:00:00:00:00:01', ipv4: '198.51.100.1', ipv6: '2001:db8::1' };

function zoneName(name: string, ...addresses: string[]): ZoneName {
  return {
    name,
    ipv4: addresses.filter((text) => !text.includes(':')).map((text) => parseIpv4(text)!),
    ipv6: addresses.filter((text) => text.includes(':')).map((text) => parseIpv6(text)!),
  };
}

const FRONT = [
  zoneName('web.front', '10.0.0.3', 'fd00::3'),
  zoneName('web', '10.0.0.3', 'fd00::3'),
  zoneName('db.front', '10.0.0.4'),
  zoneName('db', '10.0.0.4'),
  zoneName('workers', '10.0.0.11', '10.0.0.12', '10.0.0.13'),
  zoneName('host.tapdeck.internal', '192.0.0.1'),
];
const BACK = [zoneName('db.back', '10.1.0.4'), zoneName('db', '10.1.0.4'), zoneName('queue', '10.1.0.5')];

/** c1 in `front` with an uplink, d1 in the internal `back`. */
function bed(): MemoryDeck {
  const deck = memoryDeck({
    seed: 1,
    arena: FEW,
    uplinks: { up: { ipv4: '198.51.100.2/24', ipv6: '2001:db8::2/64', gateway4: '198.51.100.1', mtu: 1500 } },
    networks: {
      front: { ipv4: '10.0.0.1/24', ipv6: 'fd00::1/64', uplink: 'up' },
      back: { ipv4: '10.1.0.1/24', ipv6: 'fd01::1/64' },
    },
    ports: {
      c1: { network: 'front', station: C1 },
      d1: { network: 'back', station: D1 },
      ext: { network: 'up', station: EXT },
    },
  });
  // What others left in the slots must not come out.
  deck.virtual.dataplane.arena.bytes.fill(0xa5);
  deck.virtual.dataplane.setNames(deck.virtual.networkId('front'), FRONT);
  deck.virtual.dataplane.setNames(deck.virtual.networkId('back'), BACK);
  return deck;
}

interface Ask {
  from?: 'c1' | 'd1';
  family?: 4 | 6;
  id?: number;
  message?: Uint8Array;
  packet?: Partial<Packet>;
}

const STATIONS = { c1: C1, d1: D1 };
const NETWORKS = { c1: 'front', d1: 'back' } as const;

function message(name: string, type: string, packet: Partial<Packet> = {}): Uint8Array {
  return encode({ type: 'query', id: 99, flags: 0x100, questions: [{ name, type }], ...packet } as Packet);
}

/** Sends bytes to the gateway's port 53; answers the data of what came back, undefined when nothing did. */
function exchange(
  deck: MemoryDeck,
  data: Uint8Array,
  { from = 'c1', family = 4 }: Ask = {},
): Uint8Array | undefined {
  const options: IpOptions = { from: STATIONS[from], to: deck.gateway(NETWORKS[from]), family };
  deck.send(from, udp({ ...options, srcPort: 40_000, dstPort: 53, data }));
  const frames = deck.take(from);
  if (frames.length === 0) return undefined;
  expect(frames).toHaveLength(1);
  const packet = packetOf(frames[0]!);
  expect(parse(packet)).toBe(0);
  expect(transportChecksumOk(packet)).toBe(true);
  expect([udpSrcPort(packet.bytes, packet.l4), udpDstPort(packet.bytes, packet.l4)]).toEqual([53, 40_000]);
  const { ip } = read(frames[0]!);
  const gateway = deck.gateway(NETWORKS[from]);
  expect(ip!.src).toBe(family === 4 ? gateway.ipv4 : gateway.ipv6);
  return packet.bytes.slice(packet.l4 + UDP_LEN, packet.end);
}

function ask(deck: MemoryDeck, name: string, type: string, options: Ask = {}): Packet & { rcode: string } {
  const answer = exchange(deck, message(name, type, options.packet), options);
  return decode(Buffer.from(answer!)) as unknown as Packet & { rcode: string };
}

/** The data of the records of an answer. */
function data(packet: Packet): unknown[] {
  return packet.answers!.map((answer) => (answer as Answer & { data: unknown }).data);
}

describe('a name of the network', () => {
  test.each([4, 6] as const)('has its addresses, over IPv%s', (family) => {
    const deck = bed();
    const a = ask(deck, 'web', 'A', { family });
    expect(a).toMatchObject({
      id: 99,
      rcode: 'NOERROR',
      flag_aa: true,
      flag_rd: true,
      flag_ra: true,
      flag_tc: false,
    });
    expect(a.answers).toMatchObject([
      { name: 'web', type: 'A', class: 'IN', ttl: LOCAL_TTL, data: '10.0.0.3' },
    ]);
    expect(data(ask(deck, 'web', 'AAAA', { family }))).toEqual(['fd00::3']);
    expect(data(ask(deck, 'web.front', 'A', { family }))).toEqual(['10.0.0.3']);
    expect(data(ask(deck, 'web', 'ANY', { family }))).toEqual(['10.0.0.3', 'fd00::3']);
    deck.tables();
  });

  test('is known in any case, and comes back in the case in which it was asked for', () => {
    const answer = ask(bed(), 'wEb.FrONt', 'A');
    expect(answer.questions).toMatchObject([{ name: 'wEb.FrONt' }]);
    expect(answer.answers).toMatchObject([{ name: 'wEb.FrONt', data: '10.0.0.3' }]);
  });

  test('without addresses of that kind exists: an SOA and no records', () => {
    for (const type of ['AAAA', 'MX', 'TXT', 'HTTPS', 'DS']) {
      const answer = ask(bed(), 'db', type);
      expect(answer, type).toMatchObject({ rcode: 'NOERROR', answers: [] });
      expect(answer.authorities).toMatchObject([
        { type: 'SOA', name: 'db', ttl: LOCAL_TTL, data: { minimum: LOCAL_TTL } },
      ]);
    }
  });

  test('of several addresses begins with another one every time', () => {
    const deck = bed();
    const orders = Array.from({ length: 4 }, () => data(ask(deck, 'workers', 'A')));
    expect(orders[0]).toEqual(['10.0.0.11', '10.0.0.12', '10.0.0.13']);
    expect(orders[1]).toEqual(['10.0.0.12', '10.0.0.13', '10.0.0.11']);
    expect(orders[2]).toEqual(['10.0.0.13', '10.0.0.11', '10.0.0.12']);
    expect(orders[3]).toEqual(orders[0]);
  });

  test('is where its addresses lead back to, the first name of each', () => {
    const deck = bed();
    expect(data(ask(deck, '3.0.0.10.in-addr.arpa', 'PTR'))).toEqual(['web.front']);
    const reverse = `3.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
    expect(data(ask(deck, reverse, 'PTR'))).toEqual(['web.front']);
    expect(ask(deck, '3.0.0.10.in-addr.arpa', 'A')).toMatchObject({ rcode: 'NOERROR', answers: [] });
  });

  test('is gone when the names of the network are others', () => {
    const deck = bed();
    deck.virtual.dataplane.setNames(deck.virtual.networkId('front'), [zoneName('new', '10.0.0.9')]);
    expect(ask(deck, 'web', 'A').rcode).toBe('NXDOMAIN');
    expect(data(ask(deck, 'new', 'A'))).toEqual(['10.0.0.9']);
  });

  test('that cannot be one leaves the names as they were', () => {
    const deck = bed();
    const { dataplane } = deck.virtual;
    const names = [zoneName('new', '10.0.0.9'), zoneName('x'.repeat(64), '10.0.0.10')];
    expect(() => dataplane.setNames(deck.virtual.networkId('front'), names)).toThrow(RangeError);
    expect(data(ask(deck, 'web', 'A'))).toEqual(['10.0.0.3']);
  });

  test.each(['__proto__', 'constructor', 'toString'])('may be %s', (name) => {
    const deck = bed();
    expect(ask(deck, name, 'A').rcode).toBe('NXDOMAIN');
    deck.virtual.dataplane.setNames(deck.virtual.networkId('front'), [zoneName(name, '10.0.0.9')]);
    expect(data(ask(deck, name, 'A'))).toEqual(['10.0.0.9']);
  });
});

describe('who may hear of a name', () => {
  test('are the endpoints of its network', () => {
    const deck = bed();
    expect(ask(deck, 'queue', 'A').rcode).toBe('NXDOMAIN');
    expect(data(ask(deck, 'queue', 'A', { from: 'd1' }))).toEqual(['10.1.0.5']);
    expect(ask(deck, 'web', 'A', { from: 'd1' }).rcode).toBe('NXDOMAIN');
  });

  test('are those who search the network, whose first one to know it answers', () => {
    const deck = bed();
    const { dataplane, ports } = deck.virtual;
    const [front, back] = [deck.virtual.networkId('front'), deck.virtual.networkId('back')];
    dataplane.setSearch(ports.get('c1')!.id, [back, front]);
    expect(data(ask(deck, 'db', 'A'))).toEqual(['10.1.0.4']);
    expect(data(ask(deck, 'queue', 'A'))).toEqual(['10.1.0.5']);
    expect(data(ask(deck, 'web', 'A'))).toEqual(['10.0.0.3']);
    dataplane.setSearch(ports.get('c1')!.id, [front, back]);
    expect(data(ask(deck, 'db', 'A'))).toEqual(['10.0.0.4']);
    dataplane.setSearch(ports.get('c1')!.id, []);
    expect(ask(deck, 'db', 'A').rcode).toBe('NXDOMAIN');
  });

  test('is for a link its one endpoint', () => {
    const deck = bed();
    const { dataplane, ports } = deck.virtual;
    const back = deck.virtual.networkId('back');
    dataplane.setSearch(ports.get('d1')!.id, [back], [zoneName('w', '10.1.0.7'), zoneName('db', '10.1.0.8')]);
    expect(data(ask(deck, 'w', 'A', { from: 'd1' }))).toEqual(['10.1.0.7']);
    expect(data(ask(deck, 'db', 'A', { from: 'd1' }))).toEqual(['10.1.0.8']);
    expect(ask(deck, 'w', 'A').rcode).toBe('NXDOMAIN');
  });

  test('is nobody outside: the port is closed there', () => {
    const deck = bed();
    const question = udp({
      from: EXT,
      to: { ...deck.gateway('up'), ipv4: '198.51.100.2' },
      dstPort: 53,
      data: message('web', 'A'),
    });
    expect(deck.send('ext', question)).toBe('dropped: NO_SOCKET');
    expect(deck.take('ext').every((frame) => read(frame).ip!.protocol === 1)).toBe(true);
  });
});

test("port 53 of a gateway is nobody's to publish: it is published outside", () => {
  const deck = bed();
  const outside = () => {
    const question = udp({
      from: EXT,
      to: { ...deck.gateway('up'), ipv4: '198.51.100.2' },
      dstPort: 53,
      data: 5,
    });
    return deck.send('ext', question);
  };
  const ids = deck.publish({
    station: { mac: C1.mac, ipv4: C1.ipv4 },
    network: 'front',
    protocol: 'udp',
    from: 50,
    to: 60,
  });
  expect(data(ask(deck, 'web', 'A'))).toEqual(['10.0.0.3']);
  expect(outside()).toBe('forwarded to c1');
  deck.take('c1');
  for (const id of ids) deck.unpublish(id);
  expect(data(ask(deck, 'web', 'A'))).toEqual(['10.0.0.3']);
  expect(outside()).toBe('dropped: NO_SOCKET');
});

describe('what never leaves', () => {
  /** A deck whose forwarder notes what it is asked. */
  function listening(): { deck: MemoryDeck; asked: { id: number; message: Uint8Array; limit: number }[] } {
    const deck = bed();
    const asked: { id: number; message: Uint8Array; limit: number }[] = [];
    deck.virtual.dataplane.onQuery = (query) => void asked.push(query);
    return { deck, asked };
  }

  test.each([
    ['nobody', 'A'],
    ['com', 'A'],
    ['com', 'HTTPS'],
    ['x.tapdeck.internal', 'A'],
    ['host.docker.internal', 'A'],
    ['tapdeck.internal', 'TXT'],
    ['x.localhost', 'A'],
    ['secret.onion', 'A'],
    ['nothing.invalid', 'A'],
    ['77.0.0.10.in-addr.arpa', 'PTR'],
    ['4.0.1.10.in-addr.arpa', 'PTR'],
    ['0.0.10.in-addr.arpa', 'SOA'],
    [`7.${'0.'.repeat(27)}1.0.d.f.ip6.arpa`, 'PTR'],
    [`0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa`, 'NS'],
  ])('is %s %s', (name, type) => {
    const { deck, asked } = listening();
    const answer = ask(deck, name, type);
    expect(asked).toEqual([]);
    expect(answer.rcode).toBe(name === 'tapdeck.internal' ? 'NOERROR' : 'NXDOMAIN');
  });

  test.each([
    ['www.example.com', 'A'],
    ['com', 'DS'],
    ['.', 'NS'],
    ['10.in-addr.arpa', 'NS'],
    ['1.2.0.10.in-addr.arpa', 'PTR'],
    ['x.3.0.0.10.in-addr.arpa', 'PTR'],
    ['300.0.0.10.in-addr.arpa', 'PTR'],
    ['d.f.ip6.arpa', 'NS'],
    ['internal.example', 'A'],
  ])('is not %s %s, but from an internal network', (name, type) => {
    const { deck, asked } = listening();
    const question = message(name, type);
    expect(exchange(deck, question)).toBeUndefined();
    expect(asked).toHaveLength(1);
    expect(Array.from(asked[0]!.message)).toEqual(Array.from(question));

    expect(ask(deck, name, type, { from: 'd1' })).toMatchObject({ rcode: 'REFUSED', flag_ra: false });
    expect(asked).toHaveLength(1);
  });

  test('is anything of another class, and transfers', () => {
    const { deck, asked } = listening();
    const chaos = message('version.bind', 'TXT');
    chaos[chaos.length - 1] = 3;
    expect(decode(Buffer.from(exchange(deck, chaos)!))).toMatchObject({ rcode: 'REFUSED' });
    expect(ask(deck, 'example.com', 'AXFR').rcode).toBe('REFUSED');
    expect(ask(deck, 'example.com', 'IXFR').rcode).toBe('REFUSED');
    expect(asked).toEqual([]);
  });
});

describe('what others are asked', () => {
  test('is answered with what they say, once, to who asked', () => {
    const deck = bed();
    const asked: number[] = [];
    deck.virtual.dataplane.onQuery = ({ id }) => void asked.push(id);
    expect(exchange(deck, message('example.com', 'A'))).toBeUndefined();
    const answer = Uint8Array.from({ length: 60 }, (_, i) => i);
    deck.virtual.dataplane.answerQuery(asked[0]!, answer, deck.now);
    const frames = deck.take('c1');
    expect(frames).toHaveLength(1);
    const packet = packetOf(frames[0]!);
    parse(packet);
    expect(transportChecksumOk(packet)).toBe(true);
    expect(Array.from(packet.bytes.slice(packet.payload, packet.end))).toEqual(Array.from(answer));
    deck.virtual.dataplane.answerQuery(asked[0]!, answer, deck.now);
    expect(deck.take('c1')).toEqual([]);
    deck.tables();
  });

  test('fails while nobody can be asked', () => {
    expect(ask(bed(), 'example.com', 'A').rcode).toBe('SERVFAIL');
  });

  test('is at most 64 questions of a port at a time, and the others have theirs', () => {
    const deck = bed();
    const asked: number[] = [];
    deck.virtual.dataplane.onQuery = ({ id }) => void asked.push(id);
    for (let i = 0; i < 100; i++) exchange(deck, message(`x${i}.example.com`, 'A'));
    expect(asked).toHaveLength(64);
    expect(deck.drops()).toMatchObject({ DNS_BUSY: 36 });
    deck.virtual.dataplane.answerQuery(asked[7]!, new Uint8Array(20), deck.now);
    deck.take('c1');
    exchange(deck, message('y.example.com', 'A'));
    expect(asked).toHaveLength(65);
    // The row is used again under another id.
    expect(new Set(asked).size).toBe(65);
    expect(data(ask(deck, 'web', 'A'))).toEqual(['10.0.0.3']);
  });

  test('is passed on also when the questions of a few ports are all that there may be', () => {
    const deck = bed();
    const asked: { id: number; port: number }[] = [];
    deck.virtual.dataplane.onQuery = ({ id, port }) => void asked.push({ id, port });
    const stations = Array.from({ length: 4 }, (_, i) => ({
      mac: `02:42:0a:00:01:0${i}`,
      ipv4: `10.0.0.${50 + i}`,
    }));
    for (const [i, station] of stations.entries()) {
      deck.attach(`m${i}`, { network: 'front', station });
      const ends = { from: station, to: deck.gateway('front'), family: 4 as const, dstPort: 53 };
      for (let n = 0; n < 64; n++) {
        deck.send(`m${i}`, udp({ ...ends, srcPort: 5000 + n, data: message(`x${n}.example.com`, 'A') }));
      }
    }
    expect(asked).toHaveLength(256);
    exchange(deck, message('example.com', 'A'));
    exchange(deck, message('example.org', 'A'));
    expect(asked).toHaveLength(258);
    // Whose questions made room have most of theirs still; a late answer to the others is nobody's.
    for (const { id } of asked) deck.virtual.dataplane.answerQuery(id, new Uint8Array(20), deck.now);
    expect(deck.take('c1')).toHaveLength(2);
    expect(stations.map((_, i) => deck.take(`m${i}`).length).toSorted()).toEqual([63, 63, 64, 64]);
  });

  test('is answered to nobody when the asker has gone', () => {
    const deck = bed();
    const asked: number[] = [];
    deck.virtual.dataplane.onQuery = ({ id }) => void asked.push(id);
    for (let i = 0; i < 64; i++) exchange(deck, message(`x${i}.example.com`, 'A'));
    deck.detach('c1');
    deck.attach('c1');
    for (const id of asked) deck.virtual.dataplane.answerQuery(id, new Uint8Array(20), deck.now);
    expect(deck.take('c1')).toEqual([]);
    for (let i = 0; i < 64; i++) exchange(deck, message(`x${i}.example.com`, 'A'));
    expect(asked).toHaveLength(128);
  });
});

describe('the size of an answer', () => {
  const MANY = zoneName('many', ...Array.from({ length: 100 }, (_, i) => `10.0.0.${i + 100}`));

  function many(udpPayloadSize?: number): { length: number; packet: Packet } {
    const deck = bed();
    deck.virtual.dataplane.setNames(deck.virtual.networkId('front'), [MANY]);
    const additionals = [
      { type: 'OPT', name: '.', udpPayloadSize, extendedRcode: 0, ednsVersion: 0, flags: 0, options: [] },
    ];
    const packet = udpPayloadSize === undefined ? {} : ({ additionals } as never);
    const answer = exchange(deck, message('many', 'A', packet))!;
    return { length: answer.length, packet: decode(Buffer.from(answer)) };
  }

  test.each([
    [undefined, 512],
    [100, 512],
    [512, 512],
    [900, 900],
    [4096, 1232],
    [65_535, 1232],
  ])('is with a buffer of %s at most %i, cut with TC', (size, most) => {
    const { length, packet } = many(size);
    expect(length).toBeLessThanOrEqual(most);
    expect(length).toBeGreaterThan(most - 16);
    expect((packet as { flag_tc?: boolean }).flag_tc).toBe(true);
    expect(packet.answers!.length).toBeGreaterThan(20);
    expect(packet.additionals).toHaveLength(size === undefined ? 0 : 1);
  });

  test('is that of its records when they fit, without TC', () => {
    const deck = bed();
    expect(ask(deck, 'workers', 'A')).toMatchObject({ flag_tc: false });
  });
});

describe('what is wrong', () => {
  test('is said, with as much of the question as could be read', () => {
    const deck = bed();
    const notify = message('web', 'SOA');
    notify[2]! |= 0x20;
    expect(decode(Buffer.from(exchange(deck, notify)!))).toMatchObject({ rcode: 'NOTIMP', opcode: 'NOTIFY' });
    const two = message('web', 'A');
    two[5] = 2;
    expect(decode(Buffer.from(exchange(deck, two)!))).toMatchObject({ rcode: 'FORMERR', questions: [] });
    const versioned = ask(deck, 'web', 'A', {
      packet: {
        additionals: [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 1232,
            extendedRcode: 0,
            ednsVersion: 7,
            flags: 0,
            options: [],
          },
        ],
      } as never,
    });
    // 16: the low bits in the header, the others in the OPT record.
    expect(versioned.rcode).toBe('NOERROR');
    expect(versioned.additionals).toMatchObject([{ type: 'OPT', extendedRcode: 1, ednsVersion: 0 }]);
  });

  test('is not answered when it is itself an answer, or too short', () => {
    const deck = bed();
    const answer = message('web', 'A');
    answer[2]! |= 0x80;
    expect(exchange(deck, answer)).toBeUndefined();
    for (let length = 0; length < 12; length++) {
      expect(exchange(deck, message('web', 'A').subarray(0, length))).toBeUndefined();
    }
    expect(deck.drops()).toMatchObject({ DNS_MALFORMED: 13 });
  });

  test('of any bytes gives answers that can be read, no longer than 512, and keeps the account', () => {
    const deck = bed();
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.tuple(fc.nat(60), fc.nat(255)).map(([at, value]) => {
            const bytes = Uint8Array.from(message('web.front', 'AAAA'));
            bytes[at % bytes.length] = value;
            return bytes;
          }),
        ),
        (bytes) => {
          const answer = exchange(deck, bytes);
          if (answer === undefined) return;
          expect(answer.length).toBeLessThanOrEqual(512);
          expect(Array.from(answer.subarray(0, 2))).toEqual(Array.from(bytes.subarray(0, 2)));
          decode(Buffer.from(answer));
        },
      ),
      { numRuns: 1500 },
    );
    deck.tables();
    expect(deck.virtual.dataplane.arena.frames.every((frame: Frame) => frame.references <= 0)).toBe(true);
  });
});
