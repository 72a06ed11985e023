import { CaptureParser } from '../../capture/capture-parser.ts';
import { compileFilter } from '../../capture/filter/filter.ts';
import { FilterError } from '../../capture/filter/filter-error.ts';
import { BlockSplitter } from '../../capture/live/block-splitter.ts';
import type { CaptureEnded, DescriptorOffer, FileProgress } from '../../control/capture-schema.ts';
import { type ByteStream, DaemonClient } from '../../control/client.ts';
import { DeckError, invalid, unavailable } from '../../control/error.ts';
import { quote } from '../../control/name.ts';
import { afterRunning } from '../../control/patience.ts';
import { count } from '../../trace/count.ts';
import { writeText } from '../follow.ts';
import { EXIT_DONE, say } from '../output.ts';
import { type FileOptions, FileWriter, fileName } from './file-writer.ts';
import { PacketLines, type TimeFormat } from './packet-line.ts';
import { failed, openTarget, ReaderGone, type Target } from './target.ts';

/** Options of `tapdeck capture`, as commander gives them. */
export interface CaptureFlags {
  interface?: string[];
  listInterfaces?: boolean;
  write?: string;
  count?: string;
  snapshotLength?: string;
  bufferSize?: string;
  size?: string;
  seconds?: string;
  files?: string;
  direction?: string;
  ethernet?: boolean;
  verbose?: boolean;
  time?: TimeFormat;
  quiet?: boolean;
}

/** Milliseconds in which whoever reads it must take something of what was captured before ctrl-C. */
const PATIENCE = 2000;
/** Milliseconds in which something of it must come from the daemon: a machine may be busy. */
const DAEMON_PATIENCE = 10_000;

/** Captures until ctrl-C, until there are as many packets as were wanted, or until nobody reads them any more. */
export async function capture(
  client: DaemonClient,
  flags: CaptureFlags,
  words: readonly string[],
): Promise<number> {
  const filter = checkFilter(words.join(' '));
  const most = numberOf(flags.count, '-c', 1);
  const files = fileOptions(flags, most);
  const query = new URLSearchParams();
  for (const name of flags.interface ?? []) if (name !== 'any') query.append('interface', name);
  if (filter !== '') query.set('filter', filter);
  const snaplen = numberOf(flags.snapshotLength, '-s', 0);
  if (snaplen !== undefined) query.set('snaplen', String(snaplen));
  const buffer = numberOf(flags.bufferSize, '-B', 1);
  if (buffer !== undefined) query.set('buffer', String(buffer));
  if (flags.direction !== undefined && flags.direction !== 'inout') query.set('direction', flags.direction);

  const stopped = new AbortController();
  const ending = new Ending(client, () => stopped.abort());
  try {
    // A FIFO waits for its reader before anything is captured.
    const target = files && (await openTarget(fileName(files.path, files, 0, new Date()), stopped.signal));
    const direct =
      target && !rotates(files!) && most === undefined && (await toDaemon(ending.client, query, target));
    const stream = direct || (await ending.client.bytes(`/v1/capture?${query}`));
    ending.begin(stream);
    if (!flags.quiet) {
      say(`capturing ${scopeWords(flags.interface, filter)}; ctrl-C ends`);
    }
    const packets = direct
      ? await followFile(stream, ending, files!.path, target!)
      : target
        ? await toFiles(
            stream,
            ending,
            new FileWriter(files!, target, (path) => openTarget(path, stopped.signal)),
          )
        : await toLines(stream, ending, new PacketLines(flags), most);
    const { missed } = await ending.counts();
    process.stderr.write(`${count(packets, 'packet')} captured, ${missed} missed by the capture\n`);
    return EXIT_DONE;
  } catch (error) {
    // Whoever read it has what he wanted; or it was to end before it had begun.
    if (error instanceof ReaderGone) return EXIT_DONE;
    throw error;
  } finally {
    ending.close();
  }
}

/** The filter as it was given. Throws a `DeckError` that shows the place of a mistake in it. */
export function checkFilter(text: string): string {
  try {
    compileFilter(text);
    return text;
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    const detail = error.message.split('\n').slice(1);
    throw new DeckError('invalid', `the filter is wrong at character ${error.at + 1}: ${error.what}`, {
      detail: detail.map((line) => line.slice(2)),
    });
  }
}

