import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
} from 'yaml';

/** Something is wrong with a YAML file; the message begins with `file:line:column`. */
export class YamlError extends Error {
  override readonly name = 'YamlError';
}

interface Source {
  file: string;
  lines: LineCounter;
  document: ReturnType<typeof parseDocument>;
  /** What a text means in which something is to be put in place of variables; throws an Error that says what is wrong. */
  interpolate: (text: string) => string;
}

/** A file whose aliases stand for more values than this was not written to be read. */
const MOST_VALUES = 100_000;

/**
 * A value of a YAML file that knows where it stands, so that whoever refuses it can say so:
 * `scenario.yaml:7:12: x-tapdeck.seed: must be a whole number from 0 to 4294967295, not 'seven'`.
 */
export class YamlValue {
  /** Keys from the root down, as the user would say them: `services.a.networks`. */
  readonly path: string;
  readonly #source: Source;
  readonly #node: Node | null;
  /** Where the value stands, or its key when the value is empty. */
  readonly #offset: number;
  readonly #keyOffset: number;

  private constructor(source: Source, node: unknown, path: string, keyOffset: number) {
    this.path = path;
    this.#source = source;
    const target = isAlias(node) ? node.resolve(source.document) : node;
    this.#node = (target ?? null) as Node | null;
    this.#offset = (node as ParsedNode | null)?.range?.[0] ?? keyOffset;
    this.#keyOffset = keyOffset;
  }

  /** @throws YamlError when the text is not YAML */
  static parse(file: string, text: string, interpolate = (text: string) => text): YamlValue {
    const lines = new LineCounter();
    try {
      const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
      const source = { file, lines, document, interpolate };
      const fault = document.errors[0];
      if (fault) throw new YamlError(`${place(source, fault.pos[0])}: ${fault.message}`);
      checkAliases(source);
      return new YamlValue(source, document.contents, '', 0);
    } catch (error) {
      // Whoever reads it calls himself for each level.
      if (error instanceof RangeError) throw new YamlError(`${file}:1:1: is nested too deeply`);
      throw error;
    }
  }

