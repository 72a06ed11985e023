import { expect, test } from 'vitest';
import { bodyOf, type RuleFlags, ruleTable } from '../../src/cli/rule.ts';
import type { UserRuleInfo } from '../../src/control/user-rules.ts';

test('options become the rule that the API takes', () => {
  expect(
    bodyOf({
      jump: 'reject',
      in: 'front',
      out: '!back',
      src: '10.0.0.0/24',
      dst: 'fd00::1',
      proto: 'TCP',
      sport: '1:9',
      dport: '80',
      state: 'new,Established',
      rejectWith: 'tcp-reset',
      comment: 'why',
      position: '2',
    }),
  ).toEqual({
    action: 'REJECT',
    in: 'front',
    out: '!back',
    src: '10.0.0.0/24',
    dst: 'fd00::1',
    protocol: 'tcp',
    sport: '1:9',
    dport: '80',
    state: ['NEW', 'ESTABLISHED'],
    rejectWith: 'tcp-reset',
    comment: 'why',
    position: 2,
  });
  expect(bodyOf({ jump: 'DROP', proto: 'icmp', icmpType: 'Echo-Request' })).toEqual({
    action: 'DROP',
    protocol: 'icmp',
    icmpType: 'echo-request',
  });
});

test.each([
  [{ jump: 'LOG' }, '"LOG" is no action; with -j there are: ACCEPT, DROP, REJECT, RETURN'],
  [{ jump: 'DROP', state: 'NEW,OPEN' }, '"OPEN" is no state; with --state there are: NEW, ESTABLISHED'],
  [{ jump: 'REJECT', rejectWith: 'rst' }, '"rst" is no answer; with --reject-with there are: tcp-reset'],
  [{ jump: 'DROP', position: 'first' }, 'position "first" is no number'],
] as [RuleFlags, string][])('%j is refused in one line', (flags, message) => {
  expect(() => bodyOf(flags)).toThrow(message);
});

test('rules are listed with what they mean', () => {
  const rule: UserRuleInfo = {
    id: 12,
    position: 1,
    action: 'DROP',
    in: 'front',
    protocol: 'udp',
    dport: '53',
    comment: 'no names',
    createdAt: '2026-01-01T00:00:00.000Z',
    active: true,
    packets: 7,
    bytes: 420,
  };
  expect(ruleTable([rule])).toBe(
    'POSITION   ID   ACTION   IN      OUT   PACKETS   BYTES   MEANING\n' +
      '       1   12   DROP     front   *           7     420   UDP to port 53 from front is dropped (no names)\n',
  );
});
