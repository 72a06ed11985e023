import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The built program, as a user calls it. Replay needs no privileges.

const MAIN = 'dist/src/main.js';
const CAPTURE = 'fixtures/captures/traceroute-a.pcap';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-replay-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function replay(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'replay', ...args], {
    encoding: 'utf8',
  });
  return { code: status, out: stdout, err: stderr };
}

describe('tapdeck replay', () => {
  it('shows what became of a capture', () => {
    const { code, out, err } = replay(CAPTURE);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(
      /^fixtures\/captures\/traceroute-a.pcap: 16 frames, .* 2 ports, one for each source MAC; seed 0$/m,
    );
    expect(out).toMatch(/^ +\d+ +forwarded to one port$/m);
    expect(out).toMatch(
      /^received 16 \+ originated \d+ \+ copies \d+ = sent \d+ \+ consumed \d+ \+ held 0 \+ dropped \d+$/m,
    );
    expect(out).toMatch(/^sha256 [0-9a-f]{64}$/m);
    expect(replay(CAPTURE).out).toBe(out);
  });

  it('says of every frame what was decided', () => {
    const { code, out } = replay('--verbose', CAPTURE);
    expect(code).toBe(0);
    expect(out.match(/→ /g)).toHaveLength(16);
    expect(out).toContain('ARP, request who-has 10.77.1.1 tell 10.77.1.10  → flooded');
  });

  it('prints data for programs', () => {
    const { code, out } = replay('--format', 'json', CAPTURE, 'fixtures/scenarios/ageing');
    expect(code).toBe(0);
    const [capture, scenario] = JSON.parse(out);
    expect(capture).toMatchObject({ kind: 'capture', frames: 16, verdicts: { held: 0 }, exceptions: 0 });
    expect(scenario).toMatchObject({ kind: 'scenario', ok: true, difference: null });
  });

  it('writes what was sent', () => {
    const file = join(folder, 'out.pcapng');
    expect(replay('-w', file, CAPTURE).code).toBe(0);
    expect(readFileSync(file).readUInt32BE(0)).toBe(0x0a0d0d0a);
  });

  it('runs all scenarios of a folder', () => {
    const { code, out, err } = replay('fixtures/scenarios');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^(\d+) of \1 scenarios as expected$/m);
  });

  it('says the first difference, exits 1, and writes the expectation when asked', () => {
    const copy = join(folder, 'ageing');
    cpSync('fixtures/scenarios/ageing', copy, { recursive: true });
    const file = join(copy, 'scenario.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace('ageing: 10s', 'ageing: 20s'));
    const { code, out, err } = replay(copy);
    expect([code, err]).toEqual([1, '']);
    expect(out).toMatch(/^FAILED .*ageing\n {2}port c, frame 2 is missing: expected at 10.000 s/m);
    expect(replay('--update', copy)).toMatchObject({ code: 0, err: '' });
    expect(replay(copy)).toMatchObject({ code: 0, err: '' });
  });

  it.each([
    [['x'.repeat(300)], 1, /^tapdeck: error: x+: cannot be read: name too long; check the path/],
    [['fixtures/no-such'], 2, /^tapdeck: error: fixtures\/no-such: there is no such file or folder; give/],
    [[], 2, /^tapdeck: error: missing required argument/],
    [['docs'], 2, /^tapdeck: error: docs: no scenario.yaml in it or below/],
    [['LICENSE'], 1, /^tapdeck: error: LICENSE/],
    [['--seed', 'x', CAPTURE], 2, /^tapdeck: error: --seed must be a whole number/],
    [['--seed', '1', 'fixtures/scenarios/ageing'], 2, /^tapdeck: error: --seed is for captures/],
    [['--update', CAPTURE], 2, /^tapdeck: error: --update is for scenarios/],
    [['-w', 'x', CAPTURE, CAPTURE], 2, /^tapdeck: error: -w takes what one replay sends/],
    [['-w', 'x', 'fixtures/scenarios'], 2, /^tapdeck: error: -w takes what one replay sends/],
    [['-w', '/no/such/x', CAPTURE], 1, /^tapdeck: error: \/no\/such\/x: cannot be written/],
    [['--format', 'xml', CAPTURE], 2, /^tapdeck: error: /],
    [
      ['--and-with', 'LICENSE', CAPTURE],
      2,
      /^tapdeck: error: --and-with compares with the policy of --with-policy/,
    ],
    [['--with-policy', 'no-such', CAPTURE], 2, /^tapdeck: error: no-such: there is no such policy; give/],
    [
      ['--with-policy', 'no-such', '--and-with', 'no-such', CAPTURE],
      2,
      /^tapdeck: error: no-such: there is no/,
    ],
    [
      ['--with-policy', 'package.json', CAPTURE],
      1,
      /^tapdeck: error: package.json:2:3: unknown key 'version'|^tapdeck: error: package.json:/,
    ],
    [
      ['--with-policy', 'x', 'fixtures/scenarios/ageing'],
      2,
      /^tapdeck: error: --with-policy is for captures/,
    ],
    [['--shrink', 'drops', CAPTURE], 2, /^tapdeck: error: condition 'drops': the end: expected = != </],
    [
      ['--shrink', 'drop reason = DNS_BUSY', CAPTURE],
      2,
      /^tapdeck: error: .*: nothing in it shows 'drop reason = DNS_BUSY'$/m,
    ],
    [
      ['--shrink', 'drops > 0', 'fixtures/scenarios/ageing'],
      2,
      /^tapdeck: error: .* is a scenario, which has a policy of its own/,
    ],
    [['--into', 'x', CAPTURE], 2, /^tapdeck: error: --into is where --shrink writes; give both$/m],
  ])('%j is refused in one line', (args, expected, words) => {
    const { code, out, err } = replay(...args);
    expect(err).toMatch(words);
    expect([code, out, err.split('\n').length]).toEqual([expected, '', 2]);
  });

  it('what is wrong with one does not keep the others from being replayed', () => {
    const { code, out, err } = replay('fixtures/no-such', 'fixtures/scenarios/ageing');
    expect(code).toBe(2);
    expect(out).toContain('ok      fixtures/scenarios/ageing');
    expect(err.split('\n')).toHaveLength(2);
  });

  it('uses what is whole of a damaged capture, and says so', () => {
    const file = join(folder, 'cut.pcap');
    const whole = readFileSync(CAPTURE);
    writeFileSync(file, whole.subarray(0, whole.length - 10));
    const { code, out, err } = replay(file);
    expect(code).toBe(0);
    expect(out).toContain('15 frames');
    expect(err).toMatch(/^tapdeck: warning: .*cut.pcap: byte \d+: [^\n]*\n$/);
  });

  it('says whose fate another policy changes, by lines and by its exit code', () => {
    const now = join(folder, 'now.yaml');
    const next = join(folder, 'next.yaml');
    const policy = (rules: string) => `networks:
  front: { ipam: { config: [ { subnet: 10.77.1.0/24 } ] } }
  back: { ipam: { config: [ { subnet: 10.77.2.0/24 } ] } }
x-tapdeck: { rules: [ ${rules} ] }
`;
    writeFileSync(now, policy('{ action: ACCEPT }'));
    writeFileSync(next, policy('{ protocol: udp, action: DROP }, { action: ACCEPT }'));
    const both = (...more: string[]) => replay(CAPTURE, '--with-policy', now, '--and-with', ...more);
    expect(both(now)).toMatchObject({ code: 0, err: '' });
    expect(both(now).out).toMatch(/\nno packet's fate changes\n$/);
    const { code, out, err } = both(next);
    expect([code, err]).toEqual([1, '']);
    expect(out).toContain('→ dropped: USER_DROP (A rule in DOCKER-USER drops it.)');
    const { changes, summary } = JSON.parse(both(next, '--format', 'json').out);
    expect(changes).toHaveLength(summary.changed);
    expect(changes[0].after).toMatchObject({ verdict: 'dropped', reason: 'USER_DROP', to: [] });
  });

  it('makes a scenario of the smallest part that shows something', () => {
    const into = join(folder, 'small');
    const now = join(folder, 'now.yaml');
    const { code, out, err } = replay(
      CAPTURE,
      '--shrink',
      'drop reason = IP_TTL_EXCEEDED',
      '--with-policy',
      now,
      '--into',
      into,
    );
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/small: 1 packet and \d+ bytes, after \d+ replays\n {2}\S+-in.pcap\n/);
    expect(replay(into)).toMatchObject({ code: 0, err: '' });
    expect(
      replay(CAPTURE, '--shrink', 'drop reason = IP_TTL_EXCEEDED', '--with-policy', now, '--into', into).err,
    ).toMatch(/the folder is not empty/);
  });

  it('ends when nobody reads any more', async () => {
    const child = spawn(
      process.execPath,
      [MAIN, 'replay', '--verbose', ...new Array(50).fill('fixtures/captures/tcp-a.pcap')],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let err = '';
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = await once(child, 'exit');
    expect([code, err]).toEqual([0, '']);
  });
});
