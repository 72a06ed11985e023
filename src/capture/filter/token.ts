/** The words of a filter (pcap-filter(7)). */
import { FilterError } from './filter-error.ts';
import { NUMBER_NAMES, UNSUPPORTED, WORDS } from './words.ts';

export const TokenType = {
  /** A word of the language: `host`, `and`. */
  WORD: 'word',
  /** `(`, `>=`; `!`, `&&` and `||` come as the words that they mean. */
  OPERATOR: 'operator',
  /** `80`, `0x50`, and `tcp-syn`. */
  NUMBER: 'number',
  /** Two to four numbers with dots between. */
  IPV4: 'ipv4',
  IPV6: 'ipv6',
  MAC: 'mac',
  /** Any other name: `http`, and with a backslash also one that is a word of the language. */
  NAME: 'name',
  END: 'end',
} as const;
export type TokenType = (typeof TokenType)[keyof typeof TokenType];

export interface Token {
  readonly type: TokenType;
  /** As it is to be understood: without backslash, `and` for `&&`. */
  readonly text: string;
  readonly at: number;
  readonly length: number;
  /** Of a number, as uint32. */
  readonly value: number;
}

/** So many that recursion along them is safe, and more than a list of some thousand addresses needs. */
const MAX_TOKENS = 10_000;

const SPACE = /[ \t\r\n]*/y;
const OPERATOR = />=|<=|!=|==|<<|>>|&&|\|\||[-+*/%:[\]!<>()&|^=]/y;
const NUMBER = /(?:0[xX][0-9a-fA-F]+|[0-9]+)/y;
const ESCAPED = /\\[^ !()\n\t]+/y;
const NAME = /[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?/y;
const MAC =
  /(?:[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}|[0-9a-f]{1,2}(?:-[0-9a-f]{1,2}){5}|[0-9a-f]{1,2}(?:\.[0-9a-f]{1,2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}|[0-9a-f]{12})/iy;
const PART = '(?:0[xX][0-9a-fA-F]+|[0-9]+)';
const IPV4 = new RegExp(`${PART}(?:\\.${PART}){1,3}`, 'y');
/** Anything with two colons that may be an IPv6 address; whether it is one is seen when it is read. */
const IPV6 = /(?:[0-9a-f]{1,4})?(?::[0-9a-f]{0,4}){2,8}(?:\.[0-9]+){0,3}/iy;

/** At the same length the first wins: `000000000000` is a MAC address, `5` a number. */
const LITERALS: readonly (readonly [TokenType, RegExp])[] = [
  [TokenType.MAC, MAC],
  [TokenType.NUMBER, NUMBER],
  [TokenType.IPV4, IPV4],
  [TokenType.IPV6, IPV6],
  [TokenType.NAME, NAME],
];

/**
 * The tokens of a filter, the last of type END.
 * @throws FilterError
 */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = lengthOf(SPACE, text, 0); at < text.length; at += lengthOf(SPACE, text, at)) {
    const token = tokenAt(text, at);
    tokens.push(token);
    if (tokens.length > MAX_TOKENS) {
      throw new FilterError(text, at, token.length, `a filter has at most ${MAX_TOKENS} words and signs`);
    }
    at += token.length;
  }
  tokens.push({ type: TokenType.END, text: '', at: text.length, length: 0, value: 0 });
  return tokens;
}

function tokenAt(text: string, at: number): Token {
  let type: TokenType | undefined;
  let length = 0;
  for (const [candidate, pattern] of LITERALS) {
    const found = lengthOf(pattern, text, at);
    if (found > length) [type, length] = [candidate, found];
  }
  const literal = text.slice(at, at + length);
  switch (type) {
    case undefined:
      break;
    case TokenType.NUMBER:
      return { type, text: literal, at, length, value: numberOf(text, at, literal) };
    case TokenType.NAME:
      return named(text, at, literal);
    default:
      return { type, text: literal, at, length, value: 0 };
  }
  const escaped = lengthOf(ESCAPED, text, at);
  if (escaped > 0) {
    const name = text.slice(at + 1, at + escaped);
    return { type: TokenType.NAME, text: name, at, length: escaped, value: 0 };
  }
  const operator = text.slice(at, at + lengthOf(OPERATOR, text, at));
  if (operator === '') {
    const sign = String.fromCodePoint(text.codePointAt(at)!);
    throw new FilterError(text, at, sign.length, `${JSON.stringify(sign)} has no meaning in a filter`);
  }
  const word = { '!': 'not', '&&': 'and', '||': 'or' }[operator];
  const same = operator === '==' ? '=' : operator;
  const kind = word === undefined ? TokenType.OPERATOR : TokenType.WORD;
  return { type: kind, text: word ?? same, at, length: operator.length, value: 0 };
}

function named(text: string, at: number, name: string): Token {
  const length = name.length;
  const value = NUMBER_NAMES.get(name);
  if (value !== undefined) return { type: TokenType.NUMBER, text: name, at, length, value };
  const word = WORDS.get(name);
  if (word !== undefined) return { type: TokenType.WORD, text: word, at, length, value: 0 };
  const reason = UNSUPPORTED.get(name);
  if (reason !== undefined) throw new FilterError(text, at, length, `'${name}' is not supported: ${reason}`);
  return { type: TokenType.NAME, text: name, at, length, value: 0 };
}

/** As in C: `0x` begins a hexadecimal number and `0` an octal one. */
function numberOf(text: string, at: number, literal: string): number {
  const octal = /^0[0-9]/.test(literal);
  if (octal && /[89]/.test(literal)) {
    throw new FilterError(
      text,
      at,
      literal.length,
      `'${literal}' begins with 0, so it is octal, which has no 8 or 9`,
    );
  }
  const value = octal ? Number.parseInt(literal, 8) : Number(literal);
  if (value > 0xffff_ffff) {
    throw new FilterError(text, at, literal.length, `'${literal}' is larger than 32 bits can hold`);
  }
  return value;
}

function lengthOf(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0].length ?? 0;
}
