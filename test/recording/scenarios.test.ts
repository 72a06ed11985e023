import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { DataplaneOptions } from '../../src/dataplane/configuration.ts';
import { DeviceArena } from '../../src/recording/device-arena.ts';
import { findScenarios } from '../../src/replay/find-scenarios.ts';
import { runScenario } from '../../src/replay/scenario-run.ts';
import { play, TestRecording } from './recorded.ts';

/** Records every data plane that is made while this is a list. */
const state = vi.hoisted(() => ({ recordings: null as null | unknown[] }));

vi.mock('../../src/dataplane/dataplane.ts', async (original) => {
  const module = await original<typeof import('../../src/dataplane/dataplane.ts')>();
  class Recorded extends module.Dataplane {
    constructor(options: DataplaneOptions = {}) {
      super(options);
      if (state.recordings === null) return;
      Object.assign(this, { arena: new DeviceArena(this.arena) });
      state.recordings.push(new TestRecording(this, options));
    }
  }
  return { ...module, Dataplane: Recorded };
});

afterEach(() => {
  state.recordings = null;
});

const SCENARIOS = join(import.meta.dirname, '../../fixtures/scenarios');

describe('a recording of a scenario', () => {
  test.for(findScenarios(SCENARIOS).map((folder) => [folder.slice(SCENARIOS.length + 1), folder] as const))(
    '%s plays to the same frames and tables',
    ([, folder]) => {
      const recordings: TestRecording[] = [];
      state.recordings = recordings;
      expect(runScenario(folder).difference).toBeUndefined();
      state.recordings = null;
      expect(recordings).toHaveLength(1);
      const end = recordings[0]!.stop();
      expect(end.received).toBeGreaterThan(0);
      expect(play(recordings[0]!.file)).toEqual(end);
    },
  );
});
