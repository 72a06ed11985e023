import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ociHookConfiguration } from '../../src/integrations/oci/files.ts';
import { answerHook } from '../../src/integrations/oci/hook.ts';
import { Bed, GONE } from './bed.ts';

// The hook of OCI runtimes, with the states that runc and crun give it.

let bed: Bed;

beforeEach(async () => {
  bed = await Bed.make();
});
afterEach(async () => {
  GONE.clear();
  await bed.close();
});

const FRONT = { 'tapdeck.network': 'front' };

function state(annotations: object = FRONT, more: object = {}) {
  return {
    ociVersion: '1.0.2-dev',
    id: 'web1',
    status: 'creating',
    pid: 7,
    bundle: '/b',
    annotations,
    ...more,
  };
}

/** The same container after its end, as runc tells of it. */
const STOPPED = { status: 'stopped', pid: undefined };

async function call(said: object | string, ...args: string[]) {
  const input = async () => (typeof said === 'string' ? said : JSON.stringify(said));
  return answerHook({ args, input, reach: bed.reach });
}

describe('createRuntime', () => {
  it('connects the process to the network of its annotation, and poststop takes it away', async () => {
    expect(await call(state())).toEqual({ code: 0 });
    expect(bed.containers).toEqual(['web1 front/eth0=10.1.0.2']);
    expect(await call(state(FRONT, STOPPED))).toEqual({ code: 0 });
    expect(bed.containers).toEqual([]);
  });

  it('takes the stage from its arguments, too, and the daemon', async () => {
    expect(
      (await call(state(FRONT, { status: 'created' }), 'createRuntime', '--host', 'unix:///x')).code,
    ).toBe(0);
    expect(
      (await call(state(FRONT, { status: 'created', pid: 0 }), '--host', 'unix:///x', 'poststop')).code,
    ).toBe(0);
    expect(bed.containers).toEqual([]);
    expect(bed.asked).toEqual(['unix:///x', 'unix:///x']);
  });

  it('does what the annotations say, of addresses for the first network', async () => {
    const annotations = {
      'tapdeck.network': 'front, back',
      'tapdeck.name': 'web',
      'tapdeck.ip': '10.1.0.7',
      'tapdeck.mac': '02:00:00:00:00:07',
      'tapdeck.ifname': 'net0',
      'tapdeck.aliases': 'zwei drei',
      'tapdeck.publish': '8080:80,53:53/udp',
      'io.container.manager': 'libpod',
    };
    expect(await call(state(annotations))).toEqual({ code: 0 });
    expect(bed.containers).toEqual(['web front/net0=10.1.0.7 back/eth0=10.2.0.2 53:53 8080:80']);
    expect(bed.deck.endpoints().map(({ aliases }) => aliases)).toEqual([
      ['zwei', 'drei'],
      ['zwei', 'drei'],
    ]);
    // By poststop annotations may be others.
    expect(await call(state({}, STOPPED))).toEqual({ code: 0 });
    expect(bed.containers).toEqual([]);
  });

  it("shortens an engine's id", async () => {
    await call(state(FRONT, { id: 'ab'.repeat(32) }));
    expect(bed.containers).toEqual(['abababababab front/eth0=10.1.0.2']);
    await call(state(FRONT, { id: 'ab'.repeat(32), ...STOPPED }));
  });

  it('has nothing to do with containers without the annotation, also where no daemon runs', async () => {
    bed.absent = true;
    expect(await call(state({}))).toEqual({ code: 0 });
    expect(await call(state({}, { annotations: undefined }))).toEqual({ code: 0 });
  });
});

describe('poststop', () => {
  it('is done when there is nothing, and when it is done again', async () => {
    await call(state());
    for (let again = 0; again < 3; again++) expect(await call(state(FRONT, STOPPED))).toEqual({ code: 0 });
  });

  it('takes nothing away that another container has', async () => {
    await call(state());
    expect((await call(state(FRONT, { id: 'web2', ...STOPPED }))).code).toBe(0);
    expect(bed.containers).toHaveLength(1);
    await call(state(FRONT, STOPPED));
  });
});

