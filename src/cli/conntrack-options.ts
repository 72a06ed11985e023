import { DEFAULT_TIMEOUTS, type Timeouts } from '../../nat/timeouts.ts';
import { invalid } from '../control/error.ts';
import { quote } from '../control/name.ts';
import type { ConntrackOptions } from '../dataplane/commands.ts';
import { wholeNumber } from './endpoint-options.ts';

/** Options of `tapdeck daemon` about connection tracking, as commander gives them. */
export interface ConntrackDaemonFlags {
  conntrackMax?: string;
  conntrackQuota?: string;
  timeout?: string[];
  /** false for `--no-tcp-loose`. */
  tcpLoose?: boolean;
}

/** Ten connections are a toy, ten million are more memory than a process of Node can hold in one piece. */
const CAPACITY = { least: 16, most: 4_194_304 };
/** Five days, which is Linux's own for established TCP. */
const LONGEST_TIMEOUT = 432_000;

/** `tcp-established`, as the command line has it, of `tcpEstablished`. */
const TIMEOUT_NAMES = new Map(
  (Object.keys(DEFAULT_TIMEOUTS) as (keyof Timeouts)[]).map((name) => [
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    name,
  ]),
);

/** Throws a `DeckError` for numbers and names that cannot be. */
export function conntrackOptions(flags: ConntrackDaemonFlags): ConntrackOptions {
  const { conntrackMax, conntrackQuota, timeout = [], tcpLoose } = flags;
  const options: ConntrackOptions = {};
  if (conntrackMax !== undefined) {
    // All digits are a number here, of which the range is to be said, and not how far others go.
    options.capacity = /^\d+$/.test(conntrackMax)
      ? Number(conntrackMax)
      : wholeNumber('--conntrack-max', conntrackMax);
    if (options.capacity < CAPACITY.least || options.capacity > CAPACITY.most) {
      throw invalid(
        `--conntrack-max ${conntrackMax} is out of range; use ${CAPACITY.least} to ${CAPACITY.most}`,
      );
    }
  }
  if (conntrackQuota !== undefined) options.quota = wholeNumber('--conntrack-quota', conntrackQuota);
  if (tcpLoose === false) options.loose = false;
  for (const text of timeout) {
    const [name, milliseconds] = parseTimeout(text);
    options.timeouts = { ...options.timeouts, [name]: milliseconds };
  }
  return options;
}

function parseTimeout(text: string): [name: keyof Timeouts, milliseconds: number] {
  const [, givenName = '', seconds = ''] = /^([^=]*)=(.*)$/.exec(text) ?? [];
  const name = TIMEOUT_NAMES.get(givenName);
  if (!name) {
    const known = Array.from(TIMEOUT_NAMES.keys()).join(', ');
    throw invalid(`--timeout ${quote(text)}: write NAME=SECONDS, with one of the names ${known}`);
  }
  if (!/^\d{1,6}$/.test(seconds) || Number(seconds) < 1 || Number(seconds) > LONGEST_TIMEOUT) {
    throw invalid(
      `--timeout ${quote(text)}: ${quote(seconds)} is not a number of seconds from 1 to ${LONGEST_TIMEOUT}`,
    );
  }
  return [name, Number(seconds) * 1000];
}