  /** Where the value stands: `compose.yaml:7:12`. */
  get place(): string {
    return place(this.#source, this.#offset);
  }

  /** Where its key stands. */
  get keyPlace(): string {
    return place(this.#source, this.#keyOffset);
  }

  /** Refuses the value: what is wrong and, if it helps, what is allowed. */
  fail(what: string): never {
    return this.#refuse(this.#offset, what);
  }

  /** Refuses the key under which the value stands. */
  failKey(what: string): never {
    return this.#refuse(this.#keyOffset, what);
  }

  /** Whether nothing stands here (`key:` alone). */
  get empty(): boolean {
    return this.#node === null || (isScalar(this.#node) && this.#node.value === null);
  }

  get isMap(): boolean {
    return isMap(this.#node);
  }

  get isList(): boolean {
    return isSeq(this.#node);
  }

  /** The entries of a mapping in order, whatever their keys; an empty value is a mapping without any. */
  entries(): [key: string, value: YamlValue][] {
    if (this.empty) return [];
    const node = this.#node;
    if (!isMap(node)) return this.fail(`must be a mapping (key: value), not ${this.#show()}`);
    const merged: YamlValue[] = [];
    const entries = new Map<string, YamlValue>();
    for (const pair of node.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : this.fail('keys must be plain words');
      const path = this.path === '' ? key : `${this.path}.${key}`;
      const offset = (pair.key as unknown as ParsedNode).range[0];
      const value = new YamlValue(this.#source, pair.value, path, offset);
      if (key === '<<') merged.push(...(value.isList ? value.list() : [value]));
      else entries.set(key, value);
    }
    // Merge keys, as in YAML 1.1: what stands here counts more than what is merged, and what is merged first more than the rest.
    for (const other of merged) {
      if (!other.isMap) return other.fail(`must be a mapping to merge, not ${other.#show()}`);
      for (const [key, value] of other.entries()) {
        if (entries.has(key)) continue;
        const path = this.path === '' ? key : `${this.path}.${key}`;
        entries.set(key, new YamlValue(this.#source, value.#node, path, value.#keyOffset));
      }
    }
    return Array.from(entries);
  }

  /**
   * The values of a mapping that may have these keys and no others. Keys beginning with `x-` that are not
   * listed are somebody else's extensions, as in every Compose file; ours in a place where we have none is wrong.
   */
  fields<K extends string>(
    allowed: readonly K[],
    ignored: readonly string[] = [],
  ): { [key in K]?: YamlValue } {
    const found: { [key in K]?: YamlValue } = {};
    for (const [key, value] of this.entries()) {
      if ((allowed as readonly string[]).includes(key)) found[key as K] = value;
      else if (key === 'x-tapdeck' || !(key.startsWith('x-') || ignored.includes(key))) {
        value.failKey(`unknown key; allowed: ${allowed.join(', ')}`);
      }
    }
    return found;
  }

  list(): YamlValue[] {
    if (this.empty) return [];
    const node = this.#node;
    if (!isSeq(node)) return this.fail(`must be a list, not ${this.#show()}`);
    return node.items.map((item, i) => new YamlValue(this.#source, item, `${this.path}[${i}]`, this.#offset));
  }

  /** A text, or a number as it was written. */
  text(): string {
    const node = this.#node;
    if (!isScalar(node) || node.value === null || typeof node.value === 'boolean') {
      return this.fail(`must be text, not ${this.#show()}`);
    }
    return typeof node.value === 'string' ? this.#plainText(node.value) : (node.source ?? String(node.value));
  }

  #plainText(text: string): string {
    // No name, path or argument can have one.
    if (text.includes('\0')) return this.fail('must not have a NUL character in it');
    try {
      return this.#source.interpolate(text);
    } catch (error) {
      return this.fail((error as Error).message);
    }
  }

  /** The value of a scalar; a number too where it is what a variable stands for. */
  #scalar(): unknown {
    if (!isScalar(this.#node)) return undefined;
    const { value } = this.#node;
    if (typeof value !== 'string') return value;
    const text = this.#plainText(value);
    return text !== value && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
  }

  /** A scalar of any kind as it was written: `false` and `1.0` too. */
  written(): string {
    const node = this.#node;
    return isScalar(node) && typeof node.value === 'boolean' ? String(node.value) : this.text();
  }

  /** One of these words. */
  word<W extends string>(allowed: readonly W[]): W {
    const text = this.text() as W;
    if (!allowed.includes(text)) this.fail(`must be ${allowed.join(' or ')}, not '${text}'`);
    return text;
  }

  integer(least: number, most: number): number {
    const value = this.#scalar();
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      return this.fail(`must be a whole number from ${least} to ${most}, not ${this.#show()}`);
    }
    return value;
  }

  number(least: number, most: number): number {
    const value = this.#scalar();
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      return this.fail(`must be a number from ${least} to ${most}, not ${this.#show()}`);
    }
    return value;
  }

  /** `true` or `false`; with quotes too, as Compose's `driver_opts` need them. */
  boolean(): boolean {
    const value = this.#scalar();
    if (value === true || value === 'true') return true;
    if (value === false || value === 'false') return false;
    return this.fail(`must be true or false, not ${this.#show()}`);
  }

  /** Milliseconds of a Compose duration such as `1m30s`, `500ms` or `20us`. */
  duration(): number {
    const text = this.text();
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(us|ms|s|m|h)/g)];
    if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
      return this.fail(`must be a duration such as 300s, 1m30s, 500ms or 20us, not '${text}'`);
    }
    return parts.reduce((total, [, count, unit]) => total + Number(count) * UNIT[unit!]!, 0);
  }

  /** The plain value; for files that are only compared. */
  plain(): unknown {
    return this.#node === null ? null : this.#node.toJS(this.#source.document);
  }

  #refuse(offset: number, what: string): never {
    const path = this.path === '' ? '' : `${this.path}: `;
    throw new YamlError(`${place(this.#source, offset)}: ${path}${what}`);
  }

  #show(): string {
    const node = this.#node;
    if (this.empty) return 'nothing';
    if (isMap(node)) return 'a mapping';
    if (isSeq(node)) return 'a list';
    return `'${isScalar(node) ? (node.source ?? String(node.value)) : String(node)}'`;
  }
}

const UNIT: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Refuses an alias that stands inside of what it names, and a file whose aliases stand for so many values that reading it
 * would not end.
 */
function checkAliases(source: Source): void {
  const sizes = new Map<unknown, number>();
  const open = new Set<unknown>();
  const refuse = (node: unknown, what: string): never => {
    throw new YamlError(`${place(source, (node as ParsedNode).range[0])}: ${what}`);
  };
  const sizeOf = (node: unknown): number => {
    if (isAlias(node)) return sizeOfAlias(node);
    const known = sizes.get(node);
    if (known !== undefined) return known;
    open.add(node);
    let size = 1;
    if (isMap(node)) for (const { key, value } of node.items) size += sizeOf(key) + sizeOf(value);
    else if (isSeq(node)) for (const item of node.items) size += sizeOf(item);
    open.delete(node);
    if (size > MOST_VALUES) {
      refuse(node, `stands for more than ${MOST_VALUES} values with what its aliases stand for`);
    }
    sizes.set(node, size);
    return size;
  };
  const sizeOfAlias = (alias: Alias): number => {
    const target = alias.resolve(source.document);
    if (open.has(target)) refuse(alias, `alias *${alias.source} stands inside of what it names`);
    return sizeOf(target);
  };
  sizeOf(source.document.contents);
}

function place(source: Source, offset: number): string {
  const { line, col } = source.lines.linePos(offset);
  return `${source.file}:${line}:${col}`;
}
