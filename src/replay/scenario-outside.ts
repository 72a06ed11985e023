// What a scenario says of the world outside its networks: uplinks, and the ports that are published there.
import type { Mac } from '../../wire/address.ts';
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { type ConntrackOptions, FILTERINGS, type UplinkOptions } from '../dataplane/commands.ts';
import {
  addressOf,
  type Ipv4Prefix,
  type Ipv6Prefix,
  ipv4Of,
  ipv6Of,
  macOf,
  prefixOf,
} from './scenario-address.ts';
import type { YamlValue } from './yaml-value.ts';

/** A way out of the deck, of which networks say that they use it. */
export interface ScenarioUplink {
  name: string;
  options: UplinkOptions;
}

/** One entry of a service's `ports`. */
export interface ScenarioPublish {
  /** The deck's address; null for all. */
  host: number | readonly number[] | null;
  /** First and last port of the deck, and the first of the endpoint. */
  from: number;
  to: number;
  target: number;
  protocol: 6 | 17;
}

const DEFAULT_MTU = 65520;
const HIGHEST_PORT = 65535;

/** Reads `x-tapdeck.uplinks.NAME`. */
export function uplinkOf(name: string, value: YamlValue, index: number): ScenarioUplink {
  const fields = value.fields([
    'address',
    'gateway',
    'pool',
    'filtering',
    'host',
    'deny',
    'mtu',
    'mac_address',
  ] as const);
  let ipv4: Ipv4Prefix | null = null;
  let ipv6: Ipv6Prefix | null = null;
  if (!fields.address) return value.fail('needs an address: the deck’s own there, such as 203.0.113.2/24');
  for (const item of listOf(fields.address)) {
    const found = prefixOf(item);
    if ('v4' in found) ipv4 ??= found.v4;
    else ipv6 ??= found.v6;
  }
  let gateway4: number | null = null;
  let gateway6: readonly number[] | null = null;
  for (const item of fields.gateway ? listOf(fields.gateway) : []) {
    if (item.text().includes(':')) gateway6 = ipv6Of(item);
    else gateway4 = ipv4Of(item);
  }
  const pool = (fields.pool ? listOf(fields.pool) : []).map(addressOf);
  const mac: Mac = fields.mac_address
    ? macOf(fields.mac_address)
    : { hi: 0x0242, lo: ipv4?.address ?? 0x100 + index };
  return {
    name,
    options: {
      macHi: mac.hi,
      macLo: mac.lo,
      ipv4,
      ipv6,
      gateway4,
      gateway6,
      ipv4Pool: pool.filter((address) => typeof address === 'number'),
      ipv6Pool: pool.filter((address) => typeof address !== 'number'),
      ...(fields.filtering && { filtering: fields.filtering.word(FILTERINGS) }),
      isHost: fields.host?.boolean() ?? false,
      denied: (fields.deny ? listOf(fields.deny) : []).map((item) => {
        const found = prefixOf(item);
        return 'v4' in found ? found.v4 : found.v6;
      }),
      mtu: fields.mtu?.integer(68, DEFAULT_MTU) ?? DEFAULT_MTU,
    },
  };
}

/** Reads one entry of a service's `ports`, Compose's short syntax with a host port: `8080:80`, `127.0.0.1:53:53/udp`. */
export function publishOf(value: YamlValue): ScenarioPublish {
  const text = value.written();
  const match = /^(?:(\[[^\]]*\]|[^:[\]]+):)?(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?(?:\/(tcp|udp))?$/.exec(text);
  if (!match) {
    return value.fail(
      `must say both ports, as in 8080:80, 203.0.113.2:8080:80 or 53:53/udp, not '${text}': a scenario takes none that is free`,
    );
  }
  const [, hostText, fromText, toText = fromText, targetText, lastText = targetText, protocol] = match;
  const [from, to, target, last] = [fromText, toText, targetText, lastText].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const isPort = (port: number) => port >= 1 && port <= HIGHEST_PORT;
  if (![from, to, target, last].every(isPort) || to < from || to - from !== last - target) {
    value.fail(`must be as many ports from 1 to ${HIGHEST_PORT} on both sides, not '${text}'`);
  }
  return { host: hostOf(value, hostText), from, to, target, protocol: protocol === 'udp' ? 17 : 6 };
}

function hostOf(value: YamlValue, text: string | undefined): ScenarioPublish['host'] {
  if (text === undefined || text === '0.0.0.0' || text === '[::]') return null;
  const bare = text.replace(/^\[|\]$/g, '');
  return parseIpv4(bare) ?? parseIpv6(bare) ?? value.fail(`'${bare}' is no address`);
}

/** Reads `x-tapdeck.conntrack`. */
export function conntrackOf(value: YamlValue): ConntrackOptions {
  const { capacity, quota, loose } = value.fields(['capacity', 'quota', 'loose'] as const);
  return {
    ...(capacity && { capacity: capacity.integer(1, 1 << 22) }),
    ...(quota && { quota: quota.integer(1, 1 << 22) }),
    ...(loose && { loose: loose.boolean() }),
  };
}

function listOf(value: YamlValue): YamlValue[] {
  return value.isList ? value.list() : [value];
}
