import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CaptureError } from '../../src/capture/capture-error.ts';
import { FileSink } from '../../src/capture/file-sink.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import {
  parseCapture,
  readCapture,
  readCaptureStream,
  readCaptureSync,
} from '../../src/capture/read-capture.ts';
import { kept, pcapFile, pcapngFile, swapPcap, type Written } from './captures.ts';
import { realCaptures, run, temporary, tsharkFields } from './tools.ts';

const START = 1_700_000_000_123_456_789n;

/** Frames of many sizes, a UDP datagram each so that tools have something to say. */
function someFrames(count: number, unit = 1n): Written[] {
  return Array.from({ length: count }, (_, i) => {
    const data = new Uint8Array(60 + ((i * 97) % 1455));
    data.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    const timestamp = START + BigInt(i) * 1_000_001n;
    return { timestamp: timestamp - (timestamp % unit), data, originalLength: data.length + (i % 3) };
  });
}

type Essence = Pick<Written, 'timestamp' | 'data' | 'originalLength'>;
const essence = ({ timestamp, data, originalLength }: Essence): Essence => ({
  timestamp,
  data,
  originalLength,
});

/** Seconds with nine digits, as tshark prints them. */
function seconds(timestamp: bigint): string {
  return `${timestamp / 1_000_000_000n}.${String(timestamp % 1_000_000_000n).padStart(9, '0')}`;
}

/** A time as capinfos prints it, with all nine digits. */
function full(time: string): string {
  return time.padEnd(time.indexOf('.') + 10, '0');
}

describe('reading files', () => {
  // More than one chunk, and records across the chunks' borders.
  const written = someFrames(100);
  const file = pcapngFile(written);

  it('gives the same records by every way in', async () => {
    const path = temporary('f.pcapng', file);
    const read = [...readCaptureSync(path)].length;
    expect(read).toBe(written.length);
    const sync = [];
    for (const record of readCaptureSync(path)) sync.push(kept(record));
    expect(sync.map(essence)).toEqual(written.map(essence));
    const fromFile = [];
    for await (const record of readCapture(path)) fromFile.push(kept(record));
    expect(fromFile).toEqual(sync);
    const fromMemory = [];
    for (const record of parseCapture(file)) fromMemory.push(kept(record));
    expect(fromMemory).toEqual(sync);
    const fromStream = [];
    // One buffer for all chunks, as a reader of a pipe has.
    async function* chunks(): AsyncGenerator<Uint8Array> {
      const chunk = new Uint8Array(1000);
      for (let at = 0; at < file.length; at += chunk.length) {
        const piece = file.subarray(at, at + chunk.length);
        chunk.set(piece);
        yield chunk.subarray(0, piece.length);
      }
    }
    for await (const record of readCaptureStream(chunks())) fromStream.push(kept(record));
    expect(fromStream).toEqual(sync);
  });

  it('can be left in the middle', async () => {
    const path = temporary('f.pcapng', file);
    for await (const record of readCapture(path)) if (record.number === 3) break;
    for (const record of readCaptureSync(path)) if (record.number === 3) break;
  });

  it('says what is wrong with a path', async () => {
    const missing = temporary('missing.pcap');
    const message = `${missing}: cannot be read: no such file or directory; check the path`;
    expect(() => [...readCaptureSync(missing)]).toThrow(
      new CaptureError(missing, -1, 'cannot be read', 'no such file or directory', 'check the path'),
    );
    await expect(readCapture(missing).next()).rejects.toThrow(message);
    const folder = dirname(missing);
    expect(() => [...readCaptureSync(folder)]).toThrow('give a file, not a directory');
    await expect(readCapture(folder).next()).rejects.toThrow('give a file, not a directory');
  });

  it('names the file and the byte of a fault, after the records before it', async () => {
    const path = temporary('cut.pcapng', file.slice(0, -1));
    let count = 0;
    const reading = async () => {
      for await (const record of readCapture(path)) count = record.number;
    };
    await expect(reading()).rejects.toThrow(`${path}: byte `);
    expect(count).toBe(99);
    const problems: CaptureError[] = [];
    const records = [...readCaptureSync(path, { warn: (problem) => problems.push(problem) })];
    expect(records).toHaveLength(99);
    expect(problems).toMatchObject([{ file: path, what: 'cut off' }]);
  });

  it('reads real captures as Wireshark does', () => {
    const paths = [
      ...realCaptures(),
      temporary('own.pcapng', file),
      temporary('own.pcap', pcapFile(written)),
    ];
    const found = paths.map((path) => {
      let count = 0;
      let length = 0;
      const times: bigint[] = [];
      for (const { timestamp, originalLength } of readCaptureSync(path, { warn: () => {} })) {
        count++;
        length += originalLength;
        times.push(timestamp);
      }
      times.sort((a, b) => (a < b ? -1 : 1));
      return { path, count, length, first: times[0], last: times.at(-1) };
    });
    const table = run('capinfos', '-T', '-r', '-M', '-S', '-Q', '-c', '-d', '-a', '-e', ...paths).trim();
    const expected = table.split('\n').map((line) => line.replaceAll('"', '').split('\t'));
    expect(found.map(({ path, count, length }) => [path, String(count), String(length)])).toEqual(
      expected.map((row) => row.slice(0, 3)),
    );
    for (const [i, { path, first, last }] of found.entries()) {
      // capinfos takes the earliest time wrongly where two are more than 2^31 seconds apart.
      if (first === undefined || last === undefined) continue;
      if (last - first >= 2n ** 31n * 1_000_000_000n) continue;
      expect([path, seconds(first), seconds(last)]).toEqual([
        path,
        full(expected[i]![3]!),
        full(expected[i]![4]!),
      ]);
    }
  });

  it.each(['pcap', 'nsecpcap', 'pcapng'])('reads what editcap writes as %s', (format) => {
    const unit = format === 'pcap' ? 1000n : 1n;
    const frames = someFrames(20, unit);
    const out = temporary('out');
    run('editcap', '-F', format, temporary('in.pcapng', pcapngFile(frames)), out);
    const records = [];
    for (const record of readCaptureSync(out)) records.push(kept(record));
    expect(records.map(essence)).toEqual(frames.map(essence));
  });

  it('reads sections and interfaces that mergecap puts together', () => {
    const a = temporary('a.pcapng', pcapngFile(someFrames(5)));
    const b = temporary('b.pcap', pcapFile(someFrames(5)));
    const out = temporary('out.pcapng');
    run('mergecap', '-a', '-I', 'none', '-w', out, a, b);
    const records = [...readCaptureSync(out)];
    expect(records.map(({ interfaceId }) => interfaceId)).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
  });
});

