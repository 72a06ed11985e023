import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  arpReply,
  arpRequest,
  fragments,
  icmp,
  icmpEcho,
  ip,
  neighborAdvertisement,
  neighborSolicitation,
  tagged,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { parse } from '../../wire/parse.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import {
  C1,
  C2,
  D1,
  expectNoLeak,
  GA,
  GA_LOCAL,
  gatewayBed,
  packetOf,
  read,
  VIA_GA,
} from '../switch/gateway-bed.ts';

const ALL_NODES = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };
const BROADCAST = { mac: 'ff:ff:ff:ff:ff:ff', ipv4: '255.255.255.255' };

/** Milliseconds for a test that makes many decks, on a machine that has other things to do. */
const PATIENCE = 60_000;

/** One of everything that a container may say to the gateway or through it. */
const SEEDS: Uint8Array[] = [
  arpRequest({ from: C1, ask: GA.ipv4 }),
  arpRequest({ from: C1, ask: GA.ipv4, to: GA.mac }),
  arpRequest({ from: C1, ask: C1.ipv4 }),
  arpReply({ from: C1, to: GA }),
  neighborSolicitation({ from: C1, ask: GA.ipv6 }),
  neighborSolicitation({ from: C1, ask: GA_LOCAL, to: GA }),
  neighborAdvertisement({ from: C1, to: GA }),
  icmp({ from: C1, to: ALL_NODES, family: 6, ttl: 255, type: 134, data: 8 }),
  icmpEcho({ from: C1, to: ALL_NODES, family: 6 }),
  udp({ from: C1, to: BROADCAST, dstPort: 67, data: 300 }),
  tagged(icmpEcho({ from: C1, to: GA }), 0, 3),
  ...([4, 6] as const).flatMap((family) => [
    icmpEcho({ from: C1, to: GA, family }),
    icmpEcho({ from: C1, to: D1, via: VIA_GA, family, data: 1300 }),
    icmpEcho({ from: C1, to: C2, via: VIA_GA, family }),
    udp({ from: C1, to: GA, family, dstPort: 53, data: 40 }),
    udp({ from: C1, to: D1, via: VIA_GA, family, dstPort: 53, ttl: 1 }),
    tcp({ from: C1, to: GA, family, dstPort: 80, mss: 1460 }),
    tcp({ from: C1, to: D1, via: VIA_GA, family, dstPort: 80, flags: 'PA', data: 1340 }),
    ip({ from: C1, to: GA, family }, 47, 30),
    ...fragments(icmpEcho({ from: C1, to: GA, family, data: 100 }), 80),
    ...fragments(udp({ from: C1, to: D1, via: VIA_GA, family, dstPort: 9, data: 100 }), 80),
  ]),
];

type Change = { at: number; value: number };

/** A seed with some bytes changed and an end cut off or added; `mended`: with checksums made right again. */
const mutant = fc
  .record({
    seed: fc.constantFrom(...SEEDS),
    changes: fc.array(fc.record({ at: fc.nat(200), value: fc.integer({ min: 0, max: 255 }) }), {
      maxLength: 4,
    }),
    length: fc.option(fc.nat(300), { nil: undefined }),
    mended: fc.boolean(),
    vnet: fc.option(fc.uint8Array({ minLength: 10, maxLength: 10 }), { nil: undefined }),
    port: fc.constantFrom('c1', 'c1', 'c1', 'c2', 'd1'),
    wait: fc.constantFrom(0, 0, 0, 5, 1000, 40_000),
  })
  .map(({ seed, changes, length, mended, ...rest }) => ({
    frame: change(seed, changes, length, mended),
    ...rest,
  }));

