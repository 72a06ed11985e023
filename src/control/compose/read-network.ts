import type { YamlValue } from '../../replay/yaml-value.ts';
import {
  checkHost,
  contains,
  familyOf,
  parseAddress,
  parsePrefix,
  parseSubnet,
  type Subnet,
} from '../address.ts';
import { checkLabels } from '../labels.ts';
import { checkName } from '../name.ts';
import type { CreateNetworkOptions } from '../network.ts';
import { readDriverOptions } from '../network-options.ts';
import { checked, textMap } from './fields.ts';
import type { ProjectNetwork } from './project.ts';

const KEYS = [
  'name',
  'driver',
  'driver_opts',
  'ipam',
  'external',
  'internal',
  'enable_ipv4',
  'enable_ipv6',
  'attachable',
  'labels',
] as const;

/** A network as the file has it, with what is needed to check the addresses of its services. */
export interface ReadNetwork extends ProjectNetwork {
  subnets: { 4?: Subnet; 6?: Subnet };
}

/** Reads one entry of `networks`. */
export function readNetwork(project: string, key: string, value: YamlValue): ReadNetwork {
  const fields = value.fields(KEYS);
  const { external } = fields;
  // `external: {name: …}` is the older way to say it.
  const named = external?.isMap ? external.fields(['name'] as const).name : undefined;
  const isExternal = external !== undefined && (external.isMap || external.boolean());
  const given = fields.name ?? named;
  const name = given?.text() ?? (isExternal ? key : `${project}_${key}`);
  checked(given ?? value, () => checkName('network', name));
  if (isExternal) {
    const other = Object.entries(fields).find(([field]) => field !== 'name' && field !== 'external');
    other?.[1].failKey('an external network is there already, and has only a name');
    return { key, name, options: null, place: value.keyPlace, subnets: {} };
  }
  const { driver, enable_ipv4, enable_ipv6, internal, attachable } = fields;
  driver?.word(['bridge', 'tapdeck', 'default']);
  if (enable_ipv4?.boolean() === false) enable_ipv4.fail('every network has IPv4; leave it out');
  attachable?.boolean();
  const { subnets, ...addresses } = readIpam(fields.ipam);
  if (enable_ipv6?.boolean() === false && subnets[6])
    enable_ipv6.fail('is at odds with the IPv6 subnet in ipam');
  const driverOptions = Object.fromEntries(
    (fields.driver_opts?.entries() ?? []).map(([option, setting]) => {
      const text = setting.written();
      checked(setting, () => readDriverOptions({ [option]: text }));
      return [option, text];
    }),
  );
  const labels = fields.labels ? textMap(fields.labels) : {};
  const options: CreateNetworkOptions = {
    name,
    ...addresses,
    ...(enable_ipv6?.boolean() && { ipv6: true }),
    ...(internal?.boolean() && { internal: true }),
    ...(Object.keys(driverOptions).length > 0 && { options: driverOptions }),
    labels: {
      ...checked(fields.labels ?? value, () => checkLabels(labels)),
      'com.docker.compose.project': project,
      'com.docker.compose.network': key,
    },
  };
  return { key, name, options, subnets };
}

type Ipam = Pick<
  CreateNetworkOptions,
  'subnet' | 'gateway' | 'ipRange' | 'ipv6Subnet' | 'ipv6Gateway' | 'ipv6Range' | 'auxAddresses'
> &
  Pick<ReadNetwork, 'subnets'>;

function readIpam(value: YamlValue | undefined): Ipam {
  const found: Ipam = { subnets: {} };
  const fields = value?.fields(['driver', 'config', 'options'] as const);
  fields?.driver?.word(['default']);
  fields?.options?.entries()[0]?.[1].failKey('ipam has no options here');
  for (const entry of fields?.config?.list() ?? []) {
    const { subnet, ip_range, gateway, aux_addresses } = entry.fields([
      'subnet',
      'ip_range',
      'gateway',
      'aux_addresses',
    ] as const);
    if (!subnet) return entry.fail('needs a subnet, such as 10.0.0.0/24 or fd00::/64');
    const text = subnet.text();
    const family = familyOf(text);
    if (found.subnets[family]) subnet.fail(`a network has one IPv${family} subnet`);
    const net = checked(subnet, () => parseSubnet(family, text));
    found.subnets[family] = net;
    const within = (one: YamlValue): string => {
      const address = one.text();
      checked(one, () => checkHost(net, parseAddress(family, address)));
      return address;
    };
    const range = ip_range?.text();
    if (ip_range && !contains(net, checked(ip_range, () => parsePrefix(family, range!)).base)) {
      ip_range.fail(`range ${range} lies outside ${text}`);
    }
    if (family === 4) {
      found.subnet = text;
      if (gateway) found.gateway = within(gateway);
      if (range !== undefined) found.ipRange = range;
    } else {
      found.ipv6Subnet = text;
      if (gateway) found.ipv6Gateway = within(gateway);
      if (range !== undefined) found.ipv6Range = range;
    }
    for (const [name, address] of aux_addresses?.entries() ?? []) {
      found.auxAddresses = { ...found.auxAddresses, [name]: within(address) };
    }
  }
  return found;
}
