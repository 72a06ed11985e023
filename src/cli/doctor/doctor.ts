import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { RuntimePaths } from '../../control/paths.ts';
import { count } from '../../trace/count.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print, style } from '../output.ts';
import { checkDaemon, checkFolders } from './decks.ts';
import { type Finding, type Host, LEVELS, type Level, ok } from './finding.ts';
import { checkDescriptors, checkIpv6, checkLowPorts, checkPing, checkTun } from './kernel.ts';
import { checkNamespaces, checkPrograms, checkUidmap } from './namespaces.ts';
import type { NamedSubnet } from './native.ts';

/** Looks whether tapdeck can work here; exit code 1 when something does not. */
export async function doctor(paths: RuntimePaths, format: Format): Promise<number> {
  const findings = await examine(paths, thisHost());
  print(format, findings, () => text(findings));
  return findings.some(({ level }) => level === 'problem') ? EXIT_FAILED : EXIT_DONE;
}

export function thisHost(): Host {
  return {
    root: process.getuid!() === 0,
    gid: process.getegid!(),
    groups: process.getgroups!(),
    env: process.env,
    read(path) {
      try {
        return readFileSync(path, 'utf8').trim();
      } catch {
        return undefined;
      }
    },
  };
}

/** All findings, in the order in which things are needed. */
export async function examine(paths: RuntimePaths, host: Host): Promise<Finding[]> {
  const { findings: decks, networks } = await checkDaemon(paths);
  const subnets =
    networks?.flatMap(({ name, ipv4, ipv6 }) =>
      [ipv4, ipv6].flatMap((pool) => (pool === null ? [] : { name, subnet: pool.subnet })),
    ) ?? null;
  return [
    ok('node', `Node ${process.versions.node}, ${process.arch}, Linux ${release()}`),
    checkTun(host),
    ...checkPrograms(host),
    ...checkNamespaces(host),
    ...(await checkNative(subnets)),
    checkDescriptors(host),
    checkPing(host),
    checkLowPorts(host),
    checkIpv6(host),
    ...checkUidmap(host),
    checkFolders(paths, host),
    ...decks,
  ];
}

/** What koffi is needed for, or that it does not work. */
async function checkNative(subnets: readonly NamedSubnet[] | null): Promise<Finding[]> {
  const native = await import('./native.ts').catch((error: Error) => error);
  if (!(native instanceof Error)) {
    return [
      ok('koffi', 'loads, and makes system calls'),
      native.checkWriteBatch(),
      ...native.checkRoutes(subnets),
    ];
  }
  return [
    {
      check: 'koffi',
      level: 'problem',
      found: `koffi cannot be loaded: ${native.message.split('\n')[0]}`,
      means: 'tapdeck makes no system call, so it can replay captures and nothing else',
      todo: 'install tapdeck anew on this machine, with optional dependencies: npm install -g --include=optional tapdeck',
    },
  ];
}

const COLOURS: Record<Level, Parameters<typeof style>[0]> = {
  ok: 'green',
  note: 'cyan',
  warning: 'yellow',
  problem: 'red',
};

function text(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, level, found, means, todo }) => {
    const indent = ' '.repeat(10 + width + 2);
    return [
      `${style(COLOURS[level], level.padEnd(10))}${check.padEnd(width)}  ${found}`,
      ...(means === undefined ? [] : [`${indent}it means: ${means}`]),
      ...(todo === undefined ? [] : [`${indent}to do: ${todo}`]),
    ];
  });
  return `${lines.join('\n')}\n${summary(findings)}\n`;
}

function summary(findings: readonly Finding[]): string {
  const counts = LEVELS.slice(1)
    .toReversed()
    .flatMap((level) => {
      const { length } = findings.filter((finding) => finding.level === level);
      return length === 0 ? [] : [count(length, level)];
    });
  return counts.length === 0 ? 'All is well.' : `${counts.join(', ')}.`;
}
