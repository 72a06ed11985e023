import { afterEach, describe, expect, it } from 'vitest';
import type { Deck, DeckOptions } from '../../src/control/deck.ts';
import type { NamespaceTarget } from '../../src/control/namespace.ts';
import { bootId } from '../../src/control/process.ts';
import { restoreDeck, savedBridge } from '../../src/control/restore.ts';
import { newState, type SavedState } from '../../src/control/saved-state.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

const decks: Deck[] = [];
afterEach(async () => {
  await Promise.all(decks.splice(0).map((deck) => deck.close()));
});

const identify = (target: NamespaceTarget) =>
  'path' in target ? `ns of ${target.path}` : `ns of ${target.pid}`;

async function open(options?: DeckOptions): Promise<Deck> {
  const deck = await fakeDeck(new FakeDataPlane(), identify, options);
  decks.push(deck);
  return deck;
}

function stateOf(deck: Deck, boot = bootId()): SavedState {
  return newState(boot, JSON.parse(JSON.stringify({ ...deck.save(), sandboxes: [] })));
}

/** What does not have to be the same after a restart. */
function lasting(deck: Deck) {
  return JSON.parse(
    JSON.stringify(
      {
        networks: deck.networks().filter(({ driver }) => driver === 'bridge'),
        containers: deck.containers(),
      },
      (key, value) =>
        key === 'port' || key === 'createdAt'
          ? undefined
          : // Of a network; several are made at a time.
            key === 'endpoints' && typeof value[0] === 'string'
            ? value.sort()
            : value,
    ),
  );
}

async function restore(state: SavedState, lives: typeof identify = identify, options: DeckOptions = {}) {
  const bridge = savedBridge(state);
  const deck = await open({ ...(bridge && { bridge }), ...options });
  const lines: string[] = [];
  const log = (level: string, message: string) => void lines.push(`${level} ${message}`);
  const restored = await restoreDeck(state, { deck, log, identify: lives });
  return { deck, lines, restored };
}

async function full(): Promise<Deck> {
  const deck = await open();
  await deck.createNetwork({ name: 'lab', subnet: '10.1.0.0/24', gateway: '10.1.0.9', mtu: 1500 });
  await deck.createNetwork({ name: 'back', internal: true, ipv6: true });
  await deck.attach({ netns: '/run/netns/a', ip: '172.17.0.9', labels: { tier: 'web' }, hostname: 'alpha' });
  await deck.connect('lab', 'a', { aliases: ['www'], gatewayPriority: 5, ifname: 'lab0' });
  await deck.connect('back', 'a', { mac: '06:00:00:00:00:01', links: ['db:database'], allowSpoof: true });
  await deck.attach({ netns: '/run/netns/b', network: 'back' });
  await deck.attach({ netns: '/run/netns/alone' });
  await deck.disconnect('bridge', 'alone');
  await deck.attach({ netns: '/run/netns/unplugged', network: 'none' });
  await deck.addRule({ action: 'DROP', in: 'lab', protocol: 'tcp', dport: '25', comment: 'no mail' });
  await deck.publish('a', ['172.17.0.1:8080:80', '10.1.0.9:5000-5010:5000-5010/udp', '443']);
  return deck;
}

describe('a deck that is made again', () => {
  it('has all networks, containers, endpoints, addresses and ports of the one before', async () => {
    const before = await full();
    const { deck, restored } = await restore(stateOf(before));
    expect(lasting(deck)).toEqual(lasting(before));
    expect(stateOf(deck).containers).toEqual(stateOf(before).containers);
    expect(await deck.listRules()).toEqual(await before.listRules());
    expect(restored).toEqual({ waiting: [], ended: [], unrestored: { networks: [], containers: [] } });
  });

  it('has what it had also when it is made again and again', async () => {
    const before = await full();
    const { deck: second } = await restore(stateOf(before));
    const { deck: third } = await restore(stateOf(second));
    expect(stateOf(third)).toEqual(stateOf(before));
  });

  it('gives the addresses to nobody else, and goes on with the next free ones', async () => {
    const { deck } = await restore(stateOf(await full()));
    expect(await deck.attach({ netns: '/run/netns/c' })).toMatchObject({ ipv4: '172.17.0.2' });
    await expect(deck.attach({ netns: '/run/netns/d', ip: '172.17.0.9' })).rejects.toThrow('is in use');
    await expect(deck.attach({ netns: '/run/netns/a' })).rejects.toThrow('is container a already');
  });

  it('forgets containers whose namespaces are gone, or are others by now', async () => {
    const { deck, lines, restored } = await restore(stateOf(await full()), (target) => {
      if ('path' in target && target.path === '/run/netns/a') return 'ns of somebody else';
      if ('path' in target && target.path === '/run/netns/b') throw new Error('gone');
      return identify(target);
    });
    expect(deck.containers().map(({ name }) => name)).toEqual(['alone', 'unplugged']);
    expect(lines).toContain('info forgot a: its namespace is gone');
    expect(lines).toContain('info forgot b: its namespace is gone');
    expect(restored.unrestored.containers).toEqual([]);
    expect(await deck.attach({ netns: '/run/netns/x', ip: '172.17.0.9' })).toMatchObject({ name: 'x' });
  });

  it('has no containers of another boot, and all its networks', async () => {
    const before = await full();
    const { deck, lines } = await restore(stateOf(before, 'another boot'));
    expect(deck.containers()).toEqual([]);
    expect(new Set(deck.networks().map(({ name }) => name))).toEqual(
      new Set(before.networks().map(({ name }) => name)),
    );
    expect(lines).toEqual(['info forgot 4 containers of before the machine was started']);
  });

  it('keeps for a later start what needs an uplink that is not there', async () => {
    const before = await full();
    const state = stateOf(before);
    const back = state.networks.find(({ options }) => options.name === 'lab')!;
    back.options.uplink = 'td7';
    const { deck, lines, restored } = await restore(state);
    expect(lines.join('\n')).toMatch(/error cannot make network lab again: there is no uplink "?td7/);
    expect(lines).toContain('error cannot connect a again: network lab is not there');
    expect(restored.unrestored.networks).toEqual([back]);
    expect(restored.unrestored.containers.map(({ name }) => name)).toEqual(['a']);
    expect(deck.containers().map(({ name }) => name)).toEqual(['b', 'alone', 'unplugged']);
  });

  it('has the ports that can still be had', async () => {
    const state = stateOf(await full());
    const a = state.containers.find(({ name }) => name === 'a')!;
    a.publish.push('192.0.2.1:1:1/tcp');
    const { deck, lines } = await restore(state);
    expect(deck.container('a').ports.length).toBe(a.publish.length - 1);
    expect(lines.join('\n')).toContain('error cannot publish 192.0.2.1:1:1/tcp of a again: ');
  });

  it('does not begin without the rules of the user', async () => {
    const state = stateOf(await full());
    Object.assign(state.rules[0]!, { dport: 'smtp' });
    await expect(restore(state)).rejects.toThrow(
      /^cannot put the rules of chain DOCKER-USER in force again: .*smtp.*; mend them in the state file, or move it away$/,
    );
  });

  it('knows processes by when they were started', async () => {
    const before = await open();
    await before.attach({ pid: process.pid, name: 'me' });
    const state = stateOf(before);
    for (const startTime of [undefined, 1]) {
      if (startTime !== undefined) state.containers[0]!.startTime = startTime;
      const { deck } = await restore(state);
      expect(deck.containers()).toEqual([]);
    }
  });
});
