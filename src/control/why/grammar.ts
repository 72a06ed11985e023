import { type Family, familyOf, parseAddress } from '../address.ts';
import { invalid } from '../error.ts';
import { isName, quote } from '../name.ts';

export const WHY_PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;
export type WhyProtocol = (typeof WHY_PROTOCOLS)[number];

/** One end of a question as it is written. */
export type Place =
  /** A container, by the endpoint in one network if that is said. */
  | { readonly kind: 'container'; readonly name: string; readonly network: string | null }
  | { readonly kind: 'address'; readonly family: Family; readonly address: bigint }
  /** The gateway of a network, of the asker's when none is said. */
  | { readonly kind: 'gateway'; readonly network: string | null }
  /** A program of the host, and somebody behind it: both reach the deck by an uplink. */
  | { readonly kind: 'host' | 'outside' };

export interface Wanted {
  readonly from: Place;
  readonly to: Place;
  readonly protocol: WhyProtocol;
  /** 0 for ICMP. */
  readonly port: number;
}

const EXAMPLE = 'write CONTAINER, NETWORK/CONTAINER or an address, and behind it a port, as in web:80/tcp';

/** Reads both ends of a question. Throws a `DeckError` that says what is wrong and what would be right. */
export function parseWanted(from: string, to: string): Wanted {
  const [, rest, named] = /^(.*?)(?:\/(tcp|udp|icmp))?$/is.exec(to)!;
  const [, other] = /:\w+\/(\w+)$/.exec(rest!) ?? [];
  if (other !== undefined)
    throw invalid(`${quote(to)}: ${quote(other)} is no protocol; there are tcp, udp and icmp`);
  const { text, port } = splitPort(rest!);
  const protocol = named?.toLowerCase() as WhyProtocol | undefined;
  if (protocol === 'icmp' && port !== null) {
    throw invalid(`${quote(to)}: ICMP has no ports; leave ":${port}" out, or ask for tcp or udp`);
  }
  if ((protocol === 'tcp' || protocol === 'udp') && port === null) {
    throw invalid(`${quote(to)}: ${protocol} goes to a port; write it as ${rest}:80/${protocol}`);
  }
  return {
    from: parsePlace(from),
    to: parsePlace(text),
    protocol: protocol ?? (port === null ? 'icmp' : 'tcp'),
    port: port ?? 0,
  };
}

/** What is in front of the last colon, and the port behind it; an IPv6 address with a port is in brackets. */
function splitPort(text: string): { text: string; port: number | null } {
  const bracketed = /^\[(.*)\](?::(.*))?$/s.exec(text);
  const plain = /^([^:]*):([^:]*)$/s.exec(text);
  const [, place, digits] = bracketed ?? plain ?? [null, text, undefined];
  if (digits === undefined) return { text: place!, port: null };
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65535) {
    throw invalid(`${quote(text)}: ${quote(digits)} is no port; there are 1 to 65535`);
  }
  return { text: place!, port };
}

export function parsePlace(text: string): Place {
  if (text === 'host' || text === 'outside') return { kind: text };
  if (text === 'gateway') return { kind: 'gateway', network: null };
  if (/^[\d.]+$/.test(text) || text.includes(':')) {
    const family = familyOf(text);
    return { kind: 'address', family, address: parseAddress(family, text) };
  }
  const [first = '', second, ...more] = text.split('/');
  if (more.length > 0 || !isName(first) || (second !== undefined && !isName(second))) {
    throw invalid(`${quote(text)} is no end of a way: ${EXAMPLE}`);
  }
  if (second === undefined) return { kind: 'container', name: first, network: null };
  if (second === 'gateway') return { kind: 'gateway', network: first };
  return { kind: 'container', name: second, network: first };
}
