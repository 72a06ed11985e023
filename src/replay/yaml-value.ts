import {
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
}

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
  static parse(file: string, text: string): YamlValue {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
    const source = { file, lines, document };
    const fault = document.errors[0];
    if (fault) throw new YamlError(`${place(source, fault.pos[0])}: ${fault.message}`);
    return new YamlValue(source, document.contents, '', 0);
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
    return node.items.map((pair) => {
      const key = isScalar(pair.key) ? String(pair.key.value) : this.fail('keys must be plain words');
      const path = this.path === '' ? key : `${this.path}.${key}`;
      const offset = (pair.key as unknown as ParsedNode).range[0];
      return [key, new YamlValue(this.#source, pair.value, path, offset)];
    });
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
    return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
  }

  /** One of these words. */
  word<W extends string>(allowed: readonly W[]): W {
    const text = this.text() as W;
    if (!allowed.includes(text)) this.fail(`must be ${allowed.join(' or ')}, not '${text}'`);
    return text;
  }

  integer(least: number, most: number): number {
    const value = isScalar(this.#node) ? this.#node.value : undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      return this.fail(`must be a whole number from ${least} to ${most}, not ${this.#show()}`);
    }
    return value;
  }

  number(least: number, most: number): number {
    const value = isScalar(this.#node) ? this.#node.value : undefined;
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      return this.fail(`must be a number from ${least} to ${most}, not ${this.#show()}`);
    }
    return value;
  }

  /** `true` or `false`; with quotes too, as Compose's `driver_opts` need them. */
  boolean(): boolean {
    const value = isScalar(this.#node) ? this.#node.value : undefined;
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

function place(source: Source, offset: number): string {
  const { line, col } = source.lines.linePos(offset);
  return `${source.file}:${line}:${col}`;
}