describe('a call that cannot be', () => {
  it.each<[string, object | string, string[], RegExp]>([
    ['no JSON', '{"id":', [], /the container's state is not JSON/],
    ['nothing', '', [], /the container's state is not JSON/],
    ['no id', { status: 'creating', pid: 7 }, [], /the container's state has no id/],
    ['no process', state(FRONT, { pid: undefined }), [], /has no process; it is gone/],
    ['a process that is none', state(FRONT, { pid: 'seven' }), [], /pid is .* whole number/],
    ['a process that has gone', state(FRONT, { pid: 404 }), [], /there is no network namespace/],
    [
      'an unknown annotation',
      state({ 'tapdeck.netwrk': 'front' }),
      [],
      /"tapdeck.netwrk" is unknown; there are/,
    ],
    ['an annotation that is no text', state({ 'tapdeck.network': 7 }), [], /tapdeck.network is "7"/],
    [
      'a network that is not there',
      state({ 'tapdeck.network': 'nowhere' }),
      [],
      /there is no network "nowhere"/,
    ],
    [
      'a second one that is not there',
      state({ 'tapdeck.network': 'front nowhere' }),
      [],
      /no network "nowhere"/,
    ],
    ['one network twice', state({ 'tapdeck.network': 'front front' }), [], /already/],
    ['a bad address', state({ ...FRONT, 'tapdeck.ip': '10.9.0.1' }), [], /10\.9\.0\.1/],
    ['a bad port', state({ ...FRONT, 'tapdeck.publish': 'x' }), [], /publish "x"/],
    [
      'ports that lead nowhere',
      state({ 'tapdeck.network': 'back', 'tapdeck.publish': '80' }),
      [],
      /cannot be published/,
    ],
    [
      'an unknown argument',
      state(),
      ['poststart'],
      /"poststart" is unknown; there are createRuntime, poststop/,
    ],
    ['a host that is missing', state(), ['--host'], /"--host" is unknown/],
  ])('%s: says so and leaves nothing', async (_, said, args, message) => {
    GONE.add('pid 404');
    const before = bed.count;
    const { code, err } = await call(said, ...args);
    expect(code).toBe(1);
    expect(err).toMatch(/^tapdeck: [^\n]+\n$/);
    expect(err).toMatch(message);
    expect(bed.count).toEqual(before);
  });

  it('ends the creation of a container when no daemon runs', async () => {
    bed.absent = true;
    const { code, err } = await call(state());
    expect([code, err]).toEqual([1, expect.stringContaining('no daemon is running')]);
  });

  it.each(['addTap', 'publish'])('leaves nothing when %s fails', async (method) => {
    const before = bed.count;
    bed.plane.failing.set(method, 'no');
    expect((await call(state({ 'tapdeck.network': 'back front', 'tapdeck.publish': '80:80' }))).code).toBe(1);
    await expect.poll(() => bed.count).toEqual(before);
  });
});

describe('the file for hooks.d', () => {
  it('says when the hook is to be started', () => {
    const { version, hook, when, stages } = JSON.parse(ociHookConfiguration('/usr/lib/hook', 'unix:///x'));
    expect([version, stages]).toEqual(['1.0.0', ['createRuntime', 'poststop']]);
    expect(hook).toEqual({
      path: '/usr/lib/hook',
      args: ['tapdeck-oci-hook', '--host', 'unix:///x'],
      timeout: 30,
    });
    const [[key = '', value = ''] = []] = Object.entries<string>(when.annotations);
    expect(new RegExp(key).test('tapdeck.network') && new RegExp(value).test('front')).toBe(true);
    expect(new RegExp(key).test('tapdeckXnetwork')).toBe(false);
  });
});
