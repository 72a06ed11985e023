import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  portsWord,
  TUPLE_DST_IPV4,
  TUPLE_KIND,
  TUPLE_PORTS,
  TUPLE_SRC_IPV4,
  TUPLE_WORDS,
  tupleKind,
} from '../../nat/tuple.ts';
import { udp } from '../../src/testing/frames.ts';
import { FD, FIN_SENT, FLAGS, STATE, TcpState } from '../../src/uplink/tcp-connections.ts';
import { Transmit } from '../../switch/device.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import { DECK, FAR, reasonOf, SEGMENT, withoutDescriptors } from './outside-world.ts';
import { openDescriptors } from './sandbox.ts';
import { Inside, type TakenSegment, Wire } from './tcp-wire.ts';

let wire: Wire;
let listener: number;
beforeEach(() => {
  wire = new Wire();
  listener = wire.listen(80);
});
afterEach(() => wire.close());

const state = () => wire.uplink.tcp.connections.words[STATE];
const size = () => wire.uplink.tcp.connections.size;

describe('the inside closes first', () => {
  it('CLOSE-WAIT, in which the outside still speaks; then LAST-ACK, and nothing is left', () => {
    const inside = Inside.connect(wire, listener);
    inside.data('bye', 'FA');
    expect(wire.expect('A').ack).toBe(1005);
    expect(state()).toBe(TcpState.CLOSE_WAIT);
    expect(inside.peer.said()).toBe('bye');
    expect(inside.peer.said()).toBe('');
    inside.peer.write('wait');
    expect(inside.take().data.toString()).toBe('wait');
    inside.acknowledge();
    inside.peer.close();
    const fin = inside.take();
    expect(fin.flags).toContain('F');
    expect(state()).toBe(TcpState.LAST_ACK);
    inside.acknowledge();
    expect(size()).toBe(0);
    expect(wire.uplink.tcp.host.size).toBe(0);
    wire.silence();
  });

  it('in CLOSE-WAIT: what is out of bounds is answered and changes nothing', () => {
    const inside = Inside.connect(wire, listener);
    inside.data('', 'FA');
    wire.expect('A');
    inside.segment({ flags: 'A', seq: inside.seq + 10_000_000 });
    expect(wire.expect('A')).toMatchObject({ ack: inside.seq });
    inside.segment({ flags: 'A', ack: inside.ack + 1000 });
    expect(wire.expect('A')).toMatchObject({ ack: inside.seq });
    inside.segment({ flags: 'FA', seq: inside.seq - 1 });
    expect(wire.expect('A')).toMatchObject({ ack: inside.seq });
    expect(state()).toBe(TcpState.CLOSE_WAIT);
  });
});

