import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../wire/random.ts';
import { openDescriptors } from './sandbox.ts';
import { Inside, Wire } from './tcp-wire.ts';

let wire: Wire;
beforeEach(() => {
  wire = new Wire({ connections: 64 });
});
afterEach(() => wire.close());

const SEED = Number(process.env.TAPDECK_SEED ?? 4);
const LETTERS = 'FSRPAUEC';

describe(`any segments at all (TAPDECK_SEED=${SEED})`, () => {
  it('throw nothing, keep nothing, and leave another connection as it was', () => {
    const random = new Random(SEED);
    const pick = <T>(values: readonly T[]): T => values[random.below(values.length)]!;
    const listener = wire.listen(80);
    const descriptors = openDescriptors();
    const steady = Inside.connect(wire, listener, { srcPort: 9 });
    let said = '';
    let heard = '';
    for (let i = 0; i < 20_000; i++) {
      const { words } = wire.uplink.tcp.connections;
      const row = random.below(8) * 64;
      const near = () => pick([0, 1, -1, 2, 100, 1460, 65_535, -65_535, 1 << 20, random.nextInt32()]);
      // Numbers about those of some connection, so that much of it is nearly right.
      const seq = (pick([words[row + 25]!, words[row + 26]!, random.nextInt32()]) + near()) | 0;
      const ack = (pick([words[row + 16]!, words[row + 18]!, random.nextInt32()]) + near()) | 0;
      const flags = [...LETTERS].filter((letter) => random.chance(letter === 'A' ? 0.7 : 0.15)).join('');
      const options = Array.from({ length: random.below(41) }, () =>
        pick([0, 1, 2, 3, 4, 5, 8, 10, 255, random.below(256)]),
      );
      wire.send({
        flags,
        seq,
        ack,
        options,
        window: pick([0, 1, 100, 65_535]),
        data: new Uint8Array(pick([0, 0, 1, 100, 1460, 9000])),
        srcPort: 20 + random.below(12),
        dstPort: pick([80, 80, 80, 81]),
        urgent: random.below(65_536),
      });
      if (random.chance(0.05)) wire.pass(pick([1, 40, 250, 3000, 70_000]));
      for (let taken = wire.take(0); taken !== null; taken = wire.take(0)) {
        if (taken.dstPort !== 9) continue;
        steady.ack = (taken.seq + taken.data.length) | 0;
      }
      if (i % 100 === 0) {
        steady.data(`${i} `);
        said += `${i} `;
        wire.drain(0);
        const text = steady.peer.text();
        if (typeof text === 'string') heard += text;
        for (;;) {
          // Whoever got through to the host.
          try {
            wire.accept(listener).close();
          } catch {
            break;
          }
        }
      }
    }
    wire.drain();
    while (heard.length < said.length) {
      const text = steady.peer.said();
      // Neither its end nor an error.
      expect(text).toMatch(/./);
      heard += text;
    }
    expect(heard).toBe(said);
    steady.segment({ flags: 'R' });
    // All others are silent from now on, and given up.
    for (let i = 0; i < 200 && wire.uplink.tcp.connections.size > 0; i++) {
      wire.pass(7_200_000);
      wire.drain(0);
    }
    for (;;) {
      try {
        wire.accept(listener).close();
      } catch {
        break;
      }
    }
    expect(wire.uplink.tcp.connections.size).toBe(0);
    expect(wire.arena.free).toBe(320);
    steady.peer.close();
    expect(openDescriptors()).toBe(descriptors);
  });
});
