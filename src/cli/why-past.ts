import type { DaemonClient } from '../control/client.ts';
import type { WhyPastView } from '../control/why/past.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print } from './output.ts';
import { formatDuration } from './table.ts';
import { whyHead } from './why.ts';

/** What happened to the last packets like those of a question; 1 when none is remembered. */
export async function whyPast(
  client: DaemonClient,
  format: Format,
  question: { from: string; to: string; family?: 4 | 6 },
): Promise<number> {
  const past = await client.post<WhyPastView>('/v1/why/past', question);
  print(format, past, () => pastText(past));
  return past.packets.length > 0 ? EXIT_DONE : EXIT_FAILED;
}

export async function remember(client: DaemonClient, format: Format, everything: boolean): Promise<number> {
  const answer = await client.post<{ everything: boolean }>('/v1/why/remember', { everything });
  print(format, answer, () =>
    everything
      ? 'from now on the way of every packet is remembered, the last 20,000 or so\n'
      : 'from now on only dropped packets are remembered\n',
  );
  return EXIT_DONE;
}

export function pastText(past: WhyPastView): string {
  const lines = [whyHead(past)];
  for (const { packet, ago, way } of past.packets) {
    lines.push(
      `packet ${packet}, ${formatDuration(ago).toLowerCase()} ago`,
      ...way.map((line) => `  ${line}`),
    );
  }
  if (past.packets.length === 0) {
    lines.push(
      'no such packet is remembered; those that pass are remembered from "tapdeck why --remember" on',
    );
  }
  return lines.map((line) => `${line}\n`).join('');
}
