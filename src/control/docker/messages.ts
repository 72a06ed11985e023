import { parseIpv4 } from '../../../wire/address.ts';
import { DeckError, invalid } from '../error.ts';
import { quote } from '../name.ts';

/** What Docker writes into its requests to network and IPAM drivers (libnetwork, drivers/remote/api and ipams/remote/api). */

/** A request's body, of which nothing is known. */
export type Message = Readonly<Record<string, unknown>>;

/** Keys of `Options` (libnetwork, netlabel/labels.go). */
export const GENERIC = 'com.docker.network.generic';
export const ENABLE_IPV6 = 'com.docker.network.enable_ipv6';
export const INTERNAL = 'com.docker.network.internal';
export const PORT_MAP = 'com.docker.network.portmap';
export const MAC_ADDRESS = 'com.docker.network.endpoint.macaddress';
export const GATEWAY = 'com.docker.network.gateway';

/** A field that must be there. Throws a `DeckError`. */
export function required(message: Message, key: string): string {
  const text = optional(message, key);
  if (text === undefined) throw invalid(`the request has no ${key}`);
  return text;
}

/** undefined where Docker leaves it empty. */
export function optional(message: Message, key: string): string | undefined {
  const value = message[key] ?? '';
  if (typeof value !== 'string') throw invalid(`${key} of the request is no text`);
  return value === '' ? undefined : value;
}

/** An object in a request; an empty one where it is missing. */
export function inner(message: Message, key: string): Message {
  const value = message[key] ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Message;
  throw invalid(`${key} of the request is no object`);
}

/** A list of objects in a request; an empty one where it is missing. */
export function listed(message: Message, key: string): Message[] {
  const value = message[key] ?? [];
  if (Array.isArray(value) && value.every((one) => typeof one === 'object' && one !== null)) return value;
  throw invalid(`${key} of the request is no list of objects`);
}

/** Text by text, as driver options are. */
export function texts(message: Message): Record<string, string> {
  return Object.fromEntries(Object.entries(message).map(([key, value]) => [key, String(value)]));
}

/** `10.1.0.2` of `10.1.0.2/24`. */
export function withoutPrefix(text: string): string {
  return text.replace(/\/\d+$/, '');
}

/** The MAC that Docker derives from an IPv4 address: 02:42 and its bytes. */
export function macOf(ipv4: string): string {
  const address = parseIpv4(ipv4);
  if (address === undefined) throw invalid(`${quote(ipv4)} is no IPv4 address`);
  const bytes = [24, 16, 8, 0].map((shift) => ((address >>> shift) & 0xff).toString(16).padStart(2, '0'));
  return ['02', '42', ...bytes].join(':');
}

/** IP protocol numbers of what can be published. */
const PROTOCOLS = new Map([
  [6, 'tcp'],
  [17, 'udp'],
]);

/** The ports of a container that Docker wants published (libnetwork's `types.PortBinding`), as `parsePublishSpec` reads them. */
export function publishSpecs(options: Message): string[] {
  return listed(options, PORT_MAP).map((binding) => {
    const port = number(binding, 'Port');
    const protocol = PROTOCOLS.get(number(binding, 'Proto'));
    if (protocol === undefined) {
      throw invalid(
        `port ${port}${binding['Proto'] === 132 ? '/sctp' : ` of IP protocol ${binding['Proto']}`} cannot be published: tapdeck publishes tcp and udp; leave it out`,
      );
    }
    const first = number(binding, 'HostPort');
    const last = number(binding, 'HostPortEnd') || first;
    const hostPort = first === 0 ? '' : first === last ? String(first) : `${first}-${last}`;
    const host = optional(binding, 'HostIP');
    if (host === undefined) return `${hostPort}${hostPort && ':'}${port}/${protocol}`;
    return `${host.includes(':') ? `[${host}]` : host}:${hostPort}:${port}/${protocol}`;
  });
}

function number(message: Message, key: string): number {
  const value = message[key] ?? 0;
  if (Number.isInteger(value)) return value as number;
  throw invalid(`${key} of the request is no whole number`);
}

/** Whether something is not there, and not merely refused. */
export function isMissing(error: unknown): boolean {
  return error instanceof DeckError && error.code === 'not-found';
}
