import { closeSync, mkdtempSync, openSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { Descriptors } from '../../src/control/descriptors.ts';
import { sendTo } from '../../src/device/socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'tapdeck-descriptors-'));
afterAll(() => rmSync(folder, { recursive: true }));

let own: number;
const open: number[] = [];
beforeEach(() => {
  own = openSync(join(folder, 'own'), 'w');
});
afterEach(() => {
  for (const fd of [own, ...open.splice(0)]) closeSync(fd);
});

it('takes the file that a client leaves to it', () => {
  const descriptors = new Descriptors();
  const { socket, token } = descriptors.offer();
  sendTo(socket, token, own);
  const fd = descriptors.take(token);
  open.push(fd);
  expect(fd).not.toBe(own);
  expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(join(folder, 'own'));
});

it("takes nobody else's: what comes without the token is closed", () => {
  const descriptors = new Descriptors();
  const { socket, token } = descriptors.offer();
  const other = openSync(join(folder, 'other'), 'w');
  open.push(other);
  sendTo(socket, 'a guess', other);
  sendTo(socket, token, own);
  const fd = descriptors.take(token);
  open.push(fd);
  expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(join(folder, 'own'));
});

it('takes plain files only', () => {
  const descriptors = new Descriptors();
  const { socket, token } = descriptors.offer();
  const device = openSync('/dev/null', 'w');
  open.push(device);
  sendTo(socket, token, device);
  expect(() => descriptors.take(token)).toThrow('is no plain file; take the stream');
});

it('answers once for a token, and never for one that it has not given', () => {
  const descriptors = new Descriptors();
  const { socket, token } = descriptors.offer();
  expect(() => descriptors.take('a guess')).toThrow('no file has come with this token; offer it again');
  sendTo(socket, token, own);
  open.push(descriptors.take(token));
  expect(() => descriptors.take(token)).toThrow('no file has come');
  expect(() => sendTo(socket, token, own)).toThrow('ECONNREFUSED');
});

it('expects sixteen at a time', () => {
  const descriptors = new Descriptors();
  const offers = Array.from({ length: 16 }, () => descriptors.offer());
  expect(() => descriptors.offer()).toThrow('16 files are expected already');
  for (const { token } of offers) expect(() => descriptors.take(token)).toThrow('no file has come');
  const { socket, token } = descriptors.offer();
  sendTo(socket, token, own);
  open.push(descriptors.take(token));
});
