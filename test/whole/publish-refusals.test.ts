import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { PublishedPort } from '../../src/control/published.ts';
import { ip } from '../device/sandbox.ts';
import { type Host, Lab } from './lab.ts';
import { DECK, type Outside, outside } from './outside.ts';

// Ports that cannot be published, asked for on the command line: one line that says what, why and what to do, and
// nothing is half done.

let lab: Lab;
let world: Outside;
let a: Host;
let b: Host;
/** A namespace that nothing is attached to. */
let free: string;

beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
  await lab.network('four', '--subnet', '10.98.0.0/24');
  a = await lab.attach('a', '-p', '8080:80', '-p', '9000-9009:9000-9009/udp');
  b = await lab.attach('b');
  await lab.attach('old', '--network', 'four');
  free = lab.sandbox('free');
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

const BEFORE = [
  'a 80/tcp -> 0.0.0.0:8080',
  'a 80/tcp -> [::]:8080',
  'a 9000-9009/udp -> 0.0.0.0:9000-9009',
  'a 9000-9009/udp -> [::]:9000-9009',
];

/** What is published, and to whom. */
async function ports(): Promise<string[]> {
  return (await lab.account.ok('port')).trim().split('\n').sort();
}

/** The same without a start of the program. */
async function published(): Promise<PublishedPort[]> {
  return (await lab.endpoints()).flatMap((endpoint) => endpoint.ports);
}

/** Of form: wrong whatever the deck is like; the command line is to blame (2). */
const MALFORMED: [spec: string, message: RegExp][] = [
  ['300.0.0.1:8080:80', /host address "300\.0\.0\.1" is not an IPv4 address/],
  ['192.0.2:8080:80', /host address "192\.0\.2" is not an IPv4 address/],
  ['[2001:db8::g]:8080:80', /host address "2001:db8::g" is not an IPv6 address/],
  ['2001:db8::2:8080:80', /an IPv6 address is written in brackets, as in \[fd00::1\]:8080:80/],
  ['8090-8080:90-80', /range 90-80 is reversed; did you mean 80-90\?/],
  ['8090-8080:80-90', /range 8090-8080 is reversed; did you mean 8080-8090\?/],
  ['8080-8085:80-90', /the ranges are of unequal length, 6 host ports and 11 ports of the endpoint/],
  ['8080:80-90', /the ranges are of unequal length, 1 host ports and 11 ports of the endpoint/],
  ['8080:0', /port 0 is out of range; use 1 to 65535/],
  ['65536:80', /port 65536 is out of range; use 1 to 65535/],
  ['8080:http', /"http" is not a port number/],
  ['-1:80', /is not understood|is not a port number|unknown option/],
  ['8080:80/sctp', /protocol "sctp" is unknown; use tcp or udp/],
  ['', /is not understood/],
  ['8080:80:80:80', /is not understood/],
];

/** Of the deck as it is: well-formed, and not to be had. */
const IMPOSSIBLE: [endpoint: string, specs: string[], code: number, message: RegExp][] = [
  [
    'b',
    ['8080:80'],
    1,
    /port 8080\/tcp is published by container a already, on all addresses; choose another host port/,
  ],
  ['b', ['9005-9006:1-2/udp'], 1, /port 9000-9009\/udp is published by container a already/],
  ['b', ['8000-8100:8000-8100'], 1, /port 8080\/tcp is published by container a already/],
  [`b`, [`${DECK.ipv4}:8080:81`], 1, /port 8080\/tcp is published by container a already/],
  ['a', ['8080:81'], 1, /port 8080\/tcp is published by container a already/],
  ['b', ['192.0.2.3:8081:80'], 2, /192\.0\.2\.3\b.*; use 192\.0\.2\.2 \(uplink up0\)/],
  ['b', ['127.0.0.1:8081:80'], 2, /127\.0\.0\.1\b.*; use 192\.0\.2\.2/],
  ['old', ['[2001:db8::2]:8081:80'], 2, /container old has no IPv6 address/],
  ['nobody', ['8081:80'], 1, /there is no container "nobody"/],
  // What comes before the mistake is not done either.
  ['b', ['81:81', '8080:80'], 1, /port 8080\/tcp is published by container a already/],
  ['b', ['81:81', '82:82/udp', '80-82:80-82'], 2, /port 81\/tcp is asked for twice/],
  ['b', ['81:81', '8080-8070:1-11'], 2, /range 8080-8070 is reversed/],
];

