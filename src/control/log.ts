import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';

/** The daemon's log: what a person reads on a terminal, text with its priority for systemd's journal, JSON lines for everything else. */
export type Log = Logger;

export type LogForm = 'terminal' | 'journal' | 'json';

const WARN = 40;
/** What a level is to people, and to syslog (sd-daemon(3)). */
const LEVELS = new Map([
  [30, { label: 'info ', priority: 6 }],
  [WARN, { label: 'warn ', priority: 4 }],
  [50, { label: 'error', priority: 3 }],
]);
const FORMS: Record<LogForm, (line: string) => string> = {
  terminal: formatLine,
  journal: formatJournal,
  json: (line) => line,
};

/** What is at the other end of a descriptor: systemd says of which it is the journal (systemd.exec(5), `$JOURNAL_STREAM`). */
export function logForm(env: NodeJS.ProcessEnv = process.env, fd = 2): LogForm {
  if (isatty(fd)) return 'terminal';
  if (!env['JOURNAL_STREAM']) return 'json';
  const { dev, ino } = fstatSync(fd);
  return env['JOURNAL_STREAM'] === `${dev}:${ino}` ? 'journal' : 'json';
}

/**
 * A log on stderr, or another descriptor. Written synchronously: there are few lines, and the last ones before an end matter
 * most. What has no room is missing, and counted: neither a full disk, nor a pipe that nobody reads, nor ctrl-S on a terminal is a
 * reason to fail or to wait.
 */
export function createLog(form: LogForm, fd = 2): Log {
  const outlet = new Outlet(fd);
  const format = FORMS[form];
  let missing = 0;
  return pino(
    { base: { pid: process.pid } },
    {
      write: (line: string) => {
        if (missing > 0 && outlet.write(format(missingLine(missing)))) missing = 0;
        if (missing > 0 || !outlet.write(format(line))) missing++;
      },
    },
  );
}

function missingLine(count: number): string {
  const msg = `${count} ${count === 1 ? 'line is' : 'lines are'} missing here: there was no room`;
  return `${JSON.stringify({ level: WARN, time: Date.now(), pid: process.pid, msg })}\n`;
}

class Outlet {
  readonly #fd: number;
  /** Whether the last line is there in part. */
  #torn = false;

  constructor(fd: number) {
    this.#fd = unblocked(fd);
  }

  /** False when it has not been taken as a whole. */
  write(line: string): boolean {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line);
    let done = 0;
    try {
      while (done < bytes.length) done += writeSync(this.#fd, bytes, done);
      this.#torn = false;
    } catch {
      if (done > 0) this.#torn = true;
    }
    return done === bytes.length;
  }
}

/** Another descriptor of the same pipe or terminal: O_NONBLOCK of the one that we were given is also that of whoever gave it. */
function unblocked(fd: number): number {
  try {
    if (!fstatSync(fd).isFIFO() && !isatty(fd)) return fd;
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    // Not ours to open, as a terminal is behind su.
    return fd;
  }
}

/** `12:00:00 info  daemon ready at unix:///run/tapdeck/tapdeck.sock` */
export function formatLine(line: string): string {
  const { time, level, msg } = JSON.parse(line) as { time: number; level: number; msg?: string };
  const clock = new Date(time).toTimeString().slice(0, 8);
  return `${clock} ${LEVELS.get(level)?.label ?? level} ${msg ?? ''}\n`;
}

/** `<6>daemon ready at unix:///run/tapdeck/tapdeck.sock`: the journal has the time, and a priority for each line. */
function formatJournal(line: string): string {
  const { level, msg = '' } = JSON.parse(line) as { level: number; msg?: string };
  const priority = `<${LEVELS.get(level)?.priority ?? 6}>`;
  return msg
    .split('\n')
    .map((part) => `${priority}${part}\n`)
    .join('');
}
