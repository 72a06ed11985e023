import { DROP_REASON_NAMES } from '../../../switch/drop-reason.ts';
import { DROP_TEXT, type DropReasonName } from '../../../switch/drop-text.ts';
import { icmpName, icmpv6Name } from '../../../wire/icmp-name.ts';
import type { RuleCounter } from '../../dataplane/commands.ts';
import type { Names } from '../../trace/names.ts';
import { inWords, readStory } from '../../trace/story.ts';
import { rowPlaces } from '../../trace/story-collector.ts';
import { ask } from '../../why/conversation.ts';
import type { SavedDataplane } from '../../why/fork.ts';
import type { DeckReply, Outcome, Step, StepKind } from '../../why/question.ts';
import { type Family, formatAddress } from '../address.ts';
import type { ChainView } from '../rule-view.ts';
import { circumstances } from './circumstances.ts';
import type { WhyProtocol } from './grammar.ts';
import { FAILURE_REMEDIES, REMEDIES, type Remedy, type Trouble } from './remedy.ts';
import type { Resolved, WhyParts } from './resolve.ts';

/** One end of the question. */
export interface WhyEnd {
  /** As it is called: `web`, `the gateway of front`, an address. */
  name: string;
  address: string;
  /** Name of the network or uplink in which it is; null for none of the deck's. */
  network: string | null;
}

/** A rule that had its say about a packet. */
export interface WhyRule {
  table: 'nat' | 'filter';
  chain: string;
  target: string;
  /** What it does, in plain words. */
  words: string;
  /** Its id if it is one of the user's. */
  rule: number | null;
}

/** One frame of the conversation. */
export interface WhyStep {
  kind: StepKind;
  /** Who sends it, and who gets it: null for nobody. */
  from: string;
  to: string | null;
  /** What it is: `SYN`, `who has 10.0.0.1?`. */
  what: string;
  /** Its way, a line for each stage. */
  way: string[];
  /** The rules that it met and that had their say, in the order of the chains. */
  rules: WhyRule[];
  /** Why it was dropped, if it was. */
  drops: DropReasonName[];
  /** What became of it, in words. */
  fate: string;
}

/** The answer to a question. */
export interface WhyView {
  answer: 'yes' | 'no';
  protocol: WhyProtocol;
  /** null for ICMP. */
  port: number | null;
  family: Family;
  from: WhyEnd;
  to: WhyEnd;
  steps: WhyStep[];
  /** The answer in one sentence. */
  conclusion: string;
  /** What would make it yes; null when it is. */
  remedy: Remedy | null;
}

/** What the answer is put into words with. */
export interface ExplainParts extends WhyParts {
  /** The chains of rules, with what `counters` say that they have counted. */
  chains(counters: readonly RuleCounter[]): ChainView[];
  /** What everything is called. */
  names: Names;
  /** Ids of the rules in DOCKER-USER, in their order. */
  userRules: readonly number[];
}

/** The order in which a packet meets the chains. */
const CHAINS = [
  'nat DOCKER',
  'filter INPUT',
  'filter DOCKER-USER',
  'filter DOCKER-ISOLATION-STAGE-1',
  'filter DOCKER-ISOLATION-STAGE-2',
  'filter DOCKER',
  'filter FORWARD',
  'nat POSTROUTING',
];

/** Tries a question on a data plane as it was saved, and puts what becomes of it into words. */
export function explain(parts: ExplainParts, resolved: Resolved, saved: SavedDataplane): WhyView {
  if (resolved.isLocal) return { ...headOf(resolved), ...local(resolved) };
  return new Explainer(parts, resolved, ask(saved, resolved.question)).view();
}

/** What is asked, as answers begin. */
export function headOf({ family, from, to, question: { protocol, port } }: Resolved) {
  const end = ({ name, address, network }: typeof from): WhyEnd => ({
    name,
    address: formatAddress(family, address),
    network,
  });
  return { protocol, port: protocol === 'icmp' ? null : port, family, from: end(from), to: end(to) };
}

function local({ from }: Resolved): Pick<WhyView, 'answer' | 'steps' | 'conclusion' | 'remedy'> {
  return {
    answer: 'yes',
    steps: [],
    conclusion: `${from.name} speaks to itself: that never leaves it`,
    remedy: null,
  };
}

class Explainer {
  readonly #parts: ExplainParts;
  readonly #resolved: Resolved;
  readonly #outcome: Outcome;

