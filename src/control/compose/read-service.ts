import { resolve } from 'node:path';
import type { YamlValue } from '../../replay/yaml-value.ts';
import { checkHost, familyOf, parseAddress, parseStationMac } from '../address.ts';
import { checkLabels } from '../labels.ts';
import { checkIfname, checkName } from '../name.ts';
import { checked, pairs, textMap, texts } from './fields.ts';
import {
  CONDITIONS,
  type Dependency,
  type Healthcheck,
  type ProjectService,
  type RestartPolicy,
  type ServiceFiles,
  type ServiceNetwork,
} from './project.ts';
import type { ReadNetwork } from './read-network.ts';
import { checkExpose, readPorts } from './read-ports.ts';
import { shellWords } from './shell-words.ts';

const KEYS = [
  'command',
  'container_name',
  'depends_on',
  'dns',
  'dns_opt',
  'dns_search',
  'domainname',
  'entrypoint',
  'env_file',
  'environment',
  'expose',
  'extra_hosts',
  'healthcheck',
  'hostname',
  'labels',
  'links',
  'mac_address',
  'network_mode',
  'networks',
  'ports',
  'restart',
  'stop_grace_period',
  'tmpfs',
  'working_dir',
  'x-tapdeck',
] as const;

/** Keys below `x-tapdeck`. */
const OWN_KEYS = ['read_only', 'private_tmp', 'write', 'allow_spoof'] as const;
type OwnFields = Partial<Record<(typeof OWN_KEYS)[number], YamlValue>>;

/** Keys of Compose that say nothing about a sandbox: it has no image, no volumes, no limits and no cluster. */
const WITHOUT_MEANING = [
  'annotations',
  'attach',
  'blkio_config',
  'build',
  'cap_add',
  'cap_drop',
  'cgroup',
  'cgroup_parent',
  'configs',
  'cpu_count',
  'cpu_percent',
  'cpu_period',
  'cpu_quota',
  'cpu_rt_period',
  'cpu_rt_runtime',
  'cpu_shares',
  'cpus',
  'cpuset',
  'credential_spec',
  'deploy',
  'develop',
  'device_cgroup_rules',
  'devices',
  'external_links',
  'gpus',
  'group_add',
  'image',
  'init',
  'ipc',
  'isolation',
  'label_file',
  'logging',
  'mem_limit',
  'mem_reservation',
  'mem_swappiness',
  'memswap_limit',
  'models',
  'oom_kill_disable',
  'oom_score_adj',
  'pid',
  'pids_limit',
  'platform',
  'post_start',
  'pre_stop',
  'privileged',
  'profiles',
  'provider',
  'pull_policy',
  'read_only',
  'runtime',
  'scale',
  'secrets',
  'security_opt',
  'shm_size',
  'stdin_open',
  'stop_signal',
  'storage_opt',
  'sysctls',
  'tty',
  'ulimits',
  'use_api_socket',
  'user',
  'userns_mode',
  'uts',
  'volumes',
  'volumes_from',
];

/** Where services stand. */
export interface ServiceContext {
  project: string;
  folder: string;
  /** Of the file, by their keys; `default` among them. */
  networks: ReadonlyMap<string, ReadNetwork>;
  /** The keys of all services. */
  services: ReadonlySet<string>;
  /** Variables that `environment` may pass on by their names alone. */
  variables: Readonly<Record<string, string | undefined>>;
  /** The variables of a file that `env_file` names. Throws an Error. */
  readEnvFile(path: string): Record<string, string>;
  /** Told the keys that have no meaning. */
  meaningless(key: string): void;
}

