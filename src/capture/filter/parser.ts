/**
 * From the text of a filter to its tree, by recursive descent, with the grammar of pcap-filter(7) as libpcap has it:
 * `and` and `or` bind equally and to the left, `not` binds tighter, and an identifier without qualifiers has those of
 * the primitive before it.
 */
import { FilterError } from './filter-error.ts';
import type {
  AddressType,
  Arithmetic,
  Direction,
  Expression,
  Identifier,
  Operator,
  Protocol,
  Qualifiers,
  Relation,
  Span,
} from './syntax.ts';
import { type Token, TokenType, tokenize } from './token.ts';

/** Parentheses, negations and operands within each other: what recursion bears with any stack. */
const MAX_DEPTH = 200;

const PROTOCOLS: ReadonlySet<string> = new Set<Protocol>([
  ...(['ether', 'ip', 'ip6', 'arp', 'rarp', 'tcp', 'udp', 'sctp', 'icmp', 'icmp6', 'igmp'] as const),
  ...(['igrp', 'pim', 'vrrp', 'carp', 'ah', 'esp', 'stp'] as const),
]);
const TYPES: ReadonlySet<string> = new Set<AddressType>(['host', 'net', 'port', 'portrange', 'proto']);
const RELATIONS: ReadonlySet<string> = new Set<Relation>(['=', '!=', '<', '<=', '>', '>=']);
/** `%` and `^` have no rank: see `arithmetic`. */
const RANKS: ReadonlyMap<string, number> = new Map([
  ['|', 1],
  ['&', 2],
  ['<<', 3],
  ['>>', 3],
  ['+', 4],
  ['-', 4],
  ['*', 5],
  ['/', 5],
]);
const RANK_OF_MINUS = 6;
const UNRANKED: ReadonlySet<string> = new Set(['%', '^']);

/** A name that was meant as a subtraction. */
const HYPHENATED = /^(?:len|length|[0-9]\w*)-/;

/** An expression, and the qualifiers that an identifier behind it inherits. */
interface Parsed {
  expression: Expression;
  qualifiers: Qualifiers | undefined;
}

/**
 * The tree of a filter; undefined for an empty one, which lets everything pass.
 * @throws FilterError
 */
export function parseFilter(text: string): Expression | undefined {
  return new Parser(text).parse();
}

