import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { whyText } from '../../src/cli/why.ts';
import type { Deck } from '../../src/control/deck.ts';
import { parseWanted } from '../../src/control/why/grammar.ts';
import { FAILURE_REMEDIES, REMEDIES, type Trouble } from '../../src/control/why/remedy.ts';
import { packTables } from '../../src/recording/state-carrier.ts';
import { FAILURES } from '../../src/why/question.ts';
import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { fakeDeck } from '../control/fake-deck.ts';
import { VirtualDataPlane } from './virtual-data-plane.ts';

let deck: Deck;
let plane: VirtualDataPlane;

beforeAll(async () => {
  plane = new VirtualDataPlane();
  deck = await fakeDeck(plane, undefined, { uplinks: ['tap:td0,addr=192.0.2.2/24,addr=2001:db8::2/64'] });
  for (const [name, number, more] of [
    ['front', 91, {}],
    ['back', 92, {}],
    ['inner', 93, { internal: true }],
    ['quiet', 94, { options: { 'com.docker.network.bridge.enable_icc': 'false' } }],
  ] as const) {
    await deck.createNetwork({
      name,
      subnet: `10.${number}.0.0/24`,
      ipv6Subnet: `fd00:${number}::/64`,
      ...more,
    });
  }
  await deck.attach({ netns: '/n/web', name: 'web', network: 'front' });
  await deck.attach({ netns: '/n/both', name: 'both', network: 'front', networks: [{ network: 'back' }] });
  await deck.attach({ netns: '/n/db', name: 'db', network: 'back', publish: ['8080:80'] });
  await deck.attach({ netns: '/n/sec', name: 'sec', network: 'inner' });
  await deck.attach({ netns: '/n/q1', name: 'q1', network: 'quiet' });
  await deck.attach({ netns: '/n/q2', name: 'q2', network: 'quiet' });
  await deck.addRule({ in: 'front', out: 'back', protocol: 'tcp', dport: '5432', action: 'ACCEPT' });
  await deck.addRule({ in: 'front', out: 'back', protocol: 'tcp', dport: '99', action: 'REJECT' });
});
afterAll(() => deck.close());

describe('a question', () => {
  test.each([
    ['web', { kind: 'container', name: 'web', network: null }, 'icmp', 0],
    ['web:80', { kind: 'container', name: 'web', network: null }, 'tcp', 80],
    ['front/web:53/udp', { kind: 'container', name: 'web', network: 'front' }, 'udp', 53],
    ['web/icmp', { kind: 'container', name: 'web', network: null }, 'icmp', 0],
    ['10.0.0.2:80/TCP', { kind: 'address', family: 4, address: 0x0a000002n }, 'tcp', 80],
    ['fd00::2', { kind: 'address', family: 6, address: (0xfd00n << 112n) | 2n }, 'icmp', 0],
    ['[fd00::2]:53/udp', { kind: 'address', family: 6, address: (0xfd00n << 112n) | 2n }, 'udp', 53],
    ['gateway:53/udp', { kind: 'gateway', network: null }, 'udp', 53],
    ['back/gateway', { kind: 'gateway', network: 'back' }, 'icmp', 0],
    ['outside:443', { kind: 'outside' }, 'tcp', 443],
  ])('may be for %s', (text, to, protocol, port) => {
    expect(parseWanted('web', text)).toEqual({
      from: { kind: 'container', name: 'web', network: null },
      to,
      protocol,
      port,
    });
  });

  test.each([
    ['web:0', '"0" is no port; there are 1 to 65535'],
    ['web:65536', 'is no port'],
    ['web:http', '"http" is no port'],
    ['web:80/sctp', '"sctp" is no protocol; there are tcp, udp and icmp'],
    ['web/tcp', 'tcp goes to a port; write it as web:80/tcp'],
    ['web:7/icmp', 'ICMP has no ports; leave ":7" out'],
    ['a/b/c', 'is no end of a way: write CONTAINER, NETWORK/CONTAINER or an address'],
    ['10.0.0.300', 'is not an IPv4 address'],
    ['', 'is no end of a way'],
  ])('to %j is refused: %s', (text, message) => {
    expect(() => parseWanted('web', text)).toThrow(message);
  });

  test.each([
    ['web', 'nobody', 'there is no container "nobody"; see "tapdeck ps"'],
    ['front/db', 'web', 'container db is not in network "front"; it is in back'],
    ['gateway', 'web', 'a gateway begins nothing by itself'],
    ['10.91.0.77', 'web', 'nobody in network front has 10.91.0.77'],
    ['10.91.0.2', 'fd00:92::2', 'one end is an IPv4 and the other an IPv6 address'],
    ['outside', 'outside', 'from outside to outside no packet comes to the deck'],
    ['host', 'gateway', 'from outside there is no gateway; name it as NETWORK/gateway'],
  ])('from %s to %s is refused: %s', async (from, to, message) => {
    await expect(deck.why(from, to)).rejects.toThrow(message);
  });
});

