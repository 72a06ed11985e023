import { describe, expect, it } from 'vitest';
import { PublishedPorts } from '../../src/uplink/published-ports.ts';

const [ONE, TWO, THREE] = [0x7f000001, 0x7f000002, 0x7f000003];

describe('a port published on two addresses of the loopback', () => {
  it('answers each of two clients that have the same port', () => {
    const published = new PublishedPorts();
    published.add(7, 53, false, ONE!);
    published.add(8, 53, false, TWO!);
    published.remember(7, 53, false, 4000, THREE!);
    published.remember(8, 53, false, 4000, null);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000))).toEqual([THREE, null]);
    published.remember(8, 53, false, 4000, TWO!);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000))).toEqual([THREE, TWO]);
    published.remove(7, 53, false);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000))).toEqual([null, TWO]);
  });
});
