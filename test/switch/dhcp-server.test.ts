import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { udp } from '../../src/testing/frames.ts';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';
import { DHCP_LEASE } from '../../switch/dhcp-server.ts';
import { parseMac } from '../../wire/address.ts';
import { get16, get32, set16, set32 } from '../../wire/bytes.ts';
import { DHCP_LEN, DHCP_MAGIC, DhcpOption, DhcpRequest, DhcpType, parseDhcp } from '../../wire/dhcp.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { FEW, packetOf, read } from './gateway-bed.ts';

const C1 = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2' };
const C2 = { mac: '02:42:0a:00:00:03', ipv4: '10.0.0.3' };
const ALL = { mac: 'ff:ff:ff:ff:ff:ff', ipv4: '255.255.255.255' };
const OWN = 0x0a000002;
const GATEWAY = 0x0a000001;

let deck: MemoryDeck;

function bed(dhcp: boolean): MemoryDeck {
  const made = memoryDeck({
    seed: 1,
    arena: FEW,
    networks: { lan: { ipv4: '10.0.0.1/24', mtu: 9000, dhcp } },
    ports: {
      c1: { network: 'lan', station: C1 },
      c2: { network: 'lan', station: C2 },
      stranger: { network: 'lan' },
    },
  });
  made.virtual.dataplane.arena.bytes.fill(0xa5);
  return made;
}

beforeEach(() => {
  deck = bed(true);
});

interface Message {
  type?: number;
  mac?: string;
  ciaddr?: number;
  giaddr?: number;
  flags?: number;
  requested?: number;
  server?: number;
  /** In place of all options. */
  options?: readonly number[];
  op?: number;
  htype?: number;
  hlen?: number;
}

const word = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

function message({
  type = 1,
  mac = C1.mac,
  ciaddr = 0,
  giaddr = 0,
  flags = 0,
  requested,
  server,
  ...rest
}: Message) {
  const options = rest.options ?? [
    ...[DhcpOption.MESSAGE_TYPE, 1, type],
    ...(requested === undefined ? [] : [DhcpOption.REQUESTED_ADDRESS, 4, ...word(requested)]),
    ...(server === undefined ? [] : [DhcpOption.SERVER_IDENTIFIER, 4, ...word(server)]),
    ...[55, 3, 1, 3, 6],
    DhcpOption.END,
  ];
  const bytes = new Uint8Array(DHCP_LEN + options.length);
  bytes[0] = rest.op ?? 1;
  bytes[1] = rest.htype ?? 1;
  bytes[2] = rest.hlen ?? 6;
  set32(bytes, 4, 0x12345678);
  set16(bytes, 10, flags);
  set32(bytes, 12, ciaddr);
  set32(bytes, 24, giaddr);
  const { hi, lo } = parseMac(mac)!;
  set16(bytes, 28, hi);
  set32(bytes, 30, lo);
  set32(bytes, 236, DHCP_MAGIC);
  bytes.set(options, DHCP_LEN);
  return bytes;
}

interface Reply {
  /** Of the frame and the packet. */
  mac: string;
  dst: string;
  yiaddr: number;
  flags: number;
  options: Map<number, number[]>;
}

/** Sends a message as who has no address yet; answers what came back by the same port. */
function send(data: Uint8Array, { from = 'c1', to = ALL, src = '0.0.0.0' } = {}): Reply | undefined {
  const station = { mac: from === 'c2' ? C2.mac : C1.mac, ipv4: src };
  deck.send(from, udp({ from: station, to, srcPort: 68, dstPort: 67, data }));
  for (const other of ['c1', 'c2', 'stranger'].filter((name) => name !== from)) {
    // What is asked of all is heard by all; answers are for who asked.
    for (const frame of deck.take(other)) expect(read(frame).src).not.toBe(deck.gateway().mac);
  }
  const [frame, ...more] = deck.take(from);
  expect(more).toEqual([]);
  if (frame === undefined) return undefined;
  const packet = packetOf(frame);
  expect(parse(packet)).toBe(0);
  expect(transportChecksumOk(packet)).toBe(true);
  const { bytes, l4, payload, end } = packet;
  expect([get16(bytes, l4), get16(bytes, l4 + 2)]).toEqual([67, 68]);
  expect(end - payload).toBe(300);
  expect([bytes[payload], get32(bytes, payload + 4), get32(bytes, payload + 236)]).toEqual([
    2,
    0x12345678,
    DHCP_MAGIC,
  ]);
  const options = new Map<number, number[]>();
  for (let at = payload + DHCP_LEN; bytes[at] !== DhcpOption.END; at += 2 + bytes[at + 1]!) {
    options.set(bytes[at]!, Array.from(bytes.subarray(at + 2, at + 2 + bytes[at + 1]!)));
  }
  const { ip, dst } = read(frame);
  return {
    mac: dst,
    dst: ip!.dst,
    yiaddr: get32(bytes, payload + 16),
    flags: get16(bytes, payload + 10),
    options,
  };
}