describe('the outside closes first', () => {
  const closed = () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.finish();
    const fin = inside.take();
    expect(fin.flags).toBe('FA');
    return inside;
  };

  it('FIN-WAIT-1, FIN-WAIT-2, in which the inside still speaks, TIME-WAIT, in which it waits for stragglers', () => {
    const inside = closed();
    expect(state()).toBe(TcpState.FIN_WAIT_1);
    inside.acknowledge();
    expect(state()).toBe(TcpState.FIN_WAIT_2);
    inside.data('more');
    expect(wire.expect('A').ack).toBe(1005);
    expect(inside.peer.said()).toBe('more');
    inside.data('', 'FA');
    expect(wire.expect('A').ack).toBe(1006);
    expect(state()).toBe(TcpState.TIME_WAIT);
    expect(wire.uplink.tcp.host.size).toBe(0);
    // The last acknowledgment was lost.
    inside.segment({ flags: 'FA', seq: 1005 });
    expect(wire.expect('A').ack).toBe(1006);
    wire.pass(11_000);
    wire.silence();
    expect(size()).toBe(0);
  });

  it('CLOSING, when both have closed at once', () => {
    const inside = closed();
    inside.segment({ flags: 'FA', ack: inside.ack - 1 });
    inside.seq++;
    expect(wire.expect('A').ack).toBe(1002);
    expect(state()).toBe(TcpState.CLOSING);
    inside.segment({ flags: 'A', seq: inside.seq + 9_000_000 });
    wire.expect('A');
    expect(state()).toBe(TcpState.CLOSING);
    inside.acknowledge();
    expect(state()).toBe(TcpState.TIME_WAIT);
  });

  it('the FIN is sent again until it is acknowledged', () => {
    const inside = closed();
    wire.pass(1500);
    expect(wire.expect('FA').seq).toBe((inside.ack - 1) | 0);
    wire.pass(5000);
    expect(wire.expect('FA').seq).toBe((inside.ack - 1) | 0);
    inside.acknowledge();
    wire.pass(50_000);
    wire.silence();
    expect(state()).toBe(TcpState.FIN_WAIT_2);
  });

  it('its last data comes before the FIN, and with it when both are there', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.write('last words');
    inside.peer.finish();
    let text = '';
    let fin = false;
    while (!fin) {
      const taken = inside.take();
      text += taken.data;
      fin = taken.flags.includes('F');
      inside.acknowledge();
    }
    expect(text).toBe('last words');
    expect(state()).toBe(TcpState.FIN_WAIT_2);
  });

  it('data and FIN that were lost come again', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.write('last words');
    inside.peer.finish();
    wire.drain();
    expect(wire.uplink.tcp.connections.words[FLAGS]! & FIN_SENT).not.toBe(0);
    wire.pass(2000);
    let text = '';
    let fin = false;
    for (const taken of wire.drain()) {
      if (taken.seq === inside.ack) text = `${taken.data}`;
      fin ||= taken.flags.includes('F');
    }
    expect([text, fin]).toEqual(['last words', true]);
  });

  it('a reset in FIN-WAIT-2 and in TIME-WAIT ends it, and what comes then is reset', () => {
    for (const more of [false, true]) {
      const inside = closed();
      inside.acknowledge();
      if (more) {
        inside.data('', 'FA');
        wire.expect('A');
      }
      inside.segment({ flags: 'R' });
      expect(size()).toBe(0);
      inside.segment({ flags: 'A' });
      expect(wire.expect('R').seq).toBe(inside.ack);
    }
  });

  it('and does not hear any more: what the inside says in FIN-WAIT-2 is reset', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.close();
    expect(inside.take().flags).toBe('FA');
    inside.acknowledge();
    expect(state()).toBe(TcpState.FIN_WAIT_2);
    inside.data('anybody?');
    expect(wire.drain().at(-1)!.flags).toBe('RA');
    expect(size()).toBe(0);
  });

  it('a new connection takes the place of one in TIME-WAIT', () => {
    const inside = closed();
    inside.acknowledge();
    inside.data('', 'FA');
    wire.expect('A');
    const again = Inside.connect(wire, listener, { seq: inside.seq - 100 });
    again.data('anew');
    expect(wire.expect('A').ack).toBe((inside.seq - 95) | 0);
    expect(again.peer.said()).toBe('anew');
    expect(size()).toBe(1);
  });

  it('its own SYN, come late, does not', () => {
    const inside = closed();
    inside.acknowledge();
    inside.data('', 'FA');
    wire.expect('A');
    wire.send({ flags: 'S', seq: 1000 });
    expect(wire.expect('A').ack).toBe(inside.seq);
    expect(state()).toBe(TcpState.TIME_WAIT);
  });
});

