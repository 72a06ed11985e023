import type { TraceMissed, TraceView } from '../../control/capture-schema.ts';
import type { DaemonClient } from '../../control/client.ts';
import { count } from '../../trace/count.ts';
import { writeText } from '../follow.ts';
import { EXIT_DONE, type Format, say, style } from '../output.ts';
import { checkFilter, Ending, linesOf, scopeWords } from './capture.ts';
import { ReaderGone } from './target.ts';

/** Options of `tapdeck trace`, as commander gives them. */
export interface TraceFlags {
  interface?: string[];
  count?: string;
  quiet?: boolean;
}

/** Prints what is decided about packets, a line for each stage, until ctrl-C or until there were as many packets as wanted. */
export async function trace(
  client: DaemonClient,
  format: Format,
  flags: TraceFlags & { most: number | undefined },
  words: readonly string[],
): Promise<number> {
  const filter = checkFilter(words.join(' '));
  const query = new URLSearchParams();
  for (const name of flags.interface ?? []) if (name !== 'any') query.append('interface', name);
  if (filter !== '') query.set('filter', filter);
  const ending = new Ending(client, () => {});
  try {
    const stream = await ending.client.bytes(`/v1/trace?${query}`);
    ending.begin(stream);
    if (!flags.quiet && format === 'table') {
      say(`tracing ${scopeWords(flags.interface, filter)}; ctrl-C ends`);
    }
    let packets = 0;
    for await (const lines of linesOf(stream.chunks)) {
      ending.writing();
      let text = '';
      for (const line of lines) {
        if (packets === flags.most) break;
        const told = JSON.parse(line) as TraceView | TraceMissed;
        if ('packet' in told) packets++;
        text += format === 'json' ? `${line}\n` : traceLines(told);
      }
      if (packets === flags.most) ending.request();
      await Promise.race([writeText(text), stream.closed]);
      ending.progress();
    }
    const { missed } = await ending.counts();
    process.stderr.write(`${count(packets, 'packet')} traced, ${missed} missed by the trace\n`);
    return EXIT_DONE;
  } catch (error) {
    // It was to end before it had begun.
    if (error instanceof ReaderGone) return EXIT_DONE;
    throw error;
  } finally {
    ending.close();
  }
}

/** The lines of a packet: time, id and what a stage says, each. */
export function traceLines(told: TraceView | TraceMissed): string {
  if ('missed' in told) return `${style('yellow', `${count(told.missed, 'packet')} missed here`)}\n`;
  const { time, packet, story } = told;
  const head = style('dim', `${timeOfDay(time)} #${packet}`);
  return story.map((line) => `${head} ${colour(line)}\n`).join('');
}

/** Local time with microseconds, as tcpdump prints it. */
function timeOfDay(time: string): string {
  const local = new Date(time);
  const parts = [local.getHours(), local.getMinutes(), local.getSeconds()];
  const clock = parts.map((part) => String(part).padStart(2, '0')).join(':');
  return `${clock}.${/\.(\d{6})/.exec(time)?.[1] ?? '000000'}`;
}

/** The stage in bold; what drops or rejects in red, what translates in cyan, what lets pass in green. */
function colour(line: string): string {
  const [, stage = '', rest = line] = /^((?:FORWARD: )?(?:port security|[\w-]+))(:? .*)$/.exec(line) ?? [];
  if (/\b(?:drops|rejects)\b/.test(rest)) return style('red', line);
  if (/\baccepts\b/.test(rest)) return style('green', line);
  if (/\b(?:DNAT|SNAT|MASQUERADE|NPT)\b/.test(rest)) return style('cyan', line);
  return `${style('bold', stage)}${rest}`;
}
