import { type Logger, pino } from 'pino';

/** The daemon's log: what a person reads on a terminal, JSON lines for everything else. */
export type Log = Logger;

const LABELS = new Map([
  [30, 'info '],
  [40, 'warn '],
  [50, 'error'],
]);

/**
 * A log on stderr. Written synchronously: there are few lines, and the last ones before an end matter most.
 */
export function createLog({ pretty }: { pretty: boolean }): Log {
  const options = { base: { pid: process.pid } };
  if (!pretty) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (line: string) => void process.stderr.write(formatLine(line)) });
}

/** `12:00:00 info  daemon ready at unix:///run/tapdeck/tapdeck.sock` */
export function formatLine(line: string): string {
  const { time, level, msg } = JSON.parse(line) as { time: number; level: number; msg?: string };
  const clock = new Date(time).toTimeString().slice(0, 8);
  return `${clock} ${LABELS.get(level) ?? level} ${msg ?? ''}\n`;
}
