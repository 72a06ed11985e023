import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatResolvConf, HostResolvConf, parseResolvConf } from '../../src/control/resolv-conf.ts';

describe('resolv.conf', () => {
  it('is read as the C library reads it', () => {
    const text = `# a comment
; another
nameserver 192.0.2.1 # the first
nameserver\t2001:db8::1
nameserver fe80::1%eth0
nameserver 192.0.2.4
nameserver not-an-address
domain one.example
search two.example three.example
options edns0 timeout:1
options rotate
unknown words
`;
    expect(parseResolvConf(text)).toEqual({
      nameservers: ['192.0.2.1', '2001:db8::1', 'fe80::1%eth0'],
      search: ['two.example', 'three.example'],
      options: ['edns0', 'timeout:1', 'rotate'],
    });
    expect(parseResolvConf('search a\ndomain b')).toMatchObject({ search: ['b'] });
  });

  it('without a name server means the one on this machine', () => {
    expect(parseResolvConf('')).toEqual({ nameservers: ['127.0.0.1'], search: [], options: [] });
  });

  it('is written as it is read', () => {
    const conf = { nameservers: ['192.0.2.1', '::1'], search: ['a.example', 'b'], options: ['ndots:0'] };
    expect(parseResolvConf(formatResolvConf(conf))).toEqual(conf);
    expect(formatResolvConf({ nameservers: ['192.0.2.1'], search: [], options: [] })).toBe(
      'nameserver 192.0.2.1\n',
    );
  });
});

describe("the host's resolv.conf", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'resolv-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is read again when it is another file, once a second at most', () => {
    let now = 0;
    const path = join(folder, 'resolv.conf');
    const conf = new HostResolvConf(path, () => now);
    expect(conf.read().nameservers).toEqual(['127.0.0.1']);
    writeFileSync(path, 'nameserver 192.0.2.1');
    expect(conf.read().nameservers).toEqual(['127.0.0.1']);
    now = 1000;
    expect(conf.read().nameservers).toEqual(['192.0.2.1']);
    // As resolvconf and NetworkManager do it: of the same size, and perhaps within the same tick of the file system's clock.
    writeFileSync(`${path}.new`, 'nameserver 192.0.2.2');
    renameSync(`${path}.new`, path);
    now = 2000;
    expect(conf.read().nameservers).toEqual(['192.0.2.2']);
    rmSync(path);
    now = 3000;
    expect(conf.read().nameservers).toEqual(['127.0.0.1']);
  });
});
