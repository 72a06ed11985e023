import { describe, expect, it } from 'vitest';
import { Bed } from '../../bench/micro/bed.ts';
import { compileFilter } from '../../src/capture/filter/filter.ts';
import { CHUNK_LENGTH, Chunks } from '../../src/capture/live/chunks.ts';
import { DeckNames, type DeckNameTable } from '../../src/capture/live/deck-names.ts';
import { LiveCapture } from '../../src/capture/live/live-capture.ts';
import { LiveTrace } from '../../src/capture/live/live-trace.ts';
import { PortNames } from '../../src/capture/live/port-names.ts';
import { WallClock } from '../../src/capture/live/wall-clock.ts';
import { makeObservationRing, ObservationReader } from '../../src/dataplane/observation.ts';
import { type ObservationWants, RingSubscriber } from '../../src/dataplane/ring-subscriber.ts';
import { arpReply, udp } from '../../src/testing/frames.ts';
import { C1, natBed, UP, VIA_GA } from '../dataplane/nat-bed.ts';
import { parseInChunks } from './captures.ts';
import { run, temporary, tsharkFields } from './tools.ts';

/** 2026-01-01T00:00:00Z. */
const EPOCH = 1_767_225_600;

/** A switch with four ports, observed by a ring of `size` bytes, and what reads it. */
function watched({
  size = 1 << 20,
  buffers = 16,
  snaplen = 262_144,
  ...wants
}: Partial<ObservationWants> & { size?: number; buffers?: number } = {}) {
  const bed = new Bed(4);
  const ring = makeObservationRing(size);
  const reader = new ObservationReader(ring);
  bed.dataplane.observer.subscribe(new RingSubscriber(ring, { snaplen, ...wants }, bed.dataplane.ports));
  const names = new DeckNames();
  names.replace(tableOf(bed), -1);
  const out: Uint8Array[] = [];
  const held: ArrayBuffer[] = [];
  const chunks = new Chunks((bytes) => {
    out.push(bytes.slice());
    held.push(bytes.buffer);
  });
  const giveBack = () => {
    for (const buffer of held.splice(0)) chunks.give(buffer);
  };
  for (let i = 0; i < buffers; i++) chunks.give(new ArrayBuffer(CHUNK_LENGTH));
  const clock = new WallClock({ seconds: EPOCH, nanoseconds: 0, now: 0 });
  const parts = { reader, chunks, clock, names, now: () => 10_000 };
  const bytes = () => {
    chunks.flush();
    giveBack();
    return Buffer.concat(out);
  };
  return { bed, reader, names, parts, bytes, giveBack, chunks, snaplen };
}

const PORT_NAMES = ['web', 'db', 'cache', 'mail'];

function tableOf(bed: Bed): DeckNameTable {
  return {
    ports: bed.ports.map((port, i) => ({
      port,
      segment: 0,
      key: `endpoint ${i}`,
      name: `${PORT_NAMES[i]} eth0`,
      description: 'network front',
      mac: `02:42:ac:11:00:0${i + 2}`,
      isDeck: false,
    })),
    addresses: [['10.1.0.2', ['web', 'web.front']]],
    networks: [[0, 'front']],
    publishes: [],
    rules: [],
    userRules: [],
  };
}

