import Benchmark from 'benchmark';
import { LRUCache } from 'lru-cache';
import { translate } from '../../nat/translate.ts';
import { extractTuple, invertTuple, TUPLE_DST_IPV4, TUPLE_PORTS, TUPLE_WORDS } from '../../nat/tuple.ts';
import { arpRequest } from '../../src/testing/frames.ts';
import { Fdb } from '../../switch/fdb.ts';
import { PortKind, Ports } from '../../switch/ports.ts';
import { checksum } from '../../wire/checksum.ts';
import type { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { Bed } from './bed.ts';
import type { Figure } from './figure.ts';

/** Frames per call of a timed function: the harness's own cost is spread over them. */
const BATCH = 64;
const MIN_FRAMES_PER_SECOND = 3e6;

interface Operation {
  name: string;
  /** How many operations one call of `run` does. */
  batch: number;
  run: () => void;
  /** Operations per second that are asked for. */
  target?: number;
}

/** Times each operation by itself with benchmark.js. */
export async function operations(quick: boolean): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, batch, run, target } of list()) {
    const { hz, rme } = await time(name, run, quick);
    const perSecond = hz * batch;
    const figure: Figure = {
      name,
      value: `${(1e9 / perSecond).toFixed(1)} ns`,
      detail: `${(perSecond / 1e6).toFixed(2)} M/s ±${rme.toFixed(1)} %`,
    };
    if (target !== undefined) {
      figure.target = `≥ ${target / 1e6} M/s`;
      figure.met = perSecond >= target;
    }
    figures.push(figure);
  }
  return figures;
}

function time(name: string, run: () => void, quick: boolean): Promise<{ hz: number; rme: number }> {
  return new Promise((resolve, reject) => {
    new Benchmark(name, run, {
      maxTime: quick ? 0.3 : 2,
      onComplete: (event: Benchmark.Event) => {
        const { hz, stats } = event.target as unknown as { hz: number; stats: { rme: number } };
        resolve({ hz, rme: stats.rme });
      },
      onError: (event: Benchmark.Event) => reject((event.target as unknown as { error: Error }).error),
    }).run({ async: true });
  });
}

function list(): Operation[] {
  const bed = new Bed(2);
  const [a, b] = bed.ports as [number, number];
  const small = bed.udp(0, 1, 64);
  const back = bed.udp(1, 0, 64);
  const big = bed.gso(0, 1, 65_000);
  const { bytes } = bed.dataplane.arena;

  const ports = new Ports(16);
  const port = ports.add(0, PortKind.DEVICE, { learnLimit: 8192 });
  const fdb = new Fdb(ports, [1, 2]);
  for (let i = 0; i < 8192; i++) fdb.learn(0, 0x0242, Math.imul(i, 0x9e3779b1), port, 0);

  // What the fdb would be with a library: a bounded map, keyed by the MAC as one number of 48 bits.
  const lru = new LRUCache<number, number>({ max: 8192 });
  const macNumber = (i: number) => 0x0242 * 2 ** 32 + (Math.imul(i, 0x9e3779b1) >>> 0);
  for (let i = 0; i < 8192; i++) lru.set(macNumber(i), port);

  const request = bed.bytes(
    arpRequest({ from: { mac: '02:42:0a:00:01:00', ipv4: '10.0.1.0' }, ask: '10.0.0.1' }),
  );

  // Translated again and again, packets stay valid: each time, they are taken to be what their sender sent.
  const masqueraded = bed.udp(0, 1, 64);
  const masqueradedBig = bed.gso(0, 1, 65_000);
  const flows = masquerade([masqueraded, masqueradedBig]);

  let now = 0;
  let row = 0;
  const sink = new Float64Array(1);
  return [
    {
      name: 'parse, 64-byte UDP',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++) sink[0]! += parse(small);
      },
    },
    {
      name: 'parse, 64 KiB TCP GSO',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++) sink[0]! += parse(big);
      },
    },
    {
      name: 'translate, 64-byte UDP',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++) translate(masqueraded, flows, 0);
      },
    },
    {
      name: 'translate, 64 KiB TCP GSO',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++) translate(masqueradedBig, flows, 2);
      },
    },
    {
      name: 'checksum of 64 bytes',
      batch: 1,
      run: () => {
        sink[0]! += checksum(bytes, small.at, 64);
      },
    },
    {
      name: 'checksum of 1,500 bytes',
      batch: 1,
      run: () => {
        sink[0]! += checksum(bytes, big.at, 1500);
      },
    },
    {
      name: 'checksum of 64 KiB',
      batch: 1,
      run: () => {
        sink[0]! += checksum(bytes, big.at, 65_000);
      },
    },
    {
      name: 'fdb lookup among 8,192 addresses',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++)
          sink[0]! += fdb.lookup(0, 0x0242, Math.imul(row++ & 8191, 0x9e3779b1), 1);
      },
    },
    {
      name: 'the same with lru-cache',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++) sink[0]! += lru.get(macNumber(row++ & 8191))!;
      },
    },
    {
      name: 'fdb learn (refresh) among 8,192 addresses',
      batch: BATCH,
      run: () => {
        for (let i = 0; i < BATCH; i++)
          sink[0]! += fdb.learn(0, 0x0242, Math.imul(row++ & 8191, 0x9e3779b1), port, 1);
      },
    },
    {
      name: 'ARP request answered by the gateway',
      batch: 1,
      run: () => bed.receive(request, a, now++),
    },
    {
      name: 'parse + bridge + egress, 64-byte UDP',
      batch: BATCH,
      target: MIN_FRAMES_PER_SECOND,
      run: () => {
        now++;
        for (let i = 0; i < BATCH; i += 2) {
          sink[0]! += parse(small);
          bed.receive(small, a, now);
          sink[0]! += parse(back);
          bed.receive(back, b, now);
        }
      },
    },
    {
      name: 'parse + bridge + egress, 64 KiB TCP GSO',
      batch: BATCH,
      run: () => {
        now++;
        for (let i = 0; i < BATCH; i++) {
          sink[0]! += parse(big);
          bed.receive(big, a, now);
        }
      },
    },
  ];
}

/** A row for each of the packets, whose source address and port another takes the place of. */
function masquerade(packets: readonly Packet[]): Int32Array {
  const tuples = new Int32Array(packets.length * 2 * TUPLE_WORDS);
  packets.forEach((packet, row) => {
    const original = row * 2 * TUPLE_WORDS;
    const reply = original + TUPLE_WORDS;
    parse(packet);
    extractTuple(packet, 1, tuples, original);
    invertTuple(tuples, original, reply, 2);
    tuples[reply + TUPLE_DST_IPV4] = 0xc6336402;
    tuples[reply + TUPLE_PORTS] = (tuples[reply + TUPLE_PORTS]! & ~0xffff) | 61_000;
  });
  return tuples;
}
