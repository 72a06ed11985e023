import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { tcp, udp } from '../../src/testing/frames.ts';
import type { Station } from '../../src/testing/station.ts';

/** A deck with two containers, one of which publishes a port, behind one uplink. */
export const POLICY = `
networks:
  lan: { ipam: { config: [ { subnet: 10.0.0.0/24 } ] }, x-tapdeck: { uplink: wan } }
services:
  client: { networks: { lan: { mac_address: 02:42:0a:00:00:02, ipv4_address: 10.0.0.2 } } }
  web:
    networks: { lan: { mac_address: 02:42:0a:00:00:03, ipv4_address: 10.0.0.3 } }
    ports: ["8080:80"]
  internet: { networks: { wan: { mac_address: 02:42:cb:00:71:01, ipv4_address: 203.0.113.1 } } }
x-tapdeck:
  uplinks: { wan: { address: 203.0.113.2/24, gateway: 203.0.113.1 } }
`;

const client: Station = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2' };
const web: Station = { mac: '02:42:0a:00:00:03', ipv4: '10.0.0.3' };
const inside: Station = { mac: '02:42:0a:00:00:01', ipv4: '10.0.0.1' };
const router: Station = { mac: '02:42:cb:00:71:01', ipv4: '203.0.113.1' };
const deck: Station = { mac: '02:42:cb:00:71:02', ipv4: '203.0.113.2' };

const FLOWS = 256;
const EPOCH = 1_700_000_000n * 1_000_000_000n;
/** Nanoseconds between two frames. */
const GAP = 10_000n;

/** One round: of every four frames one is bridged, one masqueraded, and two are those of connections to a published port. */
function round(length: number): { frame: Uint8Array; port: number }[] {
  const data = length - 42;
  return Array.from({ length: FLOWS }, (_, i) => {
    const [srcPort, remote] = [40_000 + i, { ...router, ipv4: `198.51.100.${i % 200}` }];
    return [
      { port: 0, frame: udp({ from: client, to: web, srcPort, dstPort: 53, data }) },
      { port: 0, frame: udp({ from: client, to: remote, via: inside, srcPort, dstPort: 443, data }) },
      {
        port: 2,
        frame: tcp({ from: remote, to: deck, srcPort, dstPort: 8080, flags: 'A', data: data - 12 }),
      },
      {
        port: 1,
        frame: tcp({
          from: web,
          to: remote,
          via: inside,
          srcPort: 80,
          dstPort: srcPort,
          flags: 'A',
          data: data - 12,
        }),
      },
    ];
  }).flat();
}

export interface Traffic {
  folder: string;
  capture: string;
  policy: string;
  frames: number;
  remove: () => void;
}

/** Writes a capture of `frames` frames of `length` bytes in a folder of its own, and the policy that it is for. */
export function writeTraffic(format: 'pcap' | 'pcapng', frames: number, length: number): Traffic {
  const folder = mkdtempSync(join(tmpdir(), 'tapdeck-replay-'));
  const capture = join(folder, `traffic.${format}`);
  const policy = join(folder, 'policy.yaml');
  writeFileSync(policy, POLICY);
  const fd = openSync(capture, 'w');
  const buffer = new Uint8Array(1 << 20);
  let used = 0;
  const flush = (): void => {
    writeSync(fd, buffer, 0, used);
    used = 0;
  };
  const sink = (bytes: Uint8Array): void => {
    if (used + bytes.length > buffer.length) flush();
    buffer.set(bytes, used);
    used += bytes.length;
  };
  const all = round(length);
  const write = writerOf(format, sink);
  for (let i = 0; i < frames; i++) {
    const { frame, port } = all[i % all.length]!;
    write(port, EPOCH + BigInt(i) * GAP, frame);
  }
  flush();
  closeSync(fd);
  return { folder, capture, policy, frames, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

type Write = (port: number, time: bigint, frame: Uint8Array) => void;

function writerOf(format: 'pcap' | 'pcapng', sink: (bytes: Uint8Array) => void): Write {
  if (format === 'pcap') {
    const writer = new PcapWriter(sink);
    return (_port, time, frame) => writer.write(time, frame, 0, frame.length);
  }
  const writer = new PcapngWriter(sink);
  for (const name of ['client', 'web', 'internet']) writer.addInterface({ name });
  return (port, time, frame) => writer.write(port, time, frame, 0, frame.length, { flags: 1 });
}
