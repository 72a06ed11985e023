import { BIG_SLOT, type Frame, HEADROOM, type PortId } from '../../switch/frame.ts';
import {
  PORT_STRIDE,
  RX_BYTES,
  RX_DROPPED,
  RX_FRAMES,
  TX_BYTES,
  TX_DROPPED,
  TX_FRAMES,
} from '../../switch/ports.ts';
import type { Verdict } from '../../switch/verdict.ts';
import type { NetworkOptions, UplinkOptions } from '../dataplane/commands.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import { Digest } from './digest.ts';
import { ReplayDevice } from './replay-device.ts';
import { type PortTable, type Tables, tablesOf } from './tables.ts';
import { VirtualPort, type VirtualPortSpec } from './virtual-port.ts';
import { WatchedDevice } from './watched-device.ts';

/** Longest frame that the deck can be given. */
export const LONGEST_FRAME = BIG_SLOT - HEADROOM;

/** A port must not ask to be woken for ever at one instant. */
const MOST_WAKES_AT_ONCE = 10_000;

/** Exceptions kept: the first ones say it all, and a capture can have millions of frames. */
const MOST_EXCEPTIONS = 16;

export interface VirtualDeckOptions extends Omit<DataplaneOptions, 'onException'> {
  /** Hears of every frame that leaves the deck. `bytes` is borrowed: copy what is to be kept. */
  onOutput?: FrameListener;
  /** Hears of every frame that the deck receives, before it decides. The same goes for `bytes`. */
  onInput?: FrameListener;
  /** Hears what the deck decided about the frame that `onInput` told of last, after what it sent was told. */
  onVerdict?: (port: VirtualPort, verdict: Verdict) => void;
}

export type FrameListener = (
  port: VirtualPort,
  now: number,
  bytes: Uint8Array,
  at: number,
  length: number,
) => void;

/** Connections that a virtual deck tracks when nothing else is said: captures have few, and tests make many decks. */
const CONNECTIONS = 16_384;

/** Handling a frame threw: a defect of tapdeck. */
export interface ReplayException {
  /** Virtual milliseconds. */
  now: number;
  port: string;
  error: unknown;
  /** The frame as it was then, in hexadecimal digits. */
  frame: string;
}

/**
 * A deck in virtual time: the data plane that runs live behind TAPs, with a clock that is moved by hand.
 * Timers run at their exact deadlines, before frames of the same instant; nothing depends on how fast the
 * machine is. The clock starts at 0 and counts milliseconds.
 */
export class VirtualDeck {
  readonly dataplane: Dataplane;
  readonly ports = new Map<string, VirtualPort>();
  /** The first frames whose handling threw; all are counted as EXCEPTION. */
  readonly exceptions: ReplayException[] = [];
  readonly #networks = new Map<string, number>();
  readonly #portOfId = new Map<PortId, VirtualPort>();
  /** Ports whose devices have something to do by themselves. */
  readonly #timed = new Set<VirtualPort>();
  readonly #digest = new Digest();
  readonly #onOutput: FrameListener;
  readonly #onInput: FrameListener | undefined;
  readonly #onVerdict: VirtualDeckOptions['onVerdict'];
  #now = 0;

  constructor(options: VirtualDeckOptions = {}) {
    const { onOutput = () => {}, onInput, onVerdict, ...rest } = options;
    this.#onOutput = onOutput;
    this.#onInput = onInput;
    this.#onVerdict = onVerdict;
    const { conntrack = { capacity: CONNECTIONS } } = rest;
    this.dataplane = new Dataplane({
      ...rest,
      conntrack,
      onException: (error, frame) => this.#excuse(error, frame),
    });
  }

  /** Virtual milliseconds. */
  get now(): number {
    return this.#now;
  }

