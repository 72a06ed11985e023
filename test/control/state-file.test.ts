import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseState } from '../../src/control/parse-state.ts';
import { formatState, newState, type SavedState } from '../../src/control/saved-state.ts';
import { StateFile } from '../../src/control/state-file.ts';

const text = fc.string({ minLength: 1, maxLength: 20 });
const id = fc.stringMatching(/^[0-9a-f]{64}$/);
const saved: fc.Arbitrary<SavedState> = fc
  .record({
    networks: fc.array(
      fc.record({ id, createdAt: text, options: fc.record({ name: text, mtu: fc.nat(), subnet: text }) }),
    ),
    containers: fc.array(
      fc.record({
        id,
        name: text,
        createdAt: text,
        pid: fc.integer({ min: 1 }),
        namespace: text,
        labels: fc.dictionary(text, fc.string()),
        endpoints: fc.array(fc.record({ id, network: text, ip: text, allowSpoof: fc.boolean() })),
        publish: fc.array(text),
        startTime: fc.nat(),
      }),
    ),
    rules: fc.array(
      fc.record({ id: fc.nat(), createdAt: text, action: fc.constant('DROP' as const), comment: text }),
    ),
    sandboxes: fc.array(
      fc.record({
        id,
        container: id,
        name: text,
        netns: text,
        pid: fc.integer({ min: 1 }),
        startTime: fc.nat(),
      }),
    ),
  })
  .map((parts) => newState('a boot', parts));

/** One of each, as it is written. */
const FULL = JSON.stringify(
  newState('b', {
    networks: [
      {
        id: 'n',
        createdAt: 'then',
        options: { name: 'lab', subnet: '10.1.0.0/24', internal: true, labels: { a: 'b' } },
      },
    ],
    containers: [
      {
        id: 'c',
        name: 'c',
        createdAt: 'then',
        netns: '/run/netns/c',
        namespace: '1:2',
        labels: {},
        endpoints: [
          { id: 'e', network: 'lab', ip: '10.1.0.2', ip6: 'fd00::2', aliases: ['www'], allowSpoof: false },
        ],
        publish: [],
      },
    ],
    rules: [],
    sandboxes: [],
  }),
);

describe('what is in a state file', () => {
  it('is what was written', () => {
    fc.assert(
      fc.property(saved, (state) => {
        expect(parseState(formatState(state))).toEqual({ state });
      }),
    );
  });

  it('is known to be damaged wherever it was cut off', () => {
    fc.assert(
      fc.property(saved, fc.nat(), (state, cut) => {
        // Without the end of its line it is whole.
        const whole = formatState(state).trimEnd();
        expect(parseState(whole.slice(0, cut % whole.length))).toEqual({ damage: expect.any(String) });
      }),
    );
  });

  it('is known to be damaged when a part of it is missing or of another kind', () => {
    fc.assert(
      fc.property(
        saved,
        fc.constantFrom('version', 'boot', 'networks', 'containers', 'rules', 'sandboxes'),
        fc.constantFrom(undefined, null, 0, 'x', [0], {}),
        (state, field, value) => {
          fc.pre(!(field === 'boot' && value === 'x'));
          const other = JSON.stringify({ ...state, [field]: value });
          expect(parseState(other)).toEqual({ damage: expect.any(String) });
        },
      ),
    );
  });

  it.each([
    ['', 'it is empty'],
    ['\n', 'it is empty'],
    ['[]', 'it is not what it should be'],
    ['null', 'it is not what it should be'],
    [
      '{"version":1,"writer":"","boot":"b","networks":[{}],"containers":[],"rules":[],"sandboxes":[]}',
      '/networks/0/id',
    ],
  ])('%j is damaged: %s', (content, why) => {
    expect(parseState(content)).toEqual({ damage: expect.stringContaining(why) });
  });

  it.each([
    ['networks/0/options/internal', 0],
    ['networks/0/options/internal', 'false'],
    ['networks/0/options/subnet', null],
    ['networks/0/options/labels', { a: 1 }],
    ['containers/0/endpoints/0/ip6', 6],
    ['containers/0/endpoints/0/allowSpoof', 'false'],
    ['containers/0/endpoints/0/aliases', 'www'],
  ])('is known to be damaged when %s is %j', (path, value) => {
    const keys = path.split('/');
    const content = JSON.parse(FULL);
    const place = keys.slice(0, -1).reduce((at, key) => at[key], content);
    expect(parseState(JSON.stringify(content))).toEqual({ state: content });
    place[keys.at(-1)!] = value;
    expect(parseState(JSON.stringify(content))).toEqual({ damage: expect.stringContaining(`/${path}`) });
  });

  it('is left alone when it is newer, whatever else it is', () => {
    expect(parseState('{"version":2,"writer":"9.9.9"}')).toEqual({ newer: 2, writer: '9.9.9' });
    expect(parseState('{"version":2}')).toEqual({ newer: 2, writer: null });
  });
});

describe('a state file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is there as a whole or not at all, with the folder that it needs', async () => {
    const file = new StateFile(join(folder, 'deep/er/state.json'));
    expect(await file.read()).toBeNull();
    const state = newState('b', { networks: [], containers: [], rules: [], sandboxes: [] });
    await file.write(state);
    expect(readdirSync(join(folder, 'deep/er'))).toEqual(['state.json']);
    expect(await file.read()).toEqual(state);
    file.remove();
    expect(await file.read()).toBeNull();
  });

  it('that is damaged never takes the place of an earlier one', async () => {
    const path = join(folder, 'state.json');
    for (const content of ['first', 'second']) {
      writeFileSync(path, content);
      const file = new StateFile(path);
      expect(await file.read()).toBeNull();
      expect(file.damage).toContain('is damaged');
    }
    expect(readFileSync(`${path}.damaged-1`, 'utf8')).toBe('first');
    expect(readFileSync(`${path}.damaged-2`, 'utf8')).toBe('second');
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it('that cannot be read is an error, and no empty state', async () => {
    await expect(new StateFile(folder).read()).rejects.toThrow(/^cannot read the state file .*: EISDIR; /);
  });
});
