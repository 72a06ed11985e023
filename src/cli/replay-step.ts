import { createInterface } from 'node:readline';
import type { Player } from '../recording/player.ts';
import { RecordingError } from '../recording/recording-error.ts';
import {
  commandText,
  frameText,
  recordedTables,
  TABLES,
  type TableName,
  tablesText,
  tableText,
} from './recording-text.ts';

/** Where a replay is to stop. */
export interface Stop {
  at?: number;
  packet?: number;
}

const HELP = `  Enter, space, n      the next packet          +                    ten packets
  f  fdb               h  neighbors             k  conntrack
  a  nat               r  rules                 l  ledger
  t  all tables        ?  this                  q  quit
  by lines also: next 100, packet 1042, at 12.5s, and the names of the tables
`;

/** Keys, and the lines that they stand for. */
const KEYS: Readonly<Record<string, string>> = {
  '\r': 'next',
  '\n': 'next',
  ' ': 'next',
  n: 'next',
  '+': 'next 10',
  f: 'fdb',
  h: 'neighbors',
  k: 'conntrack',
  a: 'nat',
  r: 'rules',
  l: 'ledger',
  t: 'tables',
  '?': 'help',
  q: 'quit',
  '\u0003': 'quit',
  '\u0004': 'quit',
};

/** Walks through a recording: by keys on a terminal, else by lines of standard input. */
export async function stepThrough(player: Player, stop: Stop): Promise<void> {
  const walk = new Walk(player);
  if (stop.at !== undefined) walk.do(`at ${stop.at}ms`);
  if (stop.packet !== undefined) walk.do(`packet ${stop.packet}`);
  if (process.stdin.isTTY) await byKeys(walk);
  else await byLines(walk);
}

async function byLines(walk: Walk): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) if (!walk.do(line.trim())) break;
  process.stdin.destroy();
}

async function byKeys(walk: Walk): Promise<void> {
  const { stdin } = process;
  process.stdout.write('Enter: next packet, ?: help, q: quit\n');
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  try {
    for await (const keys of stdin as AsyncIterable<string>) {
      for (const key of keys) if (!walk.do(KEYS[key] ?? 'help')) return;
    }
  } finally {
    stdin.setRawMode(false);
    stdin.destroy();
  }
}

/** Somebody's way through a recording. */
class Walk {
  readonly #player: Player;
  #sent: string[] = [];
  #over = false;

  constructor(player: Player) {
    this.#player = player;
    player.keepsFrames = true;
    player.onSent = (port) => this.#sent.push(player.names.ports[port] ?? `port ${port}`);
  }

  /** Does what a line says; false when it is to be the last. */
  do(line: string): boolean {
    const [word = '', argument = ''] = line.split(/\s+/);
    switch (word) {
      case '':
      case 'next':
      case 'n':
        this.#next(Math.max(1, Math.floor(Number(argument) || 1)));
        return true;
      case 'packet':
        this.#until(
          () => this.#player.played.kind === 'frame' && this.#player.played.packet === Number(argument),
        );
        return true;
      case 'at': {
        const until = timeOf(argument);
        if (until === null) write(`${argument} is no time; say 12.5s or 300ms\n`);
        else this.#until(() => this.#player.next > until);
        return true;
      }
      case 'tables':
        write(tablesText(recordedTables(this.#player)));
        return true;
      case 'quit':
      case 'q':
        return false;
      default:
        // A line may be a key.
        if (KEYS[word] !== undefined) return this.do(KEYS[word]);
        if (word === 'help') write(HELP);
        else if (!TABLES.includes(word as TableName))
          write(`there is no "${word}" here; help says what there is\n`);
        else write(tableText(word as TableName, recordedTables(this.#player)) || `${word}: empty\n`);
        return true;
    }
  }

  #next(count: number): void {
    let packets = 0;
    this.#walk(true, () => this.#player.played.kind === 'frame' && ++packets === count);
  }

  #until(isThere: () => boolean): void {
    this.#walk(false, isThere);
    const { played } = this.#player;
    if (!this.#over)
      write(
        played.kind === 'frame'
          ? frameText(this.#player)
          : `${(this.#player.now / 1000).toFixed(6).padStart(12)}  the last that happened before that\n`,
      );
  }

  /** Plays until it is there, or the end. */
  #walk(aloud: boolean, isThere: () => boolean): void {
    if (this.#over) {
      write('the recording is over\n');
      return;
    }
    try {
      for (;;) {
        this.#sent = [];
        if (!this.#player.step()) break;
        if (aloud) this.#tell();
        if (isThere()) return;
      }
      write('the end of the recording\n');
    } catch (error) {
      if (!(error instanceof RecordingError)) throw error;
      write(`${error.message}\n`);
    }
    this.#over = true;
  }

  #tell(): void {
    const { played } = this.#player;
    if (played.kind === 'frame') write(frameText(this.#player));
    else if (played.command !== null) write(commandText(this.#player, played.command));
    if (this.#sent.length > 0) write(`${' '.repeat(12)}sent to ${this.#sent.join(', ')}\n`);
  }
}

function timeOf(text: string): number | null {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  return found ? Number(found[1]) * { ms: 1, s: 1000, m: 60_000 }[(found[2] ?? 's') as 's'] : null;
}

function write(text: string): void {
  process.stdout.write(text);
}
