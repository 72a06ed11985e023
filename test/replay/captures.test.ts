import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { replayCapture } from '../../src/replay/capture-replay.ts';
import { imbalance } from '../../src/replay/tables.ts';
import { testCaptures } from './captures.ts';

const folder = mkdtempSync(join(tmpdir(), 'tapdeck-replay-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Faults of files are not these tests' matter. */
const warn = (): void => {};

describe.each(testCaptures())('$name', ({ name, path, frames }) => {
  const output = join(folder, `${name.replaceAll('/', '_')}.pcapng`);

  test('every frame is accounted for, and nothing throws', () => {
    const result = replayCapture(path, { warn });
    expect(result.exceptions).toEqual([]);
    expect(imbalance(result.tables.ledger)).toBe(0);
    const left = Object.values(result.unreplayed).reduce((sum, count) => sum + count, 0);
    const found = [...readCaptureSync(path, { warn })].length;
    expect(result.frames + left).toBe(found);
    if (frames !== undefined) expect(found).toBe(frames);
    expect(result.tables.ledger.received).toBe(result.frames);
    expect(Object.values(result.verdicts).reduce((sum, count) => sum + count, 0)).toBe(result.frames);
  });

  test('a second run is the same, and the file has what was sent', () => {
    const first = replayCapture(path, { warn, output });
    const second = replayCapture(path, { warn });
    expect(second.sha256).toBe(first.sha256);
    expect(second.tables).toEqual(first.tables);
    const written = new Map<string, number>();
    for (const { interfaceName } of readCaptureSync(output)) {
      written.set(interfaceName!, (written.get(interfaceName!) ?? 0) + 1);
    }
    for (const [port, { txFrames }] of Object.entries(first.tables.ports)) {
      expect(written.get(port) ?? 0).toBe(txFrames);
    }
  });
});
