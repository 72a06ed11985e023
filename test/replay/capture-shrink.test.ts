import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { shrinkCapture } from '../../src/replay/capture-shrink.ts';
import { Condition, type Outcome } from '../../src/replay/condition.ts';
import { ddmin } from '../../src/replay/ddmin.ts';
import { loadPolicy } from '../../src/replay/scenario.ts';
import { runScenario } from '../../src/replay/scenario-run.ts';
import { shorterFrames } from '../../src/replay/shorter-frame.ts';
import { writeScenario } from '../../src/replay/shrunk-scenario.ts';
import { eth, fragments, type TestFrame, udp } from '../../src/testing/index.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-shrink-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function capture(frames: readonly (TestFrame | Uint8Array)[]): string {
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()));
  for (const [i, frame] of frames.entries()) {
    const bytes = frame instanceof Uint8Array ? frame : frame.bytes();
    writer.write(BigInt(1_700_000_000_000 + 7 * i) * 1_000_000n, bytes, 0, bytes.length);
  }
  const path = join(folder, 'in.pcap');
  writeFileSync(path, Buffer.concat(chunks));
  return path;
}

const a = { mac: '02:00:00:00:00:0a', ipv4: '172.17.0.10' };
const b = { mac: '02:00:00:00:00:0b', ipv4: '172.17.0.11' };
const gateway = { mac: '02:42:ac:11:00:01', ipv4: '172.17.0.1' };
const chatter = Array.from({ length: 300 }, (_, i) =>
  udp({ from: i % 2 ? a : b, to: i % 2 ? b : a, srcPort: 1000 + i, dstPort: 9, data: 200 }),
);
/** Two fragments that overlap, with much around them. */
const pieces = fragments(udp({ from: a, to: gateway, dstPort: 9, data: 2000 }), 1500);
const overlapping = pieces.map((piece) => piece.slice());
overlapping[1]![21]! -= 1;
fillIpv4Checksum(overlapping[1]!, 14);

describe('ddmin', () => {
  test('finds exactly the parts that are needed, wherever they are', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat({ max: 199 }), { minLength: 1, maxLength: 6 }), (needed) => {
        const all = Array.from({ length: 200 }, (_, i) => i);
        const found = ddmin(all, (part) => needed.every((each) => part.includes(each)));
        expect(found).toEqual([...needed].sort((x, y) => x - y));
      }),
    );
  });
});

describe('a capture that is shrunk', () => {
  function shrunk(path: string, text: string, policy?: string) {
    const condition = new Condition(text);
    const result = shrinkCapture(path, condition, policy === undefined ? {} : { policy: loadPolicy(policy) });
    const into = join(folder, 'scenario');
    const files = writeScenario(into, result, condition);
    // What was written holds by itself.
    const { difference, tables } = runScenario(into);
    expect(difference).toBeUndefined();
    expect(files.every((file) => readFileSync(join(into, file)).length > 0)).toBe(true);
    return { result, tables, into };
  }

  test('to the packets without which it is not shown, and what little they need to say', () => {
    const fragmentsAtLast = [...chatter, overlapping[0]!, ...chatter, overlapping[1]!, ...chatter];
    const { result, tables, into } = shrunk(capture(fragmentsAtLast), 'drop reason = FRAG_OVERLAP');
    expect(result.frames.map(({ number }) => number)).toEqual([301, 602]);
    expect(result.packetsBefore).toBe(602);
    expect(tables.drops['FRAG_OVERLAP']).toBeGreaterThan(0);
    expect(tables.ledger.received).toBe(2);
    expect(readFileSync(join(into, 'NOTE.md'), 'utf8')).toBe(
      '`drop reason = FRAG_OVERLAP`, by packets 301, 602 of in.pcap (of 602 up to there).\n',
    );
    expect(readFileSync(join(into, 'replay.test.ts'), 'utf8')).toContain('drop reason = FRAG_OVERLAP');
  });

  test('always to the same', () => {
    const path = capture([...chatter, ...overlapping]);
    const one = shrunk(path, 'drop reason = FRAG_OVERLAP');
    const before = readFileSync(join(one.into, 'scenario.yaml'));
    rmSync(one.into, { recursive: true });
    const other = shrunk(path, 'drop reason = FRAG_OVERLAP');
    expect(readFileSync(join(other.into, 'scenario.yaml'))).toEqual(before);
    expect(other.result.tries).toBe(one.result.tries);
  });

  test('when only time shows it: until then', () => {
    const { result, tables } = shrunk(capture([...chatter, pieces[0]!]), 'drop reason = FRAG_TIMEOUT');
    expect(result.frames).toHaveLength(1);
    expect(result.duration).toBeGreaterThan(10_000);
    expect(tables.drops['FRAG_TIMEOUT']).toBe(1);
  });

  test('by numbers, and payload goes', () => {
    const { result } = shrunk(capture(chatter), 'verdict = forwarded and packets >= 5');
    expect(result.frames).toHaveLength(5);
    // Ethernet, IPv4 and UDP headers.
    expect(result.frames.map(({ bytes }) => bytes.length)).toEqual([42, 42, 42, 42, 42]);
  });

  test('through a policy, whose services and rules it keeps', () => {
    const policy = join(folder, 'policy.yaml');
    writeFileSync(
      policy,
      `networks: { lan: { ipam: { config: [ { subnet: 172.17.0.0/16 } ] } }, far: { ipam: { config: [ { subnet: 10.9.0.0/16 } ] } } }
services: { a: { networks: { lan: { ipv4_address: 172.17.0.10 } } } }
x-tapdeck: { rules: [ { in: lan, out: far, action: DROP } ] }
`,
    );
    const out = eth({ src: a.mac, dst: gateway.mac }).ip({ src: a.ipv4, dst: '10.9.0.9' }).udp({ dport: 9 });
    const { tables, into } = shrunk(
      capture([...chatter, out]),
      'drop reason = USER_DROP and port = a',
      policy,
    );
    expect(tables.drops).toEqual({ USER_DROP: 1 });
    expect(Object.keys(tables.ports)).toEqual(['a']);
    // What the capture said of its MAC is in the scenario now.
    expect(readFileSync(join(into, 'scenario.yaml'), 'utf8')).toContain('mac_address: 02:00:00:00:00:0a');
  });

  test('is refused in words where it shows nothing, or the folder has something in it', () => {
    const path = capture(chatter);
    const condition = new Condition('drop reason = CT_INVALID');
    expect(() => shrinkCapture(path, condition)).toThrow(
      `${path}: nothing in it shows 'drop reason = CT_INVALID'`,
    );
    const into = join(folder, 'full');
    mkdirSync(into);
    writeFileSync(join(into, 'mine'), '');
    const shown = new Condition('verdict = flooded');
    expect(() => writeScenario(into, shrinkCapture(path, shown), shown)).toThrow(/the folder is not empty/);
  });
});

