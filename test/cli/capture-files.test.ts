import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { BlockSplitter } from '../../src/capture/live/block-splitter.ts';
import { FileWriter, fileName } from '../../src/cli/capture/file-writer.ts';
import { PacketLines } from '../../src/cli/capture/packet-line.ts';
import { openTarget, ReaderGone, type Target } from '../../src/cli/capture/target.ts';
import { parseInChunks, pcapngFile } from '../capture/captures.ts';
import { temporary } from '../capture/tools.ts';

/** Files in memory, by name; `hold` keeps writes from ending. */
function files() {
  const written = new Map<string, Uint8Array[]>();
  const state = { hold: null as Promise<void> | null };
  const open = async (path: string): Promise<Target> => {
    const pieces: Uint8Array[] = [];
    written.set(path, pieces);
    return {
      write: async (more) => {
        await state.hold;
        pieces.push(...more.map((piece) => piece.slice()));
      },
      close: async () => {},
      destroy: () => {},
    };
  };
  return { written, open, state };
}

function capture(frames: number, length: number): Uint8Array {
  const data = Uint8Array.from({ length }, (_, i) => i);
  const all = Array.from({ length: frames }, (_, i) => ({
    timestamp: BigInt(i),
    data,
    originalLength: length,
    interfaceId: i % 2,
  }));
  return pcapngFile(all, ['web eth0', 'db eth0']);
}

/** Pushes a stream in pieces that fall anywhere. */
async function write(writer: FileWriter, stream: Uint8Array, piece: number): Promise<void> {
  const splitter = new BlockSplitter(writer);
  for (let at = 0; at < stream.length; at += piece) {
    splitter.push(stream.slice(at, at + piece));
    await writer.ready();
  }
  expect(splitter.complete).toBe(true);
  await writer.close();
}

