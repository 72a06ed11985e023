import { describe, expect, it } from 'vitest';
import { PublishedPorts } from '../../src/uplink/published-ports.ts';

const ONE = 0x7f000001;
const TWO = 0x7f000002;
const THREE = 0x7f000003;

describe('a port published on two addresses of the loopback', () => {
  it('answers each of two clients that have the same port', () => {
    const published = new PublishedPorts();
    published.add(7, 53, false, ONE);
    published.add(8, 53, false, TWO);
    published.remember(7, 53, false, 4000, THREE, 0);
    published.remember(8, 53, false, 4000, null, 0);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000, 0))).toEqual([THREE, null]);
    published.remember(8, 53, false, 4000, TWO, 0);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000, 0))).toEqual([THREE, TWO]);
    published.remove(7, 53, false);
    expect([7, 8].map((row) => published.client(row, 53, false, 4000, 0))).toEqual([null, TWO]);
  });
});

describe('more clients of the host than are remembered', () => {
  it('are refused, and not answered in the place of 127.0.0.1, until others are long done', () => {
    const published = new PublishedPorts();
    published.add(7, 53, false, null);
    const ask = (port: number, now: number) => published.remember(7, 53, false, port, TWO, now);
    for (let port = 1; port <= 1024; port++) expect(ask(port, 0)).toBe(true);
    expect(ask(2000, 200_000)).toBe(false);
    // Who is answered is not done.
    expect(published.client(7, 53, false, 1, 200_000)).toBe(TWO);
    expect(ask(2000, 301_000)).toBe(true);
    expect(published.client(7, 53, false, 1, 301_000)).toBe(TWO);
    expect(published.client(7, 53, false, 2, 301_000)).toBeNull();
    expect(published.client(7, 53, false, 2000, 301_000)).toBe(TWO);
  });
});
