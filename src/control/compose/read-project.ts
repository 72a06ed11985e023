import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { YamlError, YamlValue } from '../../replay/yaml-value.ts';
import { DeckError, invalid } from '../error.ts';
import { quote } from '../name.ts';
import { parseDotenv } from './dotenv.ts';
import { interpolate, type Variables } from './interpolation.ts';
import { findCycle } from './order.ts';
import type { Project, ProjectService } from './project.ts';
import { type ReadNetwork, readNetwork } from './read-network.ts';
import { checkHostPorts } from './read-ports.ts';
import { readService } from './read-service.ts';

/** What Compose looks for in a folder, in this order. */
const FILE_NAMES = ['compose.yaml', 'compose.yml', 'docker-compose.yaml', 'docker-compose.yml'];
/** Bytes; a file beyond is none that somebody wrote. */
const LARGEST_FILE = 1 << 20;

export interface ReadOptions {
  /** The file; by default one of Compose's names in the working folder. */
  file?: string | undefined;
  /** The project's name, in place of what the file or its folder says. */
  name?: string | undefined;
  env?: NodeJS.ProcessEnv;
}

/** The Compose file that is meant. Throws a `DeckError` when there is none. */
export function findFile(file: string | undefined): string {
  if (file !== undefined) {
    const path = resolve(file);
    if (!existsSync(path)) throw invalid(`there is no file ${quote(file)}`);
    if (!statSync(path).isDirectory()) return path;
    return findIn(path);
  }
  return findIn(process.cwd());
}

function findIn(folder: string): string {
  const name = FILE_NAMES.find((one) => existsSync(join(folder, one)));
  if (name === undefined) {
    throw invalid(`there is no ${FILE_NAMES.join(', ')} in ${folder}; name the file: tapdeck lab up FILE`);
  }
  return join(folder, name);
}

/**
 * Reads and checks a Compose file.
 * @throws DeckError of one line, with file, line and column where something in the file is wrong
 */
export function readProject({ file: given, name, env = process.env }: ReadOptions): Project {
  const file = findFile(given);
  try {
    return parseProject(file, readText(file), { name, env });
  } catch (error) {
    throw refusal(file, error);
  }
}

/** What is wrong with a file, in one line. */
function refusal(file: string, error: unknown): unknown {
  if (error instanceof DeckError) return error;
  if (error instanceof YamlError) return invalid(error.message);
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined
    ? error
    : invalid(`cannot read ${file}: ${message}; check the path and its permissions`);
}