it('says what is wrong with a specification, wherever it is given', async () => {
  for (const [spec, message] of MALFORMED) {
    const ways = [
      ['publish', '--', 'b', spec],
      ['attach', '--netns', free, '--name', 'free', `--publish=${spec}`],
    ];
    const answers = await Promise.all(ways.map((words) => lab.account.tapdeck(...words)));
    for (const [i, { code, out, err }] of answers.entries()) {
      expect([ways[i], code, out, err]).toEqual([ways[i], 2, '', expect.stringMatching(message)]);
      expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    }
  }
  expect(await ports()).toEqual(BEFORE);
});

it('says why a port cannot be had, and has taken no other', async () => {
  const before = await published();
  for (const [endpoint, specs, status, message] of IMPOSSIBLE) {
    const { code, out, err } = await lab.account.tapdeck('publish', endpoint, ...specs);
    expect([specs, code, out, err]).toEqual([specs, status, '', expect.stringMatching(message)]);
    expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    expect(await published()).toEqual(before);
  }
  // Nobody has the ports that were asked for beside them.
  await lab.account.ok('publish', 'b', '81:81', '82:82/udp');
  expect(await ports()).toHaveLength(BEFORE.length + 4);
  await lab.account.ok('unpublish', 'b', '81:81');
  await lab.account.ok('unpublish', 'b', '82/udp');
  expect(await ports()).toEqual(BEFORE);
});

it('publishes over both IP versions or over none', async () => {
  await lab.account.ok('publish', 'a', `[${DECK.ipv6}]:8090:80`);
  const { code, err } = await lab.account.tapdeck('publish', 'b', '8090:90');
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/port 8090\/tcp is published by container a already/),
  ]);
  expect(await ports()).toEqual([...BEFORE, `a 80/tcp -> [${DECK.ipv6}]:8090`].sort());
  // Over IPv4 nobody has it, and nothing answers.
  await b.servePeer('echo', '90');
  const silent = await world.out.run('curl', '-s', '-m', '2', `http://${DECK.ipv4}:8090/`);
  expect(silent.code).toBe(28);
  await lab.account.ok('unpublish', 'a', `[${DECK.ipv6}]:8090:80`);
});

it('attaches nothing whose ports cannot be had', async () => {
  for (const specs of [
    ['81:81', '8080:80'],
    ['81:81', '192.0.2.3:82:82'],
  ]) {
    const options = specs.flatMap((spec) => ['-p', spec]);
    const { code, out } = await lab.account.tapdeck('attach', '--netns', free, '--name', 'free', ...options);
    expect([code > 0, out]).toEqual([true, '']);
    expect(ip(free, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect((await lab.endpoints()).map(({ name }) => name).sort()).toEqual(['a', 'b', 'old']);
    expect(await ports()).toEqual(BEFORE);
  }
  const refused = await lab.account.tapdeck('run', '-p', '8080:80', '--', 'true');
  expect([refused.code, refused.err]).toEqual([
    125,
    expect.stringMatching(/port 8080\/tcp is published by container a already/),
  ]);
  // The name, the address and the port are free.
  await lab.account.ok('attach', '--netns', free, '--name', 'free', '-p', '81:81');
  await lab.account.ok('detach', 'free');
  expect(await ports()).toEqual(BEFORE);
});

it('says what is not published when it is to be taken back', async () => {
  for (const [endpoint, spec, status, message] of [
    [
      'a',
      '8081',
      1,
      /container a does not publish "8081", only 8080\/tcp, 9000-9009\/udp; see "tapdeck port a"/,
    ],
    ['a', '8080/udp', 1, /container a does not publish "8080\/udp"/],
    ['a', '9003/udp', 1, /container a does not publish "9003\/udp" alone; 9000-9009\/udp goes as a whole/],
    ['b', '8080:80', 1, /container b does not publish "8080:80", no port/],
    ['nobody', '8080', 1, /there is no container "nobody"/],
    ['a', '80-70', 2, /range 80-70 is reversed/],
  ] as const) {
    const { code, out, err } = await lab.account.tapdeck('unpublish', endpoint, spec);
    expect([spec, code, out, err]).toEqual([spec, status, '', expect.stringMatching(message)]);
  }
  expect(await ports()).toEqual(BEFORE);
});

it('has done nothing to those that use what is published', async () => {
  await a.servePeer('reply', '9003');
  expect(await world.far.peer('ask', DECK.ipv4, '9003', 'still')).toBe('198.51.100.2 still\n');
  await b.servePeer('reply', '9003');
  expect(await b.peer('ask', DECK.ipv6, '9003', 'there')).toBe(`${DECK.ipv6} there\n`);
});
