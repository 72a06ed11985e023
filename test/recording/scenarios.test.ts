import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { DataplaneOptions } from '../../src/dataplane/configuration.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { DeviceArena } from '../../src/recording/device-arena.ts';
import { findScenarios } from '../../src/replay/find-scenarios.ts';
import { runScenario } from '../../src/replay/scenario-run.ts';
import { ENTRIES, play, TestRecording } from './recorded.ts';

const SCENARIOS = join(import.meta.dirname, '../../fixtures/scenarios');

/** Records every data plane that is first told something while `run` runs. */
function recordingsOf(run: () => void): TestRecording[] {
  const recordings = new Map<Dataplane, TestRecording>();
  const { prototype } = Dataplane;
  const own = new Map(ENTRIES.map((name) => [name, Object.getOwnPropertyDescriptor(prototype, name)]));
  for (const name of ENTRIES) {
    const original: unknown = prototype[name];
    Object.defineProperty(prototype, name, {
      configurable: true,
      value(this: Dataplane, ...args: unknown[]) {
        if (recordings.has(this)) return Reflect.apply(original as CallableFunction, this, args);
        const { options } = this as unknown as { options: DataplaneOptions };
        Object.assign(this, { arena: new DeviceArena(this.arena) });
        recordings.set(this, new TestRecording(this, options));
        return Reflect.apply(this[name] as CallableFunction, this, args);
      },
    });
  }
  try {
    run();
  } finally {
    for (const [name, descriptor] of own) {
      if (descriptor) Object.defineProperty(prototype, name, descriptor);
      else Reflect.deleteProperty(prototype, name);
    }
  }
  return [...recordings.values()];
}

describe('a recording of a scenario', () => {
  test.for(findScenarios(SCENARIOS).map((folder) => [folder.slice(SCENARIOS.length + 1), folder] as const))(
    '%s plays to the same frames and tables',
    ([, folder]) => {
      const recordings = recordingsOf(() => expect(runScenario(folder).difference).toBeUndefined());
      expect(recordings).toHaveLength(1);
      const end = recordings[0]!.stop();
      expect(end.received).toBeGreaterThan(0);
      expect(play(recordings[0]!.file)).toEqual(end);
    },
  );
});