describe('resets', () => {
  it('of the inside reach the outside', () => {
    const inside = Inside.connect(wire, listener);
    inside.segment({ flags: 'R' });
    expect(inside.peer.said()).toBe(104);
    expect(size()).toBe(0);
  });

  it('of the outside reach the inside, with the right number', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.reset();
    expect(wire.expect('RA')).toMatchObject({ seq: inside.ack, ack: inside.seq });
    expect([size(), wire.uplink.tcp.host.size]).toEqual([0, 0]);
  });

  it('of the outside come behind what it has said before', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.write('said');
    inside.peer.reset();
    expect(wire.take()!.data.toString()).toBe('said');
    expect(wire.expect('RA').seq).toBe((inside.ack + 4) | 0);
  });

  it('answer what belongs to nothing (RFC 9293 §3.10.7.1)', () => {
    expect(reasonOf(wire.send({ flags: 'A', seq: 7, ack: 99 }))).toBe('NO_SOCKET');
    expect(wire.expect('R')).toMatchObject({ seq: 99, ack: 0, srcPort: 80, dstPort: 40000 });
    wire.send({ flags: 'F', seq: 7, data: 'abc' });
    expect(wire.expect('RA')).toMatchObject({ seq: 0, ack: 11 });
    wire.send({ flags: 'SA', seq: 7, ack: 5 });
    expect(wire.expect('R')).toMatchObject({ seq: 5 });
    wire.send({ flags: 'R', seq: 7 });
    wire.send({ flags: 'RA', seq: 7, ack: 3 });
    wire.silence();
  });
});

describe('blind injection (RFC 5961)', () => {
  it.each([
    ['of a deck that has begun', 0],
    ['of one that has been there for 97 days', 2 ** 23 * 1000],
  ])('resets in the window, and outside, do not end a connection %s; challenges are few', (_, now) => {
    wire.now = now;
    const inside = Inside.connect(wire, listener);
    for (let i = 1; i < 2000; i++) inside.segment({ flags: 'R', seq: inside.seq + i * 30 });
    for (let i = 1; i < 2000; i++) inside.segment({ flags: 'R', seq: inside.seq - i * 1_000_003 });
    expect(wire.drain(0).length).toBeLessThanOrEqual(1);
    expect(wire.uplink.tcp.counters.challenges).toBeLessThanOrEqual(10);
    inside.data('alive');
    expect(wire.expect('A').ack).toBe(1006);
    expect(inside.peer.said()).toBe('alive');
  });

  it('SYNs do not, whatever their numbers', () => {
    const inside = Inside.connect(wire, listener);
    for (let i = 0; i < 1000; i++) wire.send({ flags: 'S', seq: i * 4_294_967 });
    expect(wire.drain(0).every(({ flags, ack }) => flags === 'A' && ack === 1001)).toBe(true);
    expect(wire.uplink.tcp.counters.challenges).toBeLessThanOrEqual(10);
    inside.data('alive');
    expect(wire.drain().at(-1)!.ack).toBe(1006);
    expect(size()).toBe(1);
  });

  it('data with an acknowledgment of what was never sent is not taken', () => {
    const inside = Inside.connect(wire, listener);
    for (let i = 1; i < 100; i++) inside.segment({ flags: 'PA', ack: inside.ack + i * 7919, data: 'evil' });
    for (let i = 1; i < 100; i++)
      inside.segment({ flags: 'PA', ack: inside.ack - i * 79_190_000, data: 'evil' });
    wire.drain(0);
    expect(inside.peer.text()).toBeNull();
    inside.data('good');
    expect(wire.drain().at(-1)!.ack).toBe(1005);
    expect(inside.peer.said()).toBe('good');
  });

  it('segments without ACK, with strange flags, or with a wrong checksum are nothing', () => {
    const inside = Inside.connect(wire, listener);
    for (const flags of ['', 'P', 'U', 'F', 'PU', 'FPU']) inside.segment({ flags, data: 'evil' });
    wire.drain(0);
    expect(inside.peer.text()).toBeNull();
    expect(state()).toBe(TcpState.ESTABLISHED);
  });
});