  constructor(parts: ExplainParts, resolved: Resolved, outcome: Outcome) {
    this.#parts = parts;
    this.#resolved = resolved;
    this.#outcome = outcome;
  }

  view(): WhyView {
    const { failure } = this.#outcome;
    return {
      answer: failure === null ? 'yes' : 'no',
      ...headOf(this.#resolved),
      steps: this.#outcome.steps
        .filter(({ kind }) => kind !== 'neighbor-answer')
        .map((step) => this.#step(step)),
      conclusion: failure === null ? this.#yes() : this.#no(),
      remedy: failure === null ? null : this.#remedy(),
    };
  }

  // ---- steps ----

  #step(step: Step): WhyStep {
    const { names } = this.#resolved;
    return {
      kind: step.kind,
      from: names[step.from]!,
      to: step.arrived >= 0 ? names[step.arrived]! : null,
      what: this.#what(step),
      way: step.stories.flatMap((rows) => {
        const places = rowPlaces(rows);
        return inWords(readStory(rows, places, places.length, this.#parts.names));
      }),
      rules: this.#rules(step),
      // A question is for everybody: that nobody else heard it means nothing.
      drops: step.kind === 'neighbor-question' && step.answered ? [] : dropsOf(step),
      fate: this.#fate(step),
    };
  }

  #what({ kind, target }: Step): string {
    const { protocol, port } = this.#resolved.question;
    switch (kind) {
      case 'neighbor-question':
        return `who has ${this.#text(target!)}?`;
      case 'acknowledgment':
        return 'ACK, data';
      case 'data':
        return 'data';
      default:
        if (protocol === 'tcp') return kind === 'request' ? `SYN to port ${port}` : 'SYN+ACK';
        if (protocol === 'udp') return kind === 'request' ? `datagram to port ${port}` : 'datagram';
        return kind === 'request' ? 'echo request' : 'echo reply';
    }
  }

  #rules({ rules, kind }: Step): WhyRule[] {
    return kind === 'neighbor-question' ? [] : rulesMet(this.#parts, rules);
  }

  #fate(step: Step): string {
    const { names } = this.#resolved;
    if (step.kind === 'neighbor-question') return step.answered ? 'answered' : 'nobody answers';
    const drops = dropsOf(step).map((name) => `${name}: ${DROP_TEXT[name]}`);
    if (step.arrived >= 0) return `reaches ${names[step.arrived]}`;
    const reply =
      step.reply === null ? [] : [`the deck answers with ${replyWords(step.reply, this.#resolved.family)}`];
    if (drops.length === 0 && reply.length === 0) {
      return step.sent.length > 0 ? 'reaches nobody who has that address' : 'goes nowhere';
    }
    return [...(drops.length > 0 ? [`dropped, ${drops.join(' ')}`] : []), ...reply].join(' ');
  }

  // ---- the answer ----

  #yes(): string {
    const { from, to, question } = this.#resolved;
    const { at, assumed } = this.#outcome;
    const answering = this.#resolved.names[at]!;
    const isDeck = at === question.from;
    const what =
      question.protocol === 'icmp' ? 'a ping' : `${question.protocol.toUpperCase()} to port ${question.port}`;
    if (assumed)
      return `${what} leaves the deck for ${to.name}, and an answer from there would reach ${from.name}`;
    const through = !isDeck && answering !== to.name ? ` (${answering})` : '';
    return `${what} of ${to.name}${through} reaches it, and the answer reaches ${from.name}`;
  }

  #no(): string {
    const { steps, failure, at } = this.#outcome;
    const { names, to } = this.#resolved;
    const last = steps.at(-1);
    switch (failure) {
      case 'no-route':
        return `${names[at]} has no route to ${last === undefined ? to.name : 'who asks'}`;
      case 'no-neighbor':
        return `nobody answers ${names[at]} for ${this.#text(last!.target ?? this.#resolved.question.destination)}`;
      case 'dropped':
      case 'refused': {
        const why = dropsOf(last!).map((name) => DROP_TEXT[name].replace(/\.$/, ''));
        const by = ruleInWords(this.#rules(last!));
        return `${this.#sent(last!)} is ${failure}: ${why.join(' ') || replyWords(last!.reply!, this.#resolved.family)}${by}`;
      }
      case 'astray':
        return `${this.#sent(last!)} reaches somebody for whom it is not`;
      default:
        return `${this.#sent(last!)} waits in the deck, and nothing comes of it`;
    }
  }

