import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { send } from '../../src/device/syscall.ts';
import { FD } from '../../src/uplink/tcp-connections.ts';
import { Inside, mssOption, stream, Wire } from './tcp-wire.ts';

let wire: Wire;
let listener: number;

beforeEach(() => {
  wire = new Wire();
  listener = wire.listen(80);
});
afterEach(() => wire.close());

const connect = (count: number) =>
  Array.from({ length: count }, (_, i) => Inside.connect(wire, listener, { srcPort: 40_000 + i }));

describe('small segments of many connections', () => {
  it('go to their sockets together, and each is acknowledged', () => {
    const insides = connect(40);
    wire.drain();
    insides.forEach((inside, i) => {
      inside.data(`of ${i}`);
    });
    const acks = new Map(wire.drain().map(({ dstPort, ack }) => [dstPort, ack]));
    insides.forEach((inside, i) => {
      expect(inside.peer.said()).toBe(`of ${i}`);
      expect(acks.get(inside.srcPort)).toBe(inside.seq);
    });
    expect(wire.arena.free).toBe(320);
  });

  it('of one keep their order', () => {
    const insides = connect(3);
    wire.drain();
    for (const data of ['one', 'two', 'three']) for (const inside of insides) inside.data(data);
    wire.drain();
    for (const { peer } of insides) expect(peer.said()).toBe('onetwothree');
  });

  it('are sent before the end that comes behind them', () => {
    const insides = connect(3);
    wire.drain();
    for (const inside of insides) inside.data('last');
    for (const inside of insides) inside.segment({ flags: 'FA' });
    wire.drain();
    for (const { peer } of insides) expect([peer.said(), peer.said()]).toEqual(['last', '']);
  });

  it('end no other when one of the sockets has failed', () => {
    const insides = connect(3);
    wire.drain();
    insides[1]!.peer.reset();
    for (const inside of insides) inside.data('data');
    const taken = wire.drain();
    expect(taken.filter(({ flags }) => flags.includes('R')).map(({ dstPort }) => dstPort)).toEqual([40_001]);
    expect([insides[0]!.peer.said(), insides[2]!.peer.said()]).toEqual(['data', 'data']);
    expect(wire.uplink.counters.broken).toBe(1);
    expect(wire.arena.free).toBe(320);
  });

  it('wait for a socket that is full, and are acknowledged when it has them', () => {
    const slow = wire.listen(1080, { receiveBuffer: 4096 });
    wire.send({ flags: 'S', seq: 1000, options: mssOption(1460), srcPort: 39_000, dstPort: 1080 });
    const synack = wire.expect('SA');
    const peer = wire.accept(slow);
    const [other] = connect(1);
    wire.drain();
    const say = (from: number, length: number) =>
      wire.send({
        ...{ flags: 'A', seq: 1001 + from, ack: synack.seq + 1, data: stream(from, length) },
        ...{ srcPort: 39_000, dstPort: 1080 },
      });
    /** Bytes that were acknowledged, as far as this is said now. */
    const acknowledged = () => {
      const ack = wire.drain(5).findLast(({ dstPort }) => dstPort === 39_000)?.ack;
      return ack === undefined ? undefined : ack - 1001;
    };
    // An inside that does not care for windows, until less is taken than it has sent.
    let sent = 0;
    let taken = 0;
    for (; taken === sent; taken = acknowledged() ?? taken) {
      say(sent, 1400);
      other!.data('x');
      sent += 1400;
    }
    expect(taken).toBeLessThan(sent);
    const got: Buffer[] = [];
    let received = 0;
    for (let round = 0; round < 10_000 && received < sent; round++) {
      const read = peer.read();
      if (Buffer.isBuffer(read)) {
        got.push(read);
        received += read.length;
      }
      // What was not kept comes again.
      taken = acknowledged() ?? taken;
      if (read === null && taken < sent) say(taken, sent - taken);
    }
    expect(Buffer.concat(got).equals(stream(0, sent))).toBe(true);
    other!.data('y');
    wire.drain();
    expect(other!.peer.said()).toMatch(/^x+y$/);
    expect(wire.arena.free).toBe(320);
  });

  it('take the end back that came behind them, when a socket is full', () => {
    const [full, other] = connect(2);
    wire.drain();
    // Nothing is known to us of what somebody else has written there.
    const fd = wire.uplink.tcp.connections.words[FD]!;
    const filling = new Uint8Array(1 << 20);
    let filled = 0;
    for (let count = 1; count > 0; filled += Math.max(0, count))
      count = send(fd, filling, filling.length, 0x40);
    full!.data('last');
    full!.segment({ flags: 'FA' });
    other!.data('x');
    expect(wire.drain().filter(({ dstPort, ack }) => dstPort === full!.srcPort && ack === full!.seq)).toEqual(
      [],
    );
    expect(other!.peer.said()).toBe('x');

    let got = 0;
    let rest = Buffer.alloc(0);
    for (let round = 0; round < 5000 && got < filled + 4; round++) {
      const read = full!.peer.read();
      if (Buffer.isBuffer(read)) {
        got += read.length;
        rest = Buffer.concat([rest, read]).subarray(-4);
      } else wire.drain(1);
    }
    expect(rest.toString()).toBe('last');
    full!.segment({ flags: 'FA' });
    expect(wire.drain().at(-1)!.ack).toBe(full!.seq + 1);
    expect(full!.peer.said()).toBe('');
    expect(wire.arena.free).toBe(320);
  });
});