/** Reads one entry of `services`. */
export function readService(context: ServiceContext, key: string, value: YamlValue): ProjectService {
  const { project, folder } = context;
  for (const [field] of value.entries()) if (WITHOUT_MEANING.includes(field)) context.meaningless(field);
  const fields = value.fields(KEYS, WITHOUT_MEANING);
  const { command, entrypoint, container_name, hostname, domainname, stop_grace_period } = fields;
  const container = container_name?.text() ?? `${project}-${key}-1`;
  checked(container_name ?? value, () => checkName('container', container));
  const words = [...commandLine(entrypoint), ...commandLine(command)];
  if (words.length === 0) {
    const what = 'needs a command: there is no image here that would have one';
    if (command) command.fail(what);
    value.failKey(what);
  }
  checkExpose(fields.expose);
  const networkMode = readNetworkMode(context, fields.network_mode, fields.networks);
  if (networkMode && fields.ports) fields.ports.failKey('there are none to publish with this network_mode');
  const host = hostname ? hostnameOf(hostname) : container;
  const dependsOn = readDependsOn(context, fields.depends_on);
  const links = readLinks(context, fields.links);
  const shared = typeof networkMode === 'object' && networkMode ? [networkMode] : [];
  for (const { service } of [...links, ...shared]) {
    if (!dependsOn.some((one) => one.service === service)) {
      dependsOn.push({ service, condition: 'service_started' });
    }
  }
  const own = checkLabelsOf(fields.labels);
  const ours: OwnFields = fields['x-tapdeck']?.fields(OWN_KEYS) ?? {};
  return {
    key,
    container,
    command: words,
    environment: readEnvironment(context, fields.env_file, fields.environment),
    cwd: resolve(folder, fields.working_dir?.text() ?? '.'),
    hostname: domainname ? `${host}.${hostnameOf(domainname)}` : host,
    networks: networkMode ? [] : readNetworks(context, fields.networks, fields.mac_address),
    networkMode,
    publish: readPorts(fields.ports),
    links,
    extraHosts: readExtraHosts(fields.extra_hosts),
    dns: texts(fields.dns).map(({ text, value: one }) => {
      checked(one, () => parseAddress(familyOf(text), text));
      return text;
    }),
    dnsSearch: texts(fields.dns_search).map(({ text }) => text),
    dnsOptions: texts(fields.dns_opt).map(({ text }) => text),
    dependsOn,
    healthcheck: readHealthcheck(fields.healthcheck),
    restart: readRestart(fields.restart),
    labels: {
      ...own,
      'com.docker.compose.project': project,
      'com.docker.compose.service': key,
      'com.docker.compose.container-number': '1',
    },
    stopGrace: stop_grace_period?.duration() ?? 10_000,
    files: readFiles(folder, fields.tmpfs, ours),
    allowSpoof: ours.allow_spoof?.boolean() ?? false,
  };
}

function checkLabelsOf(value: YamlValue | undefined): Record<string, string> {
  return value ? checked(value, () => checkLabels(textMap(value))) : {};
}

/** The words of `command` or `entrypoint`: a list, or a text that is divided as a shell would. */
function commandLine(value: YamlValue | undefined): string[] {
  if (value === undefined || value.empty) return [];
  if (value.isList) return value.list().map((word) => word.written());
  return checked(value, () => shellWords(value.text()));
}

/** RFC 1123 §2.1, and the underscores that Compose makes of folder names. */
function hostnameOf(value: YamlValue): string {
  const text = value.text();
  if (text.length > 64 || !/^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$/.test(text)) {
    value.fail(`must be a host name of at most 64 letters, digits, '-' and '.', not '${text}'`);
  }
  return text;
}

function readNetworkMode(
  context: ServiceContext,
  value: YamlValue | undefined,
  networks: YamlValue | undefined,
): ProjectService['networkMode'] {
  const mode = value?.text();
  if (mode === undefined || mode === 'bridge') return null;
  if (networks) networks.failKey('network_mode and networks exclude each other; leave one out');
  if (mode === 'none') return 'none';
  if (mode === 'host') return 'host';
  if (mode.startsWith('service:')) return { service: serviceOf(context, value!, mode.slice(8)) };
  return value!.fail(`must be bridge, none, host or service:NAME, not '${mode}'`);
}