describe('what there is not enough of', () => {
  it('descriptors: new connections are reset, those that there are go on', () => {
    const inside = Inside.connect(wire, listener);
    wire.within(() =>
      withoutDescriptors(() => {
        for (let i = 0; i < 50; i++) wire.send({ flags: 'S', seq: 5, srcPort: 2000 + i });
        inside.data('on');
      }),
    );
    const resets = wire.drain().filter(({ flags }) => flags === 'RA');
    expect(resets.map(({ dstPort }) => dstPort)).toEqual(Array.from({ length: 50 }, (_, i) => 2000 + i));
    expect(inside.peer.said()).toBe('on');
    expect(Inside.connect(wire, listener, { srcPort: 3 }).synack.flags).toBe('SA');
    expect(wire.uplink.tcp.counters.exhausted).toBe(50);
  });

  it('sockets that it may have: as with descriptors, and some are left for others', () => {
    wire.close();
    wire = new Wire({ sockets: 16 });
    listener = wire.listen(80);
    const inside = Inside.connect(wire, listener);
    const open = (srcPort: number, origin: number) =>
      reasonOf(wire.send({ flags: 'S', seq: 5, srcPort, origin }));
    const sent = reasonOf(Transmit.SENT);
    // Whoever wants all gets most of them, and others what is left.
    for (let i = 1; i < 12; i++) expect(open(i, 0)).toBe(sent);
    const refused = Array.from({ length: 10 }, (_, i) => open(20 + i, 0));
    expect(new Set(refused)).toEqual(new Set(['SOCKET_EXHAUSTED']));
    expect([open(30, 1), open(31, 2), open(32, 1)]).toEqual([sent, sent, 'SOCKET_EXHAUSTED']);
    const resets = wire.drain().filter(({ flags }) => flags === 'RA');
    const ports = [...Array.from({ length: 10 }, (_, i) => 20 + i), 32];
    expect(resets.map(({ dstPort }) => dstPort)).toEqual(ports);
    const ask = udp({ from: DECK, to: { ...FAR, ipv4: '198.51.100.7' }, srcPort: 9, dstPort: 53 });
    expect(reasonOf(wire.transmit(ask))).toBe('SOCKET_ERROR');
    inside.data('on');
    expect(wire.drain().some(({ dstPort, ack }) => dstPort === 40000 && ack === 1003)).toBe(true);
  });

  it('sockets for clients of a published port, which are refused a few at a time', () => {
    wire.close();
    wire = new Wire({ sockets: 2 });
    listener = wire.listen(80);
    const { uplink } = wire;
    const at = { family: 4, host: null, ifname: null, from: 5021, to: 5021 } as const;
    wire.within(() => uplink.publish(1, PROTO_TCP, at));
    wire.connect(5021, 151);
    wire.expect('S');
    expect(uplink.takeRefused()).toBe(63);
    const refused = [0, 1, 2].map(() => {
      expect(uplink.receive(wire.arena, wire.now)).toBeNull();
      return uplink.takeRefused();
    });
    expect(refused).toEqual([64, 23, 0]);
  });

  it('slots for the resets of all who came in by a published port: they go a few at a time', () => {
    const { uplink } = wire;
    const at = { family: 4, host: null, ifname: null, from: 5021, to: 5021 } as const;
    wire.within(() => uplink.publish(1, PROTO_TCP, at));
    wire.connect(5021, 400);
    expect(wire.drain().filter(({ flags }) => flags === 'S')).toHaveLength(400);
    const told: number[] = [];
    let rounds = 0;
    for (let isLast = false; !isLast; rounds++) {
      isLast = uplink.unpublish(1);
      told.push(...wire.drain(0).map(({ srcPort }) => srcPort));
    }
    expect(rounds).toBeGreaterThan(1);
    expect(new Set(told).size).toBe(400);
    expect(size()).toBe(0);
  });

  it('rows: those in TIME-WAIT make room, those that are open do not', () => {
    wire.close();
    wire = new Wire({ connections: 4 });
    listener = wire.listen(80);
    const open = [1, 2].map((srcPort) => Inside.connect(wire, listener, { srcPort }));
    for (const srcPort of [3, 4]) {
      const inside = Inside.connect(wire, listener, { srcPort });
      inside.peer.finish();
      inside.take();
      inside.acknowledge();
      inside.data('', 'FA');
      wire.expect('A');
    }
    for (const srcPort of [5, 6]) Inside.connect(wire, listener, { srcPort });
    expect(reasonOf(wire.send({ flags: 'S', seq: 1, srcPort: 7 }))).toBe('SOCKET_EXHAUSTED');
    wire.expect('RA');
    for (const inside of open) {
      inside.data('x');
      expect(wire.expect('A').ack).toBe(1002);
    }
  });

  it('descriptors come back, also after 10,000 half-open connections, beside which others go on', () => {
    const inside = Inside.connect(wire, listener);
    const before = openDescriptors();
    // There is no SYN cookie: what the host has not answered is not answered, and costs a socket and a row.
    wire.within(() => {
      for (let i = 0; i < 10_000; i++) wire.send({ flags: 'S', seq: i, srcPort: 1 + i, dstPort: 80 });
    });
    expect(size()).toBe(10_001);
    expect(openDescriptors()).toBe(before + 10_000);
    inside.data('on');
    const taken: TakenSegment[] = [];
    for (let one = wire.take(); one !== null && one.dstPort !== 40000; one = wire.take()) taken.push(one);
    expect(taken.every(({ flags }) => flags === 'SA')).toBe(true);
    expect(inside.peer.said()).toBe('on');
    wire.drain(0);
    for (let i = 0; i < 10_000; i++) wire.send({ flags: 'R', seq: i + 1, srcPort: 1 + i, dstPort: 80 });
    expect(size()).toBe(1);
    expect(openDescriptors()).toBe(before);
    inside.segment({ flags: 'R' });
    expect(wire.uplink.tcp.connections.words[FD]).toBe(-1);
  });
});

