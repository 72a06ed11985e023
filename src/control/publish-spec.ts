import { type Family, formatAddress, parseAddress } from './address.ts';
import { type DeckError, invalid } from './error.ts';
import { checkIfname, quote } from './name.ts';

/** Protocols that have ports to publish, with their IP protocol numbers. */
export const PUBLISH_PROTOCOLS = { tcp: 6, udp: 17 } as const;
export type PublishProtocol = keyof typeof PUBLISH_PROTOCOLS;

/** Ports from the first to the last. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What one `-p` asks for. */
export interface PublishSpec {
  /** As it was written. */
  readonly text: string;
  /** The only IP version that is meant; null for each that the endpoint has. */
  readonly family: Family | null;
  /** The deck's address that is meant; null for all. */
  readonly host: bigint | null;
  /** The only interface of the host that is meant; null for all. */
  readonly ifname: string | null;
  /**
   * Ports of the deck: as many as of the endpoint, or several for a single port of the endpoint, of which the first free one
   * is taken. null for any that are free.
   */
  readonly hostPorts: PortRange | null;
  /** Ports of the endpoint. */
  readonly ports: PortRange;
  readonly protocol: PublishProtocol;
}

const HIGHEST_PORT = 65535;

/**
 * Docker's grammar: `[[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp]`, an IPv6 address in brackets, host port 0 or none for
 * one that is free; and HOST_IP may be followed, or replaced, by `%` and an interface, in the brackets. Throws a `DeckError` of one line for everything else.
 */
export function parsePublishSpec(text: string): PublishSpec {
  const match = /^(?:(?:(\[[^\]]*\]|[^:[\]]*):)?([^:[\]]*):)?([^:/[\]]*)(?:\/(.*))?$/.exec(text);
  if (!match) throw malformed(text);
  const [, hostText = '', hostPortText = '', portText = '', protocolText = 'tcp'] = match;
  const protocol = protocolText.toLowerCase();
  if (protocol !== 'tcp' && protocol !== 'udp') {
    throw invalid(`publish ${quote(text)}: protocol ${quote(protocolText)} is unknown; use tcp or udp`);
  }
  const { family, host, ifname } = parseHost(text, hostText);
  const ports = parsePorts(text, portText);
  // As Docker has it: `0:80` and `:80` are the same as `80`.
  const hostPorts = hostPortText === '' || hostPortText === '0' ? null : parsePorts(text, hostPortText);
  const count = size(ports);
  if (hostPorts && size(hostPorts) !== count && count > 1) {
    throw invalid(
      `publish ${quote(text)}: the ranges are of unequal length, ${size(hostPorts)} host ports and ${count} ports of the endpoint; give as many of both`,
    );
  }
  return { text, family, host, ifname, hostPorts, ports, protocol };
}

/** What is to be withdrawn. */
export interface UnpublishSpec {
  /** How it is named: `spec` as it was published, `port` by the host port alone, `place` by address and host port. */
  readonly by: 'spec' | 'port' | 'place';
  /** Of `port` and `place` only the host's part counts. */
  readonly spec: PublishSpec;
}

/**
 * What names a published port: the spec, `8080:80`; the host port alone, `8080`, `8000-8010/udp`; or where it is published as it is
 * shown, `0.0.0.0:8080`, `[::]:53/udp`. Throws a `DeckError` of one line for everything else.
 */
export function parseUnpublishSpec(text: string): UnpublishSpec {
  const [, place, ports, protocol = ''] =
    /^(\[[^\]]*\]|[^:[\]]*[.%][^:[\]]*):([^:/[\]]*)(\/.*)?$/.exec(text) ?? [];
  if (place !== undefined && ports !== undefined) {
    return { by: 'place', spec: { ...parsePublishSpec(`${place}:${ports}:${ports}${protocol}`), text } };
  }
  return { by: text.includes(':') ? 'spec' : 'port', spec: parsePublishSpec(text) };
}

function parseHost(text: string, host: string): Pick<PublishSpec, 'family' | 'host' | 'ifname'> {
  const inBrackets = host.startsWith('[');
  const [addressText = '', scope] = split(inBrackets ? host.slice(1, -1) : host, '%');
  const ifname = scope === undefined ? null : parseIfname(text, scope);
  if (addressText === '' && !inBrackets) return { family: null, host: null, ifname };
  const family = inBrackets ? 6 : 4;
  let address: bigint;
  try {
    address = parseAddress(family, addressText);
  } catch (error) {
    throw invalid(`publish ${quote(text)}: host address ${(error as DeckError).message}`);
  }
  return { family, host: address === 0n ? null : address, ifname };
}

/** `lo` too, which no endpoint can have. */
function parseIfname(text: string, name: string): string {
  if (name === 'lo') return name;
  try {
    return checkIfname(name);
  } catch (error) {
    throw invalid(`publish ${quote(text)}: ${(error as DeckError).message}`);
  }
}

function split(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function parsePorts(text: string, range: string): PortRange {
  const [firstText = '', lastText, more] = range.split('-');
  if (more !== undefined || firstText === '' || lastText === '') throw malformed(text);
  const first = parsePort(text, firstText);
  const last = lastText === undefined ? first : parsePort(text, lastText);
  if (last < first) {
    throw invalid(`publish ${quote(text)}: range ${range} is reversed; did you mean ${last}-${first}?`);
  }
  return { first, last };
}

function parsePort(text: string, port: string): number {
  if (!/^\d+$/.test(port)) {
    throw invalid(`publish ${quote(text)}: ${quote(port)} is not a port number; use 1 to ${HIGHEST_PORT}`);
  }
  const number = Number(port);
  if (number < 1 || number > HIGHEST_PORT) {
    throw invalid(`publish ${quote(text)}: port ${port} is out of range; use 1 to ${HIGHEST_PORT}`);
  }
  return number;
}

function malformed(text: string): DeckError {
  // Bare colons of an IPv6 address cannot be told from those between the parts.
  if (text.split(':').length > 3 && !text.includes('[')) {
    return invalid(
      `publish ${quote(text)} is not understood; an IPv6 address is written in brackets, as in [fd00::1]:8080:80`,
    );
  }
  return invalid(
    `publish ${quote(text)} is not understood; write it as in 8080:80, 192.0.2.2:8080:80 or 53:53/udp`,
  );
}

export function size({ first, last }: PortRange): number {
  return last - first + 1;
}

export function overlapping(one: PortRange, other: PortRange): boolean {
  return one.first <= other.last && other.first <= one.last;
}

/** `80`, `80-90`. */
export function formatPorts({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

/** `192.0.2.2`, `[fd00::1]`, and `0.0.0.0` or `[::]` for all addresses of one IP version. */
export function formatHost(family: Family, host: bigint | null): string {
  const address = formatAddress(family, host ?? 0n);
  return family === 6 ? `[${address}]` : address;
}
