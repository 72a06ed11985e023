import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { STATE, TcpState } from '../../src/uplink/tcp-connections.ts';
import type { Frame } from '../../switch/frame.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { DECK, DEVICE, reasonOf } from './outside-world.ts';
import {
  Inside,
  mssOption,
  optionOf,
  SACK_PERMITTED,
  scaleOption,
  stampOption,
  Wire,
  wordsOf,
} from './tcp-wire.ts';

let wire: Wire;
beforeEach(() => {
  wire = new Wire();
});
afterEach(() => wire.close());

describe('a connection from inside', () => {
  it('is answered only when the host has connected', () => {
    const listener = wire.listen(80);
    const inside = Inside.connect(wire, listener);
    expect(inside.synack.ack).toBe(1001);
    expect(inside.synack.window).toBeGreaterThan(8000);
    expect(optionOf(inside.synack.options, 2)).toEqual([65480 >> 8, 65480 & 255]);
    wire.silence();
  });

  it('gets the options that it has offered, and no others', () => {
    const listener = wire.listen(80);
    const bare = Inside.connect(wire, listener, { srcPort: 1 });
    expect(optionOf(bare.synack.options, 3)).toBeUndefined();
    expect(optionOf(bare.synack.options, 4)).toBeUndefined();
    expect(optionOf(bare.synack.options, 8)).toBeUndefined();
    wire.now = 5;
    const options = [...mssOption(1460), ...SACK_PERMITTED, ...stampOption(77), ...scaleOption(9)];
    const rich = Inside.connect(wire, listener, { srcPort: 2, options });
    expect(optionOf(rich.synack.options, 3)).toEqual([7]);
    expect(optionOf(rich.synack.options, 4)).toEqual([]);
    expect(wordsOf(optionOf(rich.synack.options, 8)!)).toEqual([5, 77]);
  });

  it('survives options that are broken', () => {
    const listener = wire.listen(80);
    for (const [i, options] of [
      [2, 0, 0, 0],
      [3, 1, 0, 0],
      [8, 40, 1, 1],
      [254, 2, 5, 9],
      [1, 1, 1, 2],
    ].entries()) {
      expect(Inside.connect(wire, listener, { srcPort: 100 + i, options }).synack.flags).toBe('SA');
    }
  });

  it('is not made by an acknowledgment of nothing, in front of our answer', () => {
    wire.listen(80);
    wire.send({ flags: 'S', seq: 1000 });
    // No slot is left for the answer, while the host connects.
    const slots: Frame[] = [];
    for (let frame = wire.arena.allocate(64); frame; frame = wire.arena.allocate(64)) slots.push(frame);
    const { words } = wire.uplink.tcp.connections;
    const end = performance.now() + 30_000;
    while (words[STATE] === TcpState.CONNECTING && performance.now() < end) wire.silence(5);
    expect(words[STATE]).toBe(TcpState.SYN_RECV);
    for (const frame of slots) wire.arena.release(frame);
    wire.send({ flags: 'A', seq: 1001, ack: 0 });
    expect(words[STATE]).toBe(TcpState.SYN_RECV);
    expect(wire.take()!.flags).toBe('R');
    wire.expect('SA');
  });

  it('is reset when the host refuses it', () => {
    wire.send({ flags: 'S', seq: 5 });
    const reset = wire.expect('RA');
    expect([reset.seq, reset.ack]).toEqual([0, 6]);
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('is told that the network is unreachable, with its SYN quoted', () => {
    wire.send({ flags: 'S', seq: 5, to: { mac: '02:42:c0:00:00:01', ipv4: '198.51.100.7' } });
    const { icmp } = wire.expect('');
    expect(icmp).toMatchObject({ type: 3, code: 0 });
    const quoted = icmp!.quoted;
    expect(get32(quoted, 16)).toBe(0xc6336407 | 0);
    expect([get16(quoted, 20), get16(quoted, 22), get32(quoted, 24)]).toEqual([40000, 80, 5]);
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it.each(['127.0.0.1', '127.9.9.9', '0.0.0.0', '0.1.2.3', '224.0.0.1', '255.255.255.255'])(
    'does not reach the host by the spelling %s',
    (ipv4) => {
      const listener = wire.listen(80);
      wire.send({ flags: 'S', seq: 5, to: { mac: '02:42:c0:00:00:01', ipv4 } });
      expect(wire.expect('').icmp).toMatchObject({ type: 3, code: 0 });
      expect(() => wire.accept(listener)).toThrow('EAGAIN');
    },
  );

  it.each(['::1', '::', '::ffff:127.0.0.1', '::127.0.0.1', 'ff02::1'])(
    'does not reach the host by the spelling %s',
    (ipv6) => {
      wire.listen(80);
      const to = { mac: '02:42:c0:00:00:01', ipv6 };
      wire.send({ flags: 'S', seq: 5, to });
      expect(wire.take()).toMatchObject({ flags: '' });
      expect(wire.uplink.tcp.counters).toMatchObject({ opened: 0, failed: 1 });
    },
  );

  it('sends its SYN/ACK again, five times, and then gives up', () => {
    const listener = wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    const first = wire.expect('SA');
    for (let i = 0; i < 5; i++) {
      wire.pass(40_000);
      expect(wire.expect('SA')).toMatchObject({ seq: first.seq, ack: first.ack });
    }
    wire.pass(70_000);
    wire.expect('RA');
    expect(wire.accept(listener).said()).toBe(104);
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('sends its SYN/ACK again when the SYN comes again', () => {
    wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    const first = wire.expect('SA');
    wire.send({ flags: 'S', seq: 5 });
    expect(wire.expect('SA')).toMatchObject({ seq: first.seq, ack: 6 });
  });

  it('gets the options of its last SYN, when it begins anew before it is answered', () => {
    wire.listen(80);
    const options = [...mssOption(1460), ...SACK_PERMITTED, ...stampOption(77), ...scaleOption(9)];
    wire.send({ flags: 'S', seq: 5, options });
    wire.send({ flags: 'S', seq: 900, options: mssOption(1000) });
    const answer = wire.expect('SA');
    expect(answer.ack).toBe(901);
    expect([3, 4, 8].map((kind) => optionOf(answer.options, kind))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('in SYN-RECEIVED: what is SYN and RST opens nothing', () => {
    wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    const { seq } = wire.expect('SA');
    wire.send({ flags: 'SRA', seq: 5, ack: seq + 1 });
    wire.silence();
    expect(wire.uplink.tcp.connections.words[STATE]).toBe(TcpState.SYN_RECV);
  });

  it('in SYN-RECEIVED: an acknowledgment of what was never sent is reset, the true one still counts', () => {
    wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    const synack = wire.expect('SA');
    for (const off of [0, 2, 1000, -1]) {
      wire.send({ flags: 'A', seq: 6, ack: synack.seq + off });
      expect(wire.expect('R').seq).toBe((synack.seq + off) | 0);
    }
    wire.send({ flags: 'A', seq: 6, ack: synack.seq + 1 });
    wire.silence();
    expect(stateOf(wire)).toBe(TcpState.ESTABLISHED);
  });

  it('in SYN-RECEIVED: a reset at the right number ends it, at another it does not', () => {
    const listener = wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    wire.expect('SA');
    wire.send({ flags: 'R', seq: 5_000_000 });
    wire.silence();
    wire.send({ flags: 'R', seq: 7 });
    wire.expect('A');
    wire.send({ flags: 'R', seq: 6 });
    wire.silence();
    expect(wire.uplink.tcp.connections.size).toBe(0);
    expect(wire.accept(listener).said()).toBe(104);
  });

  it('carries data in its SYN for nobody: it has to come again', () => {
    const listener = wire.listen(80);
    wire.send({ flags: 'S', seq: 5, data: 'early' });
    const synack = wire.expect('SA');
    expect(synack.ack).toBe(6);
    const peer = wire.accept(listener);
    wire.send({ flags: 'PA', seq: 6, ack: synack.seq + 1, data: 'early' });
    expect(wire.expect('A').ack).toBe(11);
    expect(peer.said()).toBe('early');
  });

  it('has heard all and the end, when the outside spoke and closed before it was answered', () => {
    const listener = wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    // All of it is one event: that the socket is connected, readable, and at its end.
    const peer = wire.accept(listener);
    peer.write('x');
    peer.close();
    const synack = wire.expect('SA');
    wire.send({ flags: 'A', seq: 6, ack: synack.seq + 1 });
    const taken = wire.drain();
    expect(Buffer.concat(taken.map(({ data }) => data)).toString()).toBe('x');
    expect(taken.some(({ flags }) => flags.includes('F'))).toBe(true);
    expect(stateOf(wire)).toBe(TcpState.FIN_WAIT_1);
  });

  it('is reset when the host goes without having taken it', () => {
    const listener = wire.listen(80);
    wire.send({ flags: 'S', seq: 5 });
    const synack = wire.expect('SA');
    wire.send({ flags: 'A', seq: 6, ack: synack.seq + 1 });
    wire.silence();
    wire.stopListening(listener);
    expect(wire.expect('RA')).toMatchObject({ seq: (synack.seq + 1) | 0, ack: 6 });
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('from an address to the same address comes to nothing', () => {
    wire.listen(80);
    expect(reasonOf(wire.send({ flags: 'S', seq: 5, srcPort: 80, to: DECK }))).toBe('SOCKET_ERROR');
    expect(wire.expect('').icmp).toMatchObject({ type: 3, code: 0 });
    wire.silence();
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('is told apart from all others by keyed initial sequence numbers', () => {
    const listener = wire.listen(80);
    const seen = new Set<number>();
    let steps = 0;
    let last = 0;
    for (let i = 0; i < 200; i++) {
      const { synack } = Inside.connect(wire, listener, { srcPort: 1000 + i });
      seen.add(synack.seq);
      if (Math.abs((synack.seq - last) | 0) < 1_000_000) steps++;
      last = synack.seq;
    }
    expect(seen.size).toBe(200);
    expect(steps).toBeLessThan(5);
  });

  it('to a host that does not answer: nothing comes until the host gives up', () => {
    const listener = wire.listen(80, { backlog: 0 });
    Inside.connect(wire, listener, { srcPort: 1 });
    for (let i = 2; i < 6; i++) wire.send({ flags: 'S', seq: 5, srcPort: i });
    // Linux lets one more wait than it was told; the others' SYNs are dropped there.
    wire.drain();
    wire.send({ flags: 'S', seq: 5, srcPort: 5 });
    wire.silence();
    wire.send({ flags: 'R', seq: 6, srcPort: 5 });
    const before = wire.uplink.tcp.connections.size;
    expect(before).toBeLessThan(6);
  });
});

describe('a connection from outside', () => {
  const CLIENT = { mac: DEVICE.mac, ipv4: '198.51.100.9' };
  /** Accepts by hand what `Listeners` would bring: row 1, whose other end is the socket of row 0. */
  const accepted = () => {
    const listener = wire.listen(81);
    wire.uplink.tcp.host.prepare(listener);
    wire.send({ flags: 'S', seq: 1, dstPort: 81, options: mssOption(1460) });
    const synack = wire.expect('SA');
    const near = wire.accept(listener);
    near.disown();
    const client = Uint8Array.of(2, 0, 0x15, 0xb3, 198, 51, 100, 9, 0, 0, 0, 0, 0, 0, 0, 0);
    const local = Uint8Array.of(2, 0, 0, 80, 192, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0);
    wire.uplink.tcp.accept(near.fd, client, local, -1, wire.now);
    const syn = wire.expect('S');
    wire.send({ flags: 'A', seq: 2, ack: synack.seq + 1, dstPort: 81 });
    const answer = (flags: string, seq: number, ack: number, data = '') =>
      wire.send({ flags, seq, ack, data, srcPort: 80, dstPort: 0x15b3, to: CLIENT });
    return {
      syn,
      answer,
      say: (data: string) => wire.send({ flags: 'PA', seq: 2, ack: synack.seq + 1, dstPort: 81, data }),
    };
  };

  it('comes with a SYN from its own address', () => {
    const { syn } = accepted();
    expect([syn.srcPort, syn.dstPort, syn.ack]).toEqual([0x15b3, 80, 0]);
    expect(optionOf(syn.options, 3)).toEqual([7]);
    expect(optionOf(syn.options, 4)).toEqual([]);
    expect(optionOf(syn.options, 8)).toBeDefined();
  });

  it('is established by the answer, and has what was said before', () => {
    const { syn, answer, say } = accepted();
    say('early bird');
    answer('SA', 9000, syn.seq + 1);
    const taken = [wire.take()!, ...wire.drain()].filter(({ dstPort }) => dstPort === 80);
    expect(taken.every(({ ack }) => ack === 9001)).toBe(true);
    expect(Buffer.concat(taken.map(({ data }) => data)).toString()).toBe('early bird');
  });

  it('is established when both ends open at once (RFC 9293 §3.5)', () => {
    const { syn, answer, say } = accepted();
    answer('S', 9000, 0);
    expect(wire.expect('SA')).toMatchObject({ seq: syn.seq, ack: 9001 });
    answer('SA', 9000, syn.seq + 1);
    expect(wire.expect('A')).toMatchObject({ seq: syn.seq + 1, ack: 9001 });
    say('hello');
    const taken = [wire.take()!, ...wire.drain()].filter(({ dstPort }) => dstPort === 80);
    expect(Buffer.concat(taken.map(({ data }) => data)).toString()).toBe('hello');
  });

  it('is over when the inside refuses it: the client is reset', () => {
    const { syn, answer } = accepted();
    answer('RA', 0, syn.seq + 1);
    expect(wire.uplink.tcp.counters.reset).toBe(1);
    // Row 0 is the client here.
    wire.expect('RA');
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('is not over by a reset or an answer with another number', () => {
    const { syn, answer } = accepted();
    answer('RA', 0, syn.seq + 2);
    answer('R', 0, 0);
    wire.silence();
    answer('SA', 9000, syn.seq + 2);
    expect(wire.expect('R').seq).toBe((syn.seq + 2) | 0);
    answer('A', 9000, syn.seq + 5);
    expect(wire.expect('R').seq).toBe((syn.seq + 5) | 0);
    answer('SA', 9000, syn.seq + 1);
    expect(wire.expect('A').ack).toBe(9001);
  });

  it('asks five times more, and then gives up', () => {
    const { syn } = accepted();
    for (let i = 0; i < 5; i++) {
      wire.pass(40_000);
      expect(wire.drain().filter(({ flags }) => flags === 'S')).toMatchObject([{ seq: syn.seq }]);
    }
    wire.pass(70_000);
    wire.drain();
    expect(wire.uplink.tcp.counters.timedOut).toBe(1);
  });
});

function stateOf({ uplink }: Wire): number {
  return uplink.tcp.connections.words[STATE]!;
}
