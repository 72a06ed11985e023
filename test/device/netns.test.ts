import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  currentNamespace,
  currentUserNamespace,
  inNamespace,
  type Namespace,
  newNamespace,
  openNamespace,
} from '../../src/device/netns.ts';
import { Rtnetlink } from '../../src/device/rtnetlink.ts';
import { netnsPath, openDescriptors, Sandboxes } from './sandbox.ts';

const sandboxes = new Sandboxes();
const open: Namespace[] = [];
function kept(namespace: Namespace): Namespace {
  open.push(namespace);
  return namespace;
}
afterEach(() => {
  for (const namespace of open.splice(0)) namespace.close();
  sandboxes.removeAll();
});

describe('openNamespace', () => {
  it('takes a path or a pid, and knows when both are one', async () => {
    const name = sandboxes.add('id');
    const sleeper = spawn('ip', ['netns', 'exec', name, 'sleep', '60'], { stdio: 'ignore' });
    try {
      const byPath = kept(openNamespace(netnsPath(name)));
      // `ip` enters the namespace some time after it was started.
      await expect.poll(() => kept(openNamespace(sleeper.pid!)).same(byPath)).toBe(true);
      expect(byPath.same(kept(currentNamespace()))).toBe(false);
      expect(kept(openNamespace(process.pid)).same(kept(currentNamespace()))).toBe(true);
    } finally {
      sleeper.kill('SIGKILL');
    }
  });

  it('knows the user namespace that owns it', () => {
    const namespace = kept(openNamespace(netnsPath(sandboxes.add('own'))));
    expect(kept(namespace.owner()).same(kept(currentUserNamespace()))).toBe(true);
  });

  it.each([
    [
      '/run/netns/td-nonesuch',
      'cannot open the network namespace of /run/netns/td-nonesuch: there is no such namespace (ENOENT)',
    ],
    [4_194_305, 'cannot open the network namespace of process 4194305: there is no such process (ENOENT)'],
    [-1, 'a pid is a positive whole number'],
    [1.5, 'a pid is a positive whole number'],
    ['/etc/hostname', 'it is not a network namespace'],
    ['/proc/self/ns/uts', 'it is not a network namespace'],
    ['/run', 'it is not a network namespace'],
  ])('refuses %j in one line', (target, message) => {
    const before = openDescriptors();
    expect(() => openNamespace(target)).toThrow(message);
    expect(openDescriptors()).toBe(before);
  });

  it('does not hang at a FIFO, nor takes an abandoned mount point for a namespace', () => {
    const directory = mkdtempSync(join(tmpdir(), 'td-'));
    try {
      execFileSync('mkfifo', [join(directory, 'fifo')]);
      writeFileSync(join(directory, 'abandoned'), '');
      for (const name of ['fifo', 'abandoned']) {
        expect(() => openNamespace(join(directory, name))).toThrow('it is not a network namespace');
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('inNamespace', () => {
  it('shows the other namespace, and this one again afterwards', () => {
    const before = openDescriptors();
    const home = kept(currentNamespace());
    const other = kept(openNamespace(netnsPath(sandboxes.add('in'))));
    expect(inNamespace(other, () => kept(currentNamespace()).same(other))).toBe(true);
    expect(kept(currentNamespace()).same(home)).toBe(true);
    expect(() =>
      inNamespace(other, () => {
        throw new Error('from inside');
      }),
    ).toThrow('from inside');
    expect(kept(currentNamespace()).same(home)).toBe(true);
    for (const namespace of open.splice(0)) namespace.close();
    expect(openDescriptors()).toBe(before);
  });

  it('gives sockets that stay in the namespace', () => {
    const name = sandboxes.add('sock');
    sandboxes.addLink(name, 'marked');
    const other = kept(openNamespace(netnsPath(name)));
    const rtnetlink = inNamespace(other, () => new Rtnetlink());
    try {
      expect(rtnetlink.link('marked')?.kind).toBe('veth');
    } finally {
      rtnetlink.close();
    }
  });
});

describe('newNamespace', () => {
  it('has lo only, and does not keep the thread', () => {
    const home = kept(currentNamespace());
    const made = kept(newNamespace('new'));
    expect(kept(currentNamespace()).same(home)).toBe(true);
    expect(made.same(home)).toBe(false);
    const rtnetlink = inNamespace(made, () => new Rtnetlink());
    try {
      expect(rtnetlink.links().filter((link) => link.loopback && !link.up)).toHaveLength(1);
    } finally {
      rtnetlink.close();
    }
  });
});
