import type { Family } from '../address.ts';
import { formatUplinkSpec } from '../uplink-spec.ts';
import type { WhyProtocol } from './grammar.ts';
import type { Trouble } from './remedy.ts';
import type { WhyParts } from './resolve.ts';

/** What is in trouble, as far as the deck around it is asked about that. */
export interface Case {
  readonly family: Family;
  readonly protocol: WhyProtocol;
  readonly port: number;
  /** Names of the network or uplink in which the ends are; null for none of ours. */
  readonly fromNetwork: string | null;
  readonly toNetwork: string | null;
  readonly toAddress: bigint;
  /** Name of the container that is asked, also behind a published port; null for nobody of ours. */
  readonly asked: string | null;
  /** Whether who asks has sent what is refused. */
  readonly isForward: boolean;
}

/** What a deck has that a remedy can make use of. */
export function circumstances(
  { networks, uplinks, containers }: WhyParts,
  { family, protocol, port, fromNetwork, toNetwork, toAddress, asked, isForward }: Case,
): Pick<Trouble, 'openNetwork' | 'publishedAs' | 'isHostLoopback' | 'uplink'> {
  const open = networks.find(
    ({ name, way }) =>
      way.uplink !== null && name !== (isForward ? fromNetwork : toNetwork) && name !== toNetwork,
  );
  const uplink =
    uplinks.find(({ name }) => name === toNetwork || name === fromNetwork) ??
    uplinks.find(({ name }) => name === networks.find((one) => one.name === fromNetwork)?.way.uplink?.name) ??
    uplinks[0];
  const published = containers
    .find(({ name }) => name === asked)
    ?.ports.find((one) => one.protocol === protocol && one.port <= port && port <= one.portEnd);
  return {
    openNetwork: open?.name ?? null,
    publishedAs: published === undefined ? null : published.hostPort + port - published.port,
    isHostLoopback:
      uplink?.sockets != null && (family === 4 ? uplink.spec.ipv4 : uplink.spec.ipv6)?.gateway === toAddress,
    uplink: uplink
      ? { name: uplink.name, isSockets: uplink.sockets !== null, spec: formatUplinkSpec(uplink.spec) }
      : null,
  };
}
