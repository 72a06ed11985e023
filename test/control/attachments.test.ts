import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Attachments } from '../../src/control/attachments.ts';
import type { Deck } from '../../src/control/deck.ts';
import type { FoundInterface } from '../../src/device/interface.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

const ID = 'a'.repeat(64);
const WEB = { netns: '/run/netns/web', network: 'front', ifname: 'eth0' };

let plane: FakeDataPlane;
let deck: Deck;
/** What is in the namespace. */
let found: FoundInterface | undefined | Error;
let attachments: Attachments;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
  await deck.createNetwork({ name: 'front', subnet: '10.1.0.0/24', ipv6Subnet: 'fd01::/64' });
  found = { mac: '02:42:0a:01:00:02', up: true, addresses: ['10.1.0.2/24', 'fe80::1/64', 'fd01:0::2/64'] };
  attachments = new Attachments(deck, () => {
    if (found instanceof Error) throw found;
    return found;
  });
});
afterEach(() => deck.close());

const here = () => true;

describe('an attachment', () => {
  it('has the id that its maker chose, once', async () => {
    const { endpoint, network, leadsOut } = await attachments.attach(ID, WEB, here);
    expect([endpoint.id, network.name, leadsOut]).toEqual([ID, 'front', true]);
    await expect(attachments.attach(ID, WEB, here)).rejects.toThrow('container web has interface eth0');
    expect(await attachments.detach(ID)).toBe(true);
    expect(await attachments.detach(ID)).toBe(false);
    expect(() => attachments.get(ID)).toThrow('there is no attachment');
    expect(deck.containers()).toEqual([]);
  });

  it('of which nobody hears is not kept', async () => {
    await expect(attachments.attach(ID, WEB, () => false)).rejects.toThrow('has not waited');
    expect(deck.containers()).toEqual([]);
    expect(plane.ports.size).toBe(0);
  });

  it('is removed behind its making, by whoever has given up waiting for that', async () => {
    const making = attachments.attach(ID, WEB, here);
    expect(await attachments.detach(ID)).toBe(true);
    await expect(making).resolves.toMatchObject({ endpoint: { id: ID } });
    expect(deck.containers()).toEqual([]);
  });

  it('is made and removed beside others of its container at once, and nothing is left', async () => {
    await deck.createNetwork({ name: 'back', subnet: '10.2.0.0/24' });
    await deck.createNetwork({ name: 'side', subnet: '10.3.0.0/24' });
    const wishes = ['front', 'back', 'side'].map((network, i) => ({
      id: String(i).repeat(64),
      options: { netns: WEB.netns, network, ifname: `eth${i}` },
    }));
    await Promise.all(wishes.map(({ id, options }) => attachments.attach(id, options, here)));
    expect(deck.containers().map(({ endpoints }) => endpoints.length)).toEqual([3]);
    await Promise.all(wishes.map(({ id }) => attachments.detach(id)));
    expect(deck.containers()).toEqual([]);
    expect(plane.ports.size).toBe(0);
  });

  it('leaves a container that somebody else has connected too', async () => {
    await deck.attach({ netns: WEB.netns, name: 'mine' });
    await attachments.attach(ID, { ...WEB, ifname: 'eth1' }, here);
    expect(await attachments.detach(ID)).toBe(true);
    expect(deck.container('mine').endpoints.map(({ network }) => network)).toEqual(['bridge']);
  });
});

describe('what is not as it was made', () => {
  it.each<[FoundInterface | undefined | Error, string[]]>([
    [undefined, ['interface eth0 is missing']],
    [
      { mac: '02:42:0a:01:00:02', up: false, addresses: ['10.1.0.2/24', 'fd01::2/64'] },
      ['interface eth0 is down'],
    ],
    [
      { mac: '02:00:00:00:00:01', up: true, addresses: ['10.1.0.2/16', 'fd01::2/64'] },
      [
        'interface eth0 has MAC 02:00:00:00:00:01 in place of 02:42:0a:01:00:02',
        'interface eth0 has lost address 10.1.0.2/24',
      ],
    ],
    [
      { mac: '02:42:0a:01:00:02', up: true, addresses: [] },
      ['interface eth0 has lost address 10.1.0.2/24', 'interface eth0 has lost address fd01::2/64'],
    ],
    // An ordinary user's daemon.
    [new Error('not permitted'), []],
  ])('%o', async (there, faults) => {
    expect((await attachments.attach(ID, WEB, here)).faults).toEqual([]);
    found = there;
    expect(attachments.get(ID).faults).toEqual(faults);
  });
});
