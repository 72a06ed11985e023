import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { surveyCapture } from '../../src/replay/capture-survey.ts';
import { arpRequest } from '../../src/testing/frames.ts';

test('a capture whose interface is called by control characters says nothing to a terminal', () => {
  const parts: Uint8Array[] = [];
  const writer = new PcapngWriter((bytes) => parts.push(bytes.slice()));
  const id = writer.addInterface({ name: '\x1b[31mweb\n' });
  const frame = arpRequest({ from: { mac: '02:00:00:00:00:01', ipv4: '10.0.0.1' }, ask: '10.0.0.2' });
  writer.write(id, 1n, frame, 0, frame.length);
  const folder = mkdtempSync(join(tmpdir(), 'tapdeck-names-'));
  try {
    writeFileSync(join(folder, 'x.pcapng'), Buffer.concat(parts));
    const { interfaces } = surveyCapture(join(folder, 'x.pcapng'));
    expect([...interfaces.values()].map(({ name }) => name)).toEqual(['?[31mweb?']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
