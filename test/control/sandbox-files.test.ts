import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { rewriteResolvConf } from '../../src/control/sandbox-files.ts';

it("never writes the host's own resolv.conf, which a sandbox without one sees", () => {
  const read = () => (existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : null);
  const before = read();
  expect(rewriteResolvConf(process.pid, before ?? '')).toBe(false);
  expect(rewriteResolvConf(2 ** 30, before ?? '')).toBe(false);
  expect(read()).toBe(before);
});