const typeOf = (reply: Reply | undefined) => reply?.options.get(DhcpOption.MESSAGE_TYPE)?.[0];

describe('an endpoint that asks for its address', () => {
  test('is offered its own, with all that belongs to it, and gets it', () => {
    const offer = send(message({ type: DhcpType.DISCOVER }))!;
    expect(offer).toMatchObject({ mac: C1.mac, dst: C1.ipv4, yiaddr: OWN });
    expect(Object.fromEntries(offer.options)).toEqual({
      [DhcpOption.MESSAGE_TYPE]: [DhcpType.OFFER],
      [DhcpOption.SERVER_IDENTIFIER]: word(GATEWAY),
      [DhcpOption.LEASE_TIME]: word(DHCP_LEASE),
      [DhcpOption.SUBNET_MASK]: word(0xffffff00),
      [DhcpOption.ROUTER]: word(GATEWAY),
      [DhcpOption.NAME_SERVER]: word(GATEWAY),
      [DhcpOption.MTU]: [9000 >> 8, 9000 & 255],
    });
    const ack = send(message({ type: DhcpType.REQUEST, requested: OWN, server: GATEWAY }))!;
    expect([typeOf(ack), ack.yiaddr]).toEqual([DhcpType.ACK, OWN]);
    deck.tables();
  });

  test('that hears broadcasts only is answered by one, which nobody else gets', () => {
    const offer = send(message({ flags: 0x8000 }))!;
    expect(offer).toMatchObject({ mac: ALL.mac, dst: ALL.ipv4, yiaddr: OWN, flags: 0x8000 });
  });

  test('and has one already, keeps it: after a restart, and when half of the lease is over', () => {
    expect(typeOf(send(message({ type: DhcpType.REQUEST, requested: OWN })))).toBe(DhcpType.ACK);
    const gateway = deck.gateway() as typeof ALL;
    const renewed = send(message({ type: DhcpType.REQUEST, ciaddr: OWN }), { to: gateway, src: C1.ipv4 });
    expect(renewed).toMatchObject({ dst: C1.ipv4 });
    expect(typeOf(renewed)).toBe(DhcpType.ACK);
  });

  test('and wants another, is told that it cannot have it, by a broadcast', () => {
    for (const other of [
      { requested: 0x0a000003 },
      { ciaddr: 0x0a000003 },
      { requested: 0xc0a80005 | 0, server: GATEWAY },
    ]) {
      const nak = send(message({ type: DhcpType.REQUEST, ...other }))!;
      expect([typeOf(nak), nak.dst, nak.yiaddr]).toEqual([DhcpType.NAK, ALL.ipv4, 0]);
      expect(nak.options.has(DhcpOption.LEASE_TIME)).toBe(false);
    }
    expect(send(message({ type: DhcpType.DISCOVER, requested: 0x0a000003 }))!.yiaddr).toBe(OWN);
  });

  test('and has taken the offer of another server, hears nothing', () => {
    expect(send(message({ type: DhcpType.REQUEST, requested: OWN, server: 0x0a000009 }))).toBeUndefined();
  });

  test('and found it in use, is not offered it again for ten seconds', () => {
    expect(send(message({ type: DhcpType.DECLINE, requested: OWN, server: GATEWAY }))).toBeUndefined();
    expect(send(message({}))).toBeUndefined();
    deck.advance(10_000);
    expect(typeOf(send(message({})))).toBe(DhcpType.OFFER);
  });

  test('and gives it back, is offered it again', () => {
    expect(send(message({ type: DhcpType.RELEASE, ciaddr: OWN, server: GATEWAY }))).toBeUndefined();
    expect(typeOf(send(message({})))).toBe(DhcpType.OFFER);
  });

  test('and has it, but asks for the rest, gets that without a lease', () => {
    const ack = send(message({ type: DhcpType.INFORM, ciaddr: OWN }))!;
    expect([typeOf(ack), ack.yiaddr, ack.dst]).toEqual([DhcpType.ACK, 0, C1.ipv4]);
    expect(ack.options.has(DhcpOption.LEASE_TIME)).toBe(false);
    expect(ack.options.get(DhcpOption.NAME_SERVER)).toEqual(word(GATEWAY));
  });
});

