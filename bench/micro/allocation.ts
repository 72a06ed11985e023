import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { makeObservationRing, ObservationReader } from '../../src/dataplane/observation.ts';
import { RingSubscriber } from '../../src/dataplane/ring-subscriber.ts';
import { Bed } from './bed.ts';
import type { Figure } from './figure.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What the heap may grow by in all: feedback and code of functions that are optimised late, and the counters' boxes. */
const SLACK = 256 * 1024;

/**
 * Bytes of JavaScript heap per frame over `frames` frames through the bridge.
 */
export async function allocationPerFrame(frames: number): Promise<Figure[]> {
  const bed = new Bed(2);
  const kinds = [
    { name: '64-byte UDP', frame: bed.udp(0, 1, 64) },
    { name: '64 KiB TCP GSO', frame: bed.gso(0, 1, 65_000) },
  ];
  const figures: Figure[] = [];
  for (const { name, frame } of kinds) {
    const port = bed.ports[0]!;
    const pass = (count: number) => {
      for (let i = 0; i < count; i++) bed.receive(frame, port, i >> 6);
    };
    figures.push(await heapGrowth(`heap per frame, ${name}`, frames, pass));
  }
  figures.push(await observedGrowth(frames));
  return figures;
}

/** The same while somebody looks at every frame, and reads in the same thread. */
function observedGrowth(frames: number): Promise<Figure> {
  const bed = new Bed(2);
  const ring = makeObservationRing(1024 * 1024);
  const reader = new ObservationReader(ring);
  const { observer, ports } = bed.dataplane;
  observer.subscribe(new RingSubscriber(ring, { snaplen: 262_144 }, ports));
  const frame = bed.udp(0, 1, 64);
  const port = bed.ports[0]!;
  return heapGrowth('heap per observed frame, 64-byte UDP', frames, (count) => {
    for (let i = 0; i < count; i++) {
      bed.receive(frame, port, i >> 6);
      if ((i & 255) !== 0) continue;
      while (reader.nextStory()) while (reader.nextRecord());
      reader.release();
    }
    if (reader.missed > 0) throw new Error('stories were missed');
  });
}

/**
 * Bytes of JavaScript heap per frame that `pass` takes over `frames` frames. Between the two readings no collection may
 * happen: one would hide what was allocated. That none did is measured too.
 */
export async function heapGrowth(
  name: string,
  frames: number,
  pass: (frames: number) => void,
): Promise<Figure> {
  pass(200_000);
  let collections = 0;
  const observer = new PerformanceObserver((entries) => {
    collections += entries.getEntries().length;
  });
  collect();
  await sleep(20);
  observer.observe({ entryTypes: ['gc'] });
  const before = process.memoryUsage().heapUsed;
  pass(frames);
  const grown = process.memoryUsage().heapUsed - before;
  await sleep(20);
  observer.disconnect();
  const perFrame = grown < SLACK ? 0 : grown / frames;
  return {
    name,
    value: `${perFrame.toFixed(3)} B`,
    detail: `${frames / 1e6} M frames: heap ${grown >= 0 ? '+' : ''}${grown} B, ${collections} collections`,
    target: '0 B',
    met: grown < SLACK && collections === 0,
  };
}