function change(
  seed: Uint8Array,
  changes: Change[],
  length: number | undefined,
  mended: boolean,
): Uint8Array {
  const frame = new Uint8Array(length ?? seed.length);
  frame.set(seed.subarray(0, frame.length));
  // The addresses of the frame stay as they are most of the time: behind another MAC is nothing to be found.
  for (const { at, value } of changes) if (at >= 12 && at < frame.length) frame[at] = value;
  if (mended && frame.length >= 34 && frame[12] === 8 && frame[13] === 0) {
    let sum = 0;
    frame.fill(0, 24, 26);
    const end = Math.min(14 + (frame[14] & 15) * 4, frame.length);
    for (let at = 14; at < end; at += 2) sum += (frame[at] << 8) | (frame[at + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    frame.set([(~sum >> 8) & 255, ~sum & 255], 24);
  }
  if (!mended) return frame;
  const packet = packetOf(frame);
  if (parse(packet) === 0) fillTransportChecksum(packet);
  return packet.bytes.slice(VNET_LEN);
}

function receive(deck: MemoryDeck, port: string, bytes: Uint8Array, vnet: Uint8Array | undefined): void {
  const { dataplane, ports } = deck.virtual;
  const frame = dataplane.arena.allocate(bytes.length);
  if (frame === undefined) return;
  frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
  if (vnet) frame.bytes.set(vnet, frame.at - VNET_LEN);
  frame.bytes.set(bytes, frame.at);
  dataplane.receive(ports.get(port)!.id, frame, deck.now);
  const [failed] = deck.virtual.exceptions;
  if (failed) throw failed.error;
}

describe('the deck under frames of any kind', () => {
  test(
    'nothing throws, nothing leaks, and the ledger balances',
    () => {
      fc.assert(
        fc.property(fc.array(mutant, { minLength: 1, maxLength: 30 }), fc.boolean(), (mutants, known) => {
          const deck = gatewayBed({ known, arena: { small: 256, big: 24 } });
          for (const { frame, vnet, port, wait } of mutants) {
            receive(deck, port, frame, vnet);
            expect(deck.virtual.dataplane.ledger.imbalance()).toBe(0);
            deck.advance(wait);
          }
          expectNoLeak(deck);
        }),
        { numRuns: 150 },
      );
    },
    PATIENCE,
  );

  test(
    "bytes without any sense behind the gateway's MAC, too",
    () => {
      const deck = gatewayBed({ arena: { small: 256, big: 24 } });
      const types = fc.constantFrom([8, 0], [8, 6], [0x86, 0xdd], [0x81, 0], [0, 46], [0x88, 0xa8]);
      fc.assert(
        fc.property(types, fc.uint8Array({ maxLength: 200 }), fc.boolean(), (type, data, group) => {
          const header = arpRequest({ from: C1, ask: GA.ipv4, ...(group ? {} : { to: GA.mac }) }).slice(
            0,
            12,
          );
          receive(deck, 'c1', new Uint8Array([...header, ...type, ...data]), undefined);
          deck.takeAll();
        }),
        { numRuns: 5000 },
      );
      expectNoLeak(deck);
    },
    PATIENCE,
  );

  test(
    'what the gateway says is well-formed, and no longer than it may be',
    () => {
      fc.assert(
        fc.property(mutant, fc.boolean(), ({ frame, port }, known) => {
          const deck = gatewayBed({ known, arena: { small: 64, big: 24 } });
          receive(deck, port, frame, undefined);
          deck.advance(35_000);
          for (const [name, frames] of Object.entries(deck.takeAll())) {
            for (const answer of frames) {
              const said = frameSource(answer);
              if (said !== GA.mac && said !== '02:42:0a:01:00:01') continue;
              // Through the router go also packets whose transport checksum is wrong: it is not the router's to mend.
              if (name !== port) continue;
              const { arp, icmp: message, total = 0 } = read(answer);
              const isError = message !== undefined && [1, 2, 3, 4, 11, 12].includes(message.type);
              const most = isError ? (answer[12] === 8 ? 576 : 1280) : Math.max(frame.length - 14, 72);
              expect(total).toBeLessThanOrEqual(most);
              if (arp) expect(answer).toHaveLength(42);
            }
          }
          expectNoLeak(deck);
        }),
        { numRuns: 400 },
      );
    },
    PATIENCE,
  );

  test(
    'every length from 0 to 64, of everything: an answer has no byte that was not asked for',
    () => {
      const deck = gatewayBed({ known: true, arena: { small: 16, big: 4 } });
      const { arena } = deck.virtual.dataplane;
      for (const seed of SEEDS) {
        for (let length = 0; length <= Math.min(64, seed.length); length++) {
          deck.advance(40_000);
          arena.bytes.fill(0xa5);
          deck.take('c1');
          receive(deck, 'c1', seed.slice(0, length), undefined);
          for (const answer of deck.take('c1')) {
            read(answer);
            // Free memory is 0xa5 everywhere; no seed has it twice in a row.
            const leaked = answer.some((byte, at) => byte === 0xa5 && answer[at + 1] === 0xa5);
            expect(leaked).toBe(false);
          }
        }
      }
    },
    PATIENCE,
  );
});

function frameSource(frame: Uint8Array): string {
  return [...frame.slice(6, 12)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
