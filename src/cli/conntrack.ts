import type { FlowsClosed } from '../control/api-schema.ts';
import type { DaemonClient } from '../control/client.ts';
import { invalid } from '../control/error.ts';
import { type FlowQuery, parseFlowQuery } from '../control/flow-filter.ts';
import type { FlowEventView, FlowView } from '../control/flows.ts';
import { checkName, quote } from '../control/name.ts';
import { conntrackLine, eventLine, flowTable } from './conntrack-text.ts';
import { follow, writeText } from './follow.ts';
import { EXIT_DONE, EXIT_FAILED, print, say } from './output.ts';

/** `conntrack`: the lines of conntrack-tools. */
export type ConntrackFormat = 'table' | 'json' | 'conntrack';

/** Options of `tapdeck conntrack`, as commander gives them. */
export interface ConntrackFlags {
  format?: ConntrackFormat;
  list?: boolean;
  delete?: boolean;
  flush?: boolean;
  count?: boolean;
  event?: boolean;
  proto?: string;
  family?: string;
  src?: string;
  dst?: string;
  origSrc?: string;
  origDst?: string;
  sport?: string;
  dport?: string;
  origPortSrc?: string;
  origPortDst?: string;
  replySrc?: string;
  replyDst?: string;
  replyPortSrc?: string;
  replyPortDst?: string;
  state?: string;
  network?: string;
}

export async function conntrack(client: DaemonClient, flags: ConntrackFlags): Promise<number> {
  const { format = 'table' } = flags;
  const query = flowQuery(flags);
  const filtered = Object.keys(query).length > 0;
  const path = `/v1/conntrack${searchOf(query)}`;
  if (flags.event)
    return follow<FlowEventView>(
      client,
      `/v1/conntrack/events${searchOf(query)}`,
      format === 'json' ? JSON.stringify : eventLine,
    );
  if (flags.count) {
    if (filtered) throw invalid('-C counts all connections; count those that a filter means with -L');
    const count = await client.get<{ entries: number; capacity: number }>('/v1/conntrack/count');
    print(format === 'json' ? 'json' : 'table', count, () => `${count.entries}\n`);
    return EXIT_DONE;
  }
  if (flags.flush || flags.delete) {
    if (flags.flush && filtered)
      throw invalid('-F forgets all connections; use -D for those that a filter means');
    if (flags.delete && !filtered) throw invalid('-D needs a filter, as in -D -s 172.17.0.2; -F forgets all');
    // conntrack shows what it deletes, not what it flushes.
    if (flags.delete && format === 'conntrack') await list(client.elements<FlowView>(path), format, 'silent');
    const { closed } = await client.delete<FlowsClosed>(path);
    if (flags.delete && format === 'conntrack') say(`${closed} flow entries have been deleted.`);
    else
      print(
        format === 'json' ? 'json' : 'table',
        { deleted: closed },
        () => `${closed} flow entries have been deleted\n`,
      );
    // As conntrack has it: nothing to delete is a failure, nothing to flush is none.
    return closed > 0 || flags.flush ? EXIT_DONE : EXIT_FAILED;
  }
  return list(client.elements<FlowView>(path), format);
}

/** Prints connections as they come, but for the table, whose columns are as wide as their widest cells. */
async function list(
  flows: AsyncIterable<FlowView>,
  format: ConntrackFormat,
  end: 'count' | 'silent' = 'count',
): Promise<number> {
  if (format === 'table') {
    const all: FlowView[] = [];
    for await (const flow of flows) all.push(flow);
    process.stdout.write(flowTable(all));
    return EXIT_DONE;
  }
  let separator = '[\n  ';
  let count = 0;
  for await (const flow of flows) {
    if (format === 'conntrack') await writeText(`${conntrackLine(flow)}\n`);
    else await writeText(`${separator}${JSON.stringify(flow)}`);
    separator = ',\n  ';
    count++;
  }
  if (format === 'conntrack' && end === 'count') say(`${count} flow entries have been shown.`);
  if (format === 'json') await writeText(separator === ',\n  ' ? '\n]\n' : '[]\n');
  return EXIT_DONE;
}

/** What the options ask for. Throws a `DeckError` for what cannot be by its form. */
export function flowQuery(flags: ConntrackFlags): FlowQuery {
  const query: FlowQuery = {};
  const text = (
    key: 'protocol' | 'src' | 'dst' | 'replySrc' | 'replyDst' | 'state' | 'network',
    value?: string,
  ) => {
    if (value !== undefined) query[key] = value;
  };
  const port = (key: 'srcPort' | 'dstPort' | 'replySrcPort' | 'replyDstPort', value?: string) => {
    if (value === undefined) return;
    if (!/^\d{1,5}$/.test(value)) throw invalid(`port ${quote(value)} is not a number from 0 to 65535`);
    query[key] = Number(value);
  };
  text('protocol', flags.proto);
  text('src', flags.src ?? flags.origSrc);
  text('dst', flags.dst ?? flags.origDst);
  port('srcPort', flags.sport ?? flags.origPortSrc);
  port('dstPort', flags.dport ?? flags.origPortDst);
  text('replySrc', flags.replySrc);
  text('replyDst', flags.replyDst);
  port('replySrcPort', flags.replyPortSrc);
  port('replyDstPort', flags.replyPortDst);
  text('state', flags.state);
  if (flags.network !== undefined) text('network', checkName('network', flags.network));
  if (flags.family !== undefined) query.family = familyOption(flags.family);
  parseFlowQuery(query, () => 0);
  return query;
}

function familyOption(text: string): 4 | 6 {
  if (text === 'ipv4' || text === '4') return 4;
  if (text === 'ipv6' || text === '6') return 6;
  throw invalid(`family ${quote(text)} is unknown; use ipv4 or ipv6`);
}

function searchOf(query: FlowQuery): string {
  const entries = Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]);
  return entries.length === 0 ? '' : `?${new URLSearchParams(entries)}`;
}
