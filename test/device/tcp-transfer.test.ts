import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Inside,
  mssOption,
  optionOf,
  SACK_PERMITTED,
  scaleOption,
  stampOption,
  stream,
  Wire,
  wordsOf,
} from './tcp-wire.ts';

let wire: Wire;
let listener: number;
beforeEach(() => {
  wire = new Wire();
  listener = wire.listen(80);
});
afterEach(() => wire.close());

/** The inside's options for a large window. */
const WIDE = [...mssOption(1460), ...scaleOption(7)];

describe('what the inside sends', () => {
  it('is acknowledged when the kernel has it', () => {
    const inside = Inside.connect(wire, listener);
    inside.data('hello');
    expect(wire.expect('A').ack).toBe(1006);
    expect(inside.peer.said()).toBe('hello');
  });

  it('arrives once, whatever overlaps', () => {
    const inside = Inside.connect(wire, listener);
    const send = (offset: number, data: string) => inside.segment({ flags: 'A', seq: 1001 + offset, data });
    send(0, 'abcd');
    send(0, 'abcd');
    send(2, 'cdef');
    send(-3, 'xyzabcdefg');
    send(5, 'fghi');
    expect(wire.drain().at(-1)!.ack).toBe(1010);
    expect(inside.peer.said()).toBe('abcdefghi');
  });

  it('is put in order', () => {
    const inside = Inside.connect(wire, listener, { options: [...mssOption(1460), ...SACK_PERMITTED] });
    const send = (offset: number, data: string) => inside.segment({ flags: 'A', seq: 1001 + offset, data });
    send(8, 'ijkl');
    const first = wire.expect('A');
    expect(first.ack).toBe(1001);
    expect(wordsOf(optionOf(first.options, 5)!)).toEqual([1009, 1013]);
    send(4, 'efgh');
    expect(wordsOf(optionOf(wire.expect('A').options, 5)!)).toEqual([1005, 1013]);
    send(16, 'qrst');
    expect(wordsOf(optionOf(wire.expect('A').options, 5)!)).toEqual([1017, 1021, 1005, 1013]);
    send(0, 'abcd');
    const filled = wire.expect('A');
    expect(filled.ack).toBe(1013);
    expect(wordsOf(optionOf(filled.options, 5)!)).toEqual([1017, 1021]);
    send(12, 'mnop');
    const last = wire.expect('A');
    expect(last.ack).toBe(1021);
    expect(optionOf(last.options, 5)).toBeUndefined();
    expect(inside.peer.said()).toBe('abcdefghijklmnopqrst');
    expect(wire.arena.free).toBe(320);
  });

  it('fills its holes, also when all places are taken in which segments wait for others', () => {
    const insides = Array.from({ length: 10 }, (_, i) =>
      Inside.connect(wire, listener, { srcPort: 1000 + i }),
    );
    for (const inside of insides) {
      for (let i = 64; i > 0; i--) inside.segment({ flags: 'A', seq: inside.seq + i, data: 'x' });
      wire.drain(0);
    }
    for (const inside of insides) {
      inside.segment({ flags: 'A', data: 'o' });
      expect(wire.drain().at(-1)!.ack).toBeGreaterThan(inside.seq);
      // What found no place comes again.
      for (let i = 1; i <= 64; i++) inside.segment({ flags: 'A', seq: inside.seq + i, data: 'x' });
      expect(wire.drain().at(-1)!.ack).toBe(inside.seq + 65);
      let text = '';
      for (let tries = 0; text.length < 65 && tries < 100; tries++) {
        text += inside.peer.text() ?? '';
        wire.drain(1);
      }
      expect(text).toBe(`o${'x'.repeat(64)}`);
    }
    expect(wire.arena.free).toBe(320);
  });

  it('waits behind a FIN that came too early', () => {
    const inside = Inside.connect(wire, listener);
    inside.segment({ flags: 'FA', seq: 1004, data: 'def' });
    expect(wire.expect('A').ack).toBe(1001);
    inside.segment({ flags: 'A', seq: 1001, data: 'abc' });
    expect(wire.drain().at(-1)!.ack).toBe(1008);
    expect(inside.peer.said()).toBe('abcdef');
    expect(inside.peer.said()).toBe('');
    expect(wire.arena.free).toBe(320);
  });

  it('has its urgent data among the other, wherever the pointer points', () => {
    const inside = Inside.connect(wire, listener);
    for (const urgent of [0, 1, 3, 5, 6, 0xffff]) {
      inside.segment({ flags: 'UA', data: 'abcde', urgent });
      inside.seq += 5;
    }
    expect(wire.drain().at(-1)!.ack).toBe(1031);
    expect(inside.peer.said()).toBe('abcde'.repeat(6));
  });
});

