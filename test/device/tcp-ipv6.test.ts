import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { STATE, TcpState } from '../../src/uplink/tcp-connections.ts';
import { DECK, DEVICE, reasonOf } from './outside-world.ts';
import {
  mssOption,
  optionOf,
  type Peer,
  type SentSegment,
  scaleOption,
  type TakenSegment,
  Wire,
} from './tcp-wire.ts';

// What differs by the IP version: headers, addresses, checksums, and what the host's sockets are told. What TCP does with it
// is in the tests beside this one.

const HOST = { mac: DEVICE.mac, ipv6: DEVICE.ipv6 };

let wire: Wire;
let listener: number;
beforeEach(() => {
  wire = new Wire();
  listener = wire.listen(80, { isIpv6: true });
});
afterEach(() => wire.close());

const state = () => wire.uplink.tcp.connections.words[STATE];
const send = (segment: SentSegment) => wire.send({ to: HOST, ...segment });

function connect(options = mssOption(1440)): { peer: Peer; ack: number; synack: TakenSegment } {
  send({ flags: 'S', seq: 1000, options });
  const synack = wire.expect('SA');
  const ack = (synack.seq + 1) | 0;
  send({ flags: 'A', seq: 1001, ack });
  return { peer: wire.accept(listener), ack, synack };
}

describe('TCP over IPv6', () => {
  it('is answered when the host has connected, with the size of IPv6 segments', () => {
    const { synack } = connect();
    expect(synack.ack).toBe(1001);
    expect(optionOf(synack.options, 2)).toEqual([65460 >> 8, 65460 & 255]);
    expect(state()).toBe(TcpState.ESTABLISHED);
  });

  it('carries data both ways, in segments of the size that was asked for', () => {
    const { peer, ack } = connect([...mssOption(1440), ...scaleOption(7)]);
    send({ flags: 'PA', seq: 1001, ack, data: 'hello', window: 1000 });
    expect(wire.expect('A').ack).toBe(1006);
    expect(peer.said()).toBe('hello');
    const data = Buffer.from(Uint8Array.from({ length: 20_000 }, (_, i) => i * 7));
    peer.write(data);
    let got = Buffer.alloc(0);
    while (got.length < data.length) {
      const taken = wire.take()!;
      if (taken.data.length > 1440) expect(taken.gso).toBe(1440);
      got = Buffer.concat([got, taken.data]);
      send({ flags: 'A', seq: 1006, ack: ack + got.length, window: 1000 });
    }
    expect(got.equals(data)).toBe(true);
  });

  it('is put in order, and overlaps arrive once', () => {
    const { peer, ack } = connect();
    send({ flags: 'A', seq: 1005, ack, data: 'efgh' });
    send({ flags: 'A', seq: 1003, ack, data: 'cdef' });
    send({ flags: 'A', seq: 1001, ack, data: 'abcd' });
    expect(wire.drain().at(-1)!.ack).toBe(1009);
    expect(peer.said()).toBe('abcdefgh');
  });

  it('closes from either side', () => {
    const { peer, ack } = connect();
    send({ flags: 'FA', seq: 1001, ack });
    expect(wire.expect('A').ack).toBe(1002);
    expect(state()).toBe(TcpState.CLOSE_WAIT);
    expect(peer.said()).toBe('');
    peer.close();
    wire.expect('FA');
    send({ flags: 'A', seq: 1002, ack: ack + 1 });
    expect(wire.uplink.tcp.connections.size).toBe(0);
    const other = connect();
    other.peer.finish();
    wire.expect('FA');
    send({ flags: 'FA', seq: 1001, ack: other.ack + 1 });
    wire.expect('A');
    expect(state()).toBe(TcpState.TIME_WAIT);
  });

  it('is reset from either side, and when nobody listens', () => {
    const { peer, ack } = connect();
    peer.reset();
    expect(wire.expect('RA')).toMatchObject({ seq: ack, ack: 1001 });
    const other = connect();
    send({ flags: 'R', seq: 1001 });
    expect(other.peer.said()).toBe(104);
    send({ flags: 'S', seq: 5, dstPort: 81 });
    expect(wire.expect('RA')).toMatchObject({ seq: 0, ack: 6 });
    expect(reasonOf(send({ flags: 'A', seq: 7, ack: 99 }))).toBe('NO_SOCKET');
    expect(wire.expect('R').seq).toBe(99);
    expect(wire.uplink.tcp.connections.size).toBe(0);
  });

  it('is told where there is no way', () => {
    const nowhere = { mac: DEVICE.mac, ipv6: '2001:db8::9' };
    expect(reasonOf(send({ flags: 'S', seq: 5, to: nowhere }))).toBe('SOCKET_ERROR');
    expect(wire.take()).toMatchObject({ flags: '' });
    expect(reasonOf(send({ flags: 'S', seq: 5, srcPort: 80, to: DECK }))).toBe('SOCKET_ERROR');
    expect(wire.take()).toMatchObject({ flags: '' });
    wire.silence();
  });

  it('asks again and again while the window stays shut', () => {
    const { peer, ack } = connect();
    send({ flags: 'A', seq: 1001, ack, window: 0 });
    peer.write('waits');
    for (let probes = 0; probes < 5; ) {
      wire.pass(2000);
      for (const { data } of wire.drain()) {
        expect(data.toString()).toBe('w');
        send({ flags: 'A', seq: 1001, ack, window: 0 });
        probes++;
      }
    }
    send({ flags: 'A', seq: 1001, ack, window: 100 });
    expect(Buffer.concat(wire.drain().map(({ data }) => data)).toString()).toBe('waits');
  });
});
