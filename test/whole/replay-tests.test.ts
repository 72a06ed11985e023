import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

// docs/replay-tests.md as its reader does it: a project of its own, with the files as they stand there.

const guide = readFileSync('docs/replay-tests.md', 'utf8');
const blocks = [...guide.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(([, name, text]) => ({
  name: name!,
  text: text!,
}));

let project: string;
beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'tapdeck-guide-'));
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(resolve('.'), join(project, 'node_modules/tapdeck'));
  symlinkSync(resolve('node_modules/vitest'), join(project, 'node_modules/vitest'));
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  for (const { name, text } of blocks) writeFileSync(join(project, name), text);
});
afterAll(() => rmSync(project, { recursive: true }));

function vitest(env: Record<string, string>, ...files: string[]): { status: number | null; said: string } {
  const program = resolve('node_modules/vitest/vitest.mjs');
  // This run's own variables would tell the other that it is a worker of this.
  const clean = Object.entries(process.env).filter(
    ([key]) => !/^(VITEST|TAPDECK_|TEST$|NODE_ENV$)/.test(key),
  );
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, 'run', '--maxWorkers=1', ...files],
    {
      cwd: project,
      encoding: 'utf8',
      env: { ...Object.fromEntries(clean), NO_COLOR: '1', ...env },
      timeout: 120_000,
    },
  );
  return { status, said: stripVTControlCharacters(stdout + stderr) };
}

test('every code block of the guide is a test that runs', () => {
  expect(blocks.map(({ name }) => name)).toEqual([
    'first.test.ts',
    'wrong.test.ts',
    'frames.test.ts',
    'time.test.ts',
    'capture.test.ts',
  ]);
  expect(guide.match(/```ts\n/g)).toHaveLength(blocks.length);

  const before = vitest({});
  // All but the one that is wrong, and the one whose capture is not there yet.
  expect(before.said).toMatch(/Test Files +2 failed \| 3 passed/);
  expect(before.said).toContain('there is no b-out.pcap; run the test with TAPDECK_UPDATE=1');
  const message = guide.match(/```text\n([\s\S]+?)```/)![1]!.trim();
  expect(before.said).toContain(message);

  expect(vitest({ TAPDECK_UPDATE: '1' }, 'capture').said).toMatch(/Tests +1 passed/);
  const wrong = blocks.find(({ name }) => name === 'wrong.test.ts')!.text;
  const right = wrong.replace("toForwardTo('db', out)", "toForwardTo('db', out.with({ ip: { ttl: 63 } }))");
  writeFileSync(join(project, 'wrong.test.ts'), right);
  expect(vitest({})).toMatchObject({ status: 0, said: expect.stringMatching(/Test Files +5 passed/) });
  // Three times, each time with a start of its own.
}, 300_000);
