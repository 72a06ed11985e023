import type { AttachmentBody, CreateNetworkBody } from '../../control/api-schema.ts';
import type { Attachment } from '../../control/attachments.ts';
import { conflict, invalid } from '../../control/error.ts';
import { isName, quote } from '../../control/name.ts';
import type { NetworkInfo } from '../../control/network.ts';
import { attachmentGroup, attachmentId } from '../attachment-id.ts';
import type { Daemon, Reach } from '../daemon.ts';
import { ensureNetwork } from '../ensure-network.ts';
import type { Answer } from '../executable.ts';
import {
  type Fields,
  flag,
  object,
  objects,
  parseFields,
  requiredText,
  text,
  texts,
  whole,
} from '../fields.ts';

/** Version of the protocol (netavark, plugin-API.md). */
const API_VERSION = '1.0.0';
/** The label of a network of the deck that says which of Podman's it is. */
const NETWORK_LABEL = 'netavark.network';

export interface NetavarkParts {
  args: readonly string[];
  /** The configuration. Throws a `DeckError` when it does not come. */
  input(): Promise<string>;
  reach: Reach;
  /** Version of this program. */
  version: string;
}

/**
 * The netavark plugin (netavark, plugin-API.md): `create`, `setup NETNS`, `teardown NETNS` and `info`. A network of Podman's is
 * the one of its name in the deck, made with it, and made again by the first container that needs it.
 */
export async function answerNetavark({ args, input, reach, version }: NetavarkParts): Promise<Answer> {
  try {
    const [command = '', netns] = args;
    if (command === 'info') return said({ version, api_version: API_VERSION });
    if (command === 'create') return said(await create(parseFields(await input(), 'the network'), reach()));
    if (command !== 'setup' && command !== 'teardown') {
      throw invalid(`command ${quote(command)} is unknown; there are create, setup, teardown and info`);
    }
    if (!netns?.startsWith('/')) throw invalid(`${command} needs the path of a network namespace`);
    const options = parseFields(await input(), 'the configuration');
    if (command === 'setup') return said(await setup(netns, options, reach()));
    await reach().delete(`/v1/attachments/${idOf(options)}`);
    return { code: 0 };
  } catch (error) {
    return { ...said({ error: (error as Error).message }), code: 1 };
  }
}

/** What Podman is to keep of a network: as it was asked for, with the subnets that it has got. */
async function create(network: Fields, daemon: Daemon): Promise<object> {
  const made = await networkOf(network, daemon);
  return {
    ...network,
    subnets: [made.ipv4, made.ipv6].flatMap((pool) =>
      pool
        ? {
            ...objects(network, 'subnets').find((one) => text(one, 'subnet') === pool.subnet),
            subnet: pool.subnet,
            gateway: pool.gateway,
          }
        : [],
    ),
    ipv6_enabled: made.ipv6 !== null,
    ipam_options: { driver: 'host-local' },
  };
}

async function setup(netns: string, options: Fields, daemon: Daemon): Promise<object> {
  const network = object(options, 'network');
  const wishes = object(options, 'network_options');
  const { name } = await networkOf(network, daemon);
  const ips = texts(wishes, 'static_ips');
  const ip = ips.find((one) => !one.includes(':'));
  const ip6 = ips.find((one) => one.includes(':'));
  const mac = text(wishes, 'static_mac');
  const container = text(options, 'container_name') ?? '';
  const body: AttachmentBody = {
    id: idOf(options),
    netns,
    network: name,
    ifname: requiredText(wishes, 'interface_name'),
    ...(ip !== undefined && { ip }),
    ...(ip6 !== undefined && { ip6 }),
    ...(mac !== undefined && { mac }),
    aliases: texts(wishes, 'aliases').filter(isName),
    publish: objects(options, 'port_mappings').flatMap(publishSpecs),
    ...(isName(container) && { name: container }),
    labels: { 'netavark.container': requiredText(options, 'container_id') },
  };
  const attachment = await daemon.post<Attachment>('/v1/attachments', body);
  return statusOf(attachment, flag(network, 'dns_enabled'));
}

/** The network of this name, which is made when there is none. */
async function networkOf(network: Fields, daemon: Daemon): Promise<NetworkInfo> {
  const options = networkOptions(network);
  const { network: there, isNew } = await ensureNetwork(daemon, options);
  if (isNew) return there;
  const differs = (wanted: string | undefined, found: string | undefined) =>
    wanted !== undefined && wanted !== found;
  if (
    differs(options.subnet, there.ipv4?.subnet) ||
    differs(options.ipv6Subnet, there.ipv6?.subnet) ||
    (options.internal ?? false) !== there.internal
  ) {
    throw conflict(
      `tapdeck has a network ${there.name} already, which is another: ${there.ipv4?.subnet ?? there.ipv6?.subnet}${there.internal ? ', internal' : ''}; choose another name or remove it with "tapdeck network rm"`,
    );
  }
  return there;
}