  addNetwork(name: string, options: NetworkOptions): void {
    if (this.#networks.has(name)) throw new RangeError(`there is a network '${name}' already`);
    this.#networks.set(name, this.dataplane.addNetwork(options));
  }

  addUplink(name: string, options: UplinkOptions): void {
    if (this.#networks.has(name)) throw new RangeError(`there is a network '${name}' already`);
    this.#networks.set(name, this.dataplane.addUplink(options));
  }

  /** The data plane's number for a network or uplink. */
  networkId(name: string): number {
    const id = this.#networks.get(name);
    if (id === undefined) throw new RangeError(`there is no network '${name}'`);
    return id;
  }

  /** Adds a port, or attaches one again that was detached: with its first specification. */
  attach(name: string, spec?: VirtualPortSpec): VirtualPort {
    let port = this.ports.get(name);
    if (port === undefined) {
      if (spec === undefined) throw new RangeError(`there is no port '${name}'`);
      const index = this.ports.size;
      const end = new ReplayDevice((now, bytes, at, length) => {
        this.#digest.frame(index, now, bytes, at, length);
        this.#onOutput(added, now, bytes, at, length);
      });
      const added = new VirtualPort(name, spec, index, end, this.dataplane.arena);
      port = added;
      const onInput = this.#onInput;
      if (onInput) {
        const listener = ({ bytes, at, length }: Frame, now: number) =>
          onInput(added, now, bytes, at, length);
        added.device = new WatchedDevice(added.device, listener);
      }
    } else if (port.id >= 0) throw new RangeError(`the port '${name}' is attached already`);
    const network = this.networkId(port.spec.network);
    const { wrap, ...rest } = port.spec;
    port.id = this.dataplane.addPort(port.device, { ...rest, network }, this.#now);
    this.#portOfId.set(port.id, port);
    if (wrap) this.#timed.add(port);
    this.ports.set(name, port);
    return port;
  }

  /** Takes a port away, as when its container ends. Its counters are kept. */
  detach(name: string): void {
    const port = this.#attached(name);
    this.dataplane.removePort(port.id, this.#now);
    // After the removal: frames that waited for the port are dropped by it, and counted here.
    port.past = this.#counters(port);
    this.#portOfId.delete(port.id);
    this.#timed.delete(port);
    port.id = -1;
  }

  /** From now on the port's device has no room: its receiver does not keep up. */
  block(name: string): void {
    this.#attached(name).end.blocked = true;
  }

  /** The port's device has room again, and takes what waited for it. */
  unblock(name: string): void {
    const port = this.#attached(name);
    port.end.blocked = false;
    const { egress } = this.dataplane;
    egress.flush(port.id, this.#now);
    // Whom a loop would watch for room; here one says when there is room.
    egress.blocked.length = 0;
  }

  /**
   * A frame comes in by a port, now. False when the deck cannot take it: longer than `LONGEST_FRAME`, or the
   * port is detached.
   * @param vnet virtio-net header, as from a device with offload
   */
  receive(port: VirtualPort, bytes: Uint8Array, at = 0, length = bytes.length, vnet?: Uint8Array): boolean {
    if (port.id < 0 || length > LONGEST_FRAME) return false;
    const { device, end } = port;
    end.offer(bytes, at, length, vnet);
    if (device !== end) this.#drain(port);
    else {
      // Nothing lies between: the one frame that is on offer.
      const frame = end.receive(this.dataplane.arena, this.#now);
      if (frame) {
        this.dataplane.receive(port.id, frame, this.#now);
        this.#onVerdict?.(port, this.dataplane.lastVerdict);
      }
    }
    return true;
  }

  /** Moves the clock to `to`; everything that becomes due on the way happens at its own time. */
  advance(to: number): void {
    let wakes = 0;
    for (let due = this.#due(); due <= to; due = this.#due()) {
      if (due > this.#now) {
        this.#now = due;
        wakes = 0;
      } else if (++wakes > MOST_WAKES_AT_ONCE) {
        throw new Error(`a timer at ${due} ms does not run out; this is a defect of tapdeck`);
      }
      this.dataplane.expire(this.#now);
      if (this.#timed.size === 0) continue;
      for (const port of this.#timed) {
        if (port.device.deadline() <= this.#now) this.#drain(port);
      }
    }
    if (to > this.#now) this.#now = to;
  }

  /** When something happens next without another frame: virtual milliseconds, or Infinity. */
  get deadline(): number {
    return this.#due();
  }

  /** Everything that can be seen of the deck now. */
  tables(): Tables {
    const names = [...this.#networks];
    const snapshot = this.dataplane.snapshot(this.#now, { fdb: true, neighbors: true });
    const ports: Record<string, PortTable> = {};
    for (const port of this.ports.values()) ports[port.name] = this.#counters(port);
    return tablesOf(
      snapshot,
      ports,
      (id) => names.find(([, network]) => network === id)?.[0] ?? `network ${id}`,
      (id) => this.nameOfPort(id),
    );
  }

  /** sha256 of all frames sent and of the tables now; call it once, at the end. */
  finish(tables: Tables): string {
    return this.#digest.finish(tables);
  }

  /** The name of the port that the data plane calls `id`: `gateway` for those of the deck itself. */
  nameOfPort(id: PortId): string {
    return this.#portOfId.get(id)?.name ?? 'gateway';
  }

  #due(): number {
    let due = this.dataplane.deadline();
    if (this.#timed.size === 0) return due;
    for (const port of this.#timed) due = Math.min(due, port.device.deadline());
    return due;
  }

  #drain(port: VirtualPort): void {
    while (this.dataplane.poll(port.id, 1, this.#now) > 0) {
      this.#onVerdict?.(port, this.dataplane.lastVerdict);
    }
  }

  #attached(name: string): VirtualPort {
    const port = this.ports.get(name);
    if (port === undefined) throw new RangeError(`there is no port '${name}'`);
    if (port.id < 0) throw new RangeError(`the port '${name}' is detached`);
    return port;
  }

  #counters(port: VirtualPort): PortTable {
    const { past } = port;
    if (port.id < 0) return { ...past };
    const { counters } = this.dataplane.ports;
    const row = port.id * PORT_STRIDE;
    return {
      rxFrames: past.rxFrames + counters[row + RX_FRAMES]!,
      rxBytes: past.rxBytes + counters[row + RX_BYTES]!,
      rxDropped: past.rxDropped + counters[row + RX_DROPPED]!,
      txFrames: past.txFrames + counters[row + TX_FRAMES]!,
      txBytes: past.txBytes + counters[row + TX_BYTES]!,
      txDropped: past.txDropped + counters[row + TX_DROPPED]!,
    };
  }

  #excuse(error: unknown, frame: Frame | null): void {
    if (this.exceptions.length === MOST_EXCEPTIONS) return;
    this.exceptions.push({
      now: this.#now,
      port: frame === null ? 'none' : (this.#portOfId.get(frame.ingress)?.name ?? `port ${frame.ingress}`),
      error,
      frame:
        frame === null
          ? ''
          : Buffer.from(frame.bytes.subarray(frame.at, frame.at + frame.length)).toString('hex'),
    });
  }
}
