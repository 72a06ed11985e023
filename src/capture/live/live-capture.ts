import { Action, ROW_ARGUMENTS, rowAction } from '../../../switch/trace.ts';
import { type Verdict, VerdictKind, verdictKind } from '../../../switch/verdict.ts';
import { type ObservationReader, RecordKind } from '../../dataplane/observation.ts';
import { headline, inWords, originLine, readStory } from '../../trace/story.ts';
import { PacketFlags } from '../capture-record.ts';
import { PcapngWriter, type SectionDescription } from '../pcapng-writer.ts';
import type { Chunks } from './chunks.ts';
import type { DeckNames } from './deck-names.ts';
import type { Feed } from './feed.ts';
import { commentOptions, type Options, PacketBlocks, PacketNotes, XdpAction } from './packet-blocks.ts';
import { PacketIds } from './packet-ids.ts';
import type { DeckPort } from './port-names.ts';
import { StoryCache } from './story-cache.ts';
import type { WallClock } from './wall-clock.ts';

export interface LiveCaptureOptions extends SectionDescription {
  /** Bytes kept of a frame. */
  snapLength: number;
  /** In tcpdump's language; what selects is the data plane. */
  filter: string;
  /** Only copies that came in, or went out; both by default. */
  direction?: 'in' | 'out' | undefined;
}

/** What a live capture is made of. */
export interface LiveCaptureParts {
  reader: ObservationReader;
  chunks: Chunks;
  clock: WallClock;
  names: DeckNames;
  /** Of the data plane's clock, milliseconds. */
  now: () => number;
}

/** What became of the packet that a story is about. */
interface Told {
  readonly comments: Options;
  readonly verdict: XdpAction;
}

/** An interface of the file. */
interface Interface {
  readonly id: number;
  readonly port: DeckPort;
  /** What its egress copies say of packets that came in here. */
  readonly cameIn: Options;
  received: number;
  /** Of its port's, that have been told of in a block. */
  missed: number;
}

/** What Wireshark and tcpdump take for errors. */
const OFFLOADS =
  'Frames are as they came into the deck: where a container leaves checksums of TCP and UDP to its interface, and the cutting of segments, both are still to be done.';

/** Stories whose room is given back at once: the word that says so is on its way from one CPU to the other each time. */
const RELEASE = 32;
/** Milliseconds for which a frame waits for the name of its port. */
const NAME_PATIENCE = 1000;
/** Bytes of the description of an interface, names and filter and all, are fewer. */
const MOST_DESCRIPTION = 64 * 1024 + 8192;
/** Comments of one block; a story of a flood is cut there. */
const MOST_COMMENTS = 32 * 1024;
// Places of a frame in `#frames`.
const FRAME_WORDS = 6;

/**
 * Writes stories of the ring as pcapng: a block for the frame as it came in, with the whole story, and one for each copy that
 * went out. Nothing is made for a packet whose story has been told before.
 */
export class LiveCapture implements Feed {
  readonly chunks: Chunks;
  written = 0;
  readonly #parts: LiveCaptureParts;
  readonly #options: LiveCaptureOptions;
  readonly #writer: PcapngWriter;
  readonly #blocks: PacketBlocks;
  readonly #notes = new PacketNotes();
  readonly #interfaces: Interface[] = [];
  /** By port; the newest of each. */
  readonly #byPort = new Map<number, Interface>();
  readonly #stories: StoryCache<Told>;
  readonly #started: bigint;
  /** The story in hand: its frames that are not written yet, and its rows. */
  #frames = new Int32Array(FRAME_WORDS * 64);
  #frameCount = 0;
  #next = 0;
  #rows = new Int32Array(64);
  #rowCount = 0;
  #hasStory = false;
  #told: Told | null = null;
  /** Whether the deck made the packet itself. */
  #isMade = false;
  /** Whether it has waited, and its copies have the story beside them. */
  #isResumed = false;
  /** Since when the story waits for a name; NaN when it does not. */
  #waiting = Number.NaN;
  readonly #ids = new PacketIds();
  /** Names of addresses that have been written. */
  readonly #named = new Set<string>();