describe('the answer', () => {
  test.each([
    ['web', 'both', 'yes', []],
    ['web', 'db:80', 'no', ['tapdeck network connect back web']],
    ['web', 'db:5432', 'no', ['tapdeck rule add --in back --out front --state ESTABLISHED -j ACCEPT']],
    ['web', 'db:99', 'no', ['tapdeck rule rm 2']],
    ['both', 'db:80', 'yes', []],
    [
      'q1',
      'q2',
      'no',
      [
        'tapdeck network create q1-q2',
        'tapdeck network connect q1-q2 q1',
        'tapdeck network connect q1-q2 q2',
      ],
    ],
    ['sec', 'web', 'no', ['tapdeck network connect front sec']],
    ['sec', '1.1.1.1', 'no', ['tapdeck network connect bridge sec']],
    ['web', '1.1.1.1', 'yes', []],
    ['web', '2606:4700::1', 'yes', []],
    ['web', 'gateway:53/udp', 'yes', []],
    ['web', 'gateway:99', 'no', ['tapdeck publish CONTAINER 99:99']],
    ['web', '192.0.2.2:8080', 'yes', []],
    ['outside', 'host:8080', 'yes', []],
    ['outside', '[2001:db8::2]:8080', 'yes', []],
    ['outside', 'db:80', 'no', []],
    ['outside', 'db:81', 'no', ['tapdeck publish db 81:81']],
    ['outside', 'host:81', 'no', ['tapdeck publish CONTAINER 81:81']],
    ['web', '127.0.0.1:80', 'yes', []],
    ['web', '10.91.0.77', 'no', ['tapdeck network connect --ip 10.91.0.77 front OTHER']],
    ['web', 'web', 'yes', []],
  ])('from %s to %s is %s %j', async (from, to, answer, commands) => {
    const said = await deck.why(from, to);
    expect(said).toMatchObject({ answer, remedy: answer === 'yes' ? null : { commands } });
    const text = whyText(said);
    if (answer === 'no') expect(text.trimEnd().split('\n').at(-1)).toMatch(/^to make it yes: ./);
    else expect(text.trimEnd().split('\n').at(-1)).toMatch(/^yes: /);
  });

  test('names the published port, where one is', async () => {
    expect((await deck.why('outside', 'db:80')).remedy!.words).toContain(
      'ask for host:8080, as which port 80 is',
    );
  });

  test('gives pings no state of TCP', async () => {
    const { steps } = await deck.why('web', '1.1.1.1');
    const way = steps.flatMap((step) => step.way);
    expect(way.some((line) => /conntrack #\d+ ESTABLISHED, reply/.test(line))).toBe(true);
  });

  test('is tried and leaves nothing', async () => {
    const before = packTables((await plane.save()).tables);
    await deck.why('web', 'db:5432');
    await deck.why('outside', 'host:8080', 6);
    expect(Buffer.compare(packTables((await plane.save()).tables), before)).toBe(0);
    expect(plane.sent).toEqual([]);
  });

  test('tells the way chain by chain, and who decides', async () => {
    const { steps, conclusion } = await deck.why('web', 'db:80');
    expect(steps.map(({ kind, fate }) => [kind, fate.split(':')[0]])).toEqual([
      ['neighbor-question', 'answered'],
      ['request', 'dropped, NETWORK_ISOLATED'],
    ]);
    const [, request] = steps;
    expect(request!.rules).toMatchObject([{ chain: 'DOCKER-ISOLATION-STAGE-2', target: 'DROP' }]);
    expect(request!.way.at(-1)).toContain('DOCKER-ISOLATION-STAGE-2 drops: network front may not enter back');
    expect(conclusion).toContain('networks are isolated from each other');
  });

  test('says what command makes it yes, and that is so', async () => {
    const before = await deck.why('q1', 'sec');
    expect(before.remedy!.commands).toEqual(['tapdeck network connect inner q1']);
    await deck.connect('inner', 'q1');
    expect((await deck.why('q1', 'sec')).answer).toBe('yes');
    await deck.disconnect('inner', 'q1');
  });
});

describe('with the sockets of the host, the answer', () => {
  let sockets: Deck;
  beforeAll(async () => {
    sockets = await fakeDeck(new VirtualDataPlane(), undefined, { uplinks: ['socket'] });
    await sockets.createNetwork({ name: 'front', subnet: '10.91.0.0/24', ipv6: true });
    const publish = ['8080:80', '127.0.0.1:90:90'];
    await sockets.attach({ netns: '/n/web', name: 'web', network: 'front', publish });
  });
  afterAll(() => sockets.close());

  test.each([
    ['web', '1.1.1.1:443', 'yes'],
    ['web', '2606:4700::1', 'yes'],
    ['web', 'outside', 'yes'],
    // An address of the host, and its loopback.
    ['web', '192.0.2.77:22', 'yes'],
    ['web', '192.0.0.1:80', 'no'],
    ['web', '127.0.0.1:80', 'yes'],
    ['host', 'host:8080', 'yes'],
    ['outside', 'host:8080', 'yes'],
    ['host', 'host:90', 'yes'],
    ['host', '127.0.0.1:90', 'yes'],
    ['outside', 'host:90', 'no'],
    ['outside', 'web:80', 'no'],
    ['web', 'gateway:8080', 'yes'],
  ])('from %s to %s is %s', async (from, to, answer) => {
    expect(await sockets.why(from, to)).toMatchObject({ answer });
  });

  test('says which networks reach the loopback of the host', async () => {
    expect((await sockets.why('web', '192.0.0.1:80')).remedy!.commands).toEqual([
      'tapdeck network create --host-loopback front-loopback',
    ]);
    await expect(sockets.why('web', 'host:80')).rejects.toThrow('name the one that is meant');
  });
});

describe('what makes it yes', () => {
  const nobody: Trouble = {
    from: null,
    to: null,
    fromNetwork: null,
    toNetwork: null,
    fromAddress: '10.0.0.1',
    toAddress: '10.0.0.2',
    protocol: 'tcp',
    port: 80,
    step: 'request',
    isForward: true,
    inNetwork: null,
    outNetwork: null,
    rule: null,
    openNetwork: null,
    publishedAs: null,
    isHostLoopback: false,
    uplink: null,
  };
  const known: Trouble = {
    ...nobody,
    from: 'web',
    to: 'db',
    fromNetwork: 'front',
    toNetwork: 'back',
    inNetwork: 'front',
    outNetwork: 'back',
    rule: { id: 3, position: 1 },
    openNetwork: 'bridge',
    uplink: { name: 'socket', isSockets: true, spec: 'socket' },
  };

  test('is known for every drop reason, and for every way to fail', () => {
    const reasons = DROP_REASON_NAMES.filter((name) => name !== undefined);
    expect(Object.keys(REMEDIES).sort()).toEqual([...reasons].sort());
    expect(Object.keys(FAILURE_REMEDIES).sort()).toEqual(FAILURES.filter((one) => one !== 'dropped').sort());
    for (const answer of [...Object.values(REMEDIES), ...Object.values(FAILURE_REMEDIES)]) {
      for (const trouble of [
        nobody,
        known,
        { ...known, protocol: 'icmp' as const, port: 0, isForward: false },
      ]) {
        const { commands, words } = answer(trouble);
        expect(words).toMatch(/^\S.*\S$/);
        expect(words).not.toMatch(/null|undefined/);
        for (const command of commands)
          expect(command).toMatch(/^(sudo sysctl|tapdeck [a-z]+) (?!.*(null|undefined))/);
      }
    }
  });
});