describe('a reader that is slow', () => {
  it('shuts our window and opens it again; nothing is lost, and nothing is kept', () => {
    const slow = wire.listen(1080, { receiveBuffer: 4096 });
    wire.send({ flags: 'S', seq: 1000, options: WIDE, dstPort: 1080 });
    const synack = wire.expect('SA');
    const peer = wire.accept(slow);
    const ack = (synack.seq + 1) | 0;
    let sent = 0;
    let edge = synack.window;
    // As much as is allowed, for as long as something is.
    for (let round = 0; round < 5000 && edge > sent; round++) {
      const length = Math.min(1400, edge - sent);
      wire.send({ flags: 'A', seq: 1001 + sent, ack, data: stream(sent, length), dstPort: 1080 });
      sent += length;
      for (const taken of wire.drain(0)) {
        const right = taken.ack - 1001 + taken.window * 128;
        // RFC 9293 §3.8.6: the right edge does not go back.
        expect(right).toBeGreaterThanOrEqual(edge);
        edge = right;
      }
    }
    expect(edge).toBe(sent);
    expect(sent).toBeLessThan(512 * 1024);
    const got: Buffer[] = [];
    let received = 0;
    for (let round = 0; round < 5000 && received < sent; round++) {
      const read = peer.read();
      if (Buffer.isBuffer(read)) {
        got.push(read);
        received += read.length;
      }
      for (const taken of wire.drain(read === null ? 1 : 0)) {
        const right = taken.ack - 1001 + taken.window * 128;
        // RFC 9293 §3.8.6.2.2 (MUST-39): what opens is worth a segment.
        if (right !== edge) expect(right - edge).toBeGreaterThanOrEqual(1460);
        edge = right;
      }
    }
    expect(Buffer.concat(got).equals(stream(0, sent))).toBe(true);
    expect(edge).toBeGreaterThan(sent);
    wire.send({ flags: 'A', seq: 1001 + sent, ack, data: 'more', dstPort: 1080 });
    expect(wire.drain().at(-1)).toMatchObject({ ack: 1001 + sent + 4 });
    expect(wire.arena.free).toBe(320);
  });

  it('that never reads costs slots for no longer than others need them', () => {
    const slow = wire.listen(1080, { receiveBuffer: 4096 });
    wire.send({ flags: 'S', seq: 1000, options: WIDE, dstPort: 1080 });
    const synack = wire.expect('SA');
    wire.accept(slow);
    // An inside that does not care for windows: 40 MB.
    for (let i = 0; i < 2000; i++) {
      const data = new Uint8Array(20_000);
      wire.send({ flags: 'A', seq: 1001 + i * 20_000, ack: synack.seq + 1, data, dstPort: 1080 });
      wire.drain(0);
    }
    expect(wire.arena.free).toBeGreaterThan(256);
    const other = Inside.connect(wire, listener, { srcPort: 7 });
    other.data('still there');
    expect(wire.expect('A').ack).toBe(1012);
    wire.send({ flags: 'R', seq: wire.uplink.tcp.connections.words[25]!, dstPort: 1080 });
    expect(wire.arena.free).toBe(320);
  });
});

