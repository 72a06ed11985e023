import { DROP_REASON_NAMES } from '../../../switch/drop-reason.ts';
import { DROP_TEXT, type DropReasonName } from '../../../switch/drop-text.ts';
import type { PortId } from '../../../switch/frame.ts';
import { HOLD, VerdictKind, verdictArgument, verdictKind } from '../../../switch/verdict.ts';
import type { Ends, Step } from '../../trace/steps.ts';
import { inWords, readStory } from '../../trace/story.ts';
import { rowPlaces } from '../../trace/story-collector.ts';
import type { SavedDataplane } from '../../why/fork.ts';
import { type Result, Trial } from '../../why/trial.ts';
import { contains, familyOf, parseAddress } from '../address.ts';
import type { Endpoint } from '../endpoint.ts';
import { circumstances } from './circumstances.ts';
import { type ExplainParts, refusing, ruleInWords, rulesMet } from './explain.ts';
import type { WhyProtocol } from './grammar.ts';
import { REMEDIES, type Remedy, type Trouble } from './remedy.ts';

/** What would become of a frame that comes in by a port now. */
export interface WhyFrameView {
  answer: 'yes' | 'no';
  /** The port by which it comes in, and those by which it leaves. */
  from: string;
  to: string[];
  /** Its way, a line for each stage. */
  way: string[];
  /** The answer in one sentence. */
  conclusion: string;
  /** What would make it yes; null when it is. */
  remedy: Remedy | null;
}

/** Tries a frame, as it was captured, on a data plane as it was saved. */
export function explainFrame(
  parts: ExplainParts,
  saved: SavedDataplane,
  port: PortId,
  frame: Uint8Array,
): WhyFrameView {
  const { names } = parts;
  const result = new Trial(saved).receive(port, frame, saved.now);
  const stories = result.stories.map(({ rows }) => {
    const places = rowPlaces(rows);
    return readStory(rows, places, places.length, names);
  });
  const to = [...new Set(result.sent.map((one) => names.port(one.port)))];
  const view = { from: names.port(port), to, way: stories.flatMap((steps) => inWords(steps)) };
  const steps = stories[0] ?? [];
  const trouble = () => troubleOf(parts, port, steps, result);
  const reason = reasonOf(result);
  if (reason !== null) {
    const why = DROP_TEXT[reason].replace(/\.$/, '');
    const conclusion = `it is dropped: ${why}${ruleInWords(rulesMet(parts, result.rules))}`;
    return { ...view, answer: 'no', conclusion, remedy: REMEDIES[reason](trouble()) };
  }
  const asked = steps.find(({ action }) => action === 'ASKED' || action === 'WAITS');
  if (result.verdict === HOLD && asked !== undefined) {
    // Who is behind an uplink the deck does not know, and takes to be there; in a network of ours it does.
    const isOurs = parts.networks.some(({ name }) => name === asked.network);
    const conclusion = `it waits until ${asked.address} in ${asked.network} has said its MAC`;
    if (!isOurs) return { ...view, answer: 'yes', conclusion, remedy: null };
    return { ...view, answer: 'no', conclusion, remedy: REMEDIES.NEIGH_FAILED(trouble()) };
  }
  const conclusion = to.length > 0 ? `it leaves by ${to.join(', ')}` : 'the deck keeps it';
  return { ...view, answer: 'yes', conclusion, remedy: null };
}

/** Why nothing of it goes anywhere; null when something does, or the deck has taken it. */
function reasonOf({ verdict, drops, sent }: Result): DropReasonName | null {
  const isDropped = verdictKind(verdict) === VerdictKind.DROP;
  const number = isDropped ? verdictArgument(verdict) : sent.length === 0 ? drops[0] : undefined;
  return number === undefined ? null : (DROP_REASON_NAMES[number] as DropReasonName);
}

/** Who has sent a frame whose way is `steps`, and for whom it is. */
function troubleOf(parts: ExplainParts, port: PortId, steps: readonly Step[], { rules }: Result): Trouble {
  const came = steps[0]?.ends ?? {};
  // As it was last known: translated.
  const last = steps.findLast(({ ends }) => ends !== undefined)?.ends ?? came;
  const { from = came.from, to = came.to } = last;
  const sender = endpointAt(parts, (endpoint) => endpoint.port === port);
  const receiver = to && endpointAt(parts, ({ ipv4, ipv6 }) => ipv4 === to.address || ipv6 === to.address);
  const routed = steps.find(({ action }) => action === 'ROUTED');
  const uplink = parts.uplinks.find((one) => one.port === port);
  const fromNetwork = sender?.network ?? uplink?.name ?? null;
  const toNetwork = receiver?.network ?? (to && networkOf(parts, to.address)) ?? null;
  const protocol = protocolOf(last);
  const address = to?.address ?? '0.0.0.0';
  const family = familyOf(address);
  const number = protocol === 'icmp' || protocol === null ? 0 : (to?.port ?? 0);
  return {
    from: sender?.container ?? null,
    to: receiver?.container ?? null,
    fromNetwork,
    toNetwork,
    fromAddress: from?.address ?? address,
    toAddress: address,
    protocol: protocol ?? 'icmp',
    port: number,
    step: isAnswer(came, steps) ? 'answer' : 'request',
    isForward: true,
    // Rules that are proposed are for a protocol.
    inNetwork: protocol === null ? null : fromNetwork,
    outNetwork: protocol === null ? null : (routed?.to ?? toNetwork),
    rule: protocol === null ? null : refusing(rules, parts.userRules),
    ...circumstances(parts, {
      family,
      protocol: protocol ?? 'icmp',
      port: number,
      fromNetwork,
      toNetwork,
      toAddress: parseAddress(family, address),
      asked: receiver?.container ?? null,
      isForward: true,
    }),
  };
}

function endpointAt(
  { containers }: ExplainParts,
  isMeant: (endpoint: Endpoint) => boolean,
): Endpoint | undefined {
  return containers.flatMap(({ endpoints }) => endpoints).find(isMeant);
}

/** The network, or the uplink, in whose subnet an address is. */
function networkOf({ networks, uplinks }: ExplainParts, text: string): string | undefined {
  const family = familyOf(text);
  const address = parseAddress(family, text);
  const ours = [
    ...networks,
    ...uplinks.map(({ name, spec }) => ({ name, ipv4: spec.ipv4, ipv6: spec.ipv6 })),
  ];
  return ours.find(({ ipv4, ipv6 }) => {
    const pool = family === 4 ? ipv4 : ipv6;
    return pool !== null && contains(pool.subnet, address);
  })?.name;
}

/** null for a protocol of which questions are not asked. */
function protocolOf({ protocol }: Ends): WhyProtocol | null {
  switch (protocol) {
    case 'TCP':
      return 'tcp';
    case 'UDP':
      return 'udp';
    case 'ICMP':
    case 'ICMPv6':
      return 'icmp';
    default:
      return null;
  }
}

/** Whether a packet answers another: a connection is known, or it says so itself. */
function isAnswer({ message }: Ends, steps: readonly Step[]): boolean {
  return (
    message === 'SYN+ACK' ||
    message === 'echo reply' ||
    steps.some(({ action, direction }) => action === 'CONNECTION' && direction === 'reply')
  );
}
