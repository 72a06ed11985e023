import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The package as others get it: made by `npm pack` out of a clean copy of the sources, installed into an empty folder on a
// machine without a compiler. What it depends on comes from npm's cache, or from the registry.

const root = resolve(import.meta.dirname, '../..');
/** What builds native packages, and what node-gyp asks. */
const COMPILER = /gcc|g\+\+|clang|python|^(cc|c89|c99|c\+\+|cpp|make|gmake|cmake|ld|as|tcc)\b|-(ld|as|cpp)$/;
const INSTALL = 300_000;

let folder: string;
let installed: string;
let packed: { filename: string; size: number; unpackedSize: number; files: { path: string }[] };
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  const source = join(folder, 'source');
  const aside = new Set(['node_modules', 'dist', 'man', 'coverage', '.git'].map((name) => join(root, name)));
  cpSync(root, source, { recursive: true, filter: (path) => !aside.has(path) });
  symlinkSync(join(root, 'node_modules'), join(source, 'node_modules'));
  [packed] = JSON.parse(run(process.env, source, 'npm', 'pack', '--json', '--pack-destination', folder));

  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const from of ['/usr/sbin', '/usr/bin', '/sbin', '/bin', dirname(process.execPath)]) {
    for (const name of existsSync(from) ? readdirSync(from) : []) {
      if (!COMPILER.test(name) && !existsSync(join(bin, name))) {
        rmSync(join(bin, name), { force: true });
        symlinkSync(join(from, name), join(bin, name));
      }
    }
  }
  env = { ...process.env, PATH: bin, NO_COLOR: '1' };
  installed = join(folder, 'installed');
  mkdirSync(installed);
  writeFileSync(join(installed, 'package.json'), '{"private":true,"type":"module"}');
  run(
    env,
    installed,
    'npm',
    'install',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    // What it depends on is to want no later Node than it does itself; light-my-request after 6.6.0 would.
    '--engine-strict',
    join(folder, packed.filename),
  );
}, INSTALL);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(environment: NodeJS.ProcessEnv, cwd: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, env: environment, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stdout}${stderr}`);
  return stdout;
}
const tapdeck = (...args: string[]) => run(env, installed, 'npx', '--no-install', 'tapdeck', ...args);
const ours = () => join(installed, 'node_modules/tapdeck');

describe('the package', () => {
  it('has what is used, and nothing else', () => {
    const paths = packed.files.map(({ path }) => path);
    for (const path of ['LICENSE', 'README.md', 'man/tapdeck.1', 'docs/install.md', 'dist/src/main.js']) {
      expect(paths).toContain(path);
    }
    expect(
      paths.filter((path) => /\.map$|^dist\/(bench|test|fixtures)|\.test\.|(?<!\.d)\.ts$/.test(path)),
    ).toEqual([]);
    expect(packed.size).toBeLessThan(3_000_000);
    expect(packed.unpackedSize).toBeLessThan(12_000_000);
  });

  it('is installed where there is no compiler', () => {
    for (const name of ['gcc', 'cc', 'make', 'python3']) {
      expect(spawnSync('sh', ['-c', `command -v ${name}`], { env }).status).not.toBe(0);
    }
    const native = readdirSync(join(installed, 'node_modules'), { recursive: true, encoding: 'utf8' });
    expect(native.filter((path) => path.endsWith('binding.gyp'))).toEqual([]);
    expect(tapdeck('--version')).toBe(
      `${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version}\n`,
    );
  });

  it('goes on the tour', () => {
    const out = tapdeck('demo');
    expect(out).toContain('0% packet loss');
    expect(out).toMatch(/^ok\s+.*fixtures\/scenarios\/kernel-traceroute$/m);
  });

  it('has all its programs, and its manual pages where man looks', () => {
    const { bin } = JSON.parse(readFileSync(join(ours(), 'package.json'), 'utf8'));
    expect(
      readdirSync(join(installed, 'node_modules/.bin'))
        .filter((name) => name.startsWith('tapdeck'))
        .sort(),
    ).toEqual(Object.keys(bin).sort());
    for (const path of Object.values<string>(bin)) {
      expect(readFileSync(join(ours(), path), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    }
    const prefix = join(folder, 'global');
    run(
      env,
      folder,
      'npm',
      'install',
      '-g',
      '--prefix',
      prefix,
      '--prefer-offline',
      '--no-audit',
      join(folder, packed.filename),
    );
    expect(existsSync(join(prefix, 'share/man/man1/tapdeck.1'))).toBe(true);
    const pages = { ...env, MANPATH: join(prefix, 'share/man'), MANPAGER: 'cat' };
    expect(run(pages, folder, 'man', 'tapdeck')).toContain('tapdeck [options] [command]');
  });

  it('finds itself and all well, and says so in the shell', () => {
    expect(
      JSON.parse(run(env, installed, 'npx', '--no-install', 'tapdeck', 'doctor', '--format', 'json')),
    ).toEqual(expect.arrayContaining([expect.objectContaining({ check: 'koffi', level: 'ok' })]));
    expect(tapdeck('completion', 'bash')).toContain('complete -F _tapdeck tapdeck');
    const image = join(folder, 'image');
    mkdirSync(image);
    tapdeck('install', '--root', image, 'cni');
    const launcher = readFileSync(join(image, 'opt/cni/bin/tapdeck'), 'utf8');
    const version = run(
      { ...env, CNI_COMMAND: 'VERSION' },
      installed,
      'sh',
      '-c',
      `echo '{"cniVersion":"1.0.0"}' | sh ${join(image, 'opt/cni/bin/tapdeck')}`,
    );
    expect(launcher).toContain(ours());
    expect(JSON.parse(version).supportedVersions).toContain('1.0.0');
  });
});

describe('the library', () => {
  /** The examples of a document that begin with an import: programs. */
  const examples = (document: string, language: string) =>
    Array.from(
      readFileSync(join(root, document), 'utf8').matchAll(
        new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'),
      ),
      ([, text]) => text!,
    ).filter((text) => /^import /m.test(text));

  it('runs the example of the README', () => {
    const [example] = examples('README.md', 'js');
    writeFileSync(join(installed, 'example.js'), example!);
    expect(run(env, installed, 'node', 'example.js')).toContain('1 received, 0% packet loss');
  });

  it('has types for everything that it exports, by themselves and without leave of anything', () => {
    const { exports } = JSON.parse(readFileSync(join(ours(), 'package.json'), 'utf8'));
    for (const { types, default: code } of Object.values<{ types: string; default: string }>(exports)) {
      expect([existsSync(join(ours(), types)), existsSync(join(ours(), code))]).toEqual([true, true]);
    }
    for (const name of ['vitest', '@types/node', 'typescript', 'undici-types']) link(name);
    const names = Object.keys(exports).map((name) => name.replace('.', 'tapdeck'));
    writeFileSync(
      join(installed, 'types.ts'),
      `${names.map((name, i) => `import * as all${i} from '${name}';\nexport const is${i}: 'any' extends keyof typeof all${i} ? never : object = all${i};`).join('\n')}
