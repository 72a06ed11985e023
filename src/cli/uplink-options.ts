import { invalid } from '../control/error.ts';
import { checkDeny, DEFAULT_UPLINK, type SocketUplinkSpec } from '../control/socket-uplink-spec.ts';
import { parseUplinkSpec, type UplinkSpec } from '../control/uplink-spec.ts';

/** Options about the ways out of a deck, as commander gives them. */
export interface UplinkFlags {
  uplink?: string[];
  /** False for `--no-host-access`. */
  hostAccess?: boolean;
  deny?: string[];
  hostLoopback?: boolean;
}

/** The ways out that are asked for, undefined when nothing is said. Throws a `DeckError`. */
export function uplinkOptions({ uplink, hostAccess = true, deny }: UplinkFlags): UplinkSpec[] | undefined {
  const restricted = !hostAccess || deny !== undefined;
  if (uplink === undefined && !restricted) return undefined;
  const specs = namedUplinks(uplink);
  if (!restricted) return specs;
  const sockets = specs.find((spec) => spec.kind === 'socket');
  if (!sockets) {
    const option = hostAccess ? '--deny' : '--no-host-access';
    throw invalid(
      `${option} is about uplink socket, which is not among those of --uplink; leave one of both out`,
    );
  }
  const narrow: SocketUplinkSpec = {
    ...sockets,
    hostAccess: sockets.hostAccess && hostAccess,
    deny: Array.from(new Set([...sockets.deny, ...(deny ?? []).map(checkDeny)])),
  };
  return specs.map((spec) => (spec === sockets ? narrow : spec));
}

function namedUplinks(texts: readonly string[] | undefined): UplinkSpec[] {
  if (texts === undefined) return [DEFAULT_UPLINK];
  if (!texts.includes('none')) return texts.map(parseUplinkSpec);
  if (texts.length > 1) throw invalid('--uplink none is no uplink at all; leave it out, or the others');
  return [];
}
