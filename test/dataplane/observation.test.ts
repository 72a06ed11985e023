import { describe, expect, it } from 'vitest';
import { Bed } from '../../bench/micro/bed.ts';
import { makeObservationRing, ObservationReader, RecordKind } from '../../src/dataplane/observation.ts';
import { RingSubscriber } from '../../src/dataplane/ring-subscriber.ts';
import { Action, ROW_ARGUMENTS, rowAction } from '../../switch/trace.ts';

function watched(size: number, wants: { snaplen: number }) {
  const bed = new Bed(4);
  const ring = makeObservationRing(size);
  const reader = new ObservationReader(ring);
  bed.dataplane.observer.subscribe(new RingSubscriber(ring, wants, bed.dataplane.ports, () => {}));
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
});
