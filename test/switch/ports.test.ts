import { expect, test } from 'vitest';
import { PORT_STRIDE, PortKind, Ports, RX_FRAMES } from '../../switch/ports.ts';

test('the number of a port that has gone comes again as late as possible', () => {
  const ports = new Ports(4);
  const add = () => ports.add(0, PortKind.DEVICE);
  expect([add(), add(), add()]).toEqual([0, 1, 2]);
  ports.remove(1);
  ports.remove(0);
  expect([add(), add(), add(), add()]).toEqual([3, 1, 0, -1]);
  ports.remove(2);
  expect(add()).toBe(2);
});

test('a port begins with nothing of the one that had its number before', () => {
  const ports = new Ports(1);
  const options = { mtu: 1280, isolated: true, learnLimit: 3, stormLimit: 1 };
  expect(ports.add(7, PortKind.DEVICE, options)).toBe(0);
  ports.counters[RX_FRAMES] = 9;
  ports.learned[0] = 3;
  expect([ports.mayFlood(0, 5), ports.mayFlood(0, 5)]).toEqual([true, false]);
  ports.remove(0);
  expect([ports.kind[0], ports.network[0]]).toEqual([PortKind.FREE, -1]);
  expect(ports.add(8, PortKind.GATEWAY)).toBe(0);
  expect(ports.counters.slice(0, PORT_STRIDE)).toEqual(new Float64Array(PORT_STRIDE));
  expect([ports.network[0], ports.mtu[0], ports.isolated[0], ports.learned[0]]).toEqual([8, 65520, 0, 0]);
  expect([ports.mayFlood(0, 0), ports.mayFlood(0, 0)]).toEqual([true, true]);
});
