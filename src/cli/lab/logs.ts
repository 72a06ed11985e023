import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { notFound } from '../../control/error.ts';
import type { RuntimePaths } from '../../control/paths.ts';
import { EXIT_DONE, style } from '../output.ts';
import { isHeld, type LabPaths, labPaths, logPath, readLab } from './lab-files.ts';
import { findLab } from './ps.ts';
import type { LabFlags } from './up.ts';

export interface LogsFlags extends LabFlags {
  follow?: boolean;
  timestamps?: boolean;
}

/** Milliseconds between two looks at the files. */
const LOOK = 100;
const COLOURS = ['cyan', 'yellow', 'green', 'magenta', 'blue', 'red'] as const;

/** Shows what services have written, in the order of time; with `follow` for as long as the lab is up. */
export async function logs(
  paths: RuntimePaths,
  file: string | undefined,
  wanted: readonly string[],
  flags: LogsFlags,
): Promise<number> {
  // A service may be named without the file.
  if (file !== undefined && !existsSync(file)) return logs(paths, undefined, [file, ...wanted], flags);
  const lab = findLab(paths, file, flags);
  const files = labPaths(paths, lab.project);
  const known = lab.services.map(({ service }) => service);
  const unknown = wanted.find((service) => !known.includes(service));
  if (unknown !== undefined) {
    throw notFound(`lab ${lab.project} has no service ${unknown}; there are ${known.join(', ')}`);
  }
  const chosen = wanted.length > 0 ? known.filter((service) => wanted.includes(service)) : known;
  const width = Math.max(...chosen.map((service) => service.length));
  const sources = chosen.map(
    (service) => new Source(files, service, COLOURS[known.indexOf(service) % COLOURS.length]!),
  );
  const show = () => {
    const lines = sources.flatMap((source) => source.read());
    lines.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
    let text = '';
    for (const { source, time, line } of lines) {
      const prefix = style(source.colour, `${source.service.padEnd(width)}  |`);
      text += `${prefix} ${flags.timestamps ? `${time} ` : ''}${line}\n`;
    }
    process.stdout.write(text);
  };
  show();
  while (flags.follow) {
    const now = readLab(files);
    if (!now || !isHeld(now)) break;
    await sleep(LOOK);
    show();
  }
  return EXIT_DONE;
}

interface LogLine {
  source: Source;
  time: string;
  line: string;
}

/** The log of a service, read from where it was read to. */
class Source {
  readonly service: string;
  readonly colour: (typeof COLOURS)[number];
  readonly #path: string;
  readonly #buffer = Buffer.alloc(256 << 10);
  #fd = -1;
  #rest = '';

  constructor(files: LabPaths, service: string, colour: (typeof COLOURS)[number]) {
    this.service = service;
    this.colour = colour;
    this.#path = logPath(files, service);
    const older = `${this.#path}.1`;
    if (existsSync(older)) this.#fd = openSync(older, 'r');
  }

  read(): LogLine[] {
    const found = this.#lines();
    // It may have begun anew: what is left of the one that is open has been read.
    const next = this.#open();
    if (next >= 0) {
      if (this.#fd >= 0) closeSync(this.#fd);
      this.#fd = next;
      found.push(...this.#lines());
    }
    return found;
  }

  /** The file that is there now, if it is another than the one that is open. */
  #open(): number {
    if (!existsSync(this.#path)) return -1;
    const fd = openSync(this.#path, 'r');
    if (this.#fd < 0 || fstatSync(fd).ino !== fstatSync(this.#fd).ino) return fd;
    closeSync(fd);
    return -1;
  }

  #lines(): LogLine[] {
    if (this.#fd < 0) return [];
    const found: LogLine[] = [];
    for (let count = -1; count !== 0; ) {
      count = readSync(this.#fd, this.#buffer);
      const lines = (this.#rest + this.#buffer.toString('utf8', 0, count)).split('\n');
      this.#rest = lines.pop()!;
      for (const text of lines) {
        const [, time, line] = /^(\S+) (?:stdout|stderr) (.*)$/s.exec(text) ?? [];
        if (time !== undefined) found.push({ source: this, time, line: line! });
      }
    }
    return found;
  }
}
