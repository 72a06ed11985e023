import { isName } from '../../control/name.ts';
import { type Fields, object, objects, text, texts, whole } from '../fields.ts';
import { CNI_CODES, CniError } from './error.ts';
import type { CniRequest } from './request.ts';

/** What an interface is to be, in the words of the daemon's API. */
export interface Wishes {
  ip?: string;
  ip6?: string;
  mac?: string;
  mtu?: number;
  aliases: string[];
  publish: string[];
  name: string;
}

/** Digits of a container's id that people are shown. */
const SHORT_ID = 12;

/**
 * What the network configuration, the capabilities (CONVENTIONS.md of the CNI project) and CNI_ARGS ask for. Throws a
 * `CniError` for what there is not, a `DeckError` for what is of the wrong type.
 */
export function wishesOf({ configuration, name, args, containerId }: CniRequest): Wishes {
  refuse(configuration, 'ipam', ({ type }) => type !== undefined && type !== '');
  const runtime = object(configuration, 'runtimeConfig');
  refuse(runtime, 'bandwidth', (limits) => Object.values(limits).some((limit) => limit !== 0));
  const addresses = [...texts(runtime, 'ips'), ...(args.get('IP')?.split(',') ?? [])];
  const { ip, ip6 } = byFamily(addresses);
  const mac = text(runtime, 'mac') ?? args.get('MAC');
  const mtu = whole(configuration, 'mtu');
  const pod = args.get('K8S_POD_NAME') ?? '';
  return {
    ...(ip !== undefined && { ip }),
    ...(ip6 !== undefined && { ip6 }),
    ...(mac !== undefined && { mac }),
    ...(mtu !== undefined && mtu !== 0 && { mtu }),
    // By the names of networks, of which only ours is asked for.
    aliases: texts(object(runtime, 'aliases'), name).filter(isName),
    publish: objects(runtime, 'portMappings').flatMap(publishSpec),
    name: isName(pod) ? pod : containerId.slice(0, SHORT_ID),
  };
}

/** Refuses an object in which something is asked for: code 2, with key and value. */
function refuse(fields: Fields, key: string, asks: (found: Fields) => boolean): void {
  const found = object(fields, key);
  if (!asks(found)) return;
  const why =
    key === 'ipam' ? 'addresses are those of the network in tapdeck' : 'tapdeck has no limits of bandwidth';
  throw new CniError(
    CNI_CODES.unsupportedField,
    `${key} ${JSON.stringify(found)} is not supported: ${why}; leave it out`,
  );
}

/** One of either IP version, without prefix lengths, which are those of the network. */
function byFamily(addresses: readonly string[]): { ip?: string; ip6?: string } {
  const found: { ip?: string; ip6?: string } = {};
  for (const address of addresses) {
    const key = address.includes(':') ? 'ip6' : 'ip';
    if (found[key] !== undefined) {
      throw new CniError(
        CNI_CODES.invalidConfiguration,
        `addresses ${found[key]} and ${address} are of one IP version; an interface gets one of each`,
      );
    }
    found[key] = address.replace(/\/\d+$/, '');
  }
  return found;
}

function publishSpec(mapping: Fields): string[] {
  const hostPort = whole(mapping, 'hostPort') ?? 0;
  const containerPort = whole(mapping, 'containerPort') ?? 0;
  // What has no port of the host is merely open, as in Kubernetes.
  if (hostPort === 0) return [];
  const host = text(mapping, 'hostIP');
  const place = host === undefined ? '' : `${host.includes(':') ? `[${host}]` : host}:`;
  const protocol = (text(mapping, 'protocol') ?? 'tcp').toLowerCase();
  return [`${place}${hostPort}:${containerPort}/${protocol}`];
}