/** How a capture ends: by a signal or by its count, with the daemon, or because nobody reads, or because the daemon stands still. */
export class Ending {
  /** Speaks with the daemon for as long as somebody waits for it. */
  readonly client: DaemonClient;
  readonly #stop: () => void;
  /** Breaks off what the daemon has not answered. */
  readonly #abandon = new AbortController();
  #stream: ByteStream | undefined;
  #counts: Promise<CaptureEnded> | undefined;
  /** Ends the waiting for something to happen. */
  #happened = () => {};
  /** Whether a reader has yet to take something; else the daemon to send it. */
  #writing = false;
  /** Whether it was asked for twice. */
  #hurried = false;
  readonly #receive = () => {
    if (!this.#counts) return this.request();
    // Who asks twice does not want to wait for what is still under way.
    this.#hurried = true;
    this.#stream?.destroy();
    this.#wait();
  };

  /** @param stop ends what waits before the capture has begun */
  constructor({ socket }: DaemonClient, stop: () => void) {
    this.client = new DaemonClient(socket, this.#abandon.signal);
    this.#stop = stop;
    for (const signal of SIGNALS) process.on(signal, this.#receive);
  }

  begin(stream: ByteStream): void {
    this.#stream = stream;
  }

  /** Whether somebody wants it to end. */
  get requested(): boolean {
    return this.#counts !== undefined;
  }

  /** Lets the daemon end the capture: what it has captured so far still comes. */
  request(): void {
    this.#stop();
    if (this.#counts) return;
    const stream = this.#stream;
    if (!stream) {
      this.#abandon.abort(new ReaderGone());
      return;
    }
    this.#counts = this.client.delete<CaptureEnded>(`/v1/captures/${stream.header('tapdeck-capture')}`);
    this.#counts.catch(() => stream.destroy());
    this.#wait();
  }

  /** Something has come, and is to be written. */
  writing(): void {
    this.#writing = true;
    this.#wait();
  }

  /** It has been written: the rest will come, too. */
  progress(): void {
    this.#writing = false;
    this.#wait();
  }

  #wait(): void {
    this.#happened();
    if (!this.#counts) return;
    const patience = this.#writing || this.#hurried ? PATIENCE : DAEMON_PATIENCE;
    this.#happened = afterRunning(patience, () => {
      if (this.#writing) this.#stream?.destroy();
      else
        this.#abandon.abort(unavailable(`the daemon at ${this.client.socket} does not answer; see its log`));
    });
  }

  /** What the capture came to, which the daemon knows. Throws when it has gone before that. */
  async counts(): Promise<CaptureEnded> {
    if (!this.#counts) throw unavailable('the daemon has gone; start it again and capture again');
    this.progress();
    return this.#counts;
  }

  close(): void {
    this.#happened();
    for (const signal of SIGNALS) process.off(signal, this.#receive);
    this.#stream?.destroy();
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Leaves a file to the daemon, which then writes to it by itself: the quickest way, as nothing passes through this process. Null
 * when that is not possible: to a pipe, or from another network namespace, or when there are too many who do.
 */
async function toDaemon(
  client: DaemonClient,
  query: URLSearchParams,
  { descriptor }: Target,
): Promise<ByteStream | null> {
  if (descriptor === undefined) return null;
  const { sendTo } = await import('../../device/socket.ts');
  const { SyscallError } = await import('../../device/syscall-error.ts');
  try {
    const { socket, token } = await client.post<DescriptorOffer>('/v1/descriptors', {});
    sendTo(socket, token, descriptor);
    return await client.bytes(`/v1/capture/file?${new URLSearchParams([...query, ['token', token]])}`);
  } catch (error) {
    if (error instanceof SyscallError || (error instanceof DeckError && error.code === 'conflict'))
      return null;
    throw error;
  }
}

/** Answers how many packets the daemon has written to the file. */
async function followFile(stream: ByteStream, ending: Ending, path: string, target: Target): Promise<number> {
  let packets = 0;
  for await (const lines of linesOf(stream.chunks)) {
    ending.progress();
    for (const line of lines) {
      const progress = JSON.parse(line) as FileProgress;
      if ('error' in progress) {
        const error = Object.assign(new Error(progress.error), { code: progress.error.split(':', 1)[0] });
        throw failed(path === '-' ? 'standard output' : path, error);
      }
      if ('packets' in progress) packets = progress.packets;
    }
  }
  await target.close();
  return packets;
}

function rotates({ size, seconds }: Pick<FileOptions, 'size' | 'seconds'>): boolean {
  return size !== undefined || seconds !== undefined;
}

/** Answers how many packets were written. */
async function toFiles(stream: ByteStream, ending: Ending, writer: FileWriter): Promise<number> {
  const splitter = new BlockSplitter(writer);
  try {
    for await (const chunk of unbroken(stream.chunks)) {
      ending.writing();
      splitter.push(chunk);
      if (writer.enough) ending.request();
      await Promise.race([writer.ready(), stream.closed]);
      ending.progress();
    }
  } catch (error) {
    // What has come before the failure is kept; the failure is what is said.
    await finish(writer, ending).catch(() => {});
    writer.destroy();
    throw error;
  }
  await finish(writer, ending);
  writer.destroy();
  return writer.packets;
}

/** Closes the file. When the end is wanted, a reader that reads nothing more is waited for only so long. */
async function finish(writer: FileWriter, ending: Ending): Promise<void> {
  if (!ending.requested) return writer.close();
  let closed = () => {};
  const over = new Promise<void>((resolve) => {
    closed = afterRunning(PATIENCE, resolve);
  });
  try {
    await Promise.race([writer.close(), over]);
  } finally {
    closed();
  }
}

async function toLines(
  stream: ByteStream,
  ending: Ending,
  lines: PacketLines,
  most = Number.POSITIVE_INFINITY,
): Promise<number> {
  const parser = new CaptureParser({ file: 'the capture' });
  let packets = 0;
  for await (const chunk of unbroken(stream.chunks)) {
    ending.writing();
    parser.push(chunk);
    let text = '';
    for (let record = parser.next(); record !== undefined; record = parser.next()) {
      if (packets === most) continue;
      text += lines.format(record);
      packets++;
    }
    if (packets === most) ending.request();
    await Promise.race([writeText(text), stream.closed]);
    ending.progress();
  }
  return packets;
}

/** Chunks until the connection ends; that it breaks is told apart by whether we wanted it to end. */
async function* unbroken(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch {
    // `Ending.counts` says whether that was to be.
  }
}

/** The lines of each chunk that are whole. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string[]> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of unbroken(chunks)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop()!;
    yield lines;
  }
}

function fileOptions(
  { write, size, seconds, files }: CaptureFlags,
  count: number | undefined,
): FileOptions | null {
  const options = {
    size: numberOf(size, '-C', 1),
    seconds: numberOf(seconds, '-G', 1),
    files: numberOf(files, '-W', 1),
  };
  if (options.files !== undefined && !rotates(options))
    throw invalid('-W says how many files there may be; say with -C or -G when the next one begins');
  if (write === undefined) {
    if (rotates(options)) throw invalid('-C and -G are about files; name them with -w FILE');
    return null;
  }
  if (write === '') throw invalid('-w needs the name of a file, or - for standard output');
  if (write === '-' && rotates(options))
    throw invalid('standard output cannot be changed for another file; name one with -w FILE');
  return { path: write, count, ...options };
}

export function numberOf(text: string | undefined, option: string, least: number): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text) || Number(text) < least)
    throw invalid(`${option} takes a whole number of at least ${least}, not ${quote(text)}`);
  return Number(text);
}

/** What is captured, in words: `everything`, `icmp`, `web`, `web: icmp`. */
export function scopeWords(interfaces: readonly string[] | undefined, filter: string): string {
  const where = interfaces?.join(', ');
  if (filter === '') return where ?? 'everything';
  return where === undefined ? filter : `${where}: ${filter}`;
}
