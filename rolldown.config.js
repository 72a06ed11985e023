import { readFileSync } from 'node:fs';

/** Packages stay where npm has put them; koffi brings a native library. */
const external = /^(?!\.{0,2}\/)/;

/**
 * The data-plane thread and its benchmark are one file each. V8 takes what a module imports for something that may change:
 * in one scope, constants are constants and functions are inlined, and a translated frame takes 175 ns where it took 240.
 */
const into = (entry) => ({
  input: `${entry}.ts`,
  platform: 'node',
  external,
  output: { file: `dist/${entry}.js`, format: 'esm', sourcemap: true },
});

/**
 * Packages that the command line takes in, with their licences: hundreds of small modules, or CommonJS that Node would read
 * twice for its exports. `tapdeck ps` takes 92 ms of CPU with them where it took 125, a daemon's start 400 where it took 490.
 */
const TAKEN_IN = {
  '@sinclair/typebox': 'license',
  commander: 'LICENSE',
  'ipaddr.js': 'LICENSE',
};

/** The command line: a chunk for each command, one folder deep like the sources, so that relative URLs lead to the same place. */
const program = {
  input: { main: 'src/main.ts', slirp4netns: 'src/slirp4netns.ts', pasta: 'src/pasta.ts' },
  platform: 'node',
  external: (id) => external.test(id) && !Object.keys(TAKEN_IN).some((name) => id.startsWith(name)),
  output: {
    dir: 'dist/src',
    entryFileNames: '[name].js',
    chunkFileNames: 'program/[name].js',
    format: 'esm',
    sourcemap: true,
    banner: ({ moduleIds }) =>
      Object.entries(TAKEN_IN)
        .filter(([name]) => moduleIds.some((id) => id.includes(`/node_modules/${name}/`)))
        .map(([name, file]) => `/*!\n${name}\n\n${readFileSync(`node_modules/${name}/${file}`, 'utf8')}*/\n`)
        .join(''),
  },
};

/** Programs that container engines start for every call: one file each, which loads nothing besides. */
const CALLED = ['src/cni', 'src/oci-hook', 'src/netavark'];

export default [
  into('src/runtime/worker'),
  into('src/runtime/capture-worker'),
  into('bench/micro/main'),
  ...CALLED.map(into),
  program,
];
