import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Host, Lab, type Station, transfer } from './lab.ts';
import { DECK, FAR, type Outside, outside } from './outside.ts';

// TCP through the translation over a line that loses, doubles and mixes up: what arrives is what was sent, and nothing
// of the mess is taken for another connection.

const BYTES = 100_000_000;
/** Of both directions: 5 % lost, 5 % twice, 25 % later than those behind them. */
const FAULTS = 'loss=5%,duplicate=5%,reorder=25%,distance=3,hold=2ms,per-segment=yes,seed=7';
const TIMEOUT = 600_000;

let lab: Lab;
let world: Outside;
/** On the bad line. */
let a: Host;
let b: Host;
beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  // They are counted at the end, however long it takes.
  await lab.open(...world.uplink, '--timeout', 'tcp-closing=86400', '--timeout', 'tcp-reset=86400');
  a = await lab.attach('a', '--faults', FAULTS, '-p', '20000-20099:20000-20099');
  b = await lab.attach('b');
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

describe('a line with 5 % loss, 5 % duplication and 25 % reordering carries as it was', () => {
  it(
    'what a container sends and receives through the translation',
    async () => {
      await transfer(a, world.far, FAR.ipv4, BYTES);
      await transfer(world.far, a, DECK.ipv6, BYTES);
      // By what the kernels have seen, the line was bad: of the segments of 1,448 bytes, a twentieth was lost.
      const [sender, receiver] = [await kernel(a), await kernel(world.far)];
      expect(sender.TcpRetransSegs).toBeGreaterThan((BYTES / 1448) * 0.03);
      expect(receiver.TcpExtTCPOFOQueue).toBeGreaterThan((BYTES / 1448) * 0.05);
      expect(sender.TcpExtTCPDSACKRecv).toBeGreaterThan(0);
    },
    TIMEOUT,
  );

  it(
    'what goes by a published port to the neighbour',
    async () => {
      await transfer(b, a, DECK.ipv4, BYTES);
    },
    TIMEOUT,
  );

  it('and the deck has taken every packet for one of its connection', async () => {
    const { ledger } = await lab.counters();
    expect(ledger.balanced).toBe(true);
    const { CT_INVALID, CT_CLASH, NOT_PUBLISHED, EXCEPTION, NAT_FILTERED } = await lab.drops();
    expect({ CT_INVALID, CT_CLASH, NOT_PUBLISHED, EXCEPTION, NAT_FILTERED }).toEqual({
      CT_INVALID: 0,
      CT_CLASH: 0,
      NOT_PUBLISHED: 0,
      EXCEPTION: 0,
      NAT_FILTERED: 0,
    });
    expect(await flowCount()).toBe(3);
  });
});

/** Counters of a namespace's kernel, by the names that `nstat` gives them. */
type Statistics = Record<'TcpRetransSegs' | 'TcpExtTCPDSACKRecv' | 'TcpExtTCPOFOQueue', number>;

async function kernel(station: Station): Promise<Statistics> {
  return JSON.parse(await station.ok('nstat', '--json', '--ignore', '--noupdate', '--zeros')).kernel;
}

/** Those to the ports that `transfer` uses, however they have ended. */
async function flowCount(): Promise<number> {
  const flows = JSON.parse(await lab.account.ok('conntrack', '-p', 'tcp', '--format', 'json')) as unknown[];
  return flows.length;
}