describe('a live capture', () => {
  it('is read by tshark, capinfos and tcpdump: interfaces, stories, directions, ids of packets', () => {
    const { bed, parts, bytes } = watched();
    const capture = new LiveCapture(parts, {
      snapLength: 262_144,
      filter: 'udp',
      application: 'tapdeck 1',
      hardware: 'x64',
      os: 'Linux 6',
    });
    bed.receive(bed.udp(0, 1, 100), bed.ports[0]!, 5);
    bed.receive(bed.udp(1, 0, 1514), bed.ports[1]!, 6);
    expect(capture.take(100, 0)).toBe(2);
    capture.finish();
    const file = temporary('live.pcapng', bytes());
    const rows = tsharkFields(
      file,
      'frame.interface_name',
      'frame.interface_description',
      'frame.packet_flags',
      'frame.packet_id',
      'frame.len',
      'frame.time_epoch',
      'frame.verdict.ebpf_xdp',
    );
    expect(rows).toEqual([
      ['web eth0', 'network front', '0x00000005', '1', '100', `${EPOCH}.005000000`, '4'],
      ['db eth0', 'network front', '0x00000006', '1', '100', `${EPOCH}.005000000`, '3'],
      ['db eth0', 'network front', '0x00000005', '2', '1514', `${EPOCH}.006000000`, '4'],
      ['web eth0', 'network front', '0x00000006', '2', '1514', `${EPOCH}.006000000`, '3'],
    ]);
    const [story, copy] = tsharkFields(file, 'frame.comment').map(([comment]) => comment!);
    expect(story).toContain('ingress: web eth0, UDP');
    expect(story).toContain('is behind db eth0');
    expect(story).toContain('egress: sent to db eth0');
    expect(copy).toBe('came in from web eth0');
    const info = run('capinfos', file);
    expect(info).toContain('Number of packets:   4');
    expect(info).toContain('Capture application: tapdeck 1');
    expect(info).toContain('leaves checksums of TCP and UDP to its interface');
    expect(info).toContain('Name = web eth0');
    expect(info).toContain('Filter string = udp');
    expect(run('tcpdump', '-nr', file).trim().split('\n')).toHaveLength(4);
  });

  it('has the copy of a packet that waited for a neighbor, under its id, with what it waited for', () => {
    const deck = natBed();
    const { observer, ports } = deck.virtual.dataplane;
    const ring = makeObservationRing(1 << 20);
    // Matches as it comes in, and not as it goes out.
    const filter = compileFilter('src host 10.0.0.2');
    observer.subscribe(new RingSubscriber(ring, { snaplen: 2048, filter }, ports));
    const { parts, bytes } = watched();
    const capture = new LiveCapture(
      { ...parts, reader: new ObservationReader(ring), names: new DeckNames() },
      { snapLength: 2048, filter: 'src host 10.0.0.2' },
    );
    const far = { mac: '02:00:00:00:00:77', ipv4: '198.51.100.77' };
    deck.send('c1', udp({ from: C1, to: far, via: VIA_GA, srcPort: 5000, dstPort: 7 }));
    deck.advance(40);
    deck.send('ext', arpReply({ from: far, to: UP }));
    // Nobody knows the names of ports; after a second it goes on without.
    capture.take(100, 0);
    for (const now of [2000, 4000, 6000]) capture.take(100, now);
    capture.finish();
    const file = temporary('waited.pcapng', bytes());
    const rows = tsharkFields(file, 'frame.interface_name', 'frame.packet_id', 'ip.src', 'frame.comment');
    expect(rows.map((row) => row.slice(0, 3))).toEqual([
      ['port 3', '1', '10.0.0.2'],
      ['port 6', '1', '198.51.100.2'],
    ]);
    expect(rows[0]![3]).toContain('asks #0 who has 198.51.100.77; the packet waits');
    expect(rows[1]![3]).toMatch(
      /^came in from port 3, waited 40 ms for 198\.51\.100\.77;neighbor: 198\.51\.100\.77 is at 02:00:00:00:00:77, by packet 3; the packet has waited 40 ms;egress: sent to port 6$/,
    );
  });

  it('says of each interface what was lost of it, exactly, and in the blocks behind the gaps', () => {
    const { bed, reader, parts, bytes } = watched({ size: 16_384 });
    const capture = new LiveCapture(parts, { snapLength: 262_144, filter: '' });
    const frames = [bed.udp(0, 1, 600), bed.udp(1, 0, 600)];
    const sent = [0, 0];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 40; i++) {
        const from = i % 3 === 0 ? 1 : 0;
        bed.receive(frames[from]!, bed.ports[from]!, round);
        sent[from]!++;
      }
      capture.take(1000, 0);
    }
    // The last gap has no block behind it.
    bed.receive(frames[0]!, bed.ports[0]!, 9);
    sent[0]!++;
    capture.take(1000, 0);
    capture.finish();
    const { parser, records, problems } = parseInChunks(bytes());
    expect(problems).toEqual([]);
    expect(reader.missed).toBeGreaterThan(50);
    const ingress = (name: string) =>
      records.filter((one) => one.interfaceName === name && (one.flags! & 3) === 1).length;
    for (const [i, name] of ['web eth0', 'db eth0'].entries()) {
      const { statistics } = parser.interfaces.find((one) => one.name === name)!;
      expect(ingress(name) + Number(statistics!.dropped)).toBe(sent[i]);
    }
    expect(reader.kept + reader.missed).toBe(121);
  });

  it('tells of ports of which all was lost', () => {
    const { bed, parts, bytes } = watched({ size: 4096 });
    const capture = new LiveCapture(parts, { snapLength: 262_144, filter: '' });
    bed.receive(bed.udp(2, 1, 9000), bed.ports[2]!, 1);
    capture.take(10, 0);
    capture.finish();
    const { parser } = parseInChunks(bytes());
    expect(parser.interfaces.map(({ name, statistics }) => [name, statistics?.dropped])).toEqual([
      ['cache eth0', 1n],
    ]);
  });

  it('waits for buffers, and goes on where it was', () => {
    const { bed, parts, bytes, giveBack, chunks } = watched({ size: 4 << 20, buffers: 2 });
    const capture = new LiveCapture(parts, { snapLength: 262_144, filter: '' });
    const frame = bed.udp(0, 1, 1514);
    for (let i = 0; i < 500; i++) bed.receive(frame, bed.ports[0]!, i);
    let stories = capture.take(1000, 0);
    expect(stories).toBeLessThan(500);
    expect(capture.take(1000, 0)).toBe(0);
    expect(capture.isBehind).toBe(true);
    while (capture.isBehind) {
      chunks.flush();
      giveBack();
      stories += capture.take(1000, 0);
    }
    expect(stories).toBe(500);
    const { records, problems } = parseInChunks(bytes());
    expect(problems).toEqual([]);
    expect(records.map(({ packetId }) => Number(packetId))).toEqual(
      Array.from({ length: 1000 }, (_, i) => 1 + (i >> 1)),
    );
  });

  it('keeps all copies of a packet of which one matches the filter, and the first bytes of each', () => {
    const { bed, parts, bytes, snaplen } = watched({ filter: compileFilter('udp'), snaplen: 64 });
    const capture = new LiveCapture(parts, { snapLength: snaplen, filter: 'udp' });
    bed.receive(bed.udp(0, 1, 1000), bed.ports[0]!, 1);
    capture.take(10, 0);
    const { records } = parseInChunks(bytes());
    expect(records.map(({ capturedLength, originalLength }) => [capturedLength, originalLength])).toEqual([
      [64, 1000],
      [64, 1000],
    ]);
  });

  it('waits a second for the name of a port, and then goes by its number', () => {
    const { bed, names, parts, bytes } = watched();
    names.replace({ ...tableOf(bed), ports: [] }, 0);
    const capture = new LiveCapture(parts, { snapLength: 262_144, filter: '' });
    bed.receive(bed.udp(0, 1, 100), bed.ports[0]!, 5);
    expect(capture.take(10, 0)).toBe(0);
    expect(capture.take(10, 999)).toBe(0);
    names.replace(tableOf(bed), 6);
    expect(capture.take(10, 999)).toBe(1);
    names.replace({ ...tableOf(bed), ports: tableOf(bed).ports.slice(0, 2) }, 7);
    bed.receive(bed.udp(2, 0, 100), bed.ports[2]!, 8);
    expect(capture.take(10, 2000)).toBe(0);
    expect(capture.take(10, 3000)).toBe(1);
    const { records } = parseInChunks(bytes());
    expect(records.map(({ interfaceName }) => interfaceName)).toEqual([
      'web eth0',
      'db eth0',
      `port ${bed.ports[2]}`,
      'web eth0',
    ]);
  });
});