  constructor(parts: LiveCaptureParts, options: LiveCaptureOptions) {
    this.chunks = parts.chunks;
    this.#parts = parts;
    this.#options = options;
    this.#writer = new PcapngWriter(parts.chunks.write, { ...options, comments: [OFFLOADS] });
    this.#blocks = new PacketBlocks(parts.chunks);
    parts.clock.set(parts.now());
    this.#started = parts.clock.timestamp;
    this.#stories = new StoryCache((words, rows, count) => this.#tell(words, rows, count));
    this.#name();
  }

  /** Names of ports, addresses, networks or rules have changed. */
  renamed(): void {
    this.#stories.clear();
    this.#name();
  }

  /**
   * Writes stories until there are no more, no buffer is free, a name is missing, or `most` are written; answers how many.
   * @param now milliseconds of any clock
   */
  take(most: number, now: number): number {
    const { reader } = this.#parts;
    let stories = 0;
    while (stories < most) {
      if (!this.#hasStory) {
        if (!reader.nextStory()) break;
        this.#read();
      }
      if (!this.#write(now)) return stories;
      this.#hasStory = false;
      if (++stories % RELEASE === 0) reader.release();
    }
    reader.release();
    return stories;
  }

  get isBehind(): boolean {
    return this.#hasStory || this.#parts.reader.isBehind;
  }

  /** Writes what each interface came to. */
  finish(): void {
    const { reader, clock, now } = this.#parts;
    clock.set(now());
    const end = clock.timestamp;
    // Also of ports of which nothing was kept.
    for (const port of reader.missedPorts())
      this.#byPort.get(port) ?? this.#describe(port, this.#parts.names.ports.at(port, now()));
    for (const one of this.#interfaces) {
      this.#writer.statistics(one.id, {
        timestamp: end,
        startTime: this.#started,
        endTime: end,
        received: BigInt(one.received),
        // Those of a number that several had one after the other are the last one's.
        dropped: BigInt(this.#byPort.get(one.port.port) === one ? reader.missedBy(one.port.port) : 0),
      });
    }
  }

  /** Notes where the frames and rows of the next story lie. */
  #read(): void {
    const { reader } = this.#parts;
    this.#hasStory = true;
    this.#frameCount = 0;
    this.#next = 0;
    this.#rowCount = 0;
    this.#told = null;
    this.#isMade = false;
    this.#isResumed = false;
    const { direction } = this.#options;
    while (reader.nextRecord()) {
      const { kind } = reader;
      if (kind === RecordKind.ROW || kind === RecordKind.END) {
        if (this.#rowCount === this.#rows.length) this.#rows = grown(this.#rows);
        this.#rows[this.#rowCount++] = reader.row;
        const action = rowAction(reader.words, reader.row);
        if (action === Action.MADE) this.#isMade = true;
        else if (action === Action.RESUMED) this.#isResumed = true;
      } else if (direction === undefined || (kind === RecordKind.FRAME_IN) === (direction === 'in')) {
        const at = this.#frameCount++ * FRAME_WORDS;
        if (at === this.#frames.length) this.#frames = grown(this.#frames);
        const frames = this.#frames;
        frames[at] = kind;
        frames[at + 1] = reader.framePacket;
        frames[at + 2] = reader.framePort;
        frames[at + 3] = reader.length;
        frames[at + 4] = reader.captured;
        frames[at + 5] = reader.at;
      }
    }
  }

  /** Writes the frames of the story in hand; false when it has to wait. */
  #write(now: number): boolean {
    const { reader, chunks, clock, names } = this.#parts;
    const frames = this.#frames;
    const notes = this.#notes;
    for (; this.#next < this.#frameCount; this.#next++) {
      const at = this.#next * FRAME_WORDS;
      const isIn = frames[at] === RecordKind.FRAME_IN;
      const from = this.#isMade ? names.ports.own(reader.port) : reader.port;
      const here = this.#interface(isIn ? from : frames[at + 2]!, now);
      const origin = isIn ? here : this.#interface(from, now);
      if (!here || !origin) return false;
      this.#told ??= this.#stories.get(reader.words, this.#rows, this.#rowCount);
      const comments = isIn || this.#isResumed ? this.#told.comments : origin.cameIn;
      const captured = Math.min(frames[at + 4]!, this.#options.snapLength);
      if (!chunks.has(PacketBlocks.room(captured, comments.length))) return false;
      clock.set(reader.now);
      notes.interfaceId = here.id;
      notes.seconds = clock.seconds;
      notes.nanoseconds = clock.nanoseconds;
      notes.originalLength = frames[at + 3]!;
      notes.packetId = this.#ids.extend(frames[at + 1]!);
      notes.comments = comments;
      notes.verdict = isIn ? this.#told.verdict : XdpAction.TX;
      notes.flags =
        (isIn ? PacketFlags.INBOUND : PacketFlags.OUTBOUND) | reception(reader.bytes, frames[at + 5]!);
      const missed = reader.missedBy(here.port.port);
      notes.dropped = (missed - here.missed) >>> 0;
      here.missed = missed;
      this.#blocks.write(notes, reader.bytes, frames[at + 5]!, captured);
      here.received++;
      this.written++;
    }
    return true;
  }

  /** The interface of a port; undefined as long as its name may still come, or there is no buffer to describe it in. */
  #interface(port: number, now: number): Interface | undefined {
    const { names, reader, chunks } = this.#parts;
    const known = this.#byPort.get(port);
    const tenant = names.ports.at(port, reader.now);
    if (known && (tenant === undefined || tenant.key === known.port.key)) return known;
    if (!tenant) {
      if (Number.isNaN(this.#waiting)) this.#waiting = now;
      if (now - this.#waiting < NAME_PATIENCE) return undefined;
    }
    this.#waiting = Number.NaN;
    return chunks.has(MOST_DESCRIPTION) ? this.#describe(port, tenant) : undefined;
  }

  #describe(port: number, tenant: DeckPort | undefined): Interface {
    const name = tenant?.name ?? `port ${port}`;
    const { filter } = this.#options;
    const id = this.#writer.addInterface({
      name,
      ...(tenant && { description: tenant.description }),
      ...(tenant?.mac !== undefined && { macAddress: macBytes(tenant.mac) }),
      ...(filter !== '' && { filter }),
    });
    const unknown = { port, segment: -1, key: '', name, description: '', mac: undefined, isDeck: false };
    const cameIn = commentOptions([originLine(name)]);
    const made: Interface = { id, port: tenant ?? unknown, cameIn, received: 0, missed: 0 };
    this.#interfaces.push(made);
    this.#byPort.set(port, made);
    return made;
  }

