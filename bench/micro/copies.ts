import type { Frame } from '../../switch/frame.ts';
import { parse } from '../../wire/parse.ts';
import { Bed } from './bed.ts';
import type { Figure } from './figure.ts';

/**
 * Whether JavaScript touches the payload: the arena's bytes are replaced by a proxy that sees every index that is
 * read or written, and every method (`set`, `copyWithin`, `subarray`, `fill` …) that is called on them.
 */
export function payloadAccesses(): Figure[] {
  const figures: Figure[] = [];
  for (const [name, length] of [
    ['1,500-byte UDP', 1514],
    ['64 KiB TCP GSO', 65_000],
  ] as const) {
    const bed = new Bed(2);
    const frame = length > 2000 ? bed.gso(0, 1, length) : bed.udp(0, 1, length);
    parse(frame);
    const payload = frame.length - (frame.payload - frame.at);
    const watch = new Watch(frame);
    for (const each of bed.dataplane.arena.frames) {
      each.bytes = watch.bytes;
      each.view = watch.view;
    }
    Object.defineProperty(bed.dataplane.arena, 'bytes', { value: watch.bytes });
    bed.receive(frame, bed.ports[0]!, 0);
    const sent = bed.devices[1]!.sent;
    figures.push({
      name: `payload touched by JavaScript, ${name}`,
      value: `${watch.payload} B`,
      detail: `of ${payload} B; ${watch.headers} header bytes touched, ${watch.methods} bulk operations, ${sent} frame sent`,
      target: '0 B',
      met: watch.payload === 0 && watch.methods === 0 && sent === 1,
    });
  }
  return figures;
}

class Watch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Accesses behind and in front of the frame's payload. */
  payload = 0;
  headers = 0;
  methods = 0;

  constructor(frame: Frame) {
    const from = frame.payload;
    const to = frame.at + frame.length;
    const touch = (index: number): void => {
      if (index >= from && index < to) this.payload++;
      else this.headers++;
    };
    const note = (key: string | symbol): void => {
      const index = typeof key === 'string' ? Number(key) : Number.NaN;
      if (Number.isInteger(index)) touch(index);
      else if (typeof key === 'string' && key !== 'length') this.methods++;
    };
    this.bytes = new Proxy(frame.bytes, {
      get: (target, key) => {
        note(key);
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, key, value) => {
        note(key);
        return Reflect.set(target, key, value, target);
      },
    });
    this.view = new Proxy(frame.view, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        return (at: number, ...rest: unknown[]) => {
          touch(at);
          return value.call(target, at, ...rest);
        };
      },
    });
  }
}
