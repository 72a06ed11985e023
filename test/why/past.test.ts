import { afterAll, beforeAll, expect, test } from 'vitest';
import { captureText, whyCapture } from '../../src/cli/why-capture.ts';
import { pastText } from '../../src/cli/why-past.ts';
import type { DaemonClient } from '../../src/control/client.ts';
import type { Deck } from '../../src/control/deck.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import { packTables } from '../../src/recording/state-carrier.ts';
import { tcp } from '../../src/testing/frames.ts';
import { Trial } from '../../src/why/trial.ts';
import { fakeDeck } from '../control/fake-deck.ts';
import { VirtualDataPlane } from './virtual-data-plane.ts';

let plane: VirtualDataPlane;
let deck: Deck;
let web: Endpoint;
let db: Endpoint;

beforeAll(async () => {
  plane = new VirtualDataPlane();
  deck = await fakeDeck(plane);
  await deck.createNetwork({ name: 'front', subnet: '10.91.0.0/24' });
  await deck.createNetwork({ name: 'back', subnet: '10.92.0.0/24' });
  web = await deck.attach({ netns: '/n/web', name: 'web', network: 'front' });
  db = await deck.attach({ netns: '/n/db', name: 'db', network: 'back' });
});
afterAll(() => deck.close());

/** A SYN from web to db, by its gateway. */
function syn(dstPort: number): Uint8Array {
  const from = { mac: web.mac, ipv4: web.ipv4! };
  return tcp({ from, to: { mac: db.mac, ipv4: db.ipv4! }, via: { mac: '02:42:0a:5b:00:01' }, dstPort });
}

/** It comes in by web's port, in earnest. */
function send(bytes: Uint8Array): void {
  const { dataplane } = plane;
  const frame = dataplane.arena.allocate(bytes.length)!;
  frame.bytes.fill(0, frame.at - 12, frame.at);
  frame.bytes.set(bytes, frame.at);
  dataplane.receive(web.port, frame, 0);
}

test('the past has the end of what was dropped, and of all else what is to be remembered', async () => {
  send(syn(80));
  const dropped = await deck.whyPast('web', 'db:80');
  expect(dropped.packets).toHaveLength(1);
  expect(dropped.packets[0]!.way).toEqual([expect.stringContaining('NETWORK_ISOLATED')]);
  expect((await deck.whyPast('web', 'db:81')).packets).toEqual([]);
  expect((await deck.whyPast('web', 'db:80/udp')).packets).toEqual([]);
  expect((await deck.whyPast('db', 'web:80')).packets).toEqual([]);
  expect(pastText(await deck.whyPast('web', 'db:81'))).toContain('no such packet is remembered');

  await deck.remember(true);
  send(syn(81));
  const { packets } = await deck.whyPast('web', 'db:81');
  expect(packets[0]!.way[0]).toMatch(/^ingress: web eth0, TCP SYN 10\.91\.0\.2:49152 → 10\.92\.0\.2:81/);
  expect(packets[0]!.way.at(-1)).toContain('DOCKER-ISOLATION-STAGE-2 drops');
  await deck.remember(false);
  expect((await deck.whyPast('web', 'db:81')).packets).toEqual([]);
});

test('a frame that was captured is tried at the port that has the name now', async () => {
  const before = packTables((await plane.save()).tables);
  const view = await deck.whyFrame('web eth0', syn(80));
  expect(view).toMatchObject({ answer: 'no', from: 'web eth0', to: [] });
  expect(view.way.at(-1)).toContain('DOCKER-ISOLATION-STAGE-2 drops');
  expect(Buffer.compare(packTables((await plane.save()).tables), before)).toBe(0);
  await expect(deck.whyFrame('nobody eth0', syn(80))).rejects.toThrow('there is no port "nobody eth0"');
  for (const length of [0, 1, 13, 60, 60_000]) {
    expect(await deck.whyFrame('web eth0', new Uint8Array(length))).toMatchObject({ answer: 'no' });
  }
  expect(new Trial(await plane.save()).receive(web.port, new Uint8Array(80_000), 0).drops).toHaveLength(1);
});

test.each([
  ['deck.pcapng', 'names no frame; write FILE:N'],
  ['deck.pcapng:x', 'names no frame'],
  ['/nowhere/deck.pcapng:1', '/nowhere/deck.pcapng'],
])('a place in a capture, %s, is refused: %s', async (place, message) => {
  await expect(whyCapture({} as DaemonClient, 'table', place)).rejects.toThrow(message);
});

test('a capture tells what was, and the deck what would be', () => {
  const frame = {
    number: 3,
    interface: 'web eth0',
    direction: 'in' as const,
    length: 98,
    packet: '29',
    comments: ['web eth0 → dropped\nFORWARD: drops'],
  };
  const copy = { ...frame, number: 4, interface: 'db eth0', direction: 'out' as const, comments: [] };
  const now = {
    answer: 'yes' as const,
    from: 'web eth0',
    to: ['db eth0'],
    way: ['bridge: known'],
    conclusion: 'it leaves by db eth0',
    remedy: null,
  };
  expect(captureText({ frame, copies: [copy], now, unknown: null }).split('\n')).toEqual([
    'frame 3, web eth0, in, 98 bytes, packet 29',
    '  web eth0 → dropped',
    '  FORWARD: drops',
    'the same packet: frame 4, db eth0, out, 98 bytes, packet 29',
    'now:',
    '  bridge: known',
    'yes: it leaves by db eth0',
    '',
  ]);
  expect(captureText({ frame, copies: [], now: null, unknown: 'it has gone' })).toContain(
    'now: it has gone\n',
  );
});