describe('files of a capture', () => {
  it.each([1, 7, 1000, 65_536])(
    'take turns by size, each of them whole, whatever the pieces (%i)',
    async (piece) => {
      const { written, open } = files();
      const options = { path: 'f', size: 0.001 };
      await write(
        new FileWriter(options, await open(fileName('f', options, 0, new Date())), open),
        capture(40, 100),
        piece,
      );
      expect([...written.keys()]).toEqual(['f', 'f1', 'f2', 'f3', 'f4', 'f5']);
      let frames = 0;
      for (const pieces of written.values()) {
        const { parser, records, problems } = parseInChunks(Buffer.concat(pieces));
        expect(problems).toEqual([]);
        expect(parser.interfaces.map(({ name }) => name)).toEqual(['web eth0', 'db eth0']);
        for (const { timestamp } of records) expect(timestamp).toBe(BigInt(frames++));
      }
      expect(frames).toBe(40);
    },
  );

  it('overwrite the oldest of as many as there may be', async () => {
    const { written, open } = files();
    const options = { path: 'f', size: 0.001, files: 3 };
    await write(
      new FileWriter(options, await open(fileName('f', options, 0, new Date())), open),
      capture(40, 100),
      100,
    );
    expect([...written.keys()].sort()).toEqual(['f0', 'f1', 'f2']);
    const first = parseInChunks(Buffer.concat(written.get('f0')!)).records[0]!;
    expect(Number(first.timestamp)).toBeGreaterThan(0);
  });

  it('end with as many packets as were wanted', async () => {
    const { written, open } = files();
    const writer = new FileWriter({ path: 'f', count: 3 }, await open('f'), open);
    await write(writer, capture(10, 60), 50);
    expect([writer.packets, writer.enough]).toEqual([3, true]);
    expect(parseInChunks(Buffer.concat(written.get('f')!)).records).toHaveLength(3);
  });

  it('have the time in their names, and end when there are enough of them', async () => {
    const { written, open } = files();
    let now = new Date(2026, 0, 31, 12, 0, 0).getTime();
    const options = { path: 'f-%Y%m%d-%H%M%S', seconds: 10, files: 2 };
    const writer = new FileWriter(
      options,
      await open(fileName(options.path, options, 0, new Date(now))),
      open,
      () => now,
    );
    const splitter = new BlockSplitter(writer);
    const stream = capture(3, 60);
    const [head, middle] = [stream.length - 3 * 108, stream.length - 2 * 108];
    splitter.push(stream.subarray(0, middle));
    now += 10_000;
    splitter.push(stream.subarray(middle, middle + 108));
    expect(writer.enough).toBe(false);
    now += 10_000;
    splitter.push(stream.subarray(middle + 108));
    expect([writer.enough, writer.packets, head > 0]).toEqual([true, 2, true]);
    await writer.close();
    expect([...written.keys()]).toEqual(['f-20260131-120000', 'f-20260131-120010']);
  });

  it('take no more than a few megabytes from one who does not write', async () => {
    const { open, state } = files();
    let release = () => {};
    state.hold = new Promise((resolve) => {
      release = resolve;
    });
    const writer = new FileWriter({ path: 'f' }, await open('f'), open);
    const splitter = new BlockSplitter(writer);
    const stream = capture(100, 60_000);
    splitter.push(stream);
    let isReady = false;
    const ready = writer.ready().then(() => {
      isReady = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isReady).toBe(false);
    release();
    await ready;
    await writer.close();
  });
});

describe('where a capture goes', () => {
  it('to a FIFO waits for its reader, and ends with it', async () => {
    const path = temporary('fifo');
    execFileSync('mkfifo', [path]);
    const opening = openTarget(path, new AbortController().signal);
    const reader = spawn('head', ['-c', '5', path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [said, closed] = [text(reader.stdout), once(reader, 'close')];
    const target = await opening;
    await target.write([Buffer.from('hel'), Buffer.from('lo, world')]);
    expect(await said).toBe('hello');
    await closed;
    await expect(
      (async () => {
        for (;;) await target.write([Buffer.alloc(65_536)]);
      })(),
    ).rejects.toBeInstanceOf(ReaderGone);
    target.destroy();
  });

  it('to a FIFO that nobody opens can be given up', async () => {
    const path = temporary('fifo');
    execFileSync('mkfifo', [path]);
    const stop = new AbortController();
    const opening = openTarget(path, stop.signal);
    stop.abort();
    await expect(opening).rejects.toBeInstanceOf(ReaderGone);
  });

  it('to a FIFO that nobody reads does not keep the process', async () => {
    const path = temporary('fifo');
    execFileSync('mkfifo', [path]);
    const end = openSync(path, 'r+');
    const reader = spawn('sleep', ['1000'], { stdio: [end, 'ignore', 'ignore'] });
    closeSync(end);
    try {
      const target = await openTarget(path, new AbortController().signal);
      // More than a pipe has room for.
      target.write([Buffer.alloc(1 << 20)]).catch(() => {});
      target.destroy();
      await target.close();
    } finally {
      reader.kill('SIGKILL');
    }
  });

  it('to a file, which is emptied; a place where none can be is said in one line', async () => {
    const path = temporary('file', Buffer.from('something longer than that'));
    const target = await openTarget(path, new AbortController().signal);
    await target.write(Array.from({ length: 2000 }, (_, i) => Buffer.from(`${i % 10}`)));
    await target.close();
    expect(readFileSync(path, 'utf8')).toBe('0123456789'.repeat(200));
    await expect(openTarget('/nowhere/at/all', new AbortController().signal)).rejects.toThrow(
      'cannot write to /nowhere/at/all: no such file or directory; check the path, its permissions and the free space',
    );
  });
});

describe('lines of packets', () => {
  const record = {
    number: 1,
    offset: 0,
    interfaceId: 0,
    interfaceName: 'web eth0',
    linkType: 1,
    timestamp: BigInt(new Date(2026, 0, 31, 12, 0, 1).getTime()) * 1_000_000n + 2_003_004n,
    // An ARP request.
    data: Buffer.from(
      'ffffffffffff0242ac110002080600010800060400010242ac110002ac110002000000000000ac110003',
      'hex',
    ),
    capturedLength: 42,
    originalLength: 42,
    fcsLength: 0,
    flags: 0b01101,
    packetId: 7n,
    comments: ['web eth0 → bridge: flooded to 2 ports', 'ingress: web eth0', 'bridge: flooded to 2 ports'],
  };
  const line = 'web eth0 In  ARP, request who-has 172.17.0.3 tell 172.17.0.2';

  it('say what tcpdump says, and what became of the packet', () => {
    expect(new PacketLines({}).format(record)).toBe(
      `12:00:01.002003 ${line} [web eth0 → bridge: flooded to 2 ports]\n`,
    );
    expect(new PacketLines({ time: 'none', verbose: true }).format(record)).toBe(
      `${line}\n    ingress: web eth0\n    bridge: flooded to 2 ports\n`,
    );
    expect(
      new PacketLines({ ethernet: true, time: 'none' }).format({ ...record, comments: [], flags: 0b01110 }),
    ).toBe(
      'web eth0 Out 02:42:ac:11:00:02 > ff:ff:ff:ff:ff:ff, ARP, request who-has 172.17.0.3 tell 172.17.0.2\n',
    );
  });

  it('have the time in the forms of tcpdump', () => {
    const times = (time: 'epoch' | 'delta' | 'date' | 'relative') => {
      const lines = new PacketLines({ time });
      return [0n, 1_500_000_000n, 1_250_000_000n].map((later) =>
        lines
          .format({ ...record, comments: [], timestamp: record.timestamp + later })
          .replace(` ${line}\n`, ''),
      );
    };
    expect(times('delta')).toEqual(['00:00:00.000000', '00:00:01.500000', '-00:00:00.250000']);
    expect(times('relative')).toEqual(['00:00:00.000000', '00:00:01.500000', '00:00:01.250000']);
    expect(times('date')[0]).toBe('2026-01-31 12:00:01.002003');
    expect(times('epoch')[0]).toMatch(/^\d{10}\.002003$/);
  });
});
