import { expect, test } from 'vitest';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryDevice } from '../../src/device/memory.ts';
import { icmpEcho } from '../../src/testing/frames.ts';
import type { HashKey } from '../../wire/hash.ts';

const STATION = { mac: '02:42:0a:00:00:02', ipv6: 'fd00::2' };
const GATEWAY = { mac: '02:42:0a:00:00:01', ipv6: 'fd00::1' };

/** What the gateway answers to a ping that is longer than its link: fragments with identifications of its choice. */
function answersOf(seed: number, key?: HashKey): Uint8Array[] {
  const dataplane = new Dataplane({ seed, ...(key && { key }) });
  const ipv6 = { address: [0xfd000000 | 0, 0, 0, 1], prefix: 64 };
  const network = dataplane.addNetwork({ macHi: 0x0242, macLo: 0x0a000001, ipv4: null, ipv6, mtu: 1280 });
  const device = new MemoryDevice(dataplane.arena);
  const port = dataplane.addPort(device, { network, mtu: 9000 }, 0);
  device.injectBytes(icmpEcho({ from: STATION, to: GATEWAY, family: 6, data: 3000 }));
  dataplane.poll(port, 1e9, 0);
  const answers: Uint8Array[] = [];
  for (let bytes = device.takeBytes(); bytes; bytes = device.takeBytes()) answers.push(bytes);
  return answers;
}

test('what a gateway says tells nothing of the key, and the key nothing of what it says', () => {
  const said = answersOf(1, [3, 4]);
  expect(said).toHaveLength(3);
  expect(answersOf(1, [5, 6])).toEqual(said);
  expect(answersOf(2, [3, 4])).not.toEqual(said);
  expect(answersOf(1)).toEqual(answersOf(1));
});
