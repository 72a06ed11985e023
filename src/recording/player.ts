import { createHash } from 'node:crypto';
import { type Device, Transmit } from '../../switch/device.ts';
import { BIG_SLOT, type Frame, HEADROOM, type PortId } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { printable } from '../capture/printable.ts';
import type { PortSpec } from '../dataplane/commands.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import {
  FRAME_HELD,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_SLOT,
  FRAME_VNET,
  Kind,
  RECORD_HEADER,
  SlotOp,
  THROWN,
} from './format.ts';
import { FrameDigest } from './frame-digest.ts';
import {
  COMMANDS,
  type DevicePort,
  type RecordedCommand,
  type RecordedNames,
  type RecordingEnd,
  type RecordingHeader,
} from './plane.ts';
import { RecordingReader } from './reader.ts';
import { RecordingError } from './recording-error.ts';
import { StateError, StateReader, StateWriter } from './state-carrier.ts';

/** Hears of a frame that is sent. `bytes` is the arena's: copy what is to be kept. */
export type SentListener = (port: PortId, frame: Frame, now: number) => void;

/** What was done last, for whoever goes step by step. */
export interface Played {
  kind: 'frame' | 'command' | 'timers' | 'flush' | 'names' | 'end' | 'other';
  /** Of a frame: its port, and its bytes as it came in. */
  port: PortId;
  /** The packet's id, as captures and traces have it. */
  packet: number;
  bytes: Uint8Array;
  command: RecordedCommand | null;
}

/**
 * Plays a recording: the same data plane, and everything that entered it then enters it again, in the order and at the times
 * that are written down. There is no clock; a day takes as long as what happened in it.
 */
export class Player {
  readonly header: RecordingHeader;
  readonly dataplane: Dataplane;
  /** Who is who: all who were ever there, when the recording came to its end; else as far as was said until now. */
  names: RecordedNames = { networks: {}, ports: {} };
  /** What the recorder wrote at the end; null before, and in a recording that was cut. */
  end: RecordingEnd | null = null;
  /** Milliseconds since the beginning of the recording. */
  now = 0;
  /** Frames that came in until now. */
  frames = 0;
  /** What threw in handling frames: a defect of tapdeck, in the recording as here. */
  exceptions = 0;
  readonly played: Played = {
    kind: 'other',
    port: 0,
    packet: 0,
    bytes: new Uint8Array(),
    command: null,
  };
  onSent: SentListener | null = null;
  /** Whether `played` has the bytes of frames. */
  keepsFrames = false;
  readonly #reader: RecordingReader;
  readonly #digest = new FrameDigest();
  #calls = 0;
  /** Time of the poll whose frames are being played. */
  #polling = false;
  #pollNow = 0;
  /** What is wrong with the record behind those that can be read. */
  #ending: unknown;
  /** What went wrong inside of the data plane, which takes exceptions for its own. */
  #fault: unknown;