describe('silence', () => {
  it('of two hours is asked about; an inside that answers stays, one that does not is given up', () => {
    const inside = Inside.connect(wire, listener);
    wire.pass(7_201_000);
    expect(wire.expect('A')).toMatchObject({ seq: (inside.ack - 1) | 0 });
    inside.acknowledge();
    wire.pass(100_000);
    wire.silence();
    wire.pass(7_201_000);
    for (let i = 0; i < 9; i++) {
      expect(wire.expect('A')).toMatchObject({ seq: (inside.ack - 1) | 0 });
      wire.pass(76_000);
    }
    wire.expect('RA');
    expect(size()).toBe(0);
  });

  it('is no end: a probe of the inside is answered', () => {
    const inside = Inside.connect(wire, listener);
    wire.pass(60_000);
    inside.segment({ flags: 'A', seq: inside.seq - 1 });
    expect(wire.expect('A')).toMatchObject({ ack: inside.seq, seq: inside.ack });
    inside.segment({ flags: 'A', seq: inside.seq - 1, data: 'x' });
    expect(wire.expect('A')).toMatchObject({ ack: inside.seq });
  });
});

describe('the deck ends it', () => {
  /** As segments of a connection look that come from outside. */
  function severed({ srcPort }: Inside): Int32Array {
    const tuple = new Int32Array(TUPLE_WORDS);
    tuple[TUPLE_SRC_IPV4] = SEGMENT.device.ipv4;
    tuple[TUPLE_DST_IPV4] = SEGMENT.deck.ipv4;
    tuple[TUPLE_PORTS] = portsWord(80, srcPort);
    tuple[TUPLE_KIND] = tupleKind(PROTO_TCP, false, 1);
    return tuple;
  }

  it('with its endpoint: the host hears at once, the inside and others do not', () => {
    const [inside, other] = [
      Inside.connect(wire, listener),
      Inside.connect(wire, listener, { srcPort: 40001 }),
    ];
    inside.data('half a');
    wire.uplink.sever(severed(inside), 0);
    // What it stands for is over: nobody takes it up where it was left.
    wire.uplink.sever(severed(inside), 0);
    expect(size()).toBe(1);
    expect(inside.peer.said()).toBe('half a');
    expect(inside.peer.said()).toBe(104);
    wire.silence();
    other.data('on');
    expect(wire.expect('A').ack).toBe(other.seq);
    expect(other.peer.said()).toBe('on');
  });

  it('behind the last of the inside, which the host still gets', () => {
    const inside = Inside.connect(wire, listener);
    inside.data('the last', 'FA');
    wire.uplink.sever(severed(inside), 0);
    expect(size()).toBe(0);
    expect(inside.peer.said()).toBe('the last');
    expect(inside.peer.said()).toBe('');
  });
});
