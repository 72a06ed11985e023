import { defineConfig } from 'vitest/config';

// Two projects: `pure` needs no privileges and imports the TypeScript sources; `whole` drives the built
// program over real namespaces and TAPs, one file at a time so that runs do not contend for the machine.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'pure',
          include: [
            'test/{wire,switch,nat,dataplane,runtime,capture,replay,control,cli,architecture}/**/*.test.ts',
          ],
        },
      },
      {
        test: {
          name: 'whole',
          include: ['test/{device,whole}/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