  /** Opens a recording, and has its tables as they were when it began. Throws RecordingError. */
  constructor(file: string) {
    this.#reader = new RecordingReader(file);
    try {
      this.header = this.#header();
      this.dataplane = new Dataplane({ ...this.header.options, onException: () => this.exceptions++ });
      this.#restore();
      this.names = merged(this.names, this.#reader.end()?.names);
    } catch (error) {
      const known = error instanceof RecordingError;
      const cause = known
        ? error
        : this.#diverged(`it begins with what cannot be (${(error as Error).message})`);
      this.#reader.close();
      throw cause;
    }
    if (this.header.answersQueries) this.dataplane.onQuery = () => {};
    this.dataplane.onSevered = () => this.#ops(++this.#calls);
  }

  close(): void {
    this.#reader.close();
  }

  /** How much of the file was played, 0 to 1. */
  get progress(): number {
    return this.#reader.offset / Math.max(1, this.#reader.size);
  }

  /** When the next record is, milliseconds since the beginning; Infinity behind the last. */
  get next(): number {
    return this.#reader.kind === 0 ? Number.POSITIVE_INFINITY : this.#reader.now - this.header.began;
  }

  /** Whether the next record is a frame that comes in. */
  get isFrameNext(): boolean {
    return this.#reader.kind === Kind.FRAME;
  }

  /**
   * Plays one record; false when there is no more. Throws RecordingError: for a recording that was cut, when all before it
   * was played.
   */
  step(): boolean {
    try {
      return this.#step();
    } catch (error) {
      if (error instanceof RecordingError) throw error;
      throw this.#diverged(`it says what cannot have been (${(error as Error).message})`);
    }
  }

  #step(): boolean {
    const reader = this.#reader;
    const { kind, port, now } = reader;
    const { played } = this;
    played.command = null;
    if (this.#polling && kind !== Kind.FRAME && !(kind === Kind.SLOT && reader.int(RECORD_HEADER) < 0)) {
      this.#polling = false;
      this.dataplane.egress.sendBatches(this.#pollNow);
      return this.#other();
    }
    if (kind === 0) {
      const ending = this.#ending;
      this.#ending = undefined;
      if (ending !== undefined) throw ending;
      return false;
    }
    this.now = now - this.header.began;
    switch (kind) {
      case Kind.FRAME:
        this.#frame(port, now);
        break;
      case Kind.POLL:
        this.#advance();
        this.#polling = true;
        this.#pollNow = now;
        return this.#other();
      case Kind.BATCHES:
        this.#advance();
        this.dataplane.egress.sendBatches(now);
        played.kind = 'other';
        break;
      case Kind.EXPIRE:
        this.#advance();
        this.dataplane.expire(now);
        played.kind = 'timers';
        break;
      case Kind.FLUSH:
        this.#advance();
        this.dataplane.egress.flush(port, now);
        played.kind = 'flush';
        break;
      case Kind.COMMAND:
        this.#command(reader.value<RecordedCommand>(), now);
        break;
      case Kind.SLOT:
        this.#ops(reader.int(RECORD_HEADER));
        return this.#other();
      case Kind.NAMES:
        this.names = merged(this.names, reader.value<RecordedNames>());
        this.#advance();
        played.kind = 'names';
        break;
      case Kind.END:
        this.end = reader.value<RecordingEnd>();
        this.#advance();
        played.kind = 'end';
        break;
      default:
        throw this.#diverged(`record ${kind} has no place there`);
    }
    this.#check();
    // Whom a loop would watch for room; here it is written down when there is room.
    this.dataplane.egress.blocked.length = 0;
    return true;
  }

  /** Plays to the end. Throws RecordingError. */
  run(): void {
    while (this.step());
  }

  /** sha256 of all frames sent until now; call it once. */
  framesDigest(): string {
    return this.#digest.finish();
  }

  get sent(): number {
    return this.#digest.frames;
  }

  /** sha256 of everything that is known now. */
  tablesDigest(): string {
    const writer = new StateWriter(true);
    this.dataplane.carry(writer, noDevice);
    return createHash('sha256').update(writer.finish()).digest('hex');
  }

  #header(): RecordingHeader {
    const reader = this.#reader;
    if (reader.kind !== Kind.HEADER) throw this.#diverged('it does not say how it was made');
    const header = reader.value<RecordingHeader>();
    reader.next();
    return {
      ...header,
      tapdeck: printable(String(header.tapdeck)),
      node: printable(String(header.node)),
      date: printable(String(header.date)),
    };
  }

