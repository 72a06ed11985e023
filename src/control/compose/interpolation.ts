import { quote } from '../name.ts';

/** Where the values of variables come from. */
export interface Variables {
  /** undefined where there is none of the name. */
  get(name: string): string | undefined;
  /** Told the names that are used, have no value and no default. */
  missing(name: string): void;
}

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

/**
 * Puts values in place of variables, as Compose does: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and
 * `${NAME:+replacement}`, where without the colon only a variable that is not set counts as one without value, and `$$` for
 * a `$`. What stands for a value may have variables in it again. Throws an Error for what is none of these.
 */
export function interpolate(text: string, variables: Variables): string {
  if (!text.includes('$')) return text;
  const reader = new Reader(text, variables);
  return reader.read(false);
}

class Reader {
  readonly #text: string;
  readonly #variables: Variables;
  #at = 0;

  constructor(text: string, variables: Variables) {
    this.#text = text;
    this.#variables = variables;
  }

  /** Reads to the end, or to the brace that closes a variable. */
  read(inBraces: boolean): string {
    let result = '';
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at]!;
      if (inBraces && character === '}') return result;
      this.#at++;
      result += character === '$' ? this.#variable() : character;
    }
    return inBraces ? this.#fail('its "{" has no "}"') : result;
  }

  #variable(): string {
    if (this.#skip('$')) return '$';
    if (!this.#skip('{')) return this.#value(this.#name());
    const name = this.#name();
    const colon = this.#skip(':');
    const operator = ['-', '?', '+'].find((one) => this.#skip(one));
    if (operator === undefined) {
      if (colon || !this.#skip('}')) this.#fail(`what follows \${${name} is not one of } :- - :? ? :+ +`);
      return this.#value(name);
    }
    const word = this.read(true);
    this.#at++;
    const value = this.#variables.get(name);
    const has = value !== undefined && !(colon && value === '');
    if (operator === '+') return has ? word : '';
    if (has) return value;
    if (operator === '-') return word;
    throw new Error(
      `variable ${name} ${word === '' ? 'is required, and has no value' : `is required: ${word}`}`,
    );
  }

  #value(name: string): string {
    const value = this.#variables.get(name);
    if (value === undefined) this.#variables.missing(name);
    return value ?? '';
  }

  #name(): string {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0];
    if (name === undefined) this.#fail('"$" is followed by no name of a variable');
    this.#at += name!.length;
    return name!;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #fail(why: string): never {
    throw new Error(`${quote(this.#text)} has a "$" that is no variable: ${why}; write $$ for a "$"`);
  }
}
