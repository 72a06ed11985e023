import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileFilter } from '../../src/capture/filter/filter.ts';
import { FilterError } from '../../src/capture/filter/filter-error.ts';
import { Random } from '../../wire/random.ts';
import { type TestFrame, testFrames, writeFrames } from './filter-frames.ts';
import { FilterGrammar } from './filter-grammar.ts';
import { temporary } from './tools.ts';

/** How many random filters; `npm run test:filter` takes 1,000. Each is named by its seed. */
const COUNT = Number(process.env['TAPDECK_FILTERS'] ?? 150);
const SEED = Number(process.env['TAPDECK_SEED'] ?? 1);
const SEEDS = Array.from({ length: COUNT }, (_, i) => SEED + i);
const TIME = 30_000 + COUNT * 1_000;

/**
 * What can never be computed: we refuse it where it is written, like `len / 0`. tcpdump does so too where its optimizer
 * finds it out, and, by mistake, where a constant is an index on the right of the operator: `len / ip[0]`.
 */
const IMPOSSIBLE = /division by zero|modulus by zero|shift by more than 31 bits/;
/** Another thing that the optimizer finds out, and that is no mistake. */
const NEVER_TRUE = /expression rejects all packets/;

/** Words that change a filter into another, or into none. No names: tcpdump would look them up. */
const WORDS = (
  '( ) ! not and or && || src dst host net port portrange proto ip ip6 arp tcp udp icmp ether vlan broadcast multicast ' +
  'less greater len [ ] : = != < & + - * / % ^ << >> mask 0 80 6000 10.1.0.2 10.1 fe80::1 fe80::/64 02:42:0a:01:00:02 ' +
  'tcp-syn tcpflags icmp6 sctp 4096 70000'
).split(' ');

let frames: readonly TestFrame[] = [];
beforeAll(() => {
  frames = testFrames();
});

/** The places of the frames that tcpdump selects, or what it says against the filter. */
function tcpdump(file: string, filter: string, ...flags: string[]): number[] | string {
  const run = spawnSync('tcpdump', [...flags, '-r', file, '-w', '-', '--', filter], {
    maxBuffer: 1 << 28,
    timeout: 60_000,
  });
  if (run.error !== undefined) throw run.error;
  if (run.status !== 0) return run.stderr.toString().trim().split('\n').at(-1)!;
  const selected: number[] = [];
  for (let at = 24; at < run.stdout.length; at += 16 + run.stdout.readUInt32LE(at + 8)) {
    selected.push(run.stdout.readUInt32LE(at) * 1_000_000 + run.stdout.readUInt32LE(at + 4));
  }
  return selected;
}

function selected(filter: string): number[] {
  const passes = compileFilter(filter);
  return frames.flatMap(({ data, wireLength }, i) => (passes(data, 0, data.length, wireLength) ? [i] : []));
}

/** Why a filter is refused, or undefined. */
function refusal(filter: string): string | undefined {
  try {
    compileFilter(filter);
    return undefined;
  } catch (error) {
    if (error instanceof FilterError) return error.message;
    throw error;
  }
}

describe('compared with tcpdump', () => {
  it(`selects the same frames by ${COUNT} random filters`, { timeout: TIME }, () => {
    const file = temporary('frames.pcap');
    writeFrames(file, frames);
    const differences: string[] = [];
    let telling = 0;
    for (const seed of SEEDS) {
      const filter = new FilterGrammar(new Random(seed), frames).filter();
      const plain = tcpdump(file, filter, '-O');
      if (typeof plain === 'string' && IMPOSSIBLE.test(plain)) continue;
      const ours = selected(filter);
      if (ours.length > 0 && ours.length < frames.length) telling++;
      if (plain.toString() !== ours.toString()) {
        differences.push(`TAPDECK_SEED=${seed}: ${filter}: ${difference(ours, plain)}`);
      }
      // The optimizer leaves out loads whose value cannot matter. That shows only in frames that lack such a byte, for
      // which a filter is not true and neither is its opposite.
      const optimized = tcpdump(file, filter);
      if (typeof optimized === 'string') {
        if (NEVER_TRUE.test(optimized) ? ours.length > 0 : !IMPOSSIBLE.test(optimized))
          differences.push(`TAPDECK_SEED=${seed}: ${filter}: ${optimized}`);
        continue;
      }
      const lacking = new Set(frames.keys());
      for (const i of [...ours, ...selected(`not (${filter})`)]) lacking.delete(i);
      const whole = (i: number): boolean => !lacking.has(i);
      if (optimized.filter(whole).toString() !== ours.toString()) {
        differences.push(
          `TAPDECK_SEED=${seed}: ${filter}: optimized: ${difference(ours, optimized.filter(whole))}`,
        );
      }
    }
    expect(differences).toEqual([]);
    // Filters that select all or nothing would compare nothing.
    expect(telling / COUNT).toBeGreaterThan(0.5);
  });

  it(`accepts the same of ${COUNT} filters with a mistake`, { timeout: TIME }, () => {
    const file = temporary('none.pcap');
    writeFrames(file, []);
    const differences: string[] = [];
    let refused = 0;
    for (const seed of SEEDS) {
      const random = new Random(-seed);
      const filter = mistaken(new FilterGrammar(random, frames).filter(), random);
      const ours = refusal(filter);
      if (ours !== undefined) refused++;
      const theirs = tcpdump(file, filter, '-O');
      if (ours === undefined && typeof theirs === 'string' && IMPOSSIBLE.test(theirs)) continue;
      if ((ours !== undefined) !== (typeof theirs === 'string')) {
        differences.push(
          `TAPDECK_SEED=${seed}: ${filter}: we: ${ours ?? 'accept'}, tcpdump: ${theirs || 'accepts'}`,
        );
      }
    }
    expect(differences).toEqual([]);
    expect(refused / COUNT).toBeGreaterThan(0.5);
  });
});

function difference(ours: readonly number[], theirs: readonly number[] | string): string {
  if (typeof theirs === 'string') return theirs;
  const more = ours.filter((i) => !theirs.includes(i));
  const less = theirs.filter((i) => !ours.includes(i));
  return `we select also ${JSON.stringify(more)}, and not ${JSON.stringify(less)}`;
}

/** A filter with one or two words taken out, put in or put in the place of others. */
function mistaken(filter: string, random: Random): string {
  const nameless = filter
    .replace(/\\\w+|\b(?:gre|ospf|loopback|ipv6-\w+)\b/g, '6')
    .replace(/\b\d+-\d+\b/g, '80');
  const words = nameless.match(/\w[\w.:-]*(?:\/\d+)?|::\w*|&&|\|\||<<|>>|[<>!=]=|\S/g)!;
  for (let changes = 1 + random.below(2); changes > 0; changes--) {
    const word = WORDS[random.below(WORDS.length)]!;
    words.splice(random.below(words.length + 1), random.below(2), ...(random.below(3) === 0 ? [] : [word]));
  }
  return words.join(' ');
}
