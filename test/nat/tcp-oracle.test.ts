import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  type Answered,
  allCases,
  CLASSES,
  DIRECTIONS,
  PLACES,
  type Recording,
  splitStep,
} from '../../fixtures/conntrack/cases.ts';
import { differences } from '../../fixtures/conntrack/model.ts';

// Our TCP tracking beside the kernel's, segment by segment: `npm run fixtures:conntrack` has asked the kernel, and
// test/whole/conntrack-oracle.test.ts asks the one of the machine that it runs on.

const recording: Recording = JSON.parse(
  readFileSync(new URL('../../fixtures/conntrack/tcp.json', import.meta.url), 'utf8'),
);
const group = (name: string): readonly Answered[] => recording.groups[name] ?? [];

/**
 * Where we differ from the kernel on purpose, and why. Beside these there is one that `differences` knows of: a RST that
 * does not close a connection does not shorten its life either.
 */
const SIGNED: Readonly<Record<string, { why: string; differences: readonly string[] }>> = {
  'original RST in SYN_SENT': {
    why: 'a connection that was never answered but by a RST: the kernel forgets it at once, RFC 7857 §2.2 asks for 4 minutes. A SYN begins a new one in either case: see tcp-tracking.test.ts',
    differences: ['> R seq 1001: kernel accept - / ours accept CLOSE UNREPLIED reset'],
  },
  'reply RST in SYN_SENT': {
    why: 'the same',
    differences: ['< RA seq 0 ack 1001: kernel accept - / ours accept CLOSE REPLIED reset'],
  },
  'a forged SYN,ACK keeps the right one out': {
    why: 'the kernel believes the first SYN,ACK about the server although it acknowledges nothing of ours, and takes the right one for a late segment: whoever forges one in time prevents the connection',
    differences: [
      '< SA seq 5000 ack 643160001: kernel ignore SYN_SENT REPLIED syn_sent / ours accept SYN_RECV REPLIED opening',
      '> A seq 643160001 ack 5001: kernel invalid SYN_SENT REPLIED syn_sent / ours accept ESTABLISHED ASSURED established',
    ],
  },
  'a repeated SYN without options keeps the SACK of the first': {
    why: 'RFC 2018 §2: SACK was not permitted on this connection, so the option says nothing',
    differences: [
      '< A seq 5001 ack 2001 sack 2101-2201: kernel invalid ESTABLISHED ASSURED established / ours accept ESTABLISHED ASSURED established',
    ],
  },
};

/** What differs in a group beyond what is signed. */
function found(name: string, forgetRefused: boolean): Record<string, readonly string[]> {
  const all: Record<string, readonly string[]> = {};
  for (const answered of group(name)) {
    const here = differences(answered, { forgetRefused });
    if (here.length > 0) all[answered.name] = here;
  }
  return all;
}

function signed(names: readonly string[]): Record<string, readonly string[]> {
  return Object.fromEntries(names.map((name) => [name, SIGNED[name]!.differences]));
}

test('the recording answers what is asked today', () => {
  for (const [name, cases] of Object.entries(allCases())) {
    const asked = cases.map((each) => [each.name, each.segments]);
    const answered = group(name).map((each) => [each.name, each.steps.map((step) => splitStep(step)[0])]);
    expect(answered, name).toEqual(asked);
  }
});

describe('the table', () => {
  const cells = new Map(group('cells').map((cell) => [cell.name, cell]));

  test('has 120 cells, each asked in its state', () => {
    expect(cells.size).toBe(120);
    for (const direction of DIRECTIONS) {
      for (const kind of CLASSES) {
        for (const state of Object.keys(PLACES)) {
          // A first segment makes its direction the original one: NONE has no reply direction that can be seen.
          if (state === 'NONE') continue;
          const { steps } = cells.get(`${direction} ${kind} in ${state}`)!;
          expect(splitStep(steps.at(-2)!)[1]).toMatch(new RegExp(`^(new|accept|ignore) ${state} `));
        }
      }
    }
  });

  test('is the kernel’s, but for two cells', () => {
    expect(found('cells', false)).toEqual(signed(['original RST in SYN_SENT', 'reply RST in SYN_SENT']));
  });
});

describe('the window', () => {
  test.each([
    'client, small windows',
    'server, small windows',
    'client, scaled windows',
    'server, scaled windows',
  ])('of the %s: the recording brackets every bound', (view) => {
    const verdicts = (bound: string): (string | undefined)[] =>
      ['-1', '+0', '+1'].map((offset) => {
        const steps = group('windows').find((each) => each.name === `${view}: ${bound} ${offset}`)!.steps;
        return splitStep(steps.at(-1)!)[1].split(' ')[0];
      });
    expect(verdicts('rule I')).toEqual(['accept', 'accept', 'ignore']);
    expect(verdicts('rule I, end of a window too much')).toEqual(['ignore', 'ignore', 'invalid']);
    expect(verdicts('rule II')).toEqual(['ignore', 'accept', 'accept']);
    expect(verdicts('rule II with data')).toEqual(['ignore', 'accept', 'accept']);
    expect(verdicts('rule III')).toEqual(['accept', 'accept', 'invalid']);
    expect(verdicts('rule IV')).toEqual(['ignore', 'accept', 'accept']);
  });

  test('ends where the kernel’s does', () => {
    expect(found('windows', true)).toEqual({});
  });
});

test('all sets of flags', () => {
  expect(group('flags')).toHaveLength(128);
  expect(found('flags', true)).toEqual({});
});

test('scenarios', () => {
  expect(found('scenarios', true)).toEqual({});
});

test('the first six scenarios end as they should', () => {
  const ends = group('scenarios')
    .slice(0, 6)
    .map(({ name, steps }) => [name.split(':')[0], splitStep(steps.at(-1)!)[1].split(' ')[1]]);
  expect(Object.fromEntries(ends)).toEqual({
    rst_invalid: 'CLOSE',
    inexact_rst: 'CLOSE',
    ack_loss_stall: 'ESTABLISHED',
    syn_challenge_ack: 'ESTABLISHED',
    synack_reuse: 'ESTABLISHED',
    synack_old: 'ESTABLISHED',
  });
});

test('random walks', () => {
  expect(found('walks', true)).toEqual({});
});

test('what we do not copy', () => {
  expect(found('quirks', true)).toEqual(
    signed([
      'a forged SYN,ACK keeps the right one out',
      'a repeated SYN without options keeps the SACK of the first',
    ]),
  );
  expect(Object.keys(SIGNED).length).toBeLessThanOrEqual(10);
});
