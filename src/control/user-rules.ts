import type { RuleCounter, UserRule } from '../dataplane/commands.ts';
import { nameOf, type RuleSpec, readRule } from '../dataplane/rule-spec.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { familyOf, parsePrefix } from './address.ts';
import type { DeckEvents } from './deck-events.ts';
import { invalid, notFound } from './error.ts';

/** A rule of chain DOCKER-USER that is to be added. */
export interface AddRuleOptions extends RuleSpec {
  /** What it is for, in words. */
  comment?: string;
  /** Where among the rules, from 1; behind all of them by default. */
  position?: number;
}

/** A rule as it is kept over a restart. */
export interface SavedRule extends RuleSpec {
  id: number;
  comment?: string;
  /** RFC 3339. */
  createdAt: string;
}

/** A rule as it is shown to people and programs. */
export interface UserRuleInfo extends SavedRule {
  /** From 1, in the order in which packets meet them. */
  position: number;
  /** false while a network that it names is not there: then it matches nothing. */
  active: boolean;
  packets: number;
  bytes: number;
}

/** More than anybody has written by hand, and few enough to be asked one after the other. */
const MOST_RULES = 1024;
const LONGEST_COMMENT = 256;

export interface UserRulesParts {
  plane: DataPlane;
  events: DeckEvents;
  /** The data plane's number of a network or uplink by its name. */
  find(name: string): number | undefined;
  /** What they are called, all of them. */
  names(): string[];
  log(level: 'error', message: string): void;
}

/**
 * The user's own rules. They name networks, which may go and come again: a rule sleeps while one that it names is not there,
 * as an iptables rule does whose interface is gone, and holds for the next network of that name from its first packet on.
 */
export class UserRules {
  readonly #parts: UserRulesParts;
  #rules: SavedRule[] = [];
  /** Those that the data plane was told of last, also while it has not answered yet. */
  #told: readonly SavedRule[] = [];
  #nextId = 1;
  /** What changes the rules is done one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: UserRulesParts) {
    this.#parts = parts;
    parts.events.on('network', ({ action, network: { name } }) => {
      // One that goes takes its rules out of force by itself.
      if (action !== 'create' || !this.#told.some((rule) => namesOf(rule).includes(name))) return;
      // Told to the data plane before anybody can be connected to the network: commands are done in order. A rule that is being
      // added at this moment is among them.
      this.#apply(this.#told).catch((error: Error) =>
        parts.log('error', `cannot put the rules that name network ${name} in force: ${error.message}`),
      );
    });
  }

  /** Throws a `DeckError` for what is no rule. */
  add({ position, comment, ...spec }: AddRuleOptions): Promise<SavedRule> {
    this.#check(spec);
    // Not in a rule of an earlier deck, which may have them.
    for (const text of [spec.src, spec.dst])
      if (text?.includes('/')) parsePrefix(familyOf(text), nameOf(text));
    if (comment !== undefined && (comment.length > LONGEST_COMMENT || /\p{Cc}/u.test(comment))) {
      throw invalid(`a comment is one line of at most ${LONGEST_COMMENT} characters`);
    }
    return this.#inTurn(async () => {
      const { length } = this.#rules;
      const place = position ?? length + 1;
      if (!Number.isInteger(place) || place < 1 || place > length + 1) {
        throw invalid(`position ${place}: from 1 to ${length + 1} are possible; see "tapdeck rule ls"`);
      }
      if (length === MOST_RULES) throw invalid(`there are ${MOST_RULES} rules already; remove some first`);
      const rule: SavedRule = {
        id: this.#nextId++,
        ...spec,
        ...(comment && { comment }),
        createdAt: new Date().toISOString(),
      };
      await this.#replace(this.#rules.toSpliced(place - 1, 0, rule));
      this.#parts.events.emit('rules', { action: 'add', rule });
      return rule;
    });
  }

  /** Removes rules by their ids: all of them, or none. */
  remove(ids: readonly number[]): Promise<SavedRule[]> {
    return this.#inTurn(async () => {
      const gone = ids.map((id) => this.#rules.find((rule) => rule.id === id) ?? this.#none(id));
      await this.#replace(this.#rules.filter((rule) => !gone.includes(rule)));
      for (const rule of gone) this.#parts.events.emit('rules', { action: 'remove', rule });
      return gone;
    });
  }

  #none(id: number): never {
    const ids = this.#rules.map((rule) => rule.id).join(', ') || 'none';
    throw notFound(`there is no rule ${id}; there are: ${ids}`);
  }

  /** All rules in their order, with what the data plane has counted. */
  list(counters: readonly RuleCounter[]): UserRuleInfo[] {
    return this.#rules.map((rule, i) => {
      const { packets = 0, bytes = 0 } = counters.find((one) => one.rule === rule.id) ?? {};
      return { ...rule, position: i + 1, active: this.#isActive(rule), packets, bytes };
    });
  }

  /** In their order, for a later deck. */
  save(): SavedRule[] {
    return [...this.#rules];
  }

  /** Puts rules of an earlier deck in force, with their ids. */
  restore(rules: readonly SavedRule[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#replace([...rules]);
      this.#nextId = Math.max(this.#nextId, ...rules.map(({ id }) => id + 1));
    });
  }

  #check(spec: RuleSpec): void {
    try {
      readRule(spec, this.#parts.find);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const missing = namesOf(spec).find((name) => this.#parts.find(name) === undefined);
      const there = missing === undefined ? '' : `; there are: ${this.#parts.names().join(', ')}`;
      throw invalid(`${error.message}${there}`);
    }
  }

  #isActive(rule: RuleSpec): boolean {
    return namesOf(rule).every((name) => this.#parts.find(name) !== undefined);
  }

  async #replace(rules: SavedRule[]): Promise<void> {
    try {
      await this.#apply(rules);
    } catch (error) {
      this.#told = this.#rules;
      throw error;
    }
    this.#rules = rules;
  }

  async #apply(rules: readonly SavedRule[]): Promise<void> {
    this.#told = rules;
    const active = rules.filter((rule) => this.#isActive(rule));
    await this.#parts.plane.setUserRules(
      active.map((rule): UserRule => ({ id: rule.id, ...readRule(rule, this.#parts.find) })),
    );
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** The networks and uplinks that a rule names. */
function namesOf({ in: ingress, out }: RuleSpec): string[] {
  return [ingress, out].flatMap((text) => (text === undefined ? [] : nameOf(text)));
}
