import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { replayCapture } from '../../src/replay/capture-replay.ts';
import { ChecksumFinisher } from '../../src/replay/capture-source.ts';
import { type Dissection, dissect, eth } from '../../src/testing/index.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { IPV4_LEN } from '../../wire/ipv4.ts';
import { IPV6_LEN } from '../../wire/ipv6.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';

const a = { mac: '02:00:00:00:00:01', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const b = { mac: '02:00:00:00:00:02', ipv4: '172.17.0.1', ipv6: 'fd00::3' };
const ip = eth({ src: a, dst: b }).ip({ src: a.ipv4, dst: b.ipv4 });
const ip6 = eth({ src: a, dst: b }).ip6({ src: a.ipv6, dst: b.ipv6 });
const tcp = { sport: 4000, dport: 80, flags: 'S' } as const;
const udp = { sport: 4000, dport: 53 };

type Frame = Pick<Dissection, 'bytes'>;

/** The frame as a kernel hands it to an interface that computes checksums: only the pseudo-header is summed up. */
function unfinished(frame: Frame): Dissection {
  const bytes = frame.bytes();
  const { tcp, ip6 } = dissect(bytes);
  const protocol = tcp ? PROTO_TCP : PROTO_UDP;
  const length = bytes.length - ETH_LEN - (ip6 ? IPV6_LEN : IPV4_LEN);
  const checksum = fold((ip6 ? pseudoSumIpv6 : pseudoSumIpv4)(bytes, ETH_LEN, protocol, length));
  return dissect(bytes).with(tcp ? { tcp: { checksum } } : { udp: { checksum } });
}

function finished(frame: Frame): Uint8Array {
  const bytes = frame.bytes();
  new ChecksumFinisher().finish(bytes, 0, bytes.length);
  return bytes;
}

describe('a checksum that was left to the interface is finished', () => {
  test.each([
    ['TCP', ip.tcp(tcp).payload('hello')],
    ['UDP', ip.udp(udp).payload('odd')],
    ['TCP over IPv6', ip6.tcp(tcp).payload('hello')],
    ['UDP over IPv6', ip6.udp(udp).payload('')],
  ])('%s', (_, frame) => {
    expect(unfinished(frame).bytes()).not.toEqual(frame.bytes());
    expect(finished(unfinished(frame))).toEqual(frame.bytes());
  });
});

test.each([
  ['a right one', ip.tcp(tcp).payload('hello')],
  ['a wrong one', ip.tcp({ ...tcp, checksum: 0xbad }).payload('hello')],
  ['none', ip.udp({ ...udp, checksum: 0 }).payload('hello')],
  ['that of a fragment', unfinished(ip.udp(udp).payload('hello')).with({ ip: { mf: true } })],
])('%s stays', (_, frame) => {
  expect(finished(frame)).toEqual(frame.bytes());
});

describe('a capture of packets without', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tapdeck-checksum-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('passes as on the deck that saw them', () => {
    const station = { mac: '02:00:00:00:00:01', ipv4: '172.17.0.2' };
    const ask = eth({ src: station, dst: '02:42:ac:11:00:01' }).ip({ src: station.ipv4, dst: '172.17.0.1' });
    const frames = [
      unfinished(ask.tcp(tcp)),
      dissect(ask.tcp(tcp).bytes()).with({ tcp: { checksum: 0xbad } }),
    ];
    const chunks: Uint8Array[] = [];
    const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()));
    for (const frame of frames) writer.write(0n, frame.bytes(), 0, frame.bytes().length);
    const path = join(folder, 'offload.pcap');
    writeFileSync(path, Buffer.concat(chunks));
    expect(replayCapture(path).tables.drops).toMatchObject({ L4_CSUM: 1 });
  });
});
