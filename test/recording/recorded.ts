import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataplaneOptions } from '../../src/dataplane/configuration.ts';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';
import type { DeviceArena } from '../../src/recording/device-arena.ts';
import { RecordLog } from '../../src/recording/log.ts';
import { COMMANDS, type RecordingEnd, type RecordingHeader } from '../../src/recording/plane.ts';
import { Player } from '../../src/recording/player.ts';
import { RecordingPump } from '../../src/recording/pump.ts';
import { Recorder } from '../../src/recording/recorder.ts';
import { RingWriter, type SharedRing, sharedRing } from '../../src/recording/ring.ts';
import { packTables } from '../../src/recording/state-carrier.ts';
import type { TableCopy } from '../../src/recording/table-copy.ts';

/** Methods of a data plane by which something enters it. */
export const ENTRIES = [...COMMANDS, 'addPort', 'poll', 'receive', 'expire'] as const;

/** A recording that a test makes of a data plane. */
export class TestRecording {
  readonly file: Uint8Array[] = [];
  readonly log: RecordLog;
  readonly #dataplane: Dataplane;
  readonly #recorder: Recorder;
  readonly #ring: SharedRing;
  readonly #header: RecordingHeader;
  /** Of the beginning: a little more of it is made whenever something enters the data plane. */
  readonly #tables: TableCopy;
  /** From the first time on that something is taken from the ring. */
  #pump: RecordingPump | undefined;
  #isWithin = false;

  /**
   * Begins to record; from then on the data plane's own methods are the recorder's.
   * @param size bytes of the ring
   * @param devices the arena as devices have it
   */
  constructor(
    dataplane: Dataplane,
    options: DataplaneOptions,
    size = 1 << 26,
    devices = dataplane.arena as DeviceArena,
  ) {
    const { onException: _, ...rest } = options;
    const ring = sharedRing(size);
    this.log = new RecordLog(new RingWriter(ring));
    this.#dataplane = dataplane;
    // The recorder is to speak to the data plane, and everybody else to the recorder.
    const { egress } = dataplane;
    const inner = {
      add: egress.add.bind(egress),
      blocked: egress.blocked,
      device: egress.device.bind(egress),
      flush: egress.flush.bind(egress),
      sendBatches: egress.sendBatches.bind(egress),
    };
    const plain = new Proxy(dataplane, {
      get: (target, name) => {
        if (name === 'egress') return inner;
        const prototype: object = Object.getPrototypeOf(target);
        const value = Reflect.get(ENTRIES.includes(name as never) ? prototype : target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
    this.#recorder = new Recorder(plain, devices, this.log, () => this.now);
    const { tables, ports } = this.#recorder.start(null);
    this.#ring = ring;
    this.#tables = tables;
    for (const name of ENTRIES) {
      Object.defineProperty(dataplane, name, {
        configurable: true,
        value: (...args: unknown[]) => {
          const prototype: object = Object.getPrototypeOf(dataplane);
          // What the data plane does by itself within a poll.
          if (this.#isWithin) return Reflect.get(prototype, name, dataplane).apply(dataplane, args);
          if (name === 'poll' || name === 'receive' || name === 'expire') this.now = args.at(-1) as number;
          this.#tables.advance(() => false);
          this.#isWithin = true;
          try {
            // biome-ignore lint/complexity/noBannedTypes: all of them are called with what they were called with
            return (this.#recorder[name] as Function)(...args);
          } finally {
            this.#isWithin = false;
          }
        },
      });
    }
    Object.assign(egress, { flush: this.#recorder.egress.flush });
    this.#header = {
      tapdeck: 'test',
      node: process.version,
      date: new Date(0).toISOString(),
      began: 0,
      options: rest,
      answersQueries: false,
      ports,
    };
  }

  /** Virtual milliseconds of the last poll or timer. */
  now = 0;

  /** Ends it, and answers what the recorder says that a player must find. */
  stop(): RecordingEnd {
    const pump = this.#open();
    const tables = this.#recorder.stop(null).finish();
    for (const name of ENTRIES) Reflect.deleteProperty(this.#dataplane, name);
    Reflect.deleteProperty(this.#dataplane.egress, 'flush');
    pump.drain();
    return pump.end(this.log.isOver ? 'too fast' : null, this.log.isOver ? null : packTables(tables));
  }

  drain(): boolean {
    return this.#open().drain();
  }

  #open(): RecordingPump {
    this.#pump ??= new RecordingPump(this.#ring, this.#header, packTables(this.#tables.finish()), (bytes) =>
      this.file.push(bytes),
    );
    return this.#pump;
  }
}

/** Bytes of a file, for as long as `use` takes. */
export function withFile<T>(parts: readonly Uint8Array[], use: (file: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'tapdeck-recording-'));
  try {
    const file = join(folder, 'test.tdr');
    writeFileSync(file, Buffer.concat(parts));
    return use(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What a recording says when it is played. */
export function play(parts: readonly Uint8Array[]): RecordingEnd {
  return withFile(parts, (file) => {
    const player = new Player(file);
    try {
      player.run();
      return {
        problem: null,
        received: player.frames,
        sent: player.sent,
        frames: player.framesDigest(),
        tables: player.tablesDigest(),
      };
    } finally {
      player.close();
    }
  });
}
