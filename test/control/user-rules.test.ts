import { describe, expect, test } from 'vitest';
import { DeckEvents } from '../../src/control/deck-events.ts';
import type { NetworkInfo } from '../../src/control/network.ts';
import { type AddRuleOptions, UserRules } from '../../src/control/user-rules.ts';
import { FakeDataPlane } from './fake-data-plane.ts';

/** A deck's networks `front` and `back` and its uplink `out`, to make and take away. */
function bed() {
  const plane = new FakeDataPlane();
  const events = new DeckEvents();
  const numbers = new Map([
    ['front', 1],
    ['back', 2],
    ['out', 3],
  ]);
  const logged: string[] = [];
  const rules = new UserRules({
    plane,
    events,
    find: (name) => numbers.get(name),
    names: () => [...numbers.keys()],
    log: (_, message) => logged.push(message),
  });
  const happen = (action: 'create' | 'remove', name: string) =>
    events.emit('network', { action, network: { name } as NetworkInfo });
  const told: string[] = [];
  events.on('rules', ({ action, rule }) => told.push(`${action} ${rule.id}`));
  return { plane, numbers, rules, happen, told, logged };
}

const DROP: AddRuleOptions = { action: 'DROP' };

describe("rules of the user's", () => {
  test('are in force in their order, with ids that stay', async () => {
    const { plane, rules, told } = bed();
    await rules.add({ ...DROP, in: 'front', protocol: 'tcp', dport: '80', comment: 'no web' });
    await rules.add({ action: 'ACCEPT', out: '!back' });
    await rules.add({ ...DROP, src: '10.0.0.0/8', position: 1 });
    await rules.add({ ...DROP, src: '10.9.0.0/16', position: 3 });
    expect(plane.userRules).toEqual([
      { id: 3, action: 'DROP', src: { address: 0x0a000000, prefix: 8 } },
      { id: 1, action: 'DROP', in: { network: 1 }, protocol: 6, dports: { from: 80, to: 80 } },
      { id: 4, action: 'DROP', src: { address: 0x0a090000, prefix: 16 } },
      { id: 2, action: 'ACCEPT', out: { network: 2, not: true } },
    ]);
    expect((await rules.remove([1, 3])).map(({ id }) => id)).toEqual([1, 3]);
    expect(plane.userRules.map(({ id }) => id)).toEqual([4, 2]);
    await rules.add(DROP);
    const counters = [{ kind: 'USER', network: -1, publish: -1, rule: 2, packets: 5, bytes: 300 }] as const;
    expect(rules.list(counters)).toMatchObject([
      { id: 4, position: 1, packets: 0, active: true },
      { id: 2, position: 2, packets: 5, bytes: 300 },
      { id: 5, position: 3 },
    ]);
    expect(told).toEqual(['add 1', 'add 2', 'add 3', 'add 4', 'remove 1', 'remove 3', 'add 5']);
  });

  test('are all in force when a network that one of them names comes while another is added or removed', async () => {
    const { plane, numbers, rules, happen } = bed();
    await rules.add({ ...DROP, out: 'back' });
    const come = () => {
      numbers.set('back', 4);
      happen('create', 'back');
    };
    for (const change of [() => rules.add({ ...DROP, dst: '10.0.0.0/8' }), () => rules.remove([2])]) {
      for (let turns = 0; turns < 6; turns++) {
        const changed = change().catch(() => {});
        for (let i = 0; i < turns; i++) await Promise.resolve();
        come();
        await changed;
        await new Promise((resolve) => setImmediate(resolve));
        expect(plane.userRules.map(({ id }) => id)).toEqual(rules.save().map(({ id }) => id));
      }
    }
  });

  test('are added one after the other, also by a hundred at once', async () => {
    const { plane, rules } = bed();
    const added = await Promise.all(Array.from({ length: 100 }, () => rules.add({ ...DROP, position: 1 })));
    expect(added.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(plane.userRules.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, i) => 100 - i));
  });

  test('sleep while a network that they name is not there, and hold for the next one of that name', async () => {
    const { plane, numbers, rules, happen } = bed();
    await rules.add({ ...DROP, in: 'front', out: '!back' });
    await rules.add({ ...DROP, in: 'out' });
    numbers.delete('back');
    happen('remove', 'back');
    expect(rules.list([]).map(({ active }) => active)).toEqual([false, true]);
    // Whatever changes then leaves it out.
    await rules.add({ action: 'RETURN' });
    expect(plane.userRules.map(({ id }) => id)).toEqual([2, 3]);
    numbers.set('back', 9);
    const before = plane.userRules;
    happen('create', 'another');
    happen('create', 'back');
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(before).toHaveLength(2);
    expect(plane.userRules[0]).toEqual({
      id: 1,
      action: 'DROP',
      in: { network: 1 },
      out: { network: 9, not: true },
    });
    expect(rules.list([]).every(({ active }) => active)).toBe(true);
  });

  test('come back after a restart, and new ones get new ids', async () => {
    const first = bed();
    await first.rules.add({ ...DROP, in: 'front' });
    await first.rules.add({ action: 'ACCEPT' });
    await first.rules.remove([1]);
    const second = bed();
    await second.rules.restore(JSON.parse(JSON.stringify(first.rules.save())));
    expect(second.plane.userRules).toEqual([{ id: 2, action: 'ACCEPT' }]);
    expect((await second.rules.add(DROP)).id).toBe(3);
    await bed().rules.restore([]);
  });

  test.each([
    [{ src: '10.0.0.1/8' }, 'subnet "10.0.0.1/8" has host bits set; did you mean 10.0.0.0/8?'],
    [{ dst: '!fd00::1/64' }, 'subnet "fd00::1/64" has host bits set; did you mean fd00::/64?'],
    [{ in: 'fron' }, "there is no network or uplink 'fron'; there are: front, back, out"],
    [{ out: '!__proto__' }, "there is no network or uplink '__proto__'; there are: front, back, out"],
    [{ dport: '80' }, 'port 80 says nothing without a protocol'],
    [{ position: 2 }, 'position 2: from 1 to 1 are possible; see "tapdeck rule ls"'],
    [{ position: 0 }, 'position 0'],
    [{ position: 1.5 }, 'position 1.5'],
    [{ comment: 'two\nlines' }, 'a comment is one line of at most 256 characters'],
    [{ comment: 'x'.repeat(257) }, 'a comment is one line'],
  ] as const)('%j is refused, and nothing changed', async (wrong, message) => {
    const { plane, rules, told } = bed();
    const options: AddRuleOptions = { ...DROP, ...wrong };
    await expect((async () => rules.add(options))()).rejects.toMatchObject({
      name: 'DeckError',
      code: 'invalid',
      message: expect.stringContaining(message),
    });
    expect([plane.userRules, rules.save(), told]).toEqual([[], [], []]);
  });

  test('of which one is not there, none is removed', async () => {
    const { plane, rules } = bed();
    await rules.add(DROP);
    await expect(rules.remove([1, 7])).rejects.toThrow('there is no rule 7; there are: 1');
    expect(plane.userRules).toHaveLength(1);
    await rules.remove([1]);
    await expect(rules.remove([1])).rejects.toThrow('there is no rule 1; there are: none');
  });

  test('are bounded in number', async () => {
    const { plane, rules } = bed();
    const many = Array.from({ length: 1024 }, (_, i) => ({ ...DROP, id: i + 1, createdAt: '' }));
    await rules.restore(many);
    await expect(rules.add(DROP)).rejects.toThrow('there are 1024 rules already; remove some first');
    expect(plane.userRules).toHaveLength(1024);
  });

  test('that the data plane does not take are not there', async () => {
    const { plane, rules, happen, numbers, logged } = bed();
    await rules.add({ ...DROP, in: 'front' });
    plane.failing.set('setUserRules', 'out of order');
    await expect(rules.add(DROP)).rejects.toThrow('out of order');
    expect(rules.save().map(({ id }) => id)).toEqual([1]);
    numbers.set('front', 5);
    happen('create', 'front');
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(logged).toEqual(['cannot put the rules that name network front in force: out of order']);
  });
});