describe.each([
  ['where the kernel reads from where it is told to', {}],
  ['where it can only read all again', { peekOffset: false }],
])('what the outside sends, %s', (_, options) => {
  beforeEach(() => {
    wire.close();
    wire = new Wire(options);
    listener = wire.listen(80);
  });

  it('comes in segments of the size that the inside has asked for, in one frame', () => {
    const inside = Inside.connect(wire, listener, { options: WIDE });
    inside.segment({ flags: 'A', window: 1000 });
    inside.peer.write(stream(0, 20_000));
    const parts: Buffer[] = [];
    for (let got = 0; got < 20_000; got += parts.at(-1)!.length) {
      const taken = inside.take();
      if (taken.data.length > 1460) expect(taken.gso).toBe(1460);
      parts.push(taken.data);
      inside.segment({ flags: 'A', window: 1000 });
    }
    expect(parts[0]!.length).toBeGreaterThan(1460);
    expect(Buffer.concat(parts).equals(stream(0, 20_000))).toBe(true);
  });

  it('stops at the window, and goes on when it opens', () => {
    const inside = Inside.connect(wire, listener, { window: 3000 });
    inside.peer.write(stream(0, 10_000));
    expect(wire.drain().reduce((sum, { data }) => sum + data.length, 0)).toBe(2920);
    inside.ack += 2920;
    inside.segment({ flags: 'A', window: 0 });
    wire.silence();
    inside.segment({ flags: 'A', window: 500 });
    const taken = wire.drain();
    expect(taken.map(({ data }) => data.length)).toEqual([500]);
    expect(taken[0]!.data.equals(stream(2920, 500))).toBe(true);
  });

  it('survives a window that shrinks', () => {
    const inside = Inside.connect(wire, listener, { window: 3000 });
    inside.peer.write(stream(0, 10_000));
    wire.drain();
    // Half of it is taken, and what follows is no longer wanted.
    inside.ack += 1460;
    inside.segment({ flags: 'A', window: 100 });
    wire.silence();
    inside.segment({ flags: 'A', window: 4000 });
    wire.pass(1300);
    const got = new Map<number, Buffer>();
    for (const { seq, data } of wire.drain()) got.set(seq, data);
    expect(got.get(inside.ack)!.subarray(0, 1460).equals(stream(1460, 1460))).toBe(true);
  });

  it('asks again and again while the window stays shut, for hours, and is there when it opens', () => {
    const inside = Inside.connect(wire, listener, { window: 0 });
    inside.peer.write(stream(0, 5000));
    wire.silence();
    const before = wire.arena.free;
    let gap = 0;
    for (let i = 0; i < 200; i++) {
      let waited = 0;
      let probe = wire.take(0);
      while (probe === null && waited < 100_000) {
        wire.pass(128);
        waited += 128;
        probe = wire.take(0);
      }
      expect(probe!.data.length).toBe(1);
      expect(probe!.data.equals(stream(0, 1))).toBe(true);
      gap = waited;
      inside.segment({ flags: 'A', window: 0 });
      expect(wire.drain(0)).toEqual([]);
    }
    // Seldom, in the end: a minute apart.
    expect(gap).toBeGreaterThan(50_000);
    expect(wire.arena.free).toBe(before);
    inside.segment({ flags: 'A', window: 65535 });
    const taken = wire.drain();
    expect(Buffer.concat(taken.map(({ data }) => data)).equals(stream(0, 5000))).toBe(true);
  });

  it('is given up when the inside says nothing any more', () => {
    const inside = Inside.connect(wire, listener, { window: 0 });
    inside.peer.write('x');
    for (let i = 0; i < 3000 && wire.uplink.tcp.connections.size > 0; i++) {
      wire.pass(500);
      wire.drain(0);
    }
    expect(wire.uplink.tcp.connections.size).toBe(0);
    expect(wire.now).toBeGreaterThan(100_000);
    expect(inside.peer.said()).toBe(104);
  });

  it('is sent again after a timeout, later each time', () => {
    const inside = Inside.connect(wire, listener);
    inside.peer.write('lost');
    expect(wire.take()!.data.toString()).toBe('lost');
    const gaps: number[] = [];
    for (let i = 0; i < 7; i++) {
      let waited = 0;
      let again = wire.take(0);
      while (again === null && waited < 200_000) {
        wire.pass(32);
        waited += 32;
        again = wire.take(0);
      }
      expect(again!.data.toString()).toBe('lost');
      gaps.push(waited);
    }
    // The first is a reminder; then the timeouts double.
    expect(gaps[0]).toBeLessThan(100);
    for (let i = 2; i < 7; i++) expect(gaps[i]! / gaps[i - 1]!).toBeGreaterThan(1.5);
    inside.ack += 4;
    inside.acknowledge();
    wire.pass(300_000);
    wire.silence();
  });

  it('is sent again at once when the inside shows that a segment is missing', () => {
    const inside = Inside.connect(wire, listener, { options: [...mssOption(1000), ...SACK_PERMITTED] });
    for (let i = 0; i < 5; i++) {
      inside.peer.write(stream(i * 1000, 1000));
      wire.drain(5);
    }
    const first = inside.ack;
    for (let i = 2; i < 5; i++) {
      inside.segment({
        flags: 'A',
        options: [1, 1, 5, 10, ...word(first + 1000), ...word(first + i * 1000)],
      });
    }
    const again = wire.take()!;
    expect([again.seq, again.data.length]).toEqual([first, 1000]);
    expect(again.data.equals(stream(0, 1000))).toBe(true);
  });

  it('keeps to timestamps of segments that it accepts, and of no others', () => {
    wire.now = 1000;
    const inside = Inside.connect(wire, listener, { options: [...mssOption(1460), ...stampOption(500)] });
    inside.segment({ flags: 'A', ack: inside.ack + 1e6, data: 'guess', options: stampOption(2_000_000) });
    wire.drain();
    inside.data('true');
    expect(wire.expect('A').ack).toBe(inside.seq);
    expect(inside.peer.said()).toBe('true');
  });

  it('keeps to timestamps: an old one is of an old segment', () => {
    wire.now = 1000;
    const inside = Inside.connect(wire, listener, { options: [...mssOption(1460), ...stampOption(500)] });
    inside.segment({ flags: 'A', data: 'abc', options: stampOption(2000) });
    const good = wire.expect('A');
    expect(good.ack).toBe(1004);
    expect(wordsOf(optionOf(good.options, 8)!)[1]).toBe(2000);
    inside.segment({ flags: 'A', seq: 1004, data: 'old', options: stampOption(1500) });
    expect(wire.expect('A').ack).toBe(1004);
    inside.segment({ flags: 'A', seq: 1004, data: 'new', options: stampOption(2001) });
    expect(wire.expect('A').ack).toBe(1007);
    expect(inside.peer.said()).toBe('abcnew');
  });

  it('is whole, however much of it is under way, and ends with its end', () => {
    const inside = Inside.connect(wire, listener, { options: [...mssOption(8960), ...scaleOption(10)] });
    inside.segment({ flags: 'A', window: 60_000 });
    const length = 4 * 1024 * 1024;
    const sent = stream(0, length);
    const parts: Buffer[] = [];
    let written = 0;
    for (let fin = false; !fin; ) {
      if (written < length) {
        const count = inside.peer.write(sent.subarray(written));
        if (count > 0) written += count;
        if (written === length) inside.peer.finish();
      }
      const taken = wire.drain(0);
      for (const { seq, data, flags } of taken) {
        if (seq !== inside.ack) continue;
        parts.push(data);
        fin = flags.includes('F');
        inside.ack = (inside.ack + data.length + (fin ? 1 : 0)) | 0;
      }
      // Every other time, it is acknowledged only later.
      if (parts.length % 2 === 0 || taken.length === 0) inside.segment({ flags: 'A', window: 60_000 });
    }
    expect(Buffer.concat(parts).equals(sent)).toBe(true);
    expect(wire.arena.free).toBe(320);
  });

  it('offers windows with the top bit set, and takes them', () => {
    const inside = Inside.connect(wire, listener, { options: [...mssOption(1460), ...scaleOption(14)] });
    inside.segment({ flags: 'A', window: 0xffff });
    inside.peer.write(stream(0, 100_000));
    let got = 0;
    for (let taken = wire.take(); taken !== null && got < 100_000; taken = wire.take()) {
      got += taken.data.length;
      inside.ack = (taken.seq + taken.data.length) | 0;
      inside.segment({ flags: 'A', window: 0xffff });
      if (got === 100_000) break;
    }
    expect(got).toBe(100_000);
  });
});

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

it('goes on when the end of a long one keeps all of the memory that its socket may have', () => {
  // A part of a segment that is not taken yet holds the whole of it, and the window may be closed for that alone.
  for (const window of [900, 3000, 65535]) {
    const inside = Inside.connect(wire, listener, { window, srcPort: 40_000 + window });
    let taken = 0;
    for (let silences = 0; taken < 1_000_000 && silences < 1000; ) {
      inside.peer.write(stream(0, 60_000));
      const segment = wire.take(5);
      if (segment === null) {
        silences++;
        wire.pass(100);
        continue;
      }
      silences = 0;
      taken += segment.data.length;
      inside.ack = (segment.seq + segment.data.length) | 0;
      inside.segment({ flags: 'A', window });
    }
    expect(taken).toBeGreaterThanOrEqual(1_000_000);
    inside.segment({ flags: 'R' });
  }
});
