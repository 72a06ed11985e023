import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import { Stage } from '../../switch/trace.ts';
import { count } from './count.ts';
import { DROP_STAGE } from './drop-stage.ts';
import type { Names } from './names.ts';
import { type DnsQuestion, type End, type Ends, readStep, type StageName, type Step } from './steps.ts';

/** What is written in front of a line: netfilter's chains in capitals, and the rest of the switch in small letters. */
const STAGE_WORDS: Readonly<Record<StageName, string>> = {
  INGRESS: 'ingress',
  GUARD: 'port security',
  BRIDGE: 'bridge',
  PREROUTING: 'PREROUTING',
  INPUT: 'INPUT',
  DOCKER_USER: 'FORWARD: DOCKER-USER',
  ISOLATION_1: 'FORWARD: DOCKER-ISOLATION-STAGE-1',
  ISOLATION_2: 'FORWARD: DOCKER-ISOLATION-STAGE-2',
  DOCKER: 'FORWARD: DOCKER',
  FORWARD: 'FORWARD',
  POSTROUTING: 'POSTROUTING',
  NEIGHBOR: 'neighbor',
  EGRESS: 'egress',
  ORIGIN: 'origin',
  UPLINK: 'uplink',
  END: 'end',
};
const STAGE_NAMES = Object.keys(Stage) as StageName[];

const SERVICE_WORDS: Readonly<Record<NonNullable<Step['service']>, string>> = {
  arp: 'the gateway hears ARP',
  nd: 'the gateway hears neighbor discovery',
  icmp: 'ICMP for the gateway',
  dns: 'the name server is asked',
  dhcp: 'the DHCP server is asked',
  dns_stream: 'the name server is spoken to over TCP',
  closed: 'nothing listens there',
};

/**
 * The steps of the packets in a story, with names: the rows at `rows[0]` to `rows[count - 1]` of `words`. A connection that begins
 * is told of where netfilter finds it, in PREROUTING, though the deck opens it only when the packet has been let through.
 */
export function readStory(words: Int32Array, rows: ArrayLike<number>, count: number, names: Names): Step[] {
  const steps: Step[] = [];
  let routed = 0;
  for (let i = 0; i < count; i++) {
    const step = readStep(words, rows[i]!, names);
    if (step.action === 'OPENED') steps.splice(routed, 0, step);
    else steps.push(step);
    if (!isBehindRouting(step)) routed = steps.length;
  }
  return steps;
}

/** Whether a step comes behind the place where a new connection belongs. */
function isBehindRouting({ stage }: Step): boolean {
  const number = Stage[stage];
  return number >= Stage.DOCKER_USER && number <= Stage.POSTROUTING;
}

/**
 * A story in words, a line for each stage: `bridge: learned 02:42:0a:01:00:02 on port 3; flooded to 4 ports`,
 * `PREROUTING: DNAT 203.0.113.9:8080 → 10.1.0.2:80, conntrack #42 NEW`.
 */
export function inWords(steps: readonly Step[]): string[] {
  const lines: string[] = [];
  const pieces = piecesByPort(steps);
  /** What is said again of each piece of a packet that was cut. */
  const said = new Set<string>();
  let stage: StageName | undefined;
  let last: Step | undefined;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    let words = stepInWords(step, steps, i);
    if (words === '') continue;
    if (step.action === 'SENT' || step.action === 'RESOLVED' || step.action === 'KNOWN') {
      if (said.has(words)) continue;
      said.add(words);
    }
    if (step.action === 'SENT') {
      const count = pieces.get(step.port!)!;
      words = `${last?.action === 'SENT' ? '' : 'sent to '}${words}${count > 1 ? ` in ${count} pieces` : ''}`;
    }
    last = step;
    // The bridge and the edge say several things about one frame, and what DNAT does belongs to its connection.
    const separator = step.stage === 'BRIDGE' ? '; ' : ', ';
    const place = placeOf(steps, i);
    if (place === stage && isJoined(step)) lines[lines.length - 1] += separator + words;
    else
      lines.push(`${STAGE_WORDS[place]}${words.startsWith('drops') || isChain(place) ? ' ' : ': '}${words}`);
    stage = place;
  }
  return lines;
}