/** What Podman says of a network, in the words of the daemon's API. Throws a `DeckError` for what there is not. */
function networkOptions(network: Fields): CreateNetworkBody {
  const ipam = text(object(network, 'ipam_options'), 'driver') ?? 'host-local';
  if (ipam !== 'host-local') {
    throw invalid(
      `IPAM driver ${quote(ipam)} is not supported: a network of tapdeck gives addresses; leave it out`,
    );
  }
  const servers = texts(network, 'network_dns_servers');
  if (servers.length > 0) {
    throw invalid(
      `DNS servers ${servers.join(', ')} of a network are not supported; tapdeck asks those of the host`,
    );
  }
  if (objects(network, 'routes').length > 0) {
    throw invalid('routes of a network are not supported; leave --route out');
  }
  const only = (isOurs: (subnet: string) => boolean) => {
    const [found, ...others] = objects(network, 'subnets').filter((one) =>
      isOurs(requiredText(one, 'subnet')),
    );
    if (others.length > 0) {
      throw invalid('a network of tapdeck has one subnet of an IP version; give one --subnet for each');
    }
    return { subnet: found && text(found, 'subnet'), gateway: found && text(found, 'gateway') };
  };
  const ipv4 = only((subnet) => !subnet.includes(':'));
  const ipv6 = only((subnet) => subnet.includes(':'));
  const { mtu, ...options } = textsOf(object(network, 'options'));
  return {
    name: requiredText(network, 'name'),
    ...(ipv4.subnet !== undefined && { subnet: ipv4.subnet }),
    ...(ipv4.gateway !== undefined && { gateway: ipv4.gateway }),
    ...((flag(network, 'ipv6_enabled') || ipv6.subnet !== undefined) && { ipv6: true }),
    ...(ipv6.subnet !== undefined && { ipv6Subnet: ipv6.subnet }),
    ...(ipv6.gateway !== undefined && { ipv6Gateway: ipv6.gateway }),
    ...(flag(network, 'internal') && { internal: true }),
    ...(mtu !== undefined && { mtu: Number(mtu) }),
    options,
    labels: { [NETWORK_LABEL]: requiredText(network, 'id') },
  };
}

function textsOf(fields: Fields): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, String(value)]));
}

/** `range` ports from `host_port` and `container_port` on; protocols are separated by commas. */
function publishSpecs(mapping: Fields): string[] {
  const host = text(mapping, 'host_ip');
  const place = host === undefined ? '' : `${host.includes(':') ? `[${host}]` : host}:`;
  const more = Math.max(1, whole(mapping, 'range') ?? 1) - 1;
  const ports = (first: number) => (more === 0 ? String(first) : `${first}-${first + more}`);
  const containerPort = whole(mapping, 'container_port') ?? 0;
  const hostPort = whole(mapping, 'host_port') ?? 0;
  return (text(mapping, 'protocol') ?? 'tcp')
    .split(',')
    .map(
      (protocol) => `${place}${hostPort === 0 ? '' : ports(hostPort)}:${ports(containerPort)}/${protocol}`,
    );
}

/** netavark's StatusBlock. */
function statusOf({ endpoint, network }: Attachment, dns: boolean): object {
  const pairs = [
    [endpoint.ipv4, network.ipv4],
    [endpoint.ipv6, network.ipv6],
  ] as const;
  const subnets = pairs.flatMap(([address, pool]) =>
    address === null || !pool
      ? []
      : {
          ipnet: `${address}${pool.subnet.slice(pool.subnet.indexOf('/'))}`,
          ...(!network.internal && { gateway: pool.gateway }),
        },
  );
  return {
    dns_search_domains: [],
    dns_server_ips: dns ? pairs.flatMap(([, pool]) => pool?.gateway ?? []) : [],
    interfaces: { [endpoint.ifname]: { mac_address: endpoint.mac, subnets } },
  };
}

function idOf(options: Fields): string {
  const network = requiredText(object(options, 'network'), 'id');
  const ifname = requiredText(object(options, 'network_options'), 'interface_name');
  return attachmentId(attachmentGroup('netavark', network), requiredText(options, 'container_id'), ifname);
}

function said(result: object): Answer {
  return { code: 0, out: `${JSON.stringify(result)}\n` };
}
