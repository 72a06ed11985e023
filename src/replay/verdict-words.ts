import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { type Verdict, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';

/** What a verdict does, for counting. */
export type VerdictName = 'forwarded' | 'flooded' | 'consumed' | 'held' | 'dropped';

export function verdictName(verdict: Verdict): VerdictName {
  switch (verdictKind(verdict)) {
    case VerdictKind.FORWARD:
      return 'forwarded';
    case VerdictKind.FLOOD:
      return 'flooded';
    case VerdictKind.CONSUME:
      return 'consumed';
    case VerdictKind.HOLD:
      return 'held';
    default:
      return 'dropped';
  }
}

/**
 * A verdict as one says it: `forwarded to b`, `flooded`, `dropped: MAC_RESERVED`.
 * @param ingress name of the port by which the frame came
 */
export function verdictWords(verdict: Verdict, ingress: string, portName: (port: number) => string): string {
  const name = verdictName(verdict);
  if (name === 'forwarded') {
    const port = portName(verdictArgument(verdict));
    // An echo request becomes its own reply; a router sends back whom it is no detour for.
    return port === ingress ? `sent back to ${port}` : `forwarded to ${port}`;
  }
  if (name === 'dropped') return `dropped: ${DROP_REASON_NAMES[verdictArgument(verdict)] ?? 'no verdict'}`;
  if (name === 'consumed') return 'consumed by the gateway';
  if (name === 'held') return 'held until the next hop or the other fragments are known';
  return name;
}