function piecesByPort(steps: readonly Step[]): ReadonlyMap<string, number> {
  const pieces = new Map<string, number>();
  for (const { action, port } of steps) {
    if (action === 'SENT') pieces.set(port!, (pieces.get(port!) ?? 0) + 1);
  }
  return pieces;
}

/**
 * The line that says what became of the packet, and by which port it came: `web eth0 → FORWARD: … drops: …`, and of one that
 * went on, what the deck made of it: `uplink td0 → DNAT 203.0.113.9:8080 → 10.1.0.2:80; egress: sent to web eth0`.
 */
export function headline(steps: readonly Step[]): string {
  const lines = inWords(steps);
  const refused = lines.find((line) => line.includes(' drops: ') || line.includes(' rejects'));
  const last = lines.at(-1) ?? '';
  const decided = refused ?? [...doneInWords(steps, lines), last].join('; ');
  return steps.length === 0 ? decided : `${steps[0]!.ingress} → ${decided}`;
}

/**
 * The line of copies of a packet beside which its story is not told: by which port it came in, and what it waited for, if it did, in
 * `steps`.
 */
export function originLine(ingress: string, steps: readonly Step[] = []): string {
  const resumed = steps.find(({ action, address }) => action === 'RESUMED' && address !== undefined);
  const waited =
    resumed === undefined ? '' : `, waited ${durationInWords(resumed.waited!)} for ${resumed.address}`;
  return `came in from ${ingress}${waited}`;
}

/** What was done to a packet on its way to the last of its lines: taken in by the gateway, translated. */
function doneInWords(steps: readonly Step[], lines: readonly string[]): string[] {
  const taken = lines.slice(0, -1).filter((line) => line.startsWith(`${STAGE_WORDS.INPUT}: `));
  const isTranslation = ({ action }: Step) => action === 'DNAT' || action === 'SNAT';
  return [...taken, ...steps.flatMap((step, i) => (isTranslation(step) ? stepInWords(step, steps, i) : []))];
}

/** Why a packet was dropped, as part of a sentence: `the IPv4 header checksum is wrong (IP_CSUM)`. */
export function dropInWords(reason: DropReasonName): string {
  const text = DROP_TEXT[reason].replace(/\.$/, '');
  // Names keep their capitals: ARP, IPv6.
  const begins = /^[A-Z][a-z ]/.test(text) ? text[0]!.toLowerCase() + text.slice(1) : text;
  return `${begins} (${reason})`;
}

function isChain(stage: StageName): boolean {
  return stage === 'DOCKER_USER' || stage === 'ISOLATION_1' || stage === 'ISOLATION_2' || stage === 'DOCKER';
}

function isJoined({ stage, action }: Step): boolean {
  return (
    stage === 'BRIDGE' ||
    action === 'OPENED' ||
    action === 'DNAT' ||
    action === 'TARGET' ||
    action === 'QUESTION' ||
    action === 'DHCP' ||
    action === 'UNCUT' ||
    (stage === 'EGRESS' && action === 'SENT')
  );
}

/** Where a step is told of: a verdict, at the stage that spoke it. */
function placeOf(steps: readonly Step[], i: number): StageName {
  const step = steps[i]!;
  if (isGatewaysCopy(steps, i)) return 'INPUT';
  if (step.action !== 'VERDICT' || step.reason === undefined) return step.stage;
  return STAGE_NAMES[DROP_STAGE[step.reason]]!;
}

/** Whether a verdict is not on the packet itself, which goes on to others, but on the copy that the gateway hears. */
function isGatewaysCopy(steps: readonly Step[], i: number): boolean {
  return (
    steps[i]!.action === 'VERDICT' &&
    steps.slice(0, i).some(({ action }) => action === 'FLOODED') &&
    steps.slice(i + 1).some(({ action }) => action === 'VERDICT')
  );
}

