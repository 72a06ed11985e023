/** What RFC 5780 would discover of a NAT: how it maps and whom it lets in. */
import { FILTERINGS, type Filtering } from '../../src/dataplane/commands.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { IPV4_CHECKSUM, IPV4_IDENTIFICATION, IPV4_TTL } from '../../wire/ipv4.ts';
import { IPV6_HOP_LIMIT } from '../../wire/ipv6.ts';
import { arrives, type Bed, type Seen } from './bed.ts';
import { Datagram } from './datagram.ts';
import { check, Failure, same, sameBytes } from './row.ts';

export type Transport = 'udp' | 'tcp';

/** Sends a datagram or a SYN. */
function knock(bed: Bed, transport: Transport, from: string, to: string): Promise<Seen[]> {
  return transport === 'udp' ? bed.udp(from, to) : bed.tcp(from, to, 'S');
}

/**
 * The external endpoint of an inside one, as three destinations see it.
 * @throws Failure when they see different ones: the mapping is not endpoint-independent (RFC 4787 §4.1)
 */
export async function mappingOf(bed: Bed, transport: Transport, from: string): Promise<string> {
  const seen: string[] = [];
  for (const to of ['ext1:1', 'ext1:2', 'ext2:1']) {
    seen.push(arrives(await knock(bed, transport, from, to), to.split(':')[0]!).source);
  }
  const [first, ...others] = seen;
  check(
    others.every((source) => source === first),
    `three destinations see ${from} as ${seen.join(', ')}`,
  );
  return first!;
}

/** Whom a mapped port lets in (RFC 4787 §5), found by asking. */
export async function filteringOf(bed: Bed, transport: Transport, from: string): Promise<Filtering> {
  const { source } = arrives(await knock(bed, transport, from, 'ext1:1'), 'ext1');
  const inside = from.split(':')[0]!;
  const passes = async (outside: string) => {
    const seen = await knock(bed, transport, outside, source);
    return seen.some(({ at }) => at === inside);
  };
  // The first one last: what comes in may be answered, but here nobody answers.
  const otherPort = await passes('ext1:2');
  const otherAddress = await passes('ext1b:1');
  const otherHost = await passes('ext2:1');
  if (transport === 'udp') check(await passes('ext1:1'), 'the answer itself is not let in');
  same(otherHost, otherAddress, 'whether another host is let in, beside another address of the same one,');
  if (otherAddress && otherPort) return 'endpoint-independent';
  if (otherAddress) throw new Failure('other addresses are let in, but not other ports of the same one');
  return otherPort ? 'address-dependent' : 'address-and-port-dependent';
}

/**
 * An ICMP error that quotes what somebody sent, as that one sent it: but for TTL and header checksum, which routers change.
 * @param frame the frame that was sent
 * @throws Failure
 */
export function quotes(error: Datagram, frame: Uint8Array): void {
  const sent = new Datagram(frame.subarray(ETH_LEN));
  const { quoted } = error;
  check(quoted.bytes.length >= quoted.l4 + 8, `only ${quoted.bytes.length} bytes are quoted`);
  check(quoted.headerChecksumOk, 'the header checksum of the quotation is wrong');
  sameBytes(timeless(quoted), timeless(sent).subarray(0, quoted.bytes.length), 'the quotation');
}

/** The packet without what changes on its way. */
function timeless({ bytes, family, dontFragment }: Datagram): Uint8Array {
  const copy = bytes.slice();
  if (family === 6) {
    copy[IPV6_HOP_LIMIT] = 0;
    return copy;
  }
  copy[IPV4_TTL] = 0;
  copy.fill(0, IPV4_CHECKSUM, IPV4_CHECKSUM + 2);
  // RFC 6864 §5.3.1: where a packet may be fragmented, a translator gives it an identification of its own.
  if (!dontFragment) copy.fill(0, IPV4_IDENTIFICATION, IPV4_IDENTIFICATION + 2);
  return copy;
}

/** @throws Failure when the filtering is another than configured */
export async function expectedFiltering(
  bed: Bed,
  transport: Transport,
  expected: Filtering,
): Promise<string> {
  check(FILTERINGS.includes(expected), `${expected} is no filtering`);
  same(await filteringOf(bed, transport, 'c1:5000'), expected, 'the filtering');
  return expected;
}
