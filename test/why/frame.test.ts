import { afterAll, beforeAll, expect, test } from 'vitest';
import { captureText } from '../../src/cli/why-capture.ts';
import type { Deck } from '../../src/control/deck.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import { arpRequest, icmpEcho, ip, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { fakeDeck } from '../control/fake-deck.ts';
import { VirtualDataPlane } from './virtual-data-plane.ts';

let deck: Deck;
const stations = new Map<string, Required<Pick<Station, 'mac' | 'ipv4'>>>();
/** MACs of the gateways. */
const via = { front: '02:42:0a:5b:00:01', quiet: '02:42:0a:5e:00:01', inner: '02:42:0a:5d:00:01' };
const STRANGER = { mac: '02:00:00:00:00:09', ipv4: '198.51.100.1' };

beforeAll(async () => {
  deck = await fakeDeck(new VirtualDataPlane(), undefined, { uplinks: ['tap:td0,addr=192.0.2.2/24'] });
  for (const [name, number, more] of [
    ['front', 91, {}],
    ['back', 92, {}],
    ['inner', 93, { internal: true }],
    ['quiet', 94, { options: { 'com.docker.network.bridge.enable_icc': 'false' } }],
  ] as const) {
    await deck.createNetwork({ name, subnet: `10.${number}.0.0/24`, ...more });
  }
  const note = ({ name, mac, ipv4 }: Endpoint) => stations.set(name, { mac, ipv4: ipv4! });
  note(await deck.attach({ netns: '/n/web', name: 'web', network: 'front' }));
  note(await deck.attach({ netns: '/n/db', name: 'db', network: 'back', publish: ['8080:80'] }));
  note(await deck.attach({ netns: '/n/sec', name: 'sec', network: 'inner' }));
  note(await deck.attach({ netns: '/n/q1', name: 'q1', network: 'quiet' }));
  note(await deck.attach({ netns: '/n/q2', name: 'q2', network: 'quiet' }));
  await deck.addRule({ in: 'front', out: 'back', protocol: 'tcp', dport: '99', action: 'REJECT' });
  await deck.addRule({ in: 'front', out: 'back', protocol: 'tcp', dport: '7', action: 'ACCEPT' });
});
afterAll(() => deck.close());

const at = (name: string) => stations.get(name) ?? STRANGER;
const far = (ipv4: string) => ({ ...STRANGER, ipv4 });
const front = { mac: via.front };

/** What is asked of a frame is asked in words, too: the answers are the same. */
test.each([
  ['db:80', () => tcp({ from: at('web'), to: at('db'), via: front, dstPort: 80 })],
  ['db:99', () => tcp({ from: at('web'), to: at('db'), via: front, dstPort: 99 })],
  ['db', () => icmpEcho({ from: at('web'), to: at('db'), via: front })],
  ['db:53/udp', () => udp({ from: at('web'), to: at('db'), via: front, dstPort: 53 })],
  ['gateway:99', () => tcp({ from: at('web'), to: far('10.91.0.1'), via: front, dstPort: 99 })],
])('a frame from web to %s gets the remedy of the question', async (to, frame) => {
  const asked = await deck.why('web', to);
  expect(asked.answer).toBe('no');
  const said = await deck.whyFrame('web eth0', frame());
  expect(said).toMatchObject({ answer: 'no', from: 'web eth0' });
  expect(said.remedy).toEqual(asked.remedy);
});

test.each([
  ['q1', 'q2', () => tcp({ from: at('q1'), to: at('q2'), dstPort: 80 }), 'q2:80'],
  [
    'sec',
    '1.1.1.1',
    () => icmpEcho({ from: at('sec'), to: far('1.1.1.1'), via: { mac: via.inner } }),
    '1.1.1.1',
  ],
])('a frame from %s to %s gets the remedy of the question', async (from, _to, frame, place) => {
  const asked = await deck.why(from, place);
  const said = await deck.whyFrame(`${from} eth0`, frame());
  expect([asked.answer, said.answer]).toEqual(['no', 'no']);
  expect(said.remedy).toEqual(asked.remedy);
});

test('from outside, what is not published', async () => {
  const frame = tcp({ from: STRANGER, to: far('192.0.2.2'), via: { mac: '02:42:c0:00:02:02' }, dstPort: 81 });
  const said = await deck.whyFrame('uplink td0', frame);
  expect(said.remedy).toEqual((await deck.why('outside', 'host:81')).remedy);
});

test('an answer wants a rule for answers, and another protocol none', async () => {
  const answer = tcp({ from: at('web'), to: at('db'), via: front, srcPort: 80, dstPort: 5000, flags: 'SA' });
  const { remedy, conclusion } = await deck.whyFrame('web eth0', answer);
  expect(conclusion).toMatch(/^it is dropped: /);
  expect(remedy!.words).not.toMatch(/null|undefined/);
  const gre = await deck.whyFrame('web eth0', ip({ from: at('web'), to: at('db'), via: front }, 47, 8));
  expect(gre.conclusion).toContain('networks are isolated from each other (DOCKER-ISOLATION-STAGE-2: ');
  expect(gre.remedy).toEqual({
    commands: ['tapdeck network connect back web'],
    words: 'connect web to network back, too',
  });
});

test('who waits for a neighbor that nobody is', async () => {
  const lost = tcp({ from: at('web'), to: far('10.92.0.77'), via: front, dstPort: 7 });
  const said = await deck.whyFrame('web eth0', lost);
  expect(said).toMatchObject({
    answer: 'no',
    conclusion: 'it waits until 10.92.0.77 in back has said its MAC',
    remedy: { commands: ['tapdeck network connect --ip 10.92.0.77 back OTHER'] },
  });
  // The router behind an uplink is taken to be there.
  const out = icmpEcho({ from: at('web'), to: far('203.0.113.1'), via: front });
  expect(await deck.whyFrame('web eth0', out)).toMatchObject({
    answer: 'yes',
    conclusion: 'it waits until 192.0.2.1 in td0 has said its MAC',
    remedy: null,
  });
});

test('a lie, and what lets somebody tell it; and what arrives', async () => {
  const lie = arpRequest({ from: { mac: at('web').mac, ipv4: '10.91.0.1' }, ask: '10.91.0.9' });
  const said = await deck.whyFrame('web eth0', lie);
  expect(said.remedy!.commands.at(-1)).toBe('tapdeck network connect --allow-spoof front web');
  const frame = {
    number: 1,
    interface: 'web eth0',
    direction: 'in' as const,
    length: 42,
    packet: null,
    comments: [],
  };
  const text = captureText({ frame, copies: [], now: said, unknown: null });
  expect(text.trimEnd().split('\n').at(-1)).toMatch(
    /^to make it yes: tapdeck network disconnect front web && /,
  );
  const question = arpRequest({ from: at('web'), ask: '10.91.0.1' });
  expect(await deck.whyFrame('web eth0', question)).toMatchObject({
    answer: 'yes',
    conclusion: 'it leaves by web eth0',
    remedy: null,
  });
});