/** A step without its stage; empty when the line before has said it all, or there is nothing to say. */
function stepInWords(step: Step, steps: readonly Step[], i: number): string {
  switch (step.action) {
    case 'RECEIVED':
      return `${step.ingress}, ${endsInWords(step.ends!)}, ${lengthInWords(step, steps[i + 1])}`;
    case 'MADE': {
      const cause = step.cause === undefined ? '' : ` because of packet ${step.cause >>> 0}`;
      return `made by the deck${cause}: ${endsInWords(step.ends!)}`;
    }
    case 'VERDICT':
      return verdictInWords(step, steps, i);
    case 'LEARNED':
      return `learned ${step.mac} on ${step.port}`;
    case 'MOVED':
      return `${step.mac} has moved from ${step.before!.address} to ${step.port}`;
    case 'KNOWN':
      return `${step.mac} is behind ${step.port}`;
    case 'FLOODED':
      return `flooded to ${count(step.count!, 'port')}`;
    case 'CONNECTION': {
      // Connections of other protocols have no state of this kind.
      const isTcp = steps.some(({ ends }) => ends?.protocol === 'TCP');
      const tcp = step.tcp === undefined || !isTcp ? '' : `, TCP ${step.tcp}`;
      const reply = step.direction === 'reply' ? ', reply' : '';
      return `conntrack #${step.connection} ${step.state}${tcp}${reply}`;
    }
    case 'OPENED':
      return `conntrack #${step.connection} NEW`;
    case 'REFUSED':
      return 'no connection is begun';
    case 'DNAT':
      return `DNAT ${translation(step, steps)}`;
    case 'SNAT':
      return `${step.by === 'masquerade' ? 'MASQUERADE' : step.by === 'prefix' ? 'NPT' : 'SNAT'} ${translation(step, steps)}`;
    case 'FRAGMENT_HELD':
      return 'a fragment, which waits for the others';
    case 'REASSEMBLED':
      return `the last fragment: put together, ${step.length} bytes`;
    case 'SERVICE':
      return SERVICE_WORDS[step.service!];
    case 'RULE':
      return `${step.rule} ${{ ACCEPT: 'accepts', DROP: 'drops', REJECT: 'rejects', RETURN: 'returns' }[step.says!]}`;
    case 'RETURNED':
      return returnedInWords(step);
    case 'DROPPED':
      return `drops: ${isolationInWords(step)}${step.rule === undefined ? '' : ` (${step.rule})`}`;
    case 'ACCEPTED':
      return `accepts: ${acceptedInWords(step)}${step.rule === undefined ? '' : ` (${step.rule})`}`;
    case 'ROUTED':
      return step.network === step.to ? `within ${step.to}` : `from ${step.network} to ${step.to}`;
    case 'FRAGMENTED':
      return `cut into fragments of at most ${step.length} bytes`;
    case 'SEGMENTED':
      return `${count(step.count!, 'segment')}, each cut into fragments of at most ${step.length} bytes`;
    case 'RESOLVED':
      return `${step.address} is at ${step.mac}`;
    case 'ASKED':
      return `asks ${step.network} who has ${step.address}; the packet waits`;
    case 'WAITS':
      return `${step.address} has not answered yet; the packet waits`;
    case 'RESUMED':
      return resumedInWords(step);
    case 'SENT':
      return step.port!;
    case 'QUEUED':
      return `${step.port} has no room; the frame waits`;
    case 'LOST':
      return `drops: for ${step.port}, ${dropInWords(step.reason!)}`;
    case 'LIMITED':
      return 'the sender is not told: too many errors were sent';
    case 'TARGET':
      return targetInWords(step, steps[i - 1]!.ends!);
    case 'QUESTION':
      return questionInWords(step.question!);
    case 'DHCP':
      return `DHCP ${step.dhcp}${step.address === undefined ? '' : ` ${step.address}`}`;
    case 'UNCUT':
      return `${count(step.count!, 'segment')} of ${step.length} in one`;
    case 'SOCKET':
      return `the host's sockets take it (${step.kind})`;
  }
}

function resumedInWords({ stage, address, mac, waited, cause }: Step): string {
  if (stage === 'EGRESS') return 'the frame waits no more';
  if (address === undefined) return 'the packet waits no more';
  const found = mac === undefined ? `${address} has not answered` : `${address} is at ${mac}`;
  const by = cause === undefined || mac === undefined ? '' : `, by packet ${cause >>> 0}`;
  return `${found}${by}; the packet has waited ${durationInWords(waited!)}`;
}

