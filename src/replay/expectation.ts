import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { EXPECTED_FILE } from './scenario.ts';
import type { Tables } from './tables.ts';
import { YamlValue } from './yaml-value.ts';

/** Sections of `expected.yaml`. A section that the file does not have is not compared. */
const SECTIONS = ['ledger', 'drops', 'ports', 'fdb', 'neighbors'] as const;

type Plain = { [key: string]: Plain } | string | number | boolean | null;

/** The tables in the form in which people read them: by name, nothing that says nothing. */
export function plainTables(tables: Tables): Record<(typeof SECTIONS)[number], Plain> {
  const fdb: Record<string, Record<string, Plain>> = {};
  for (const { network, mac, port, static: fixed, age } of tables.fdb) {
    fdb[network] ??= {};
    fdb[network][mac] = fixed ? { port, static: true } : { port, age };
  }
  const neighbors: Record<string, Record<string, Plain>> = {};
  for (const { network, address, mac, state } of tables.neighbors) {
    neighbors[network] ??= {};
    neighbors[network][address] = mac === null ? { state } : { mac, state };
  }
  return {
    ledger: { ...tables.ledger },
    drops: { ...tables.drops },
    ports: plainPorts(tables),
    fdb,
    neighbors,
  };
}

function plainPorts(tables: Tables): Plain {
  return Object.fromEntries(Object.entries(tables.ports).map(([name, counters]) => [name, { ...counters }]));
}

/**
 * Compares the tables with `expected.yaml` and says the first difference in words; undefined when there is none.
 * @param path of the file
 * @throws YamlError when the file is not as it should be
 */
export function tablesDifference(path: string, tables: Tables): string | undefined {
  if (!existsSync(path)) return `there is no ${EXPECTED_FILE}; run with --update to write what came out`;
  const sections = YamlValue.parse(path, readFileSync(path, 'utf8')).fields(SECTIONS);
  const actual = plainTables(tables);
  for (const section of SECTIONS) {
    const expected = sections[section];
    if (expected === undefined) continue;
    const found = difference(section, (expected.plain() as Plain) ?? {}, actual[section]);
    if (found) return found;
  }
  return undefined;
}

/** Writes `expected.yaml` from what came out. */
export function writeExpectation(path: string, tables: Tables): void {
  const text = stringify(plainTables(tables), {
    flowCollectionPadding: true,
    lineWidth: 0,
    collectionStyle: 'any',
  });
  writeFileSync(
    path,
    `# Written by \`tapdeck replay --update\`. Ages are in milliseconds; a section that is deleted is not compared.\n${text}`,
  );
}

function difference(path: string, expected: Plain, actual: Plain | undefined): string | undefined {
  if (isMap(expected) && isMap(actual)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const place = `${path}.${key}`;
      if (!(key in expected)) return `${place}: nothing is expected, and there is ${show(actual[key]!)}`;
      const found = difference(place, expected[key]!, actual[key]);
      if (found) return found;
    }
    return undefined;
  }
  if (expected === actual) return undefined;
  if (actual === undefined) return `${path}: ${show(expected)} is expected, and there is nothing`;
  return `${path}: ${show(expected)} is expected, and there is ${show(actual)}`;
}

function isMap(value: Plain | undefined): value is { [key: string]: Plain } {
  return typeof value === 'object' && value !== null;
}

function show(value: Plain): string {
  if (!isMap(value)) return String(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return '{}';
  return entries.map(([key, each]) => `${key} ${show(each)}`).join(', ');
}
