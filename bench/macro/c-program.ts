import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import type { Scope } from './scope.ts';

/** Paths of the compiled programs of bench/c. */
export interface CPrograms {
  forwarder: string;
  udpBlast: string;
  tcpRr: string;
  tcpCrr: string;
  httpServer: string;
  firstByte: string;
  dnsRate: string;
}

/** The top folder of the checkout, from the compiled bench in dist/bench/macro. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/**
 * Compiles bench/c into a temporary folder, which goes when `scope` closes.
 * @throws CommandError when gcc is missing or complains
 */
export async function compile(scope: Scope): Promise<CPrograms> {
  const folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-'));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const build = async (name: string): Promise<string> => {
    const binary = join(folder, name);
    await run(['gcc', '-O2', '-Wall', '-Wextra', '-o', binary, join(ROOT, 'bench', 'c', `${name}.c`)]);
    return binary;
  };
  const [forwarder, udpBlast, tcpRr, tcpCrr, httpServer, firstByte, dnsRate] = await Promise.all([
    build('forwarder'),
    build('udp-blast'),
    build('tcp-rr'),
    build('tcp-crr'),
    build('http-server'),
    build('first-byte'),
    build('dns-rate'),
  ]);
  return { forwarder, udpBlast, tcpRr, tcpCrr, httpServer, firstByte, dnsRate };
}
