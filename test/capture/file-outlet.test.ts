import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { FileOutlet } from '../../src/capture/live/file-outlet.ts';

const folder = mkdtempSync(join(tmpdir(), 'tapdeck-outlet-'));
afterAll(() => rmSync(folder, { recursive: true }));

const bytes = (text: string) => new TextEncoder().encode(text);

function outlet(fd: number) {
  const told: unknown[] = [];
  const file = new FileOutlet(fd, {
    taken: (taken) => void told.push(Buffer.from(taken).toString()),
    failed: ({ code }) => void told.push(code),
  });
  return { file, told };
}

it('writes what it is given in its order, as much of each buffer as is filled, and gives the buffers back', async () => {
  const path = join(folder, 'written');
  const fd = openSync(path, 'w');
  try {
    const { file, told } = outlet(fd);
    for (const text of ['first-', 'second', 'third!']) file.push(bytes(text).subarray(0, 5));
    expect([file.isBusy, told]).toEqual([true, []]);
    await file.idle();
    expect(readFileSync(path, 'utf8')).toBe('firstseconthird');
    expect([file.isBusy, file.bytes, told]).toEqual([false, 15, ['first-', 'second', 'third!']]);
  } finally {
    closeSync(fd);
  }
});

it('says once why nothing can be written, and then writes nothing', async () => {
  const fd = openSync('/dev/full', 'w');
  try {
    const { file, told } = outlet(fd);
    file.push(bytes('a'));
    file.push(bytes('b'));
    await file.idle();
    file.push(bytes('c'));
    expect([file.isBusy, told]).toEqual([false, ['ENOSPC']]);
  } finally {
    closeSync(fd);
  }
});

it('writes nothing more once it is closed but what is under way', async () => {
  const path = join(folder, 'closed');
  const fd = openSync(path, 'w');
  try {
    const { file } = outlet(fd);
    file.push(bytes('a'));
    file.push(bytes('b'));
    file.close();
    await file.idle();
    expect([readFileSync(path, 'utf8'), file.isBusy]).toEqual(['a', false]);
  } finally {
    closeSync(fd);
  }
});