function readNetworks(
  { networks }: ServiceContext,
  value: YamlValue | undefined,
  mac: YamlValue | undefined,
): ServiceNetwork[] {
  const entries: [string, YamlValue | undefined, YamlValue | undefined][] = value?.isList
    ? value.list().map((one) => [one.text(), undefined, one])
    : (value?.entries() ?? []).map(([key, one]) => [key, one, one]);
  if (entries.length === 0) entries.push(['default', undefined, mac]);
  const read = entries.map(([key, settings, place]): ServiceNetwork => {
    const network = networks.get(key);
    if (!network) {
      const known = Array.from(networks.keys()).filter((one) => one !== 'default');
      const remedy = known.length > 0 ? `there are ${known.join(', ')}` : 'declare it under networks';
      const what = `there is no network ${key} in this file; ${remedy}`;
      return settings ? settings.failKey(what) : place!.fail(what);
    }
    return { ...readPlace(network, settings), network: key };
  });
  const twice = read.find(({ network }, i) => read.findIndex((other) => other.network === network) < i);
  if (twice) value!.fail(`names network ${twice.network} twice`);
  // As Docker does: what is connected first has the first interface, and the service's own MAC.
  read.sort((a, b) => b.priority - a.priority);
  if (mac && read[0]!.mac === undefined) read[0]!.mac = macOf(mac);
  return read;
}

function readPlace(network: ReadNetwork, value: YamlValue | undefined): Omit<ServiceNetwork, 'network'> {
  const fields = value?.fields([
    'aliases',
    'interface_name',
    'ipv4_address',
    'ipv6_address',
    'mac_address',
    'priority',
    'gw_priority',
  ] as const);
  const address = (family: 4 | 6, one: YamlValue): string => {
    const text = one.text();
    const parsed = checked(one, () => parseAddress(family, text));
    const subnet = network.subnets[family];
    if (subnet) checked(one, () => checkHost(subnet, parsed));
    else if (network.options) {
      one.fail(`needs an IPv${family} subnet in the ipam of network ${network.key}, which has none`);
    }
    return text;
  };
  const { aliases, interface_name, ipv4_address, ipv6_address, mac_address, priority, gw_priority } =
    fields ?? {};
  const most = 2 ** 31 - 1;
  return {
    aliases: (aliases?.list() ?? []).map(hostnameOf),
    ...(ipv4_address && { ip: address(4, ipv4_address) }),
    ...(ipv6_address && { ip6: address(6, ipv6_address) }),
    ...(mac_address && { mac: macOf(mac_address) }),
    ...(interface_name && {
      ifname: checked(interface_name, () => checkIfname(interface_name.text())),
    }),
    priority: priority?.number(-most, most) ?? 0,
    gatewayPriority: gw_priority?.integer(-most, most) ?? 0,
  };
}

function macOf(value: YamlValue): string {
  const text = value.text();
  checked(value, () => parseStationMac(text));
  return text;
}

function readDependsOn(context: ServiceContext, value: YamlValue | undefined): Dependency[] {
  if (value?.isList) {
    return value
      .list()
      .map((one) => ({ service: serviceOf(context, one, one.text()), condition: 'service_started' }));
  }
  return (value?.entries() ?? []).flatMap(([service, one]): Dependency[] => {
    const { condition, required, restart } = one.fields(['condition', 'required', 'restart'] as const);
    restart?.boolean();
    if (!context.services.has(service) && required?.boolean() === false) return [];
    serviceOf(context, one, service);
    return [{ service, condition: condition?.word(CONDITIONS) ?? 'service_started' }];
  });
}

function readLinks(context: ServiceContext, value: YamlValue | undefined): ProjectService['links'] {
  return texts(value).map(({ text, value: one }) => {
    const [service = '', alias = service, ...rest] = text.split(':');
    if (rest.length > 0 || alias === '') one.fail(`must be SERVICE or SERVICE:ALIAS, not '${text}'`);
    return { service: serviceOf(context, one, service), alias };
  });
}

function serviceOf({ services }: ServiceContext, value: YamlValue, name: string): string {
  return services.has(name) ? name : value.fail(`there is no service ${name} in this file`);
}

