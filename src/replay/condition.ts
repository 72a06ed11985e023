import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import type { VerdictName } from './verdict-words.ts';

/** What became of packets that came in by one port: distinct ones only, for a replay has few of them. */
export interface PacketEvent {
  verdict: VerdictName;
  /** The drop reason's name, or empty. */
  reason: string;
  /** By which it came in; empty for copies and for what timers do. */
  port: string;
}

/** What a replay has shown so far. */
export interface Outcome {
  events: Iterable<PacketEvent>;
  /** Frames that the deck received, sent and dropped, copies among them. */
  packets: number;
  sent: number;
  drops: number;
  /** Ports by which frames came in. */
  interfaces: number;
  /** Frames whose handling threw: defects of tapdeck. */
  exceptions: number;
}

/** A condition with a mistake: where it is, and what was expected. */
export class ConditionError extends Error {
  override readonly name = 'ConditionError';
}

type Test = (event: PacketEvent, outcome: Outcome) => boolean;

const VERDICTS: readonly VerdictName[] = ['forwarded', 'flooded', 'consumed', 'held', 'dropped'];
const COUNTS = ['packets', 'sent', 'drops', 'interfaces', 'exceptions'] as const;
const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '=': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};
const NOTHING: PacketEvent = { verdict: 'held', reason: '', port: '' };

/**
 * What a replay is to show, in a small language (docs/replay.md):
 *
 *     drop reason = CT_INVALID and port = web
 *     verdict = flooded and not (drops > 3)
 *
 * `drop reason`, `verdict` and `port` are of one packet, the same in the whole condition; `packets`, `sent`, `drops`,
 * `interfaces` and `exceptions` are numbers of the whole replay.
 */
export class Condition {
  readonly text: string;
  /** Whether it speaks of numbers, which change with every packet. */
  readonly counts: boolean;
  readonly #test: Test;

  /** @throws ConditionError with the position of a mistake and what was expected there */
  constructor(text: string) {
    const parser = new Parser(text);
    this.text = text;
    this.#test = parser.whole();
    this.counts = parser.counts;
  }

  /** Whether the replay shows it: one of its packets does. */
  holds(outcome: Outcome): boolean {
    let any = false;
    for (const event of outcome.events) {
      any = true;
      if (this.#test(event, outcome)) return true;
    }
    return !any && this.counts && this.#test(NOTHING, outcome);
  }
}

interface Token {
  text: string;
  at: number;
}

class Parser {
  counts = false;
  readonly #text: string;
  readonly #tokens: Token[];
  #next = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = [...text.matchAll(/"[^"]*"|'[^']*'|[<>!]=|[=<>()]|[^\s=<>!()"']+|\S/g)].map((match) => ({
      text: match[0],
      at: match.index,
    }));
  }

  whole(): Test {
    const test = this.#either();
    if (this.#peek() !== undefined) this.#fail("'and', 'or' or the end");
    return test;
  }

  #either(): Test {
    let test = this.#both();
    while (this.#take('or')) {
      const [one, other] = [test, this.#both()];
      test = (event, outcome) => one(event, outcome) || other(event, outcome);
    }
    return test;
  }

  #both(): Test {
    let test = this.#term();
    while (this.#take('and')) {
      const [one, other] = [test, this.#term()];
      test = (event, outcome) => one(event, outcome) && other(event, outcome);
    }
    return test;
  }

  #term(): Test {
    if (this.#take('not')) {
      const test = this.#term();
      return (event, outcome) => !test(event, outcome);
    }
    if (this.#take('(')) {
      const test = this.#either();
      if (!this.#take(')')) this.#fail("')'");
      return test;
    }
    if (this.#take('drop')) {
      if (!this.#take('reason')) this.#fail("'reason'");
      return this.#word(
        'reason',
        DROP_REASON_NAMES.filter((name) => name !== undefined),
      );
    }
    if (this.#take('verdict')) return this.#word('verdict', VERDICTS);
    if (this.#take('port')) return this.#word('port', undefined);
    for (const field of COUNTS) if (this.#take(field)) return this.#number(field);
    return this.#fail(`drop reason, verdict, port, ${COUNTS.join(', ')}, 'not' or '('`);
  }

  #word(field: 'reason' | 'verdict' | 'port', known: readonly string[] | undefined): Test {
    const isEqual = this.#take('=');
    if (!isEqual && !this.#take('!=')) this.#fail("'=' or '!='");
    const token = this.#peek();
    const given = token?.text.replace(/^(["'])(.*)\1$/, '$2');
    const value = known ? known.find((name) => name.toLowerCase() === given?.toLowerCase()) : given;
    if (value === undefined) {
      const what = {
        reason: 'a drop reason, such as CT_INVALID',
        verdict: VERDICTS.join(', '),
        port: 'the name of a port',
      };
      return this.#fail(what[field]);
    }
    this.#next++;
    return (event) => (event[field] === value) === isEqual;
  }

  #number(field: (typeof COUNTS)[number]): Test {
    this.counts = true;
    const compare = COMPARISONS[this.#peek()?.text ?? ''];
    if (!compare) return this.#fail(Object.keys(COMPARISONS).join(' '));
    this.#next++;
    const text = this.#peek()?.text ?? '';
    if (!/^\d+$/.test(text)) this.#fail('a whole number');
    this.#next++;
    const value = Number(text);
    return (_event, outcome) => compare(outcome[field], value);
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  #take(word: string): boolean {
    if (this.#peek()?.text.toLowerCase() !== word) return false;
    this.#next++;
    return true;
  }

  #fail(expected: string): never {
    const token = this.#peek();
    const place = token ? `character ${token.at + 1}, at '${token.text}'` : 'the end';
    throw new ConditionError(`condition '${this.#text}': ${place}: expected ${expected}`);
  }
}
