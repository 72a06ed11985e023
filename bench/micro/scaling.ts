import type { Frame } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { Bed, pairs } from './bed.ts';
import type { Figure } from './figure.ts';

const PORTS = 4096;
/** Frames that one port delivers when it has its turn, as the loop takes them. */
const TURN = 16;
const TARGET = 1.2;
const LENGTH = 64;
const TEMPLATE = VNET_LEN + LENGTH;

/**
 * Known unicast among many ports against known unicast among two: the same number of frames, in the same
 * turns, interleaved runs, medians.
 */
export function portScaling(quick: boolean): Figure {
  const frames = quick ? 1e6 : 4e6;
  const rounds = quick ? 5 : 11;
  const two = new Traffic(2);
  const many = new Traffic(PORTS);
  two.run(frames);
  many.run(frames);
  const ratios: number[] = [];
  const costs: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    const few = two.run(frames);
    const lots = many.run(frames);
    costs[0].push(few);
    costs[1].push(lots);
    ratios.push(lots / few);
  }
  const ratio = median(ratios);
  return {
    name: `known unicast, ${PORTS.toLocaleString('en')} ports against 2`,
    value: `${ratio.toFixed(2)} ×`,
    detail: `${median(costs[1]).toFixed(0)} ns against ${median(costs[0]).toFixed(0)} ns per frame, ${TURN} frames a turn`,
    target: `≤ ${TARGET} ×`,
    met: ratio <= TARGET,
  };
}

/**
 * Every station sends to another, chosen at random once. All frames pass through one slot, which is what happens
 * live: the slot given back last is taken first, and the kernel writes the next frame into it.
 */
class Traffic {
  readonly #bed: Bed;
  readonly #slot: Frame;
  /** The frames of all stations, virtio-net header included, one behind the other. */
  readonly #templates: Uint8Array;
  readonly #order: number[];

  constructor(ports: number) {
    this.#bed = new Bed(ports, { small: 2 * ports + 64, big: 8 });
    this.#slot = this.#bed.udp(0, 1, LENGTH);
    this.#templates = new Uint8Array(ports * TEMPLATE);
    for (const [from, to] of pairs(ports).entries()) {
      const { bytes, at } = this.#bed.udp(from, to, LENGTH);
      this.#templates.set(bytes.subarray(at - VNET_LEN, at + LENGTH), from * TEMPLATE);
    }
    this.#order = pairs(ports, 11);
  }

  /** Nanoseconds per frame. */
  run(frames: number): number {
    const { ports } = this.#bed;
    const slot = this.#slot;
    const start = process.hrtime.bigint();
    for (let sent = 0, turn = 0; sent < frames; sent += TURN, turn++) {
      const station = this.#order[turn % this.#order.length]!;
      copy(this.#templates, station * TEMPLATE, slot.bytes, slot.at - VNET_LEN, TEMPLATE);
      for (let i = 0; i < TURN; i++) this.#bed.receive(slot, ports[station]!, turn);
    }
    return Number(process.hrtime.bigint() - start) / frames;
  }
}

function copy(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, length: number): void {
  for (let i = 0; i < length; i++) to[toAt + i] = from[fromAt + i]!;
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
