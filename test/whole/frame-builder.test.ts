import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { build, dissect, type Layer, type PartialLayer } from '../../src/testing/index.ts';
import { frame as anyFrame } from '../testing/arbitrary-frame.ts';

// The oracle of tapdeck/testing's frames is tshark: what it reads in them is what dissect reads.

const folder = mkdtempSync(join(tmpdir(), 'tapdeck-frames-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Field of tshark, and the same of a dissection; undefined when the frame has none. */
const FIELDS: Readonly<Record<string, (frame: ReturnType<typeof dissect>) => unknown>> = {
  'eth.dst': ({ eth }) => eth.dst,
  'eth.src': ({ eth }) => eth.src,
  // Of a service tag the field has another name.
  'vlan.id': ({ layers }) => customerTag(layers)?.id,
  'arp.opcode': ({ arp }) => arp && (arp.op === 'who-has' ? 1 : 2),
  'arp.src.proto_ipv4': ({ arp }) => arp?.spa,
  'arp.dst.hw_mac': ({ arp }) => arp?.tha,
  'ip.len': ({ ip }) => ip?.length,
  'ip.ttl': ({ ip }) => ip?.ttl,
  'ip.src': ({ ip }) => ip?.src,
  'ip.dst': ({ ip }) => ip?.dst,
  'ipv6.plen': ({ ip6 }) => ip6?.length,
  'ipv6.hlim': ({ ip6 }) => ip6?.hopLimit,
  'ipv6.src': ({ ip6 }) => ip6?.src,
  'tcp.srcport': ({ tcp }) => tcp?.sport,
  'tcp.seq_raw': ({ tcp }) => tcp?.seq,
  'tcp.hdr_len': ({ tcp }) => tcp?.headerLength,
  'tcp.options.mss_val': ({ tcp }) => tcp?.options.mss,
  'tcp.options.wscale.shift': ({ tcp }) => tcp?.options.wscale,
  'tcp.options.timestamp.tsval': ({ tcp }) => tcp?.options.timestamps?.[0],
  'udp.dstport': ({ udp }) => udp?.dport,
  'udp.length': ({ udp }) => udp?.length,
  'icmp.code': ({ icmp }) => icmp?.code,
  'icmp.seq': ({ icmp }) => icmp?.seq,
  'icmpv6.code': ({ icmp6 }) => icmp6?.code,
  'icmpv6.nd.ns.target_address': ({ icmp6 }) =>
    icmp6?.type === 'neighbor-solicitation' ? icmp6.target : undefined,
};

/** Checksums, of which tshark says: 0 wrong, 1 right; anything else where it cannot know. */
const CHECKSUMS = { ip: 'ip', tcp: 'tcp', udp: 'udp', icmp: 'icmp', icmp6: 'icmpv6' } as const;

/** Whether a checksum is what it would be if nobody had given one. */
function isRight(frame: ReturnType<typeof dissect>, name: keyof typeof CHECKSUMS): boolean {
  const bare = frame.layers.map((layer) =>
    layer.layer === name ? { ...layer, checksum: undefined } : layer,
  );
  return Buffer.compare(build(bare as PartialLayer[]), frame.bytes()) === 0;
}

function customerTag(layers: readonly Layer[]): { id: number } | undefined {
  return layers.find((layer) => layer.layer === 'vlan' && layer.tpid === 0x8100) as
    | { id: number }
    | undefined;
}

test('tshark reads the same', () => {
  const frames = fc.sample(anyFrame, { numRuns: 500, seed: 20 }).map((frame) => frame.bytes());
  const path = join(folder, 'frames.pcap');
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()));
  for (const bytes of frames) writer.write(0n, bytes, 0, bytes.length);
  writeFileSync(path, Buffer.concat(chunks));

  const names = [
    ...Object.keys(FIELDS),
    ...Object.values(CHECKSUMS).map((name) => `${name}.checksum.status`),
  ];
  const settings = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
  // What is in datagrams is nobody's protocol, and what an error quotes is not asked about.
  const only = ['-d', 'udp.port==0-65535,data', '-d', 'tcp.port==0-65535,data'];
  const fields = names.flatMap((name) => ['-e', name]);
  const args = ['-n', '-r', path, ...settings, ...only, '-T', 'fields', '-E', 'occurrence=f', ...fields];
  const rows = execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .trimEnd()
    .split('\n');
  expect(rows).toHaveLength(frames.length);

  const differences: string[] = [];
  const compared = new Map<string, number>();
  for (const [i, row] of rows.entries()) {
    const values = row.split('\t');
    const read = dissect(frames[i]!);
    const where = `frame ${i + 1}: ${Buffer.from(frames[i]!).toString('hex')}`;
    for (const [n, [name, of]] of Object.entries(FIELDS).entries()) {
      const own = of(read);
      // tshark goes on where dissect stops: into what fragments and other payloads look like.
      if (own === undefined) continue;
      const told = normal(values[n]!);
      if (told !== String(own)) differences.push(`${name} is ${own}, tshark says ${told}: ${where}`);
      compared.set(name, (compared.get(name) ?? 0) + 1);
    }
    for (const [n, [name, theirs]] of Object.entries(CHECKSUMS).entries()) {
      const told = values[Object.keys(FIELDS).length + n]!;
      if (!read.layers.some(({ layer }) => layer === name) || !/^[01]$/.test(told)) continue;
      const own = isRight(read, name as keyof typeof CHECKSUMS) ? '1' : '0';
      if (told !== own) differences.push(`${theirs} checksum is ${own}, tshark says ${told}: ${where}`);
      compared.set(`${theirs} ${own}`, (compared.get(`${theirs} ${own}`) ?? 0) + 1);
    }
  }
  expect(differences).toEqual([]);
  // All of it was there to compare: of checksums right ones, and of those that frames give themselves wrong ones.
  const both = ['ip', 'tcp', 'udp'].flatMap((name) => [`${name} 0`, `${name} 1`]);
  expect([...compared.keys()].sort()).toEqual([...Object.keys(FIELDS), ...both, 'icmp 1', 'icmpv6 1'].sort());
});

/** Hexadecimal and decimal numbers alike; `0x01` as 1. */
function normal(text: string): string {
  return /^0x[0-9a-f]+$/.test(text) ? String(Number(text)) : text;
}
