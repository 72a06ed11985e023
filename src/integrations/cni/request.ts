import { DeckError } from '../../control/error.ts';
import { quote } from '../../control/name.ts';
import { type Fields, parseFields, text } from '../fields.ts';
import { CNI_CODES, CniError } from './error.ts';

/** Versions of the specification that are spoken, the oldest first. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];
export const LATEST: CniVersion = '1.1.0';

/** Commands, and since when they are in the specification. */
const COMMANDS = { ADD: '0.3.0', DEL: '0.3.0', CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' } as const;
export type CniCommand = keyof typeof COMMANDS;

/** What a command cannot do without. To delete, a namespace is not needed: it may have gone. */
const NEEDED: Record<CniCommand, readonly string[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  GC: [],
  STATUS: [],
};

/** The specification's rule for container ids and network names. */
const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** A call of a runtime. */
export interface CniRequest {
  command: CniCommand;
  version: CniVersion;
  /** Name of the network configuration. */
  name: string;
  /** Of the deck. */
  network: string;
  /** Where the daemon is, if not where it is looked for. */
  host: string | undefined;
  containerId: string;
  /** Empty where there is none. */
  netns: string;
  ifname: string;
  /** CNI_ARGS. */
  args: ReadonlyMap<string, string>;
  configuration: Fields;
}

export function isVersion(version: unknown): version is CniVersion {
  return (CNI_VERSIONS as readonly unknown[]).includes(version);
}

export function isAtLeast(version: CniVersion, other: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(other);
}

/** Throws a `CniError`. */
export function parseConfiguration(json: string): Fields {
  try {
    return parseFields(json, 'the network configuration');
  } catch (error) {
    throw new CniError(CNI_CODES.decoding, (error as DeckError).message);
  }
}

/** Reads a call; throws a `CniError` for one that is not as it has to be. */
export function parseRequest(command: string, env: NodeJS.ProcessEnv, configuration: Fields): CniRequest {
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new CniError(
      CNI_CODES.invalidEnvironment,
      command === ''
        ? 'CNI_COMMAND is missing: this is a CNI plugin, which container runtimes start'
        : `CNI_COMMAND ${quote(command)} is unknown; there are ${Object.keys(COMMANDS).join(', ')} and VERSION`,
    );
  }
  const known = command as CniCommand;
  const version = versionOf(configuration);
  if (!isAtLeast(version, COMMANDS[known])) {
    throw new CniError(
      CNI_CODES.incompatibleVersion,
      `cniVersion ${version} has no ${known}; it came with ${COMMANDS[known]}`,
    );
  }
  const request = {
    command: known,
    version,
    containerId: env['CNI_CONTAINERID'] ?? '',
    netns: env['CNI_NETNS'] ?? '',
    ifname: env['CNI_IFNAME'] ?? '',
    args: parseArgs(known === 'ADD' ? (env['CNI_ARGS'] ?? '') : ''),
    configuration,
  };
  checkEnvironment(request, env);
  return inConfiguration(() => {
    const name = text(configuration, 'name') ?? '';
    if (!IDENTIFIER.test(name)) {
      throw new CniError(
        CNI_CODES.invalidConfiguration,
        `name ${quote(name)} of the network configuration is not allowed: use letters, digits, '_', '.' and '-'`,
      );
    }
    const network = text(configuration, 'network') ?? name;
    return { ...request, name, network, host: text(configuration, 'host') };
  });
}

/** Makes what reading the network configuration throws a `CniError`. */
export function inConfiguration<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DeckError)) throw error;
    throw new CniError(CNI_CODES.invalidConfiguration, `network configuration: ${error.message}`);
  }
}

function versionOf({ cniVersion }: Fields): CniVersion {
  if (isVersion(cniVersion)) return cniVersion;
  throw new CniError(
    CNI_CODES.incompatibleVersion,
    cniVersion === undefined
      ? 'the network configuration has no cniVersion'
      : `cniVersion ${quote(String(cniVersion))} is not supported`,
    `supported are ${CNI_VERSIONS.join(', ')}`,
  );
}

function checkEnvironment(
  { command, containerId, netns, ifname }: Pick<CniRequest, 'command' | 'containerId' | 'netns' | 'ifname'>,
  env: NodeJS.ProcessEnv,
): void {
  const fail = (message: string) => {
    throw new CniError(CNI_CODES.invalidEnvironment, message);
  };
  const needed = NEEDED[command];
  const missing = needed.filter((name) => !env[name]);
  if (missing.length > 0) fail(`${command} needs ${missing.join(', ')}`);
  if (needed.length === 0) return;
  if (!IDENTIFIER.test(containerId)) {
    fail(
      `CNI_CONTAINERID ${quote(containerId)} is not allowed: use letters, digits, '_', '.' and '-', and begin with a letter or digit`,
    );
  }
  // As the specification has it; what Linux does not take besides is refused by the daemon.
  if (ifname === '.' || ifname === '..' || ifname.length > 15 || /[\s/:]/.test(ifname)) {
    fail(
      `CNI_IFNAME ${quote(ifname)} is not allowed: at most 15 characters without white space, '/' and ':'`,
    );
  }
  if (netns !== '' && !netns.startsWith('/')) fail(`CNI_NETNS ${quote(netns)} is not an absolute path`);
}

/** `A=B;C=D`. What is not known is refused unless IgnoreUnknown is set, as the plugins of the CNI project do it. */
function parseArgs(args: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const pair of args.split(';').filter((one) => one !== '')) {
    const equals = pair.indexOf('=');
    if (equals < 1) {
      throw new CniError(CNI_CODES.invalidEnvironment, `CNI_ARGS: ${quote(pair)} is not KEY=VALUE`);
    }
    found.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  const ignores = /^(1|t|true)$/i.test(found.get('IgnoreUnknown') ?? '');
  const unknown = Array.from(found.keys()).filter((key) => !/^(IgnoreUnknown|IP|MAC|K8S_POD_.*)$/.test(key));
  if (unknown.length > 0 && !ignores) {
    throw new CniError(
      CNI_CODES.invalidEnvironment,
      `CNI_ARGS: ${unknown.join(', ')} is not known; there are IP and MAC, or set IgnoreUnknown=1`,
    );
  }
  return found;
}
