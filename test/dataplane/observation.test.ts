import { describe, expect, it } from 'vitest';
import { Bed } from '../../bench/micro/bed.ts';
import {
  makeObservationRing,
  ObservationReader,
  ObservationWriter,
  RecordKind,
} from '../../src/dataplane/observation.ts';
import { RingSubscriber } from '../../src/dataplane/ring-subscriber.ts';
import { Arena } from '../../switch/frame.ts';
import { Action, ROW_ARGUMENTS, rowAction } from '../../switch/trace.ts';

function watched(size: number, wants: { snaplen: number }) {
  const bed = new Bed(4);
  const ring = makeObservationRing(size);
  const reader = new ObservationReader(ring);
  bed.dataplane.observer.subscribe(new RingSubscriber(ring, wants, bed.dataplane.ports));
  return { bed, reader };
}

describe('the ring of stories', () => {
  it('tells the way of one frame', () => {
    const { bed, reader } = watched(65536, { snaplen: 60 });
    bed.receive(bed.udp(0, 1, 100), bed.ports[0]!, 5);
    const records: (string | number)[] = [];
    expect(reader.nextStory()).toBe(true);
    expect([reader.packet, reader.port, reader.now]).toEqual([1, bed.ports[0], 5]);
    while (reader.nextRecord()) {
      if (reader.kind === RecordKind.FRAME_IN) records.push('in', reader.captured, reader.length);
      else if (reader.kind === RecordKind.FRAME_OUT) records.push('out', reader.framePort);
      else records.push(rowAction(reader.words, reader.row));
    }
    expect(records).toEqual([
      'in',
      60,
      100,
      Action.RECEIVED,
      Action.KNOWN,
      Action.RETURNED,
      Action.SENT,
      'out',
      bed.ports[1],
      Action.VERDICT,
    ]);
    expect(reader.words[reader.row + ROW_ARGUMENTS + 8]).toBe((5000 << 16) | 5001);
    reader.release();
    expect(reader.nextStory()).toBe(false);
  });

  it('has the bytes of a copy that went out as the frame came in only once, and those of another', () => {
    for (let length = 60; length <= 1900; length += 23) {
      for (const place of [-1, 0, 3, 31, 59, Math.min(255, length - 1)]) {
        const arena = new Arena({ small: 4, big: 1 });
        const frame = arena.allocate(length)!;
        frame.length = length;
        for (let i = 0; i < length; i++) frame.bytes[frame.at + i] = i;
        const came = frame.bytes.slice(frame.at, frame.at + length);
        const ring = makeObservationRing(4096);
        const writer = new ObservationWriter(ring);
        writer.begin(1, 0, 5);
        writer.frame(RecordKind.FRAME_IN, frame, 0, 65536);
        if (place >= 0) frame.bytes[frame.at + place]! ^= 0xff;
        writer.frame(RecordKind.FRAME_OUT, frame, 1, 65536);
        const went = frame.bytes.slice(frame.at, frame.at + length);
        writer.commit();
        const reader = new ObservationReader(ring);
        const fits = place < 0 || 3 * 32 + 2 * length + 14 <= 4096;
        expect([reader.nextStory(), reader.missed]).toEqual(fits ? [true, 0] : [false, 1]);
        if (!fits) continue;
        const found = [];
        while (reader.nextRecord()) found.push(reader.bytes.slice(reader.at, reader.at + reader.captured));
        expect(found.map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual(
          [came, went].map((bytes) => Buffer.from(bytes).toString('hex')),
        );
      }
    }
  });
});
