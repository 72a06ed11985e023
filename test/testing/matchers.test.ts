import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import '../../src/testing/vitest.ts';
import { dissect, eth, type MemoryDeck, matchers, memoryDeck, scenario } from '../../src/testing/index.ts';

const networks = { lan: { ipam: { config: [{ subnet: '10.0.0.0/24' }, { subnet: 'fd00::/64' }] } } };
const on = { networks: ['lan'] };

let deck: MemoryDeck;
beforeEach(() => {
  deck = scenario({ networks, services: { a: on, b: on, c: on } });
});

/** What a matcher says when it fails. */
function complaint(check: () => void): string {
  try {
    check();
  } catch (error) {
    return stripVTControlCharacters((error as Error).message);
  }
  throw new Error('the matcher did not fail');
}

/** b has spoken: the bridge knows where it is. */
function introduce(name: string): void {
  deck.send(name, eth({ dst: deck.station('a') }).arp({ op: 'is-at', tpa: deck.station('a') }));
  deck.takeAll();
}

describe('toForwardTo', () => {
  test('a flooded question goes to everybody, an answer to who asked', () => {
    expect(deck.fateOf('a', eth().arp({ tpa: deck.station('b') }))).toForwardTo(['b', 'c']);
    const answer = eth({ src: deck.station('b') }).arp({ op: 'is-at', tpa: deck.station('a') });
    expect(deck.fateOf('b', answer)).toForwardTo('a', answer);
    expect(deck.fateOf('b', answer)).not.toForwardTo('c');
    // What it does not say is what the port's station would say.
    const short = eth()
      .arp({ op: 'is-at', tpa: deck.station('a') })
      .pad();
    expect(deck.fateOf('b', short)).toForwardTo('a', short);
  });

  test('says what was sent instead', () => {
    introduce('b');
    const frame = eth()
      .ip({ dst: deck.station('b') })
      .udp({ dport: 53 });
    const said = complaint(() => expect(deck.fateOf('a', frame)).toForwardTo('c'));
    expect(said).toContain('expected the frame from a to be forwarded to c');
    expect(said).toContain('but it was: forwarded to b');
    expect(said).toMatch(/the deck sent\n {2}b: .*10\.0\.0\.3/);
  });

  test('shows two frames side by side', () => {
    introduce('b');
    const frame = eth()
      .ip({ dst: deck.station('b'), ttl: 64 })
      .udp({ dport: 53 });
    const bytes = frame.bytes({ from: deck.station('a'), macOf: () => deck.station('b').mac });
    const other = dissect(bytes)
      .with({ ip: { ttl: 63 } })
      .bytes();
    const said = complaint(() => expect(deck.fateOf('a', frame)).toForwardTo('b', other));
    expect(said).toContain('port b, frame 1 of 1 is another one:');
    expect(said).toMatch(/\* IPv4 ttl +63 +64/);
    expect(said).toMatch(/ {2}IPv4 source +10\.0\.0\.2 +10\.0\.0\.2/);
    expect(complaint(() => expect(deck.fateOf('a', frame)).toForwardTo('b', [bytes, bytes]))).toContain(
      'frame 2 of 2 did not come out',
    );
    expect(complaint(() => expect(deck.fateOf('a', frame)).not.toForwardTo('b', bytes))).toContain(
      'not to be forwarded to b',
    );
  });

  test('is not what the gateway sends while a packet waits', () => {
    const two = scenario({
      networks: {
        front: { ipam: { config: [{ subnet: '10.1.0.0/24' }] } },
        back: { ipam: { config: [{ subnet: '10.2.0.0/24' }] } },
      },
      services: { web: { networks: ['front'] }, db: { networks: ['back'] } },
      'x-tapdeck': { rules: [{ action: 'ACCEPT' }] },
    });
    const fate = two.fateOf(
      'web',
      eth()
        .ip({ dst: two.station('db') })
        .udp({ dport: 5432 }),
    );
    // The gateway asks who it is.
    expect(Object.keys(fate.sent)).toEqual(['db']);
    expect(fate).not.toForwardTo('db');
    expect(complaint(() => expect(fate).toForwardTo('db'))).toContain('but it was: held until');
  });
});

describe('toBeDroppedBecause', () => {
  test('names the reason', () => {
    const wrong = eth().ip({ dst: deck.gateway().ipv4!, checksum: 0xbad }).icmp();
    expect(deck.fateOf('a', wrong)).toBeDroppedBecause('IP_CSUM');
    expect(complaint(() => expect(deck.fateOf('a', wrong)).not.toBeDroppedBecause('IP_CSUM'))).toContain(
      'not to be dropped because IP_CSUM',
    );
    const said = complaint(() => expect(deck.fateOf('a', wrong)).toBeDroppedBecause('NO_EGRESS'));
    expect(said).toContain('but it was: dropped: IP_CSUM');
    expect(said).toContain('the deck sent nothing');
  });

  test('is the reason of what is left of a flooded frame, too', () => {
    const alone = memoryDeck({ ports: { a: {} } });
    const frame = eth({ src: '02:00:00:00:00:01', dst: 'ff:ff:ff:ff:ff:ff', type: 0x88b5 }).payload('hello');
    expect(alone.fateOf('a', frame)).toBeDroppedBecause('NO_EGRESS');
  });

  test('refuses what is no reason and no fate', () => {
    const fate = deck.fateOf('a', eth().arp({ tpa: deck.station('b') }));
    expect(() => matchers.toBeDroppedBecause(fate, 'CT_WRONG' as 'CT_INVALID')).toThrow(
      /no drop reason 'CT_WRONG'; there are .*CT_INVALID/,
    );
    expect(() => matchers.toForwardTo('forwarded to b', 'b')).toThrow('expect(deck.fateOf(port, frame))');
  });
});

describe('toMatchCapture', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tapdeck-matchers-'));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });

  test('writes when it is asked to, and compares', () => {
    const path = join(folder, 'b.pcap');
    const question = eth().arp({ tpa: deck.station('b') });
    deck.send('a', question);
    deck.advance(5);
    deck.send('a', question);
    const frames = deck.takeTimed('b');
    expect(complaint(() => expect(frames).toMatchCapture(path))).toContain(
      'run the test with TAPDECK_UPDATE=1',
    );
    vi.stubEnv('TAPDECK_UPDATE', '1');
    expect(frames).toMatchCapture(path);
    vi.unstubAllEnvs();
    expect(frames).toMatchCapture(path);
    expect(frames.map(({ bytes }) => bytes)).toMatchCapture(path);
    expect(complaint(() => expect(frames).not.toMatchCapture(path))).toContain('expected other frames');
    expect(complaint(() => expect(frames.slice(1)).toMatchCapture(path))).toContain(
      'frame 1 of 2 came at 5 ms, and not at 0 ms',
    );
    expect(complaint(() => expect([...frames, frames[0]]).toMatchCapture(path))).toContain(
      'one more came out',
    );
    const [first] = frames;
    const changed = [dissect(first!.bytes).with({ arp: { tpa: '10.0.0.99' } }), first!.bytes];
    expect(complaint(() => expect(changed).toMatchCapture(path))).toMatch(
      /\* ARP target address +10\.0\.0\.3 +10\.0\.0\.99/,
    );
    expect(complaint(() => expect('frames').toMatchCapture(path))).toContain('expect(deck.take(port))');
  });
});