describe('nobody gets an address', () => {
  test.each([
    ["by another's MAC", { mac: C2.mac }, 'DHCP_FOREIGN'],
    ['by a relay', { giaddr: 0x0a000004 }, 'DHCP_FOREIGN'],
    ['as an answer', { op: 2 }, 'DHCP_MALFORMED'],
    ['for another kind of link', { htype: 6 }, 'DHCP_MALFORMED'],
    ['for an address of another length', { hlen: 16 }, 'DHCP_MALFORMED'],
    ['with options without an end', { options: [53, 1, 1, 0, 0] }, 'DHCP_MALFORMED'],
    ['with an option beyond the end', { options: [53, 200, 1] }, 'DHCP_MALFORMED'],
    ['with a type of two bytes', { options: [53, 2, 1, 1, 255] }, 'DHCP_MALFORMED'],
    ['with an address of three bytes', { options: [53, 1, 3, 50, 3, 10, 0, 0, 255] }, 'DHCP_MALFORMED'],
    ['with an option of no bytes', { options: [53, 0, 255] }, 'DHCP_MALFORMED'],
  ] as const)('%s', (_, wrong, reason) => {
    expect(send(message(wrong as Message))).toBeUndefined();
    // Heard by all others, too: the gateway's own copy is what is dropped.
    expect(deck.drops()).toMatchObject({ [reason]: 1 });
  });

  test('at a port for which none is known', () => {
    expect(send(message({}), { from: 'stranger' })).toBeUndefined();
  });

  test('in a network that does not have DHCP', () => {
    deck = bed(false);
    expect(send(message({}))).toBeUndefined();
    const to = deck.gateway() as typeof ALL;
    deck.send('c1', udp({ from: C1, to, srcPort: 68, dstPort: 67, data: message({ ciaddr: OWN }) }));
    expect(deck.drops()).toMatchObject({ NO_SOCKET: 1 });
  });

  test('after it has gone', () => {
    deck.detach('c1');
    expect(send(message({ mac: C2.mac }), { from: 'c2' })!.yiaddr).toBe(0x0a000003);
    deck.attach('c1');
    expect(send(message({}))!.yiaddr).toBe(OWN);
  });
});

describe('options', () => {
  test('may be where the names of the server and the file are (option 52)', () => {
    const bytes = message({ options: [DhcpOption.OVERLOAD, 1, 3, DhcpOption.END] });
    bytes.set([DhcpOption.MESSAGE_TYPE, 1, DhcpType.REQUEST, DhcpOption.END], 108);
    bytes.set([DhcpOption.REQUESTED_ADDRESS, 4, ...word(OWN), DhcpOption.END], 44);
    expect(typeOf(send(bytes))).toBe(DhcpType.ACK);
    // Without an end there, it would go on into what is behind.
    bytes.fill(0, 44, 108);
    expect(send(bytes)).toBeUndefined();
  });

  test('of any bytes are read or refused, and none behind their end', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 80 }),
        fc.nat(320),
        fc.boolean(),
        (options, length, overload) => {
          const whole = message({ options: [...(overload ? [52, 1, 3] : []), ...options] });
          const request = new DhcpRequest();
          const cut = Math.min(length, whole.length);
          const padded = new Uint8Array(cut + 20).fill(0xff);
          padded.set(whole.subarray(0, cut), 10);
          const known = parseDhcp(padded, 10, 10 + cut, request);
          if (cut < DHCP_LEN) expect(known).toBe(false);
          if (known && options.length > 0) send(whole);
        },
      ),
      { numRuns: 2000 },
    );
    deck.tables();
  });
});
