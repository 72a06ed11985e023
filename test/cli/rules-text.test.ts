import { expect, it } from 'vitest';
import { rulesText, shortNumber } from '../../src/cli/rules-text.ts';
import type { ChainView, RuleView } from '../../src/control/rule-view.ts';

const rule: RuleView = {
  target: 'DOCKER',
  protocol: 'all',
  in: '*',
  out: '*',
  source: [],
  destination: [],
  sourcePorts: null,
  destinationPorts: null,
  states: [],
  to: null,
  detail: 'ADDRTYPE match dst-type LOCAL',
  words: 'published ports are looked up',
  rule: null,
  packets: null,
  bytes: null,
};
const chains: ChainView[] = [
  { table: 'nat', name: 'PREROUTING', policy: 'ACCEPT', references: 0, rules: [rule] },
  {
    table: 'nat',
    name: 'DOCKER',
    policy: null,
    references: 1,
    rules: [
      {
        ...rule,
        target: 'DNAT',
        protocol: 'tcp',
        detail: 'tcp dpt:8080 to:10.1.0.2:80',
        packets: 3,
        bytes: 123_456_789,
      },
    ],
  },
  {
    table: 'filter',
    name: 'FORWARD',
    policy: 'DROP',
    references: 0,
    rules: [{ ...rule, target: 'ACCEPT', in: 'lab', out: '!lab', detail: '', packets: 7, bytes: 420 }],
  },
];

it('rules are printed as iptables -L prints them', () => {
  expect(rulesText(chains)).toBe(
    `table nat

Chain PREROUTING (policy ACCEPT)
target     prot opt in     out    source               destination
DOCKER     all  --  *      *      0.0.0.0/0,::/0       0.0.0.0/0,::/0       ADDRTYPE match dst-type LOCAL

Chain DOCKER (1 references)
target     prot opt in     out    source               destination
DNAT       tcp  --  *      *      0.0.0.0/0,::/0       0.0.0.0/0,::/0       tcp dpt:8080 to:10.1.0.2:80

table filter

Chain FORWARD (policy DROP)
target     prot opt in     out    source               destination
ACCEPT     all  --  lab    !lab   0.0.0.0/0,::/0       0.0.0.0/0,::/0
`,
  );
});

it('rules -v have counters', () => {
  const text = rulesText(chains, { verbose: true });
  expect(text).toContain(
    ' pkts bytes target     prot opt in     out    source               destination\n' +
      '    -     - DOCKER     all  --  *      *      0.0.0.0/0,::/0       0.0.0.0/0,::/0       ADDRTYPE match dst-type LOCAL\n' +
      '            # published ports are looked up\n',
  );
  expect(text).toContain(
    '    3  123M DNAT       tcp  --  *      *      0.0.0.0/0,::/0       0.0.0.0/0,::/0       tcp dpt:8080 to:10.1.0.2:80\n',
  );
  expect(text).toContain(
    '    7   420 ACCEPT     all  --  lab    !lab   0.0.0.0/0,::/0       0.0.0.0/0,::/0\n',
  );
  expect(rulesText(chains, { verbose: true, exact: true })).toContain('    3 123456789 DNAT');
});

it('rules of one IP version are about all addresses of that one, and long cells push only their own line', () => {
  const of = (fields: Partial<RuleView>) =>
    rulesText([{ ...chains[2]!, rules: [{ ...rule, detail: '', ...fields }, rule] }])
      .split('\n')
      .slice(4);
  expect(of({ destination: ['10.1.0.2'] })[0]).toMatch(/ 0\.0\.0\.0\/0 +10\.1\.0\.2$/);
  expect(of({ source: ['fd00::/64'] })[0]).toMatch(/ fd00::\/64 +::\/0$/);
  expect(of({ source: ['fd00::/64', '10.1.0.0/24'] })[0]).toMatch(/ 0\.0\.0\.0\/0,::\/0$/);
  const long = Array.from({ length: 9 }, (_, i) => `10.${i}.0.0/16`);
  expect(of({ source: long })[1]).toHaveLength(
    `DOCKER     all  --  *      *      ${' '.repeat(44)}0.0.0.0/0,::/0       ${rule.detail}`.length,
  );
});

it.each([
  [0, '0'],
  [99_999, '99999'],
  [100_000, '100K'],
  [9_999_499, '9999K'],
  [9_999_500, '10M'],
  [123_456_789, '123M'],
  [9_999_499_000, '9999M'],
  [10_000_000_000, '10G'],
  [12_345_678_901_234, '12T'],
])('%d is short as %s', (count, short) => {
  expect(shortNumber(count)).toBe(short);
});