/** @param time milliseconds */
function durationInWords(time: number): string {
  if (time < 0.05) return 'less than 0.1 ms';
  if (time < 10) return `${time.toFixed(1)} ms`;
  return time < 1000 ? `${Math.round(time)} ms` : `${(time / 1000).toFixed(1)} s`;
}

function verdictInWords(step: Step, steps: readonly Step[], i: number): string {
  if (step.verdict === 'CONSUME') return '';
  if (step.reason === undefined) return '';
  if (isGatewaysCopy(steps, i)) return `the gateway drops its copy: ${dropInWords(step.reason)}`;
  const before = steps[i - 1];
  // A chain of rules has said it in its own words.
  const isSaid =
    before !== undefined &&
    (before.action === 'DROPPED' || (before.action === 'RULE' && before.says !== 'ACCEPT'));
  return isSaid ? '' : `drops: ${dropInWords(step.reason)}`;
}

function returnedInWords(step: Step): string {
  switch (step.stage) {
    case 'GUARD':
      return 'the sender is who it says it is';
    case 'DOCKER_USER':
      return step.count === 1 ? 'the rule does not match' : `none of ${step.count} rules matches`;
    default:
      return `lets it pass from ${step.network} to ${step.to}`;
  }
}

function isolationInWords({ kind, network, to }: Step): string {
  switch (kind) {
    case 'INTERNAL_OUT':
      return `network ${network} is internal, and nothing leaves it`;
    case 'INTERNAL_IN':
      return `network ${to} is internal, and nothing enters it`;
    default:
      return `network ${network} may not enter ${to}`;
  }
}

function acceptedInWords({ kind, network, to, publish }: Step): string {
  switch (kind) {
    case 'PUBLISHED':
      return publish === undefined ? 'published' : `published ${publish}`;
    case 'ESTABLISHED':
      return 'an established connection';
    case 'INTRA':
      return `within ${network}`;
    default:
      return `out of ${network} to ${to}`;
  }
}

/** `203.0.113.9:8080 → 10.1.0.2:80`, without ports where the protocol has none. */
function translation({ before, after }: Step, steps: readonly Step[]): string {
  const hasPorts = steps.some(({ ends }) => ends?.protocol === 'TCP' || ends?.protocol === 'UDP');
  return `${endInWords(before!, hasPorts)} → ${endInWords(after!, hasPorts)}`;
}

function endsInWords(ends: Ends): string {
  const { protocol, from, to, message, sequence, mtu, fragment } = ends;
  if (protocol === undefined) return 'no Ethernet frame';
  if (from === undefined || to === undefined) return protocol;
  if (protocol === 'ARP') return arpInWords(ends);
  const words = [
    [
      protocol,
      ...(message === undefined ? [] : [message]),
      `${endInWords(from, true)} → ${endInWords(to, true)}`,
    ].join(' '),
    ...(fragment === undefined ? [] : [`${fragment} fragment`]),
    ...(sequence === undefined ? [] : [`seq ${sequence}`]),
    ...(mtu === undefined ? [] : [`mtu ${mtu}`]),
  ];
  return words.join(', ');
}

/** As tcpdump says it. */
function arpInWords({ from, to, message, mac }: Ends): string {
  if (message === 'request') return `ARP who-has ${to!.address} tell ${from!.address}`;
  if (message === 'reply') return `ARP ${from!.address} is-at ${mac}`;
  return `ARP operation ${message} ${from!.address} → ${to!.address}`;
}

/** Of the frame, and of what it carries unless that is told of. */
function lengthInWords({ length, payload = 0 }: Step, next: Step | undefined): string {
  const isTold = next?.action === 'QUESTION' || next?.action === 'DHCP';
  return `${length} bytes${payload === 0 || isTold ? '' : `, ${payload} of payload`}`;
}

function targetInWords({ address }: Step, { message }: Ends): string {
  return message === 'neighbor solicitation' ? `who has ${address}` : `target ${address}`;
}

function questionInWords({ type, name, rcode, answers }: DnsQuestion): string {
  if (rcode === undefined) return `DNS ${type}? ${name}`;
  return `DNS ${type} ${name}: ${rcode === 'NOERROR' ? count(answers!, 'answer') : rcode}`;
}

function endInWords({ address, port }: End, hasPorts: boolean): string {
  if (port === undefined || !hasPorts) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
