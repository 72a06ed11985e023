/**
 * The data-plane thread and its benchmark are one file each. V8 takes what a module imports for something that may change:
 * in one scope, constants are constants and functions are inlined, and a translated frame takes 175 ns where it took 240.
 */
const into = (entry) => ({
  input: `${entry}.ts`,
  platform: 'node',
  // Packages stay where npm has put them; koffi brings a native library.
  external: /^(?!\.{0,2}\/)/,
  output: { file: `dist/${entry}.js`, format: 'esm', sourcemap: true },
});

export default [into('src/runtime/worker'), into('bench/micro/main')];
