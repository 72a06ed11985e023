import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/** What can be measured: between two containers, of names, of five hundred containers, by NAT, by sockets of the host, in Docker, while packets are captured, and of a start. */
export const MEASUREMENTS = [
  ...(['tcp', 'udp', 'rr'] as const),
  ...(['dns', 'dns-bulk'] as const),
  ...(['scale-tcp', 'scale-dns', 'scale-attach', 'scale-api', 'scale-memory', 'scale-restart'] as const),
  ...(['nat-tcp', 'nat-crr', 'nat-udp', 'nat-rr'] as const),
  ...(['sockets-tcp', 'sockets-http', 'sockets-first'] as const),
  'docker-tcp',
  ...(['capture-file', 'capture-overrun'] as const),
  ...(['start-version', 'start-daemon'] as const),
] as const;
export type Measurement = (typeof MEASUREMENTS)[number];

export interface Options {
  /** Shorter trials, fewer pairs: for a first look, not for a claim. */
  quick: boolean;
  /** What is measured, of `MEASUREMENTS`. */
  only: readonly Measurement[];
  /** How often every contender is measured. */
  pairs: number;
  format: 'table' | 'json';
  /** TCP congestion controls, each of which gets bulk transfers of its own. */
  congestion: readonly string[];
}

export const USAGE = `usage: node dist/bench/macro/main.js [--quick] [--only tcp|udp|rr|dns|dns-bulk|scale|scale-tcp|scale-dns|scale-attach|scale-api|scale-memory|scale-restart|nat|nat-tcp|nat-crr|nat-udp|nat-rr|sockets|sockets-tcp|sockets-http|sockets-first|docker-tcp|capture|capture-file|capture-overrun|start|start-version|start-daemon]... [--pairs N] [--congestion NAME]... [--format table|json]
`;

/** Linux's default, and this machine's own where somebody has set another. */
function defaultCongestion(): string[] {
  const own = readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  return [...new Set(['cubic', own])];
}

/** @throws Error with one line when an argument is wrong */
export function parseOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      pairs: { type: 'string' },
      congestion: { type: 'string', multiple: true, default: defaultCongestion() },
      format: { type: 'string', default: 'table' },
    },
  });
  const { quick, only, format, congestion } = values;
  // `scale`, `nat`, `sockets` and `start` are all that begin with them.
  const means = (name: string) => MEASUREMENTS.filter((one) => one === name || one.startsWith(`${name}-`));
  for (const name of only) {
    if (means(name).length === 0) {
      throw new Error(
        `--only ${name} is unknown; give scale, nat, sockets, capture, start, ${MEASUREMENTS.join(', ')}`,
      );
    }
  }
  const pairs = values.pairs === undefined ? (quick ? 3 : 5) : Number(values.pairs);
  if (!Number.isInteger(pairs) || pairs < 1 || pairs > 50) {
    throw new Error(`--pairs ${values.pairs} is not a whole number from 1 to 50`);
  }
  if (format !== 'table' && format !== 'json')
    throw new Error(`--format ${format} is unknown; give table or json`);
  return {
    quick,
    only: only.length === 0 ? MEASUREMENTS : only.flatMap(means),
    pairs,
    format,
    congestion,
  };
}
