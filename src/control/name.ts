import { conflict, invalid } from './error.ts';

/** The network that every deck begins with, as Docker's. */
export const DEFAULT_NETWORK = 'bridge';

/** The two others, of containers without an interface of ours: with the host's own, and with none but lo. */
export const HOST_NETWORK = 'host';
export const NO_NETWORK = 'none';

const LONGEST_NAME = 64;
/** IFNAMSIZ - 1: what the kernel keeps of an interface's name. */
const LONGEST_IFNAME = 15;

export function isName(name: string): boolean {
  return name.length <= LONGEST_NAME && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name);
}

/** What names are for. */
export type NameKind = 'network' | 'container' | 'host' | 'alias' | 'auxiliary address';

/** Checks a name: Docker's rule. Throws a `DeckError`. */
export function checkName(kind: NameKind, name: string): string {
  if (name.length > LONGEST_NAME) {
    throw invalid(`${kind} name ${quote(name)} is too long: at most ${LONGEST_NAME} characters`);
  }
  if (!isName(name)) {
    throw invalid(
      `${kind} name ${quote(name)} is not allowed: use letters, digits, '_', '.' and '-', and begin with a letter or digit`,
    );
  }
  return name;
}

/** Checks the name of an interface as Linux does (`dev_valid_name`). Throws a `DeckError`. */
export function checkIfname(ifname: string): string {
  const bytes = Buffer.byteLength(ifname);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const odd = /[\s/:%\u0000-\u001f\u007f]/.test(ifname) || ifname === '.' || ifname === '..';
  if (bytes === 0 || bytes > LONGEST_IFNAME || odd || ifname === 'lo') {
    throw invalid(
      `interface name ${quote(ifname)} is not allowed: 1 to ${LONGEST_IFNAME} bytes without white space, '/', ':' or '%', and not 'lo'`,
    );
  }
  return ifname;
}

/** A user's text inside a message: visible, on one line, of bounded length. */
export function quote(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return JSON.stringify(shown);
}

/** The names in use of one kind. A name is reserved before anything else begins, so two can never have it. */
export class Names {
  readonly #kind: NameKind;
  readonly #taken = new Set<string>();

  constructor(kind: NameKind) {
    this.#kind = kind;
  }

  /** Throws a `DeckError` when the name is not allowed or in use. */
  reserve(name: string): string {
    checkName(this.#kind, name);
    if (this.#taken.has(name)) {
      throw conflict(`${this.#kind} ${name} exists already; choose another name or remove that one first`);
    }
    this.#taken.add(name);
    return name;
  }

  has(name: string): boolean {
    return this.#taken.has(name);
  }

  release(name: string): void {
    this.#taken.delete(name);
  }
}
