import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLog, logForm } from '../../src/control/log.ts';

describe("the daemon's log", () => {
  let folder: string;
  let open: number[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'td-log-'));
    open = [];
  });
  afterEach(() => {
    for (const fd of open) closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  function opened(path: string, flags: number): number {
    const fd = openSync(path, flags);
    open.push(fd);
    return fd;
  }

  it('does not wait for a reader, and says how much he has missed', () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const reader = opened(path, constants.O_RDWR | constants.O_NONBLOCK);
    // What Linux gives a pipe, and more.
    const log = createLog('terminal', opened(path, constants.O_WRONLY));
    for (let i = 0; i < 3000; i++) log.info(`${'x'.repeat(60)} ${i}`);
    const buffer = Buffer.alloc(1 << 20);
    const before = buffer.toString('utf8', 0, readSync(reader, buffer)).split('\n').length - 1;
    expect(before).toBeGreaterThan(100);
    expect(before).toBeLessThan(3000);
    log.error('at last');
    const lines = buffer.toString('utf8', 0, readSync(reader, buffer)).split('\n');
    expect(lines.map((line) => line.slice(9))).toEqual([
      `warn  ${3000 - before} lines are missing here: there was no room`,
      'error at last',
      '',
    ]);
  });

  it('is text with a priority for the journal, lines of JSON for a file', () => {
    const path = join(folder, 'file');
    const fd = opened(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND);
    const { dev, ino } = fstatSync(fd);
    expect(logForm({}, fd)).toBe('json');
    expect(logForm({ JOURNAL_STREAM: `${dev}:${ino + 1}` }, fd)).toBe('json');
    expect(logForm({ JOURNAL_STREAM: `${dev}:${ino}` }, fd)).toBe('journal');
    const log = createLog('journal', fd);
    log.info('ready');
    log.warn('a part\nand another');
    log.error('ended');
    createLog('json', fd).info('well');
    const [json, ...others] = readFileSync(path, 'utf8').trimEnd().split('\n').reverse();
    expect(others.reverse()).toEqual(['<6>ready', '<4>a part', '<4>and another', '<3>ended']);
    expect(JSON.parse(json!)).toMatchObject({ level: 30, msg: 'well' });
  });

  it('is no reason to fail where nothing can be written', () => {
    const log = createLog('json', opened('/dev/full', constants.O_WRONLY));
    expect(() => log.info('one')).not.toThrow();
  });
});