describe('names of ports', () => {
  const tenant = (key: string) => ({
    port: 3,
    segment: 0,
    key,
    name: key,
    description: '',
    mac: undefined,
    isDeck: false,
  });

  it('are those of the time at which a frame passed', () => {
    const names = new PortNames();
    names.replace([tenant('old')], 10);
    expect(names.at(3, 5)?.name).toBe('old');
    names.replace([], 20);
    expect(names.at(3, 19)?.name).toBe('old');
    // It may be another's already, whose name is on its way.
    expect(names.at(3, 21)).toBeUndefined();
    names.replace([tenant('new')], 30);
    expect(names.at(3, 19)?.name).toBe('old');
    expect(names.at(3, 21)?.name).toBe('new');
    expect(names.at(3, 31)?.name).toBe('new');
  });

  it('change hands at once', () => {
    const names = new PortNames();
    names.replace([tenant('old')], 10);
    names.replace([tenant('new')], 20);
    expect([names.at(3, 20)?.name, names.at(3, 21)?.name]).toEqual(['old', 'new']);
  });
});

describe('a live trace', () => {
  it('is a line of JSON for each packet, and one for what was missed', () => {
    const { bed, parts, bytes } = watched({ size: 4096, snaplen: 0 });
    const trace = new LiveTrace(parts);
    const frame = bed.udp(0, 1, 100);
    for (let i = 0; i < 100; i++) bed.receive(frame, bed.ports[0]!, 5);
    const stories = trace.take(1000);
    bed.receive(frame, bed.ports[0]!, 6);
    trace.take(1000);
    trace.finish();
    const lines = bytes()
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const missed = lines.filter((line) => 'missed' in line);
    expect(missed.reduce((sum, line) => sum + line.missed, 0)).toBe(100 - stories);
    expect(lines[0]).toMatchObject({
      packet: 1,
      time: '2026-01-01T00:00:00.005000000Z',
      interface: 'web eth0',
    });
    expect(lines.filter((line) => 'packet' in line)).toHaveLength(stories + 1);
    expect(lines[0].story.at(-1)).toBe('egress: sent to db eth0');
  });
});
