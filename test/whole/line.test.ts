import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { checksums, type Host, Lab, sendAndCollect, source, transfer } from './lab.ts';

// Lines that are worse than a TAP: one that carries no segments of 64 KiB, and one that loses, doubles and mixes up
// what it carries. Programs at both ends must not notice.

const ETH_LEN = 14;
const MTU = 1500;

let lab: Lab;
beforeAll(async () => {
  lab = new Lab();
  await lab.open();
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

let pairs = 0;

/** Two hosts in a network of their own, one of them behind a bad line. */
async function pair(faults: string): Promise<{ a: Host; b: Host }> {
  const network = `line-${++pairs}`;
  await lab.network(network, '--ipv6', '--mtu', String(MTU));
  const a = await lab.attach(`a-${network}`, '--network', network);
  const b = await lab.attach(`b-${network}`, '--network', network, '--faults', faults);
  // ARP has no checksum: who takes a spoilt address for true speaks to nobody for half a minute.
  for (const [host, other] of [
    [a, b],
    [b, a],
  ] as const)
    host.ip('neigh', 'add', other.ipv4, 'lladdr', other.mac, 'dev', host.ifname, 'nud', 'permanent');
  return { a, b };
}

describe('a line without offloads', () => {
  it('gets what a container hands over in one piece cut up, with right checksums', async () => {
    const { a, b } = await pair('per-segment=yes');
    b.groOff();
    for (const host of [a, b]) host.longQueue();
    const captures = { a: await a.capture(), b: await b.capture() };
    // One direction is cut on its way out of the deck, the other on its way in.
    await transfer(a, b, b.ipv4, 20_000_000);
    await transfer(a, b, b.ipv6, 20_000_000);
    await transfer(b, a, a.ipv4, 5_000_000);
    await transfer(b, a, a.ipv6, 5_000_000);
    for (const address of [b.ipv4, b.ipv6]) {
      await sendAndCollect(a, b, address, { size: 1000, count: 640, perCall: 32 });
      // The last of every batch is shorter than a batch of whole ones.
      await sendAndCollect(a, b, address, { size: 1439, count: 200, perCall: 45 });
    }
    await sendAndCollect(b, a, a.ipv6, { size: 1200, count: 320, perCall: 32 });
    expect([a.lostFrames(), b.lostFrames()]).toEqual([0, 0]);

    const atA = await captures.a.stop();
    const atB = await captures.b.stop();
    for (const [sender, there, here, path] of [
      [a, atA, atB, captures.b.path],
      [b, atB, atA, captures.a.path],
    ] as const) {
      const sent = there.filter((frame) => source(frame) === sender.mac);
      const arrived = here.filter((frame) => source(frame) === sender.mac);
      // Otherwise there was nothing to cut.
      expect(sent.some(({ length }) => length > 20_000)).toBe(true);
      expect(arrived.length).toBeGreaterThan(5 * sent.filter(({ length }) => length > 20_000).length);
      expect(Math.max(...arrived.map(({ length }) => length))).toBe(ETH_LEN + MTU);
      const { packets, wrong } = await checksums(lab.account, path, `eth.src == ${sender.mac}`);
      expect(wrong).toEqual([]);
      expect(packets.tcp).toBeGreaterThan(6000);
      expect(packets.udp).toBeGreaterThanOrEqual(320);
    }
    expect((await lab.counters()).ledger.balanced).toBe(true);
    // Sixty megabytes in packets, each of which is recorded twice and looked at once.
  }, 120_000);
});

describe('a bad line', () => {
  const lossy = (a: Statistics) => a.TcpRetransSegs;
  const doubled = (a: Statistics) => a.TcpExtTCPDSACKRecv;
  const mixed = (_: Statistics, b: Statistics) => b.TcpExtTCPOFOQueue;
  const spoilt = (_: Statistics, b: Statistics) => b.TcpInCsumErrors;

  it.each([
    ['loses', 'loss=0.5%,seed=1', [lossy]],
    ['doubles', 'duplicate=10%,seed=2', [doubled]],
    ['mixes up', 'reorder=5%,distance=3,hold=2ms,seed=3', [mixed]],
    ['spoils', 'corrupt=1%,seed=4', [lossy, spoilt]],
    [
      'does all of it',
      'loss=0.5%,duplicate=5%,reorder=2%,hold=2ms,corrupt=0.5%,delay=1ms,seed=5',
      [lossy, doubled, mixed, spoilt],
    ],
  ] as const)('that %s carries 5 MB over TCP as they were', async (_, faults, signs) => {
    const { a, b } = await pair(`per-segment=yes,${faults}`);
    await transfer(a, b, b.ipv4, 5_000_000);
    // By what the kernels have seen, the line was bad.
    const seen = [await statistics(a), await statistics(b)] as const;
    for (const sign of signs) expect(sign(...seen), String(sign)).toBeGreaterThan(0);
    await transfer(b, a, a.ipv6, 1_000_000);
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });

  it('that delays carries what it has taken, and not too early', async () => {
    const { a, b } = await pair('delay=3ms,jitter=1ms,seed=6');
    await transfer(a, b, b.ipv4, 5_000_000);
    expect(await a.lostPings(b.ipv6, 20)).toEqual([]);
    // There and back, each by at least 2 ms.
    const ping = await a.ok('ping', '-q', '-c', '10', '-i', '0.01', b.ipv6);
    expect(Number(/rtt min[^=]*= ([\d.]+)/.exec(ping)?.[1])).toBeGreaterThanOrEqual(4);
  });
});

/** Counters of a namespace's kernel, by the names that `nstat` gives them. */
type Statistics = Record<
  'TcpRetransSegs' | 'TcpInCsumErrors' | 'TcpExtTCPDSACKRecv' | 'TcpExtTCPOFOQueue',
  number
>;

async function statistics(host: Host): Promise<Statistics> {
  return JSON.parse(await host.ok('nstat', '--json', '--ignore', '--noupdate', '--zeros')).kernel;
}
