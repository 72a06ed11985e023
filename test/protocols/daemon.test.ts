import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../src/control/client.ts';
import { runtimePaths } from '../../src/control/paths.ts';
import { answerCni } from '../../src/integrations/cni/plugin.ts';
import { outerUid } from '../../src/integrations/daemon.ts';
import { launcher, programPath } from '../../src/integrations/launcher.ts';
import { answerHook } from '../../src/integrations/oci/hook.ts';

let folder: string;
let socket: string;
let server: Server;
const connections: Socket[] = [];
/** What somebody who is no daemon of ours answers. */
let answer: (connection: Socket) => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'td-silent-'));
  socket = join(folder, 'tapdeck.sock');
  server = createServer((connection) => {
    connections.push(connection);
    connection.on('error', () => {});
    answer(connection);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

describe('a daemon that does not answer', () => {
  const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n';

  it.each<[string, number, (connection: Socket) => void, RegExp]>([
    ['at all', 300, () => {}, /has not answered within 0.3 s/],
    ['as a whole', 300, (connection) => connection.write(`${HEAD}{"id":`), /has not answered within 0.3 s/],
    ['but ends', 600_000, (connection) => connection.destroy(), /no daemon is running/],
    [
      'in HTTP',
      600_000,
      (connection) => connection.end('220 mail.example ESMTP\r\n'),
      /cannot talk to the daemon/,
    ],
  ])(
    '%s: CNI is told to try again, and a container is not created',
    async (_, patience, behaviour, message) => {
      answer = behaviour;
      const reach = () => new DaemonClient(socket, patience);
      const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'a', CNI_NETNS: folder, CNI_IFNAME: 'eth0' };
      const input = async () => '{"cniVersion":"1.0.0","name":"front"}';
      const { code, out } = await answerCni({ env, input, reach });
      expect([code, JSON.parse(out!)]).toEqual([
        1,
        { cniVersion: '1.0.0', code: 11, msg: expect.stringMatching(message) },
      ]);
      const state = async () => '{"id":"a","pid":1,"annotations":{"tapdeck.network":"front"}}';
      const hook = await answerHook({ args: [], input: state, reach });
      expect([hook.code, hook.err]).toEqual([1, expect.stringMatching(message)]);
    },
  );
});

describe('the daemon of a user', () => {
  it('is that of the user outside of a user namespace', () => {
    const rootless = '         0       1000          1\n         1     100000      65536\n';
    expect(outerUid(0, rootless)).toBe(1000);
    expect(outerUid(5, rootless)).toBe(100004);
    expect(outerUid(0, '         0          0 4294967295\n')).toBe(0);
    expect(outerUid(1000, '         0          0 4294967295\n')).toBe(1000);
    expect(runtimePaths(undefined, { XDG_RUNTIME_DIR: folder }, 1000).socket).toBe(
      `${folder}/tapdeck/tapdeck.sock`,
    );
    expect(runtimePaths(undefined, { XDG_RUNTIME_DIR: folder }, 0).socket).toBe('/run/tapdeck/tapdeck.sock');
  });
});

describe('a launcher', () => {
  it('starts the program without a PATH, whatever the paths are', () => {
    const node = join(folder, "it's node");
    writeFileSync(node, '#!/bin/sh\nprintf "%s|" "$@"\n', { mode: 0o755 });
    const file = join(folder, 'tapdeck');
    writeFileSync(file, launcher('cni', node), { mode: 0o755 });
    const said = execFileSync(file, ['a b', '$c'], { env: {}, encoding: 'utf8' });
    expect(said).toBe(`${programPath('cni')}|a b|$c|`);
    expect(programPath('oci-hook')).toMatch(/\/oci-hook\.js$/);
  });
});