class Parser {
  readonly #text: string;
  readonly #tokens: Token[];
  #next = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = tokenize(text);
  }

  parse(): Expression | undefined {
    if (this.#peek().type === TokenType.END) return undefined;
    const { expression } = this.#expression(undefined);
    if (this.#peek().type !== TokenType.END) throw this.#expected("'and', 'or' or the end of the filter");
    return expression;
  }

  #expression(inherited: Qualifiers | undefined): Parsed {
    let { expression, qualifiers } = this.#term(inherited);
    for (;;) {
      const kind = this.#word('and') ? 'and' : this.#word('or') ? 'or' : undefined;
      if (kind === undefined) return { expression, qualifiers };
      const right = this.#identifierComes() ? this.#identifier(qualifiers) : this.#term(qualifiers);
      expression = { kind, left: expression, right: right.expression };
      qualifiers = right.qualifiers;
    }
  }

  #term(inherited: Qualifiers | undefined): Parsed {
    if (this.#word('not')) {
      const { expression, qualifiers } = this.#deeper(() => this.#term(inherited));
      return { expression: { kind: 'not', of: expression }, qualifiers };
    }
    if (this.#is('(') && !this.#parenthesizedNumber()) {
      this.#next++;
      const { expression } = this.#deeper(() => this.#expression(inherited));
      this.#need(')');
      // What is said in parentheses is not inherited by what stands behind them.
      return { expression, qualifiers: inherited };
    }
    return this.#primitive();
  }

  #primitive(): Parsed {
    const token = this.#peek();
    if (token.type === TokenType.WORD) {
      const following = this.#peek(1);
      if (PROTOCOLS.has(token.text) && !this.#is('[', 1)) {
        return this.#qualifies(following)
          ? this.#identifier(this.#qualifiers())
          : this.#unqualified(this.#protocolAlone());
      }
      if (this.#qualifies(token)) return this.#identifier(this.#qualifiers());
      switch (token.text) {
        case 'broadcast':
        case 'multicast':
          return this.#unqualified(this.#protocolAlone());
        case 'vlan':
          return this.#unqualified(this.#vlan());
        case 'less':
        case 'greater':
          return this.#unqualified(this.#lengthLimit());
      }
    }
    if (this.#numberComes()) return this.#unqualified(this.#relation());
    throw this.#expected(
      token.type === TokenType.END || token.type === TokenType.WORD || token.type === TokenType.OPERATOR
        ? "a primitive ('host ADDRESS', 'port 80', 'tcp', 'ip[0] = 69')"
        : "what it is ('host', 'net', 'port', 'proto')",
    );
  }

  #unqualified(expression: Expression): Parsed {
    return { expression, qualifiers: undefined };
  }

  /** Whether a word is a qualifier of direction or type. */
  #qualifies(token: Token): boolean {
    if (token.type !== TokenType.WORD) return false;
    return token.text === 'src' || token.text === 'dst' || TYPES.has(token.text);
  }

  /** `tcp`, `broadcast`, `ip6 multicast`. */
  #protocolAlone(): Expression {
    const first = this.#peek();
    const protocol = PROTOCOLS.has(first.text) ? (first.text as Protocol) : undefined;
    if (protocol !== undefined) this.#next++;
    const kind = this.#peek().text;
    if (this.#word('broadcast') || this.#word('multicast')) {
      return { kind: kind as 'broadcast' | 'multicast', protocol, span: this.#since(first) };
    }
    return { kind: 'protocol', protocol: protocol!, span: first };
  }

  #vlan(): Expression {
    const first = this.#take();
    const id = this.#peek().type === TokenType.NUMBER || this.#is('(') ? this.#number() : undefined;
    return { kind: 'vlan', id, span: this.#since(first) };
  }

  /** `less 60` and `greater 60` mean `len <= 60` and `len >= 60`. */
  #lengthLimit(): Expression {
    const word = this.#take();
    const token = this.#peek();
    if (token.type !== TokenType.NUMBER) throw this.#expected(`a length behind '${word.text}'`);
    this.#next++;
    const { at, length, value } = token;
    const relation = word.text === 'less' ? '<=' : '>=';
    return {
      kind: 'relation',
      relation,
      left: { kind: 'length', at: word.at, length: word.length },
      right: { kind: 'number', value, at, length },
    };
  }

  /** `tcp src port`: protocol, direction and type, each if it is there. */
  #qualifiers(): Qualifiers {
    const first = this.#peek();
    const protocol = PROTOCOLS.has(first.text) ? (this.#take().text as Protocol) : undefined;
    let direction: Direction | undefined;
    if (this.#isWord('src') || this.#isWord('dst')) {
      direction = this.#take().text as 'src' | 'dst';
      if (this.#isWord('or') || this.#isWord('and')) {
        const other = direction === 'src' ? 'dst' : 'src';
        direction = this.#take().text as 'or' | 'and';
        if (!this.#word(other)) throw this.#expected(`'${other}'`);
      }
    }
    const type = this.#peek();
    if (type.type === TokenType.WORD && TYPES.has(type.text)) {
      if (type.text === 'proto' && direction !== undefined) {
        throw this.#expected("'host', 'net', 'port', 'portrange' or an address");
      }
      this.#next++;
      return { protocol, direction, type: type.text as AddressType, span: this.#since(first) };
    }
    return { protocol, direction, type: undefined, span: this.#since(first) };
  }

  /** An identifier behind its qualifiers: alone, negated, or several in parentheses. */
  #identifier(qualifiers: Qualifiers | undefined): Parsed {
    if (this.#word('not')) {
      const { expression } = this.#deeper(() => this.#identifier(qualifiers));
      return { expression: { kind: 'not', of: expression }, qualifiers };
    }
    if (this.#is('(')) {
      this.#next++;
      let { expression } = this.#deeper(() => this.#identifier(qualifiers));
      for (;;) {
        const kind = this.#word('and') ? 'and' : this.#word('or') ? 'or' : undefined;
        if (kind === undefined) break;
        expression = {
          kind,
          left: expression,
          right: this.#deeper(() => this.#identifier(qualifiers)).expression,
        };
      }
      this.#need(')');
      return { expression, qualifiers };
    }
    if (qualifiers === undefined) {
      const token = this.#peek();
      const what = `'${token.text}' stands alone, and there is nothing before it whose qualifiers it could have`;
      throw this.#error(token, `${what}: write 'host', 'net', 'port' or 'proto' in front of it`);
    }
    const id = this.#bareIdentifier(qualifiers);
    return { expression: { kind: 'identifier', qualifiers, id }, qualifiers };
  }

  #bareIdentifier(qualifiers: Qualifiers): Identifier {
    const token = this.#peek();
    const { at, length, text } = token;
    switch (token.type) {
      case TokenType.NUMBER:
        this.#next++;
        return { kind: 'number', value: token.value, at, length };
      case TokenType.NAME:
        this.#next++;
        return { kind: 'name', name: text, at, length };
      case TokenType.MAC:
        this.#next++;
        return { kind: 'mac', text, at, length };
      case TokenType.IPV4: {
        this.#next++;
        const mask = this.#word('mask') ? this.#mask() : this.#prefixLength();
        return { kind: 'ipv4', text, mask, ...this.#since(token) };
      }
      case TokenType.IPV6: {
        this.#next++;
        const prefix = this.#prefixLength();
        return { kind: 'ipv6', text, prefix, ...this.#since(token) };
      }
    }
    throw this.#expected(expectation(qualifiers, token));
  }

  #mask(): string {
    const mask = this.#peek();
    if (mask.type !== TokenType.IPV4) throw this.#expected("a mask like 255.255.0.0 behind 'mask'");
    this.#next++;
    return mask.text;
  }

  #prefixLength(): number | undefined {
    if (!this.#is('/')) return undefined;
    this.#next++;
    const token = this.#peek();
    if (token.type !== TokenType.NUMBER) throw this.#expected("the number of bits of the prefix behind '/'");
    this.#next++;
    return token.value;
  }

  /** A number, perhaps in parentheses. */
  #number(): number {
    if (this.#is('(')) {
      this.#next++;
      const value = this.#deeper(() => this.#number());
      this.#need(')');
      return value;
    }
    const token = this.#peek();
    if (token.type !== TokenType.NUMBER) throw this.#expected('a number');
    this.#next++;
    return token.value;
  }

  #relation(): Expression {
    const left = this.#arithmetic(0);
    const relation = this.#peek();
    if (relation.type !== TokenType.OPERATOR || !RELATIONS.has(relation.text)) {
      throw this.#expected("an operator or a comparison ('=', '!=', '<')");
    }
    this.#next++;
    return { kind: 'relation', relation: relation.text as Relation, left, right: this.#arithmetic(0) };
  }

  /**
   * An arithmetic expression of operators whose rank is at least `rank`.
   *
   * `%` and `^` have no rank in libpcap's grammar, whose parser then always reads on: what stands to the right of them
   * is taken whole, `a % b + c` is `a % (b + c)`, and what stands to their left is the operand next to them.
   */
  #arithmetic(rank: number): Arithmetic {
    let left = this.#operand();
    for (;;) {
      const token = this.#peek();
      const { text } = token;
      if (token.type !== TokenType.OPERATOR) return left;
      const own = UNRANKED.has(text) ? undefined : RANKS.get(text);
      if (own === undefined ? !UNRANKED.has(text) : own < rank) return left;
      this.#next++;
      const right = this.#deeper(() => this.#arithmetic(own === undefined ? 0 : own + 1));
      left = { kind: 'binary', operator: text as Operator, left, right, ...this.#since(left) };
    }
  }

  #operand(): Arithmetic {
    const token = this.#peek();
    const { at, length } = token;
    if (token.type === TokenType.NUMBER) {
      this.#next++;
      return { kind: 'number', value: token.value, at, length };
    }
    if (this.#word('len')) return { kind: 'length', at, length };
    if (this.#is('-')) {
      this.#next++;
      const of = this.#deeper(() => this.#arithmetic(RANK_OF_MINUS));
      return { kind: 'negative', of, ...this.#since(token) };
    }
    if (this.#is('(')) {
      this.#next++;
      const inner = this.#deeper(() => this.#arithmetic(0));
      this.#need(')');
      return inner;
    }
    if (token.type === TokenType.WORD && PROTOCOLS.has(token.text) && this.#is('[', 1)) return this.#load();
    throw this.#expected("a number, 'len' or a field like 'tcp[13]'");
  }

  /** `tcp[2:2]`. */
  #load(): Arithmetic {
    const first = this.#take();
    this.#next++;
    const index = this.#deeper(() => this.#arithmetic(0));
    let size: 1 | 2 | 4 = 1;
    if (this.#is(':')) {
      this.#next++;
      const token = this.#peek();
      const { value } = token;
      if (token.type !== TokenType.NUMBER || (value !== 1 && value !== 2 && value !== 4)) {
        throw this.#expected('a size of 1, 2 or 4 bytes');
      }
      this.#next++;
      size = value;
    }
    this.#need(']');
    return { kind: 'load', protocol: first.text as Protocol, index, size, ...this.#since(first) };
  }

  /**
   * Whether what comes behind `and` or `or` is an identifier rather than a primitive: behind parentheses and negations
   * there is an address, a name, or a number with which nothing is computed.
   */
  #identifierComes(): boolean {
    let ahead = 0;
    let open = 0;
    for (; this.#is('(', ahead) || this.#isWord('not', ahead); ahead++) {
      open = this.#is('(', ahead) ? open + 1 : 0;
    }
    switch (this.#peek(ahead).type) {
      case TokenType.IPV4:
      case TokenType.IPV6:
      case TokenType.MAC:
      case TokenType.NAME:
        return true;
      case TokenType.NUMBER:
        for (ahead++; open > 0 && this.#is(')', ahead); ahead++) open--;
        return !this.#computes(ahead);
      default:
        return false;
    }
  }

  #numberComes(): boolean {
    const token = this.#peek();
    if (token.type === TokenType.NUMBER) return this.#computes(1);
    if (token.type === TokenType.OPERATOR) return token.text === '-' || token.text === '(';
    return this.#isWord('len') || (PROTOCOLS.has(token.text) && this.#is('[', 1));
  }

  /** Whether the parenthesis that comes encloses a number: an operator or a comparison stands behind it. */
  #parenthesizedNumber(): boolean {
    let open = 0;
    for (let ahead = 0; this.#peek(ahead).type !== TokenType.END; ahead++) {
      if (this.#is('(', ahead)) open++;
      else if (this.#is(')', ahead) && --open === 0) return this.#computes(ahead + 1);
    }
    return false;
  }

  #computes(ahead: number): boolean {
    const { type, text } = this.#peek(ahead);
    return type === TokenType.OPERATOR && (RANKS.has(text) || UNRANKED.has(text) || RELATIONS.has(text));
  }

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)]!;
  }

  #take(): Token {
    const token = this.#peek();
    this.#next++;
    return token;
  }

  #is(operator: string, ahead = 0): boolean {
    const token = this.#peek(ahead);
    return token.type === TokenType.OPERATOR && token.text === operator;
  }

  #isWord(word: string, ahead = 0): boolean {
    const token = this.#peek(ahead);
    return token.type === TokenType.WORD && token.text === word;
  }

  /** Takes a word if it is the one that comes. */
  #word(word: string): boolean {
    if (!this.#isWord(word)) return false;
    this.#next++;
    return true;
  }

  #need(operator: string): void {
    if (!this.#is(operator)) throw this.#expected(`'${operator}'`);
    this.#next++;
  }

  #deeper<T>(parse: () => T): T {
    if (++this.#depth > MAX_DEPTH) {
      throw this.#error(this.#peek(), `parentheses and operators are more than ${MAX_DEPTH} deep`);
    }
    const parsed = parse();
    this.#depth--;
    return parsed;
  }

  /** From there to the last token that was taken. */
  #since(first: Span): Span {
    const last = this.#tokens[this.#next - 1]!;
    return { at: first.at, length: last.at + last.length - first.at };
  }

  #expected(what: string): FilterError {
    const token = this.#peek();
    const written = this.#text.slice(token.at, token.at + token.length);
    const found = token.type === TokenType.END ? 'the filter ends' : `there is '${written}'`;
    // A name may contain hyphens, so `len-14` is one.
    const hint =
      token.type === TokenType.NAME && HYPHENATED.test(written) ? " (write spaces around '-')" : '';
    return this.#error(token, `expected ${what}, but ${found}${hint}`);
  }

  #error(span: Span, what: string): FilterError {
    return new FilterError(this.#text, span.at, span.length, what);
  }
}

/** What may stand behind qualifiers. */
function expectation(qualifiers: Qualifiers, found: Token): string {
  // Most words of the language are names of protocols too.
  const spelled = found.type === TokenType.WORD ? `, as \\${found.text}` : '';
  switch (qualifiers.type) {
    case 'port':
      return "the number or name of a port behind 'port'";
    case 'portrange':
      return "two ports like 6000-6010 behind 'portrange'";
    case 'proto':
      return `a protocol behind 'proto', by number or by name with a backslash${spelled}`;
    case 'net':
      return "a network like 10.1.0.0/16 behind 'net'";
    default:
      return qualifiers.protocol === 'ether'
        ? 'a MAC address like 02:42:0a:01:00:02'
        : 'an address like 10.1.0.2 or fd00::2';
  }
}
