import type { DaemonClient } from '../control/client.ts';
import { invalid } from '../control/error.ts';
import type { WhyStep, WhyView } from '../control/why/explain.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print, style } from './output.ts';

export interface WhyFlags {
  4?: true;
  6?: true;
  past?: true;
  /** false with --no-remember. */
  remember?: boolean;
  fromCapture?: string;
}

export async function why(
  client: DaemonClient,
  format: Format,
  from: string | undefined,
  to: string | undefined,
  flags: WhyFlags,
): Promise<number> {
  const { past, remember, fromCapture } = flags;
  if (remember !== undefined || fromCapture !== undefined) {
    const option = remember === undefined ? '--from-capture' : remember ? '--remember' : '--no-remember';
    if (from !== undefined || past) throw invalid(`${option} stands alone; leave the rest out`);
    if (fromCapture === undefined) {
      return (await import('./why-past.ts')).remember(client, format, remember === true);
    }
    return (await import('./why-capture.ts')).whyCapture(client, format, fromCapture);
  }
  if (from === undefined || to === undefined) {
    throw invalid('from where to where? write tapdeck why SOURCE DESTINATION[:PORT][/tcp|udp|icmp]');
  }
  if (flags[4] && flags[6]) throw invalid('a packet is of one IP version; give -4 or -6');
  const family: 4 | 6 | undefined = flags[6] ? 6 : flags[4] ? 4 : undefined;
  const question = { from, to, ...(family && { family }) };
  if (past) return (await import('./why-past.ts')).whyPast(client, format, question);
  const answer = await client.post<WhyView>('/v1/why', question);
  print(format, answer, () => whyText(answer));
  return answer.answer === 'yes' ? EXIT_DONE : EXIT_FAILED;
}

/** The way from frame to frame, and the answer; when it is no, the last line says what would make it yes. */
export function whyText(answer: WhyView): string {
  const { steps } = answer;
  const lines = [whyHead(answer)];
  for (const step of steps) lines.push(...stepLines(step));
  lines.push('', ...answerLines(answer));
  return lines.map((line) => `${line}\n`).join('');
}

/** The answer; when it is no, the last line says what would make it yes. */
export function answerLines({
  answer,
  conclusion,
  remedy,
}: Pick<WhyView, 'answer' | 'conclusion' | 'remedy'>): string[] {
  const said = `${style(answer === 'yes' ? 'green' : 'red', answer)}: ${conclusion}`;
  return remedy === null ? [said] : [said, ...remedyLines(remedy)];
}

/** What is asked. */
export function whyHead({
  from,
  to,
  port,
  protocol,
}: Pick<WhyView, 'from' | 'to' | 'port' | 'protocol'>): string {
  const what = port === null ? 'ping' : `${protocol.toUpperCase()} port ${port}`;
  return `${placeOf(from)} to ${placeOf(to)}, ${what}`;
}

function placeOf({ name, address, network }: WhyView['from']): string {
  const where = network === null ? '' : `, ${network}`;
  return name === address
    ? `${name}${network === null ? '' : ` (${network})`}`
    : `${name} (${address}${where})`;
}

function stepLines({ kind, from, what, way, fate, drops }: WhyStep): string[] {
  if (kind === 'neighbor-question') return [`${from}: ${what} ${fate}`];
  const end = drops.length > 0 ? style('yellow', fate) : fate;
  const chains = way.map((line) => `  ${line}`);
  return [`${from}: ${what}`, ...chains, `  ${end}`];
}

function remedyLines({ commands, words }: NonNullable<WhyView['remedy']>): string[] {
  if (commands.length === 0) return [`to make it yes: ${words}`];
  return [`${words}`, `to make it yes: ${commands.join(' && ')}`];
}