  #sent(step: Step): string {
    return `the ${this.#what(step)} from ${this.#resolved.names[step.from]}`;
  }

  #remedy(): Remedy {
    const trouble = this.#trouble();
    const { failure, steps } = this.#outcome;
    const [reason] = steps.length > 0 ? dropsOf(steps.at(-1)!) : [];
    if (reason !== undefined && failure !== 'no-neighbor') return REMEDIES[reason](trouble);
    return FAILURE_REMEDIES[failure === null || failure === 'dropped' ? 'lost' : failure](trouble);
  }

  #trouble(): Trouble {
    const { from, to, question, family } = this.#resolved;
    const { steps, at } = this.#outcome;
    const last = steps.at(-1);
    const isForward =
      last === undefined || last.kind === 'request' || last.kind === 'acknowledgment' || at === question.from;
    // Of a published port: who has it.
    const reached = this.#reached();
    const [inEnd, outEnd] = isForward ? [from.network, reached.network] : [reached.network, from.network];
    const around = circumstances(this.#parts, {
      family,
      protocol: question.protocol,
      port: question.port,
      fromNetwork: from.network,
      toNetwork: to.network,
      toAddress: to.address,
      asked: reached.container,
      isForward,
    });
    return {
      from: from.container,
      to: reached.container,
      fromNetwork: from.network,
      toNetwork: reached.network,
      fromAddress: formatAddress(family, from.address),
      toAddress: formatAddress(family, to.address),
      protocol: question.protocol,
      port: question.port,
      step: last?.kind ?? 'request',
      isForward,
      inNetwork: inEnd,
      outNetwork: outEnd ?? around.uplink?.name ?? null,
      rule: refusing(last?.rules ?? [], this.#parts.userRules),
      ...around,
    };
  }

  /** The end that is asked; behind a published port, who has answered there. */
  #reached(): { container: string | null; network: string | null } {
    const { to, question, names } = this.#resolved;
    const request = this.#outcome.steps.find(({ kind }) => kind === 'request');
    if (to.container !== null || request === undefined || request.arrived < 0) return to;
    const station = question.stations[request.arrived]!;
    if (station.outside !== null) return to;
    const container = names[request.arrived]!;
    const endpoint = this.#parts.containers
      .find(({ name }) => name === container)
      ?.endpoints.find(({ port }) => port === station.port);
    return { container, network: endpoint?.network ?? null };
  }

  #text(words: readonly number[]): string {
    return formatAddress(
      this.#resolved.family,
      words.reduce((address, word) => (address << 32n) | BigInt(word >>> 0), 0n),
    );
  }
}

/** The rules that have counted, in the order in which a packet meets them. */
export function rulesMet(
  { chains }: Pick<ExplainParts, 'chains'>,
  counters: readonly RuleCounter[],
): WhyRule[] {
  if (counters.length === 0) return [];
  return chains(counters)
    .flatMap(({ table, name, rules: views }) =>
      views
        .filter(({ packets }) => packets !== null && packets > 0)
        .map(({ target, words, rule }) => ({ table, chain: name, target, words, rule })),
    )
    .sort((one, other) => placeOf(one) - placeOf(other));
}

/** Behind why a packet is dropped: which of the rules that it met has decided that. */
export function ruleInWords(rules: readonly WhyRule[]): string {
  const rule = rules.findLast(({ target }) => target !== 'ACCEPT');
  return rule === undefined ? '' : ` (${rule.chain}: ${rule.words})`;
}

/** The rule of the user's among those that have counted, and its place in the chain. */
export function refusing(counters: readonly RuleCounter[], userRules: readonly number[]): Trouble['rule'] {
  const id = counters.find(({ kind }) => kind === 'USER')?.rule;
  return id === undefined ? null : { id, position: userRules.indexOf(id) + 1 };
}

function dropsOf({ drops }: Step): DropReasonName[] {
  return drops.map((reason) => DROP_REASON_NAMES[reason] as DropReasonName);
}

function placeOf({ table, chain }: WhyRule): number {
  return CHAINS.indexOf(`${table} ${chain}`);
}

function replyWords({ kind, type, code }: DeckReply, family: Family): string {
  if (kind === 'reset') return 'a TCP reset';
  if (kind === 'answer') return 'an answer of its own';
  return family === 4 ? `ICMP "${icmpName(type, code)}"` : `ICMPv6 "${icmpv6Name(type, code)}"`;
}