  #restore(): void {
    const reader = this.#reader;
    if (reader.kind !== Kind.STATE) throw this.#diverged('it has no tables to begin with');
    const state = reader.bytes.subarray(reader.at + RECORD_HEADER, reader.at + reader.length);
    const devices = new Map(this.header.ports.map((device) => [device.port, device]));
    try {
      this.dataplane.carry(new StateReader(state), (port) => {
        const device = devices.get(port);
        if (!device) throw new StateError(`port ${port} has no device`);
        return this.#device(device);
      });
    } catch (error) {
      const why = error instanceof StateError ? error.message : String(error);
      const { tapdeck } = this.header;
      throw new RecordingError(
        reader.file,
        reader.offset,
        `the tables that it begins with cannot be read (${why}); it was made by tapdeck ${tapdeck}: play it with that`,
        { cause: error },
      );
    }
    this.#advance();
  }

  #frame(port: PortId, now: number): void {
    const reader = this.#reader;
    const { arena } = this.dataplane;
    const slot = reader.int(FRAME_SLOT);
    const length = reader.int(FRAME_LENGTH);
    const offset = reader.int(FRAME_OFFSET);
    const isHeld = (slot & FRAME_HELD) !== 0;
    const named = arena.frames[slot & ~FRAME_HELD];
    const fits = named && length >= 0 && offset >= VNET_LEN && offset + length <= named.limit - named.base;
    if (!fits || reader.length !== FRAME_VNET + VNET_LEN + length) throw this.#diverged('a frame is none');
    const frame = isHeld ? named : this.#take(named);
    frame.at = frame.base + offset;
    frame.length = length;
    const from = reader.at + FRAME_VNET;
    frame.bytes.set(reader.bytes.subarray(from, from + VNET_LEN + length), frame.at - VNET_LEN);
    const { played } = this;
    played.kind = 'frame';
    played.port = port;
    if (this.keepsFrames) played.bytes = frame.bytes.slice(frame.at, frame.at + length);
    played.packet = (this.dataplane.packet + 1) | 0 || 1;
    this.frames++;
    // Before it is handled: what devices answered comes behind it.
    this.#advance();
    this.dataplane.receive(port, frame, now);
  }

  #take(named: Frame): Frame {
    const isBig = named.limit - named.base === BIG_SLOT;
    const frame = this.dataplane.arena.allocate(isBig ? BIG_SLOT - HEADROOM : 0);
    if (frame !== named) {
      if (frame) this.dataplane.arena.release(frame);
      throw this.#diverged(`slot ${named.slot} was taken, and here it would be ${frame?.slot ?? 'none'}`);
    }
    return frame;
  }

  #command(command: RecordedCommand, now: number): void {
    const { played, dataplane } = this;
    const { method, args } = command;
    played.kind = 'command';
    played.command = command;
    if (method !== 'addPort' && !COMMANDS.includes(method))
      throw this.#diverged(`there is no command ${method}`);
    this.#advance();
    try {
      if (method === 'addPort') {
        const [{ offload, batches }, spec] = args as [DevicePort, PortSpec];
        dataplane.addPort(this.#device({ port: dataplane.ports.next, offload, batches }), spec, now);
      } else {
        // biome-ignore lint/complexity/noBannedTypes: the names are those of methods
        (dataplane[method] as Function).apply(dataplane, args);
      }
    } catch {
      // What was refused then is refused now, and changes nothing.
    }
  }

  /** Slot operations of a call that are next. */
  #ops(call: number): void {
    const reader = this.#reader;
    try {
      while (reader.kind === Kind.SLOT && reader.int(RECORD_HEADER) === call) {
        const word = reader.int(RECORD_HEADER + 4);
        const frame = this.dataplane.arena.frames[word >> 2];
        if (!frame) throw this.#diverged('a slot is none');
        const op = word & 3;
        if (op === SlotOp.RETAIN) this.dataplane.arena.retain(frame);
        else if (op === SlotOp.RELEASE) this.dataplane.arena.release(frame);
        else this.#take(frame);
        this.#advance();
      }
    } catch (error) {
      this.#fault ??= error;
    }
  }

  /** What the port's device answered to a frame then. */
  outcome(port: PortId, frame: Frame, now: number): Transmit {
    const call = ++this.#calls;
    this.#ops(call);
    const reader = this.#reader;
    let status: number = Transmit.SENT;
    if (reader.kind === Kind.OUTCOME && reader.int(RECORD_HEADER) === call) {
      status = reader.int(RECORD_HEADER + 4);
      if (reader.port !== port) {
        this.#fault ??= this.#diverged(`port ${reader.port} was sent to, and here it is ${port}`);
      }
      this.#advance();
    }
    if (status === THROWN) throw new Error('the device failed');
    if (status === Transmit.SENT) {
      this.#digest.add(port, now, frame.bytes, frame.at - VNET_LEN, frame.length + VNET_LEN);
      this.onSent?.(port, frame, now);
    }
    return status as Transmit;
  }

  #device({ port, offload, batches }: DevicePort): PlayedDevice {
    return new PlayedDevice(this, port, offload, batches);
  }

  /** What is wrong with the next record is told when its turn comes: all before it is played. */
  #advance(): void {
    try {
      this.#reader.next();
    } catch (error) {
      this.#ending = error;
    }
  }

  #other(): boolean {
    this.played.kind = 'other';
    this.#check();
    return true;
  }

  #check(): void {
    const fault = this.#fault;
    if (fault === undefined) return;
    this.#fault = undefined;
    throw fault;
  }

  #diverged(what: string): RecordingError {
    const { file, offset } = this.#reader;
    const { tapdeck } = this.header ?? {};
    const by = tapdeck === undefined ? '' : `; it was made by tapdeck ${tapdeck}`;
    return new RecordingError(file, offset, `${what}${by}`);
  }
}

/** Stands for the device of a port: answers what the device answered. */
class PlayedDevice implements Device {
  readonly fd = -1;
  readonly gone = false;
  readonly offload: boolean;
  readonly transmitBatch: Device['transmitBatch'];
  readonly #player: Player;
  readonly #port: PortId;

  constructor(player: Player, port: PortId, offload: boolean, batches: boolean) {
    this.#player = player;
    this.#port = port;
    this.offload = offload;
    if (batches) this.transmitBatch = this.#transmitBatch;
  }

  receive(): null {
    return null;
  }

  transmit(frame: Frame, now: number): Transmit {
    return this.#player.outcome(this.#port, frame, now);
  }

  readonly #transmitBatch = (
    frames: readonly Frame[],
    count: number,
    outcomes: Transmit[],
    now: number,
  ): void => {
    for (let i = 0; i < count; i++) outcomes[i] = this.#player.outcome(this.#port, frames[i]!, now);
  };

  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  close(): void {}
}

function merged(names: RecordedNames, more: RecordedNames | undefined): RecordedNames {
  if (more === undefined) return names;
  return {
    networks: { ...names.networks, ...printableNames(more.networks) },
    ports: { ...names.ports, ...printableNames(more.ports) },
  };
}

function printableNames(names: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(names ?? {}).map(([key, name]) => [key, printable(String(name))]));
}

function noDevice(): never {
  throw new Error('a port has no device');
}