import { Deck, type Endpoint } from 'tapdeck';
import { memoryDeck } from 'tapdeck/testing';
export async function one(deck: Deck): Promise<string | null> {
  const endpoint: Endpoint = await deck.attach({ pid: 1, name: 'a' });
  return endpoint.ipv4;
}
// @ts-expect-error: a pid is a number
export const wrong = (deck: Deck) => deck.attach({ pid: 'a' });
export const verdict: string = memoryDeck({ networks: {}, ports: {} }).send('a', new Uint8Array(60));
`,
    );
    const options = {
      strict: true,
      module: 'nodenext',
      target: 'es2023',
      noEmit: true,
      types: ['node'],
      skipLibCheck: false,
    };
    writeFileSync(
      join(installed, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, files: ['types.ts'] }),
    );
    const { stdout } = spawnSync('node', [join(root, 'node_modules/typescript/bin/tsc'), '-p', installed], {
      env,
      encoding: 'utf8',
    });
    // What its dependencies' types have wrong is theirs.
    expect(stdout.split('\n').filter((line) => /^(types\.ts|node_modules\/tapdeck\/)/.test(line))).toEqual(
      [],
    );
  });

  it('runs the tests of docs/replay-tests.md', () => {
    link('vitest');
    const tests = examples('docs/replay-tests.md', 'ts').filter((text) => /^\/\/ \S+\.test\.ts$/m.test(text));
    expect(tests.length).toBeGreaterThan(0);
    for (const text of tests) writeFileSync(join(installed, /^\/\/ (\S+)$/m.exec(text)![1]!), text);
    const out = run(
      { ...env, CI: '1' },
      installed,
      'node',
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      'first.test.ts',
    );
    expect(out).toContain('1 passed');
  });

  /** As if it had been installed beside. */
  function link(name: string): void {
    const target = join(installed, 'node_modules', name);
    mkdirSync(dirname(target), { recursive: true });
    if (!existsSync(target) && existsSync(join(root, 'node_modules', name)))
      symlinkSync(join(root, 'node_modules', name), target);
  }
});
