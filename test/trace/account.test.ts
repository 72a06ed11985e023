import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { makeObservationRing, ObservationReader, RecordKind } from '../../src/dataplane/observation.ts';
import { RingSubscriber } from '../../src/dataplane/ring-subscriber.ts';
import { StoryCollector } from '../../src/trace/story-collector.ts';
import { DROP_REASONS } from '../../switch/drop-reason.ts';
import { Action, ROW_ARGUMENTS, ROW_PACKET, ROW_WORDS, rowAction } from '../../switch/trace.ts';
import { VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { Bed, NETWORKS, type Step, step } from '../dataplane/ledger-bed.ts';

/** What rows say about frames, in the words of the ledger. */
class Account {
  received = 0;
  sent = 0;
  consumed = 0;
  readonly drops = new Array<number>(DROP_REASONS).fill(0);

  add(words: Int32Array, at: number): void {
    const a = (argument: number) => words[at + ROW_ARGUMENTS + argument]!;
    switch (rowAction(words, at)) {
      case Action.RECEIVED:
        this.received++;
        break;
      case Action.VERDICT:
        if (verdictKind(a(10)) === VerdictKind.DROP) this.drops[verdictArgument(a(10))]!++;
        else if (verdictKind(a(10)) === VerdictKind.CONSUME) this.consumed++;
        break;
      case Action.SENT:
        this.sent++;
        break;
      case Action.QUEUED:
        this.sent -= a(1);
        break;
      case Action.LOST:
        this.sent -= a(2);
        this.drops[a(1)]!++;
        break;
    }
  }
}

/** Lets everything come to its end. */
function finish(bed: Bed): void {
  bed.take({ what: 'wait', milliseconds: 60_000 });
  for (let network = 0; network < NETWORKS; network++) {
    if (bed.networks[network] !== undefined) bed.removeNetwork(network);
  }
}

const steps = fc.array(step, { minLength: 20, maxLength: 120 });

test('what stories tell is what the ledger has counted', () => {
  fc.assert(
    fc.property(steps, (list) => {
      const bed = new Bed();
      const collector = new StoryCollector();
      bed.dataplane.observer.subscribe(collector);
      for (const each of list) bed.take(each);
      finish(bed);
      const account = new Account();
      for (const { rows } of collector.stories) {
        for (let at = 0; at < rows.length; at += ROW_WORDS) account.add(rows, at);
      }
      const { ports, sent, consumed, drops } = bed.dataplane.ledger;
      expect(account.received).toBe(ports);
      expect(account.consumed).toBe(consumed);
      expect(Array.from(account.drops)).toEqual(Array.from(drops));
      expect(account.sent).toBe(sent);
    }),
    { numRuns: 200 },
  );
});

/** Everything that can be told from outside: the frames that went out by each port, and the tables. */
function outcome(list: readonly Step[], watch: (bed: Bed) => void): string {
  const hash = createHash('sha256');
  const bed = new Bed();
  watch(bed);
  const devices = new Set<unknown>();
  for (const each of list) {
    bed.take(each);
    for (const [name, { device }] of bed.ports) {
      if (devices.has(device)) continue;
      devices.add(device);
      const { transmit } = device;
      device.transmit = function (frame, now) {
        hash.update(`${name} `).update(frame.bytes.subarray(frame.at - 12, frame.at + frame.length));
        return transmit.call(this, frame, now);
      };
    }
  }
  finish(bed);
  const { dataplane } = bed;
  hash.update(
    JSON.stringify([
      dataplane.ledger.snapshot(),
      dataplane.flows({}, bed.now),
      dataplane.neighbors.list(bed.now),
      dataplane.fdb.list(bed.now),
    ]),
  );
  return hash.digest('hex');
}

test('being observed changes nothing', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 40_000 }), (list, size) => {
      const alone = outcome(list, () => {});
      const observed = outcome(list, ({ dataplane }) => {
        const ring = makeObservationRing(size);
        const wants = { snaplen: 100, filter: (bytes: Uint8Array, at: number) => bytes[at + 13] === 0 };
        dataplane.observer.subscribe(new RingSubscriber(ring, wants, dataplane.ports));
        dataplane.observer.subscribe(new StoryCollector());
        dataplane.observer.remember(true);
      });
      expect(observed).toBe(alone);
    }),
    { numRuns: 60 },
  );
});

test('whatever the overrun: a story is there as a whole, or it is counted as missed', () => {
  const turn = fc.record({ step, reads: fc.nat(3) });
  fc.assert(
    fc.property(
      fc.array(turn, { minLength: 20, maxLength: 120 }),
      fc.constantFrom(0, 64, 70_000),
      fc.integer({ min: 1, max: 20_000 }),
      (turns, snaplen, size) => {
        const bed = new Bed();
        const collector = new StoryCollector();
        const ring = makeObservationRing(size);
        const reader = new ObservationReader(ring);
        const { observer, ports } = bed.dataplane;
        observer.subscribe(new RingSubscriber(ring, { snaplen }, ports));
        observer.subscribe(collector);
        let read = 0;
        let next = 0;
        const readOne = (): boolean => {
          if (!reader.nextStory()) return false;
          const rows: number[] = [];
          while (reader.nextRecord()) {
            if (reader.kind === RecordKind.ROW || reader.kind === RecordKind.END) {
              rows.push(...reader.words.subarray(reader.row, reader.row + ROW_WORDS));
            } else {
              expect(reader.captured).toBe(Math.min(snaplen, reader.length));
              expect(reader.bytes.subarray(reader.at, reader.at + reader.captured)).toHaveLength(
                reader.captured,
              );
            }
          }
          // The stories come in order, and each is one that there was.
          const same = ({ rows: told }: { rows: Int32Array }) =>
            told.length === rows.length && told.every((word, i) => word === rows[i]);
          while (next < collector.stories.length && !same(collector.stories[next]!)) next++;
          expect(next).toBeLessThan(collector.stories.length);
          expect(reader.packet).toBe(collector.stories[next]!.packet);
          expect(rows[ROW_PACKET]).not.toBe(0);
          next++;
          read++;
          reader.release();
          return true;
        };
        for (const each of turns) {
          bed.take(each.step);
          for (let i = 0; i < each.reads; i++) readOne();
        }
        finish(bed);
        while (readOne());
        expect(reader.kept).toBe(read);
        expect(reader.kept + reader.missed).toBe(collector.stories.length);
      },
    ),
    { numRuns: 100 },
  );
});

test('a dropped packet is remembered, though nobody looks', () => {
  fc.assert(
    fc.property(steps, (list) => {
      const bed = new Bed();
      for (const each of list) bed.take(each);
      finish(bed);
      const rows = bed.dataplane.observer.past.list({}, 1_000_000);
      const drops = new Array<number>(DROP_REASONS).fill(0);
      for (let at = 0; at < rows.length; at += ROW_WORDS) {
        expect(rowAction(rows, at)).toBe(Action.VERDICT);
        drops[verdictArgument(rows[at + ROW_ARGUMENTS + 10]!)]!++;
      }
      expect(drops).toEqual(Array.from(bed.dataplane.ledger.drops));
    }),
    { numRuns: 60 },
  );
});