  /** Writes names of addresses that have not been written yet. */
  #name(): void {
    const fresh = this.#parts.names.addresses.filter(([address, names]) => {
      const key = `${address} ${names.join(' ')}`;
      const isKnown = this.#named.has(key);
      this.#named.add(key);
      return !isKnown;
    });
    if (fresh.length > 0) this.#writer.names(fresh);
  }

  #tell(words: Int32Array, rows: Int32Array, count: number): Told {
    let verdict: XdpAction | undefined;
    for (let i = 0; i < count && verdict === undefined; i++) {
      const at = rows[i]!;
      if (rowAction(words, at) === Action.VERDICT) verdict = xdpAction(words[at + ROW_ARGUMENTS + 10]!);
    }
    const steps = readStory(words, rows, count, this.#parts.names);
    const isResumed = steps[0]?.action === 'RESUMED';
    const first = isResumed ? originLine(steps[0]!.ingress, steps) : headline(steps);
    let comments = [first, ...inWords(steps)];
    const most = Math.floor(MOST_COMMENTS / (4 + 3 * Math.max(1, ...comments.map((text) => text.length))));
    if (comments.length > most) comments = [...comments.slice(0, most), `and ${comments.length - most} more`];
    return { comments: commentOptions(comments), verdict: verdict ?? XdpAction.PASS };
  }
}

function xdpAction(verdict: Verdict): XdpAction {
  switch (verdictKind(verdict)) {
    case VerdictKind.DROP:
      return XdpAction.DROP;
    case VerdictKind.FORWARD:
    case VerdictKind.FLOOD:
      return XdpAction.REDIRECT;
    default:
      return XdpAction.PASS;
  }
}

/** To whom the frame is: to one, to a group, or to all. */
function reception(bytes: Uint8Array, at: number): number {
  if ((bytes[at]! & 1) === 0) return PacketFlags.UNICAST;
  for (let i = 0; i < 6; i++) if (bytes[at + i] !== 0xff) return PacketFlags.MULTICAST;
  return PacketFlags.BROADCAST;
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}

function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}
