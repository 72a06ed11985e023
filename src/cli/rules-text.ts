import type { ChainView, RuleView } from '../control/rule-view.ts';

export interface RulesTextOptions {
  /** Packets and bytes, too, and below each rule what it does, in plain words. */
  verbose?: boolean;
  /** Numbers in full, where `iptables` shortens them. */
  exact?: boolean;
}

interface Column {
  heading: string;
  right?: boolean;
  least: number;
  cell(rule: RuleView): string;
}

/**
 * As `iptables -t nat -L -v -n` and `iptables -L -v -n` print rules, one after the other; the interfaces also without `-v`, for
 * without them most rules look alike.
 */
export function rulesText(chains: readonly ChainView[], { verbose, exact }: RulesTextOptions = {}): string {
  const number = (count: number | null) =>
    count === null ? '-' : exact ? String(count) : shortNumber(count);
  const counters: Column[] = [
    { heading: 'pkts', right: true, least: 5, cell: ({ packets }) => number(packets) },
    { heading: 'bytes', right: true, least: 5, cell: ({ bytes }) => number(bytes) },
  ];
  const interfaces: Column[] = [
    { heading: 'in', least: 6, cell: (rule) => rule.in },
    { heading: 'out', least: 6, cell: (rule) => rule.out },
  ];
  const columns: Column[] = [
    ...(verbose ? counters : []),
    { heading: 'target', least: 10, cell: ({ target }) => target },
    { heading: 'prot', least: 4, cell: ({ protocol }) => protocol },
    { heading: 'opt', least: 3, cell: () => '--' },
    ...interfaces,
    {
      heading: 'source',
      least: 20,
      cell: ({ source, destination }) => source.join(',') || anywhere(destination),
    },
    {
      heading: 'destination',
      least: 20,
      cell: ({ source, destination }) => destination.join(',') || anywhere(source),
    },
    { heading: '', least: 0, cell: ({ detail }) => detail },
  ];
  // One width per column over all chains: the eye need not find its place anew in each.
  const widths = columns.map(({ heading, least, cell }) =>
    chains.reduce(
      (width, { rules }) =>
        rules.reduce((width, rule) => Math.max(width, Math.min(cell(rule).length, WIDEST)), width),
      Math.max(heading.length, least),
    ),
  );
  const line = (cells: readonly string[]) =>
    `${cells
      .map((cell, i) => (columns[i]!.right ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join(' ')
      .trimEnd()}\n`;

  let text = '';
  let table = '';
  for (const chain of chains) {
    if (chain.table !== table) text += `${text && '\n'}table ${chain.table}\n`;
    table = chain.table;
    const { policy, references } = chain;
    text += `\nChain ${chain.name} (${policy ? `policy ${policy}` : `${references} references`})\n`;
    text += line(columns.map(({ heading }) => heading));
    for (const rule of chain.rules) {
      text += line(columns.map(({ cell }) => cell(rule)));
      if (verbose) text += `${INDENT}# ${rule.words}\n`;
    }
  }
  return text;
}

/** Behind the counters. */
const INDENT = ' '.repeat(12);

/** A longer cell pushes the rest of its own line aside, and not that of all lines. */
const WIDEST = 43;

/** As `-n` writes it, of the IP versions that a rule is about: those of its other address, or both. */
function anywhere(other: readonly string[]): string {
  const isIpv6 = (address: string) => address.includes(':');
  return [
    ...(other.length === 0 || other.some((address) => !isIpv6(address)) ? ['0.0.0.0/0'] : []),
    ...(other.length === 0 || other.some(isIpv6) ? ['::/0'] : []),
  ].join(',');
}

/** As iptables shortens counters: all digits up to 99999, then rounded to K, M, G, T. */
export function shortNumber(count: number): string {
  if (count <= 99_999) return String(count);
  let rest = count;
  for (const unit of ['K', 'M', 'G']) {
    rest = Math.floor((rest + 500) / 1000);
    if (rest <= 9999) return `${rest}${unit}`;
  }
  return `${Math.floor((rest + 500) / 1000)}T`;
}
