import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';

/** What resolv.conf(5) says, of which only what matters here is kept. */
export interface ResolvConf {
  /** At most three, as the C library reads them; 127.0.0.1 when none is named. */
  readonly nameservers: readonly string[];
  /** Domains in which names are looked for. */
  readonly search: readonly string[];
  /** As they are written, `edns0`, `timeout:1`. */
  readonly options: readonly string[];
}

/** MAXNS of the C library. */
const MOST_NAMESERVERS = 3;

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let search: string[] = [];
  const options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    const [first = ''] = values;
    if (keyword === 'nameserver' && isIP(first.replace(/%.*$/, '')) !== 0) nameservers.push(first);
    // The last of both lines counts.
    else if (keyword === 'search') search = values;
    else if (keyword === 'domain') search = values.slice(0, 1);
    else if (keyword === 'options') options.push(...values);
  }
  return {
    nameservers: nameservers.length === 0 ? ['127.0.0.1'] : nameservers.slice(0, MOST_NAMESERVERS),
    search,
    options,
  };
}

/** The text of a file that says this. */
export function formatResolvConf({ nameservers, search, options }: ResolvConf): string {
  const lines = nameservers.map((address) => `nameserver ${address}`);
  if (search.length > 0) lines.push(`search ${search.join(' ')}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return `${lines.join('\n')}\n`;
}

/** Milliseconds for which a file is taken to be what it was. */
const LOOK = 1000;

/** A resolv.conf of the host, read again when it has changed: networks come and go. */
export class HostResolvConf {
  readonly #path: string;
  readonly #now: () => number;
  #looked = Number.NEGATIVE_INFINITY;
  /** Which file it was that was read, in which state. */
  #state = '';
  #conf = parseResolvConf('');

  /** @param now monotonic milliseconds */
  constructor(path = '/etc/resolv.conf', now: () => number = () => performance.now()) {
    this.#path = path;
    this.#now = now;
  }

  /** What it says now; what an absent file means when it cannot be read. */
  read(): ResolvConf {
    const now = this.#now();
    if (now - this.#looked < LOOK) return this.#conf;
    this.#looked = now;
    try {
      const { ino, dev, mtimeMs, size } = statSync(this.#path);
      const state = [ino, dev, mtimeMs, size].join();
      if (state === this.#state) return this.#conf;
      this.#conf = parseResolvConf(readFileSync(this.#path, 'utf8'));
      this.#state = state;
    } catch {
      this.#conf = parseResolvConf('');
      this.#state = '';
    }
    return this.#conf;
  }
}