/** Reads no more than somebody would write: what a path leads to, a device for example, may have no end. */
function readText(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(LARGEST_FILE + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count) {
      count = readSync(fd, bytes, length, bytes.length - length, null);
    }
    if (length > LARGEST_FILE) throw new YamlError(`${path}:1:1: is larger than 1 MiB`);
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

/** The name of the project of a file, whatever else is in it. Throws a `DeckError`. */
export function readProjectName(file: string, env: NodeJS.ProcessEnv = process.env): string {
  const variables = { ...readDotenv(join(dirname(file), '.env'), env), ...env };
  const source: Variables = { get: (name) => variables[name], missing: () => {} };
  let name: YamlValue | undefined;
  try {
    const root = YamlValue.parse(file, readText(file), (text) => interpolate(text, source));
    name = root.entries().find(([key]) => key === 'name')?.[1];
    return projectName(undefined, name, dirname(file));
  } catch (error) {
    throw refusal(file, error);
  }
}

/** Reads the text of a Compose file. Throws a `YamlError`, or a `DeckError` for what is beside the file. */
export function parseProject(
  file: string,
  text: string,
  { name, env = {} }: Pick<ReadOptions, 'name' | 'env'>,
): Project {
  const folder = dirname(file);
  const variables = { ...readDotenv(join(folder, '.env'), env), ...env };
  const missing = new Set<string>();
  const source: Variables = {
    get: (variable) => (Object.hasOwn(variables, variable) ? variables[variable] : undefined),
    missing: (variable) => missing.add(variable),
  };
  const root = YamlValue.parse(file, text, (one) => interpolate(one, source));
  const top = root.fields(['name', 'networks', 'services'] as const, ['version', ...ELSEWHERE]);
  const meaningless = new Map<string, string[]>();
  for (const [key] of root.entries()) if (ELSEWHERE.includes(key)) meaningless.set(key, []);
  const project = projectName(name, top.name, folder);
  const networks = new Map<string, ReadNetwork>();
  for (const [key, value] of top.networks?.entries() ?? [])
    networks.set(key, readNetwork(project, key, value));
  if (!networks.has('default')) {
    networks.set('default', readNetwork(project, 'default', YamlValue.parse(file, '')));
  }
  const entries = top.services?.entries() ?? [];
  if (entries.length === 0) (top.services ?? root).fail('a lab needs at least one service');
  const services = entries.map(([key, value]) =>
    readService(
      {
        project,
        folder,
        networks,
        services: new Set(entries.map(([other]) => other)),
        variables,
        readEnvFile: (path) => parseDotenv(readText(path), variables),
        meaningless: (field) => meaningless.set(field, [...(meaningless.get(field) ?? []), key]),
      },
      key,
      value,
    ),
  );
  checkTogether(services, new Map(entries));
  const used = new Set(services.flatMap((service) => service.networks.map(({ network }) => network)));
  return {
    name: project,
    file,
    folder,
    networks: Array.from(networks.values())
      .filter(({ key }) => used.has(key))
      .map(({ subnets: _, ...network }) => network),
    services,
    warnings: [
      ...Array.from(
        missing,
        (variable) =>
          `variable ${variable} is not set; nothing is put in its place (write \${${variable}:-} if that is meant)`,
      ),
      ...describeMeaningless(meaningless),
      ...Array.from(networks.values())
        .filter(({ key, options }) => options === null && !used.has(key))
        .map(
          ({ key, name: own, place }) =>
            `${place}: no service is in the external network ${key}; nobody asks whether there is a network ${own}`,
        ),
    ],
  };
}

/** Keys at the top that say nothing about networks and services here. */
const ELSEWHERE = ['volumes', 'configs', 'secrets', 'include', 'models'];

/** What is wrong only with several services at once. */
function checkTogether(services: readonly ProjectService[], values: ReadonlyMap<string, YamlValue>): void {
  const containers = new Map<string, string>();
  const addresses = new Map<string, string>();
  for (const { key, container, networks } of services) {
    const other = containers.get(container);
    if (other !== undefined)
      values.get(key)!.failKey(`has the same container name as ${other}: ${container}`);
    containers.set(container, key);
    for (const { network, ip, ip6, mac } of networks) {
      for (const address of [ip, ip6, mac]) {
        if (address === undefined) continue;
        const place = `${network} ${address.toLowerCase()}`;
        const owner = addresses.get(place);
        if (owner !== undefined) {
          values.get(key)!.failKey(`has the same address in network ${network} as ${owner}: ${address}`);
        }
        addresses.set(place, key);
      }
    }
  }
  for (const { key, dependsOn } of services) {
    for (const { service, condition } of dependsOn) {
      const other = services.find((one) => one.key === service);
      if (condition !== 'service_healthy' || other?.healthcheck) continue;
      values.get(key)!.failKey(`waits until ${service} is healthy, which has no healthcheck`);
    }
  }
  checkHostPorts(
    services.map(({ key, publish }) => {
      const ports = values
        .get(key)!
        .entries()
        .find(([field]) => field === 'ports');
      return [ports?.[1], publish];
    }),
  );
  const cycle = findCycle(services);
  if (cycle) values.get(cycle[0]!)!.failKey(`depends on itself: ${[...cycle, cycle[0]].join(' -> ')}`);
}

/** One line that names all of them. */
function describeMeaningless(keys: ReadonlyMap<string, readonly string[]>): string[] {
  if (keys.size === 0) return [];
  const all = Array.from(keys, ([key, services]) =>
    services.length > 0 ? `${key} (${services.join(', ')})` : key,
  );
  return [`what has no meaning here is left out: ${all.join(', ')}`];
}

/** Compose's rule for names, and what it makes of a folder's. */
function projectName(given: string | undefined, value: YamlValue | undefined, folder: string): string {
  const isProjectName = (text: string) => /^[a-z0-9][a-z0-9_-]{0,31}$/.test(text);
  const rule = "must be up to 32 small letters, digits, '-' and '_', and begin with a letter or digit";
  if (given !== undefined) {
    if (isProjectName(given)) return given;
    throw invalid(`project name ${quote(given)} ${rule}`);
  }
  if (value) {
    const text = value.text();
    return isProjectName(text) ? text : value.fail(`${rule}, not '${text}'`);
  }
  const name = basename(folder)
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, '')
    .replace(/^[_-]+/, '')
    .slice(0, 32);
  return name === '' ? 'lab' : name;
}

function readDotenv(path: string, env: NodeJS.ProcessEnv): Record<string, string> {
  if (!existsSync(path)) return {};
  try {
    return parseDotenv(readText(path), env);
  } catch (error) {
    throw invalid(`${path}: ${(error as Error).message}`);
  }
}