/** As Compose: `name=address`, or with a colon; an IPv6 address with brackets or without. */
function readExtraHosts(value: YamlValue | undefined): ProjectService['extraHosts'] {
  return pairs(value, /[=:]/).map(({ key, text = '', value: one }) => {
    const name = key.trim();
    const address = text.trim().replace(/^\[(.*)\]$/, '$1');
    if (!/^[^\s#]+$/.test(name)) one.fail(`must be NAME=ADDRESS, not '${key}'`);
    // What Docker calls the host is known by the gateway's own name for it.
    checked(one, () => parseAddress(familyOf(address), address));
    return { name, address };
  });
}

function readEnvironment(
  { folder, variables, readEnvFile }: ServiceContext,
  files: YamlValue | undefined,
  value: YamlValue | undefined,
): Record<string, string> {
  // Not an object literal: a name may be any word.
  const found = new Map<string, string>();
  const entries = files === undefined || files.empty ? [] : files.isList ? files.list() : [files];
  for (const file of entries) {
    const fields = file.isMap ? file.fields(['path', 'required', 'format'] as const) : { path: file };
    if (!fields.path) return file.fail('needs a path');
    const path = resolve(folder, fields.path.text());
    const read = checked(fields.path, () => {
      try {
        return readEnvFile(path);
      } catch (error) {
        const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
        if (absent && fields.required?.boolean() === false) return {};
        throw new Error(absent ? `there is no file ${path}` : (error as Error).message);
      }
    });
    for (const [name, text] of Object.entries(read)) found.set(name, text);
  }
  for (const { key, text, value: one } of pairs(value, /=/)) {
    if (key === '' || /[=\0]/.test(key)) one.fail(`must be NAME=value, not '${key}'`);
    const known = text ?? (Object.hasOwn(variables, key) ? variables[key] : undefined);
    // A name alone, and nothing to pass on: it is not set.
    if (known === undefined) found.delete(key);
    else found.set(key, known);
  }
  return Object.fromEntries(found);
}

function readHealthcheck(value: YamlValue | undefined): Healthcheck | null {
  const fields = value?.fields([
    'test',
    'interval',
    'timeout',
    'retries',
    'start_period',
    'start_interval',
    'disable',
  ] as const);
  if (!fields || fields.disable?.boolean()) return null;
  const { test, interval, timeout, retries, start_period, start_interval } = fields;
  if (!test) return value!.fail('needs a test');
  const command = healthCommand(test);
  if (!command) return null;
  const every = interval?.duration() ?? 30_000;
  return {
    command,
    interval: every,
    timeout: timeout?.duration() ?? 30_000,
    retries: retries?.integer(1, 1_000_000) ?? 3,
    startPeriod: start_period?.duration() ?? 0,
    startInterval: start_interval?.duration() ?? Math.min(every, 5000),
  };
}

function healthCommand(test: YamlValue): string[] | null {
  if (!test.isList) return ['/bin/sh', '-c', test.text()];
  const [kind = '', ...words] = test.list().map((word) => word.written());
  if (kind === 'NONE') return null;
  if (words.length > 0 && kind === 'CMD') return words;
  if (words.length === 1 && kind === 'CMD-SHELL') return ['/bin/sh', '-c', words[0]!];
  return test.fail('must be [CMD, PROGRAM, ARGUMENT...], [CMD-SHELL, COMMAND], [NONE] or a text');
}

function readRestart(value: YamlValue | undefined): RestartPolicy {
  const text = value?.text() ?? 'no';
  const [, times] = /^on-failure(?::(\d{1,6}))?$/.exec(text) ?? [];
  if (text === 'no') return { when: 'never', most: 0 };
  if (text === 'always' || text === 'unless-stopped') return { when: 'always', most: Infinity };
  if (text.startsWith('on-failure') && (times !== undefined || text === 'on-failure')) {
    return { when: 'on-failure', most: times === undefined ? Infinity : Number(times) };
  }
  return value!.fail(`must be no, always, unless-stopped, on-failure or on-failure:TIMES, not '${text}'`);
}

function readFiles(
  folder: string,
  tmpfs: YamlValue | undefined,
  { read_only, private_tmp, write }: OwnFields,
): ServiceFiles {
  return {
    readOnly: read_only?.boolean() ?? true,
    privateTmp: private_tmp?.boolean() ?? true,
    // Docker's options after a colon say how large it may be and the like.
    tmpfs: texts(tmpfs).map(({ text }) => resolve('/', text.split(':')[0]!)),
    write: texts(write).map(({ text }) => resolve(folder, text)),
  };
}
