import { expect, test } from 'vitest';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { packTables, StateWriter } from '../../src/recording/state-carrier.ts';
import { TableCopy } from '../../src/recording/table-copy.ts';
import { TableCopies } from '../../src/runtime/table-copies.ts';

function deck(): Dataplane {
  const dataplane = new Dataplane({ ports: 16, conntrack: { capacity: 64 } });
  dataplane.addNetwork({ macHi: 0x0242, macLo: 1, ipv4: null, ipv6: null, mtu: 1500 });
  return dataplane;
}

function tablesOf(dataplane: Dataplane): Uint8Array {
  const writer = new StateWriter();
  dataplane.carry(writer, () => {
    throw new Error('its devices are not asked for');
  });
  return writer.finish();
}

test('copies are made one after the other, each of the instant at which it begins, in turns that end in time', () => {
  const dataplane = deck();
  let now = 0;
  const answers: (Uint8Array | string)[] = [];
  // Each look at the clock is a tenth of a millisecond later than the one before.
  const copies = new TableCopies(() => (now += 0.1));
  const begun: Uint8Array[] = [];
  const begin = () => {
    begun.push(tablesOf(dataplane));
    return { copy: new TableCopy(dataplane), answer: packTables };
  };
  expect(copies.deadline).toBe(Number.POSITIVE_INFINITY);
  const refuse = () => {
    throw new Error('no recording is running');
  };
  for (const each of [begin, refuse, begin]) {
    copies.add(each).onSettled = (answer) => {
      try {
        answers.push(answer());
      } catch (error) {
        answers.push((error as Error).message);
      }
    };
  }
  let turns = 0;
  for (; copies.deadline === 0; turns++) {
    const before = now;
    copies.expire();
    expect(now - before).toBeLessThan(0.8);
    // A network more for each turn: no two instants are the same.
    dataplane.addNetwork({ macHi: 0x0242, macLo: turns + 2, ipv4: null, ipv6: null, mtu: 1500 });
  }
  expect(turns).toBeGreaterThan(4);
  expect(begun).toHaveLength(2);
  expect(answers).toEqual([begun[0], 'no recording is running', begun[1]]);
  expect(begun[0]).not.toEqual(begun[1]);
  copies.expire();
  expect(answers).toHaveLength(3);
});