describe('written files', () => {
  const frames = someFrames(50);

  it.each([
    { name: 'us.pcap', file: pcapFile(frames), unit: 1000n },
    { name: 'ns.pcap', file: pcapFile(frames, true), unit: 1n },
    { name: 'us-big-endian.pcap', file: swapPcap(pcapFile(frames)), unit: 1000n },
    { name: 'ng.pcapng', file: pcapngFile(frames), unit: 1n },
  ])('are read by tshark and tcpdump: $name', ({ name, file, unit }) => {
    const path = temporary(name, file);
    const expected = frames.map(({ timestamp, data, originalLength }, i) => [
      String(i + 1),
      seconds(timestamp - (timestamp % unit)),
      String(data.length),
      String(originalLength),
    ]);
    expect(tsharkFields(path, 'frame.number', 'frame.time_epoch', 'frame.cap_len', 'frame.len')).toEqual(
      expected,
    );
    const lines = run('tcpdump', '-nn', '-tt', '--nano', '-r', path).trim().split('\n');
    const times = lines.filter((line) => !line.startsWith('\t')).map((line) => line.split(' ')[0]);
    expect(times).toEqual(expected.map(([, time]) => time));
  });

  it('show interfaces, comments, direction and packet identity in tshark', () => {
    const path = temporary('notes.pcapng');
    const sink = new FileSink(path);
    const writer = new PcapngWriter(sink.write, { application: 'tapdeck test' });
    const { data } = frames[0]!;
    const web = writer.addInterface({
      name: 'web-1.eth0',
      description: 'network lab1',
      macAddress: data.slice(6, 12),
    });
    const db = writer.addInterface({ name: 'db-1.eth0' });
    writer.write(web, START, data, 0, data.length, {
      flags: 1,
      packetId: 7n,
      comments: ['forward: fdb, port 2'],
    });
    writer.write(db, START + 5n, data, 0, data.length, {
      flags: 2,
      packetId: 7n,
      comments: ['sent', 'zweitens: ä€'],
    });
    writer.write(db, START + 9n, data, 0, data.length);
    writer.names([['172.17.0.2', ['web-1']]]);
    writer.statistics(web, {
      timestamp: START + 9n,
      startTime: START,
      endTime: START + 9n,
      received: 3n,
      dropped: 1n,
    });
    sink.close();
    const fields = [
      'frame.number',
      'frame.interface_name',
      'frame.comment',
      'frame.packet_flags',
      'frame.packet_id',
    ];
    expect(tsharkFields(path, ...fields)).toEqual([
      ['1', 'web-1.eth0', 'forward: fdb, port 2', '0x00000001', '7'],
      ['2', 'db-1.eth0', 'sent;zweitens: ä€', '0x00000002', '7'],
      ['3', 'db-1.eth0', '', '', ''],
    ]);
    const info = run('capinfos', '-I', '-F', '-t', '-E', path);
    expect(info).toContain('tapdeck test');
    expect(info).toMatch(/Description = network lab1/);
    expect(info).toMatch(/Time precision = nanoseconds \(9\)/);
    expect(run('tcpdump', '-nn', '-r', path).trim().split('\n').length).toBeGreaterThanOrEqual(3);
  });

  it('are the bytes that went into the sink, however they are buffered', () => {
    const path = temporary('f.bin');
    const sink = new FileSink(path);
    const pieces = [10, 64 * 1024, 1, 200_000, 65_535, 2, 0].map((length, i) =>
      new Uint8Array(length).fill(i + 1),
    );
    for (const piece of pieces) sink.write(piece);
    sink.flush();
    expect(statSync(path).size).toBe(pieces.reduce((sum, piece) => sum + piece.length, 0));
    sink.close();
    sink.close();
    expect(readFileSync(path).equals(Buffer.concat(pieces))).toBe(true);
  });

  it('say why they cannot be written', () => {
    const file = temporary('file', new Uint8Array(0));
    expect(() => new FileSink(`${file}/f.pcapng`)).toThrow(
      /cannot be written: not a directory; check the path/,
    );
    const full = new FileSink('/dev/full');
    full.write(new Uint8Array(10));
    expect(() => full.close()).toThrow('/dev/full: cannot be written: no space left on device');
  });
});
