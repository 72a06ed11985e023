/** Addresses, networks, ports and protocols with their qualifiers: `tcp dst port 80`. */
import { ipv4Mask, parseIpv6 } from '../../../wire/address.ts';
import { ARP_SPA, ARP_TPA } from '../../../wire/arp.ts';
import { ETH_DST, ETH_SRC, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../../wire/ethernet.ts';
import { IPV4_DST, IPV4_PROTOCOL, IPV4_SRC } from '../../../wire/ipv4.ts';
import { IPV6_DST, IPV6_LEN, IPV6_NEXT_HEADER, IPV6_SRC } from '../../../wire/ipv6.ts';
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from '../../../wire/protocol.ts';
import type { Fail } from './arithmetic.ts';
import { all, any, type Condition, field, not, test } from './condition.ts';
import type { Layers } from './layers.ts';
import { Op } from './machine.ts';
import type { Direction, Identifier, Qualifiers } from './syntax.ts';
import { ETHER_PROTOCOLS, IP_PROTOCOLS, SERVICES } from './words.ts';

const ETHERTYPE_RARP = 0x8035;
const MAX_PORT = 0xffff;

/** The condition of an identifier: what it is depends on the qualifiers, what they allow on it. */
export function identifier(layers: Layers, qualifiers: Qualifiers, id: Identifier, fail: Fail): Condition {
  switch (qualifiers.type) {
    case 'port':
    case 'portrange':
      return ports(layers, qualifiers, id, fail);
    case 'proto':
      return protocol(layers, qualifiers, id, fail);
    default:
      return address(layers, qualifiers, id, fail);
  }
}

/** One of two things, or both: `src`, `dst`, `src and dst`, and without any `src or dst`. */
function directed(direction: Direction | undefined, source: Condition, destination: Condition): Condition {
  switch (direction) {
    case 'src':
      return source;
    case 'dst':
      return destination;
    case 'and':
      return all(source, destination);
    default:
      return any(source, destination);
  }
}

// Addresses

function address(layers: Layers, qualifiers: Qualifiers, id: Identifier, fail: Fail): Condition {
  const { protocol, direction, type, span } = qualifiers;
  if (protocol === 'ether') {
    if (id.kind !== 'mac' || type === 'net')
      fail(id, "expected 'ether host' and a MAC address like 02:42:0a:01:00:02");
    return macAddress(direction, macBytes(id.text));
  }
  switch (id.kind) {
    case 'mac':
      return fail(id, "a MAC address needs 'ether' in front: ether host, ether src, ether dst");
    case 'name':
      return fail(
        id,
        `'${id.name}' is no address, and names of hosts are not looked up: expected one like 10.1.0.2`,
      );
    case 'ipv6': {
      if (protocol !== undefined && protocol !== 'ip6')
        fail(span, `'${protocol}' does not go with an IPv6 address`);
      return ipv6Address(layers, qualifiers, id, fail);
    }
  }
  switch (protocol) {
    case undefined:
    case 'ip':
    case 'arp':
    case 'rarp':
      break;
    case 'tcp':
    case 'udp':
    case 'sctp':
      if (id.kind === 'number') fail(id, `expected 'port' in front of ${id.value}`);
      return fail(span, `'${protocol}' does not go with an address: expected '${protocol} and host ...'`);
    default:
      return fail(span, `'${protocol}' does not go with an IPv4 address`);
  }
  const { value, mask } = ipv4Network(qualifiers, id, fail);
  const at = (etherType: number, offset: number) =>
    all(layers.etherType(etherType), field(layers.payload + offset, 4, value, mask >>> 0));
  const in4 = (etherType: number, source: number, destination: number) =>
    directed(direction, at(etherType, source), at(etherType, destination));
  const ip = () => in4(ETHERTYPE_IPV4, IPV4_SRC, IPV4_DST);
  const arp = () => in4(ETHERTYPE_ARP, ARP_SPA, ARP_TPA);
  const rarp = () => in4(ETHERTYPE_RARP, ARP_SPA, ARP_TPA);
  if (protocol === undefined) return any(ip(), arp(), rarp());
  return protocol === 'ip' ? ip() : protocol === 'arp' ? arp() : rarp();
}

/** As the BSD addresses of old: `10.1` are the two first bytes, and a network of one number is moved to the left. */
function ipv4Network(
  qualifiers: Qualifiers,
  id: Identifier & { kind: 'number' | 'ipv4' },
  fail: Fail,
): { value: number; mask: number } {
  if (id.kind === 'number') {
    let value = id.value | 0;
    let mask = -1;
    for (; qualifiers.type === 'net' && value !== 0 && value >>> 24 === 0; value <<= 8) mask <<= 8;
    return { value, mask };
  }
  const [value, bits] = ipv4Part(id, id.text, fail);
  if (id.mask === undefined) return { value, mask: ipv4Mask(bits) };
  if (typeof id.mask === 'number' && id.mask > 32) fail(id, 'expected a prefix of 0 to 32 bits');
  const mask = typeof id.mask === 'number' ? ipv4Mask(id.mask) : ipv4Part(id, id.mask, fail)[0];
  if ((value & ~mask) !== 0)
    fail(id, `'${id.text}' has bits outside its mask: expected a network, or 'host'`);
  if (qualifiers.type !== 'net') fail(id, "a mask or prefix goes with networks: expected 'net' in front");
  return { value, mask };
}

/** The address of up to four decimal bytes, and how many bits were given. */
function ipv4Part(id: Identifier, text: string, fail: Fail): [value: number, bits: number] {
  const parts = text.split('.');
  let value = 0;
  for (const part of parts) {
    const byte = /^[0-9]+$/.test(part) ? Number(part) : 256;
    if (byte > 255) fail(id, `'${text}' is no IPv4 address: expected numbers from 0 to 255 between the dots`);
    value = (value << 8) | byte;
  }
  const bits = 8 * parts.length;
  return [bits === 32 ? value : value << (32 - bits), bits];
}

function ipv6Address(
  layers: Layers,
  qualifiers: Qualifiers,
  id: Identifier & { kind: 'ipv6' },
  fail: Fail,
): Condition {
  const words = parseIpv6(id.text);
  if (words === undefined) return fail(id, `'${id.text}' is no IPv6 address`);
  const { prefix = 128 } = id;
  if (prefix > 128) fail(id, 'expected a prefix of 0 to 128 bits');
  const masks = words.map((_, i) => ipv4Mask(Math.min(32, Math.max(0, prefix - 32 * i))));
  if (words.some((word, i) => (word & ~masks[i]!) !== 0)) {
    fail(id, `'${id.text}' has bits outside its prefix: expected a network, or 'host'`);
  }
  if (prefix !== 128 && qualifiers.type !== 'net') {
    fail(id, "a prefix goes with networks: expected 'net' in front");
  }
  const at = (offset: number) =>
    all(
      layers.etherType(ETHERTYPE_IPV6),
      ...words.map((word, i) => field(layers.payload + offset + 4 * i, 4, word, masks[i]! >>> 0)),
    );
  return directed(qualifiers.direction, at(IPV6_SRC), at(IPV6_DST));
}

/** Six bytes in any of the spellings that the language has. */
function macBytes(text: string): number[] {
  const parts = text.split(/[:.-]/);
  const digits = parts.length === 6 ? parts.map((part) => part.padStart(2, '0')).join('') : parts.join('');
  return Array.from({ length: 6 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

/** The MAC address of source or destination; never moved by `vlan`. */
export function macAddress(direction: Direction | undefined, mac: readonly number[]): Condition {
  const [hi0, hi1, lo0, lo1, lo2, lo3] = mac as [number, number, number, number, number, number];
  const hi = (hi0 << 8) | hi1;
  const lo = (lo0 << 24) | (lo1 << 16) | (lo2 << 8) | lo3;
  const at = (offset: number) => all(field(offset + 2, 4, lo), field(offset, 2, hi));
  return directed(direction, at(ETH_SRC), at(ETH_DST));
}

// Ports

/** From, to, and the protocol that a name implies. */
type PortRange = readonly [from: number, to: number, protocol: number | undefined];

function ports(layers: Layers, qualifiers: Qualifiers, id: Identifier, fail: Fail): Condition {
  const { protocol, direction, type, span } = qualifiers;
  const own = { tcp: PROTO_TCP, udp: PROTO_UDP, sctp: PROTO_SCTP }[protocol as string];
  if (protocol !== undefined && own === undefined) {
    fail(span, `'${protocol}' has no ports: expected tcp, udp or sctp in front of '${type}', or nothing`);
  }
  const [from, to, implied] = portRange(id, type as 'port' | 'portrange', fail);
  if (own !== undefined && implied !== undefined && own !== implied) {
    fail(
      id,
      `this port is one of ${implied === PROTO_TCP ? 'TCP' : 'UDP'}: expected its number, or no '${protocol}'`,
    );
  }
  const which = own ?? implied;
  const protocols = which === undefined ? [PROTO_SCTP, PROTO_TCP, PROTO_UDP] : [which];
  const { payload } = layers;
  const inRange = (load: number[]): Condition => {
    if (type === 'port') return test(load, Op.EQUAL, from);
    return all(test(load, Op.AT_LEAST, from), not(test(load, Op.GREATER, to)));
  };
  // The first four bytes of TCP (RFC 9293 §3.1), UDP (RFC 768) and SCTP (RFC 9260 §3.1) are the ports.
  const behindIpv6 = directed(
    direction,
    inRange([Op.HALF, payload + IPV6_LEN]),
    inRange([Op.HALF, payload + IPV6_LEN + 2]),
  );
  const behindIpv4 = directed(
    direction,
    inRange([Op.HEADER_X, payload, Op.HALF_X, payload]),
    inRange([Op.HEADER_X, payload, Op.HALF_X, payload + 2]),
  );
  const some = (of: (number: number) => Condition): Condition => {
    const [first, ...others] = protocols.map(of);
    return any(first!, ...others);
  };
  return any(
    all(
      layers.etherType(ETHERTYPE_IPV6),
      some((number) => all(field(payload + IPV6_NEXT_HEADER, 1, number), behindIpv6)),
    ),
    all(
      layers.etherType(ETHERTYPE_IPV4),
      some((number) => all(field(payload + IPV4_PROTOCOL, 1, number), layers.firstFragment(), behindIpv4)),
    ),
  );
}

function portRange(id: Identifier, type: 'port' | 'portrange', fail: Fail): PortRange {
  if (id.kind === 'number') {
    if (id.value > MAX_PORT) fail(id, `expected a port up to ${MAX_PORT}`);
    return [id.value, id.value, undefined];
  }
  if (id.kind !== 'name')
    return fail(id, `expected the number or name of a port behind '${type}', not an address`);
  // Names have hyphens too: a name that is in the list as a whole is no range of two others.
  const hyphen = SERVICES.has(id.name) ? -1 : id.name.indexOf('-');
  if (type === 'port' || hyphen < 0) return named(id, id.name, fail);
  const [first, , protocol] = named(id, id.name.slice(0, hyphen), fail);
  const [second, , other] = named(id, id.name.slice(hyphen + 1), fail);
  return [Math.min(first, second), Math.max(first, second), protocol === other ? protocol : undefined];
}

function named(id: Identifier, name: string, fail: Fail): PortRange {
  if (/^[0-9]+$/.test(name)) {
    const port = Number(name);
    if (port > MAX_PORT) fail(id, `expected a port up to ${MAX_PORT}`);
    return [port, port, undefined];
  }
  const service = SERVICES.get(name);
  if (service === undefined)
    return fail(id, `'${name}' is no port that has a name here: expected its number`);
  const protocol = service.tcp === service.udp ? undefined : service.tcp ? PROTO_TCP : PROTO_UDP;
  return [service.port, service.port, protocol];
}

// Protocols

function protocol(layers: Layers, qualifiers: Qualifiers, id: Identifier, fail: Fail): Condition {
  const { protocol, span } = qualifiers;
  switch (protocol) {
    case 'ether':
      return layers.etherType(protocolNumber(id, ETHER_PROTOCOLS, 'ether proto', fail));
    case undefined:
    case 'ip':
    case 'ip6':
      break;
    default:
      return fail(
        span,
        `'${protocol}' carries no other protocol: expected ether, ip or ip6 in front of 'proto'`,
      );
  }
  const number = protocolNumber(id, IP_PROTOCOLS, 'proto', fail);
  if (protocol === 'ip') return layers.ipv4Protocol(number);
  if (protocol === 'ip6') return layers.ipv6Protocol(number);
  return any(layers.ipv4Protocol(number), layers.ipv6Protocol(number));
}

function protocolNumber(
  id: Identifier,
  names: ReadonlyMap<string, number>,
  behind: string,
  fail: Fail,
): number {
  if (id.kind === 'number') return id.value;
  if (id.kind !== 'name') return fail(id, `expected the number or name of a protocol behind '${behind}'`);
  const number = names.get(id.name);
  if (number === undefined)
    return fail(id, `'${id.name}' is no protocol that has a name here: expected its number`);
  return number;
}