describe('conditions', () => {
  const outcome: Outcome = {
    events: [
      { verdict: 'dropped', reason: 'CT_INVALID', port: 'web' },
      { verdict: 'flooded', reason: '', port: 'db 1' },
    ],
    packets: 10,
    sent: 7,
    drops: 3,
    interfaces: 2,
    exceptions: 0,
  };

  test.each([
    ['drop reason = CT_INVALID', true],
    ['drop reason = ct_invalid and port = web', true],
    ['drop reason = CT_INVALID and port = "db 1"', false],
    ['verdict = flooded and port = "db 1"', true],
    ['verdict = consumed', false],
    ['not verdict = dropped and drops >= 3', true],
    ['drops > 3 or packets = 10', true],
    ['(drops > 3 or packets = 10) and sent != 7', false],
    ['interfaces <= 2 and exceptions < 1', true],
    ['port != web and drop reason != CT_INVALID', true],
  ])('%s: %s', (text, holds) => {
    expect(new Condition(text).holds(outcome)).toBe(holds);
  });

  test.each([
    ['', 'the end: expected drop reason, verdict, port, packets'],
    ['drop = X', "character 6, at '=': expected 'reason'"],
    ['drop reason CT_INVALID', "character 13, at 'CT_INVALID': expected '=' or '!='"],
    ['drop reason = NOPE', "character 15, at 'NOPE': expected a drop reason, such as CT_INVALID"],
    ['verdict = lost', 'expected forwarded, flooded, consumed, held, dropped'],
    ['packets = many', "character 11, at 'many': expected a whole number"],
    ['packets ~ 3', "character 9, at '~': expected = != < <= > >="],
    ['(drops > 1', "the end: expected ')'"],
    ['drops > 1 drops', "character 11, at 'drops': expected 'and', 'or' or the end"],
    ['port =', 'the end: expected the name of a port'],
  ])('%s is refused: %s', (text, why) => {
    expect(() => new Condition(text)).toThrow(`condition '${text}': `);
    expect(() => new Condition(text)).toThrow(why);
  });
});

test('frames with less in them stay what they are', () => {
  const frame = udp({ from: a, to: b, dstPort: 9, data: 100 });
  const [empty] = shorterFrames(frame);
  expect(empty).toEqual(udp({ from: a, to: b, dstPort: 9, data: 0 }));
  for (const shorter of shorterFrames(frame)) expect(shorter.length).toBeLessThanOrEqual(frame.length);
  const damaged = Uint8Array.of(1, 2, 3, 4, 5);
  expect(shorterFrames(damaged).map(({ length }) => length)).toEqual([3, 4]);
});
