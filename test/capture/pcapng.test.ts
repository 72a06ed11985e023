import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaptureParser } from '../../src/capture/capture-parser.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { cuts, MemorySink, parseInChunks, pcapngFile, type Written } from './captures.ts';
import { Blocks, join, pad, utf8 } from './pcapng-blocks.ts';

const byteOrders = [
  { name: 'little-endian', b: new Blocks(true) },
  { name: 'big-endian', b: new Blocks(false) },
];
const little = new Blocks(true);
const data = Uint8Array.from({ length: 61 }, (_, i) => i);

const interfaceNames = ['web-1.eth0', 'db-1.eth0', 'bridge'];
const frame: fc.Arbitrary<Written> = fc
  .record({
    timestamp: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    data: fc.uint8Array({ maxLength: 300 }),
    more: fc.nat({ max: 2000 }),
    interfaceId: fc.nat({ max: interfaceNames.length - 1 }),
    flags: fc.option(fc.nat({ max: 0xffff_ffff }), { nil: undefined }),
    packetId: fc.option(fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }), { nil: undefined }),
    comments: fc.array(fc.string({ unit: 'grapheme', maxLength: 40 }), { maxLength: 3 }),
  })
  .map(({ more, ...rest }) => ({ ...rest, originalLength: rest.data.length + more }));

describe('pcapng', () => {
  it('reads what was written, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), cuts, (written, where) => {
        const file = pcapngFile(written, interfaceNames);
        const { parser, records, problems, memory } = parseInChunks(file, where);
        expect(problems).toEqual([]);
        expect(parser.format).toBe('pcapng');
        expect(parser.application).toBe('tapdeck');
        expect(memory).toBeLessThanOrEqual(Math.max(1024, 2 * file.length));
        expect(
          records.map(({ timestamp, data, originalLength, interfaceId, flags, packetId, comments }) => {
            return { timestamp, data, originalLength, interfaceId, flags, packetId, comments };
          }),
          // A zero at the end of a text cannot be told from padding.
        ).toEqual(
          written.map((one) => ({ ...one, comments: one.comments!.map((text) => text.replace(/\0+$/, '')) })),
        );
        for (const record of records) {
          expect(record.interfaceName).toBe(interfaceNames[record.interfaceId]);
          expect(record.capturedLength).toBe(record.data.length);
        }
      }),
    );
  });

  it('writes the same bytes for the same calls', () => {
    const written: Written[] = [
      { timestamp: 1n, data, originalLength: 99, flags: 2, packetId: 7n, comments: ['a'] },
    ];
    expect(pcapngFile(written)).toEqual(pcapngFile(written));
    // Nothing of the machine is in it: the beginning of every file of ours is this.
    expect(Buffer.from(pcapngFile([], [])).toString('hex')).toBe(
      '0a0d0d0a2c0000004d3c2b1a01000000ffffffffffffffff0400070074617064' + '65636b00000000002c000000',
    );
  });

  it('keeps interfaces, names and statistics', () => {
    const sink = new MemorySink();
    const writer = new PcapngWriter(sink.write, {
      application: 'test 1.0',
      comments: ['why'],
      snapLength: 128,
    });
    const macAddress = Uint8Array.of(2, 0x42, 0xac, 0x11, 0, 2);
    writer.addInterface({ name: 'web', description: 'port 1', macAddress, comments: ['x', 'y'] });
    writer.addInterface();
    writer.names([
      ['172.17.0.2', ['web', 'web.bridge']],
      ['fd00::2', ['web']],
    ]);
    const statistics = { timestamp: 5n, startTime: 1n, endTime: 4n, received: 1n << 40n, dropped: 3n };
    writer.statistics(0, statistics);
    writer.write(0, 9n, new Uint8Array(200), 0, 200);
    const { parser, records, problems } = parseInChunks(sink.bytes);
    expect(problems).toEqual([]);
    expect(parser.application).toBe('test 1.0');
    expect(parser.comments).toEqual(['why']);
    expect(parser.interfaces).toEqual([
      {
        id: 0,
        linkType: 1,
        snapLength: 128,
        name: 'web',
        description: 'port 1',
        macAddress,
        fcsLength: 0,
        comments: ['x', 'y'],
        statistics,
      },
      expect.objectContaining({
        id: 1,
        snapLength: 128,
        name: undefined,
        macAddress: undefined,
        statistics: undefined,
      }),
    ]);
    expect([...parser.names]).toEqual([
      ['172.17.0.2', ['web', 'web.bridge']],
      ['fd00::2', ['web']],
    ]);
    expect(records).toMatchObject([{ capturedLength: 128, originalLength: 200 }]);
  });

  it('shortens a text that is too long for an option to whole characters', () => {
    const file = pcapngFile([{ timestamp: 0n, data, originalLength: 61, comments: ['€'.repeat(30_000)] }]);
    const { records, problems } = parseInChunks(file);
    expect(problems).toEqual([]);
    expect(records[0]!.comments).toEqual(['€'.repeat(21_845)]);
  });

  it('refuses what cannot be written', () => {
    const writer = new PcapngWriter(() => {});
    expect(() => writer.write(0, 0n, data, 0, 1)).toThrow('interface 0 has not been described');
    expect(() => writer.statistics(0, { timestamp: 0n })).toThrow(RangeError);
    expect(() => writer.addInterface({ macAddress: new Uint8Array(5) })).toThrow('6 bytes');
    expect(() => writer.names([['web', ['web']]])).toThrow('web is neither an IPv4 nor an IPv6 address');
    writer.addInterface();
    expect(() => writer.write(0, -1n, data, 0, 1)).toThrow('does not fit into 64 bits');
    expect(() => writer.write(0, 1n << 64n, data, 0, 1)).toThrow('does not fit into 64 bits');
  });

  describe.each(byteOrders)('$name', ({ b }) => {
    it.each([
      { name: 'microseconds without if_tsresol', options: [], ticks: 1_000_001n, timestamp: 1_000_001_000n },
      { name: 'milliseconds', options: [[9, Uint8Array.of(3)]], ticks: 1_001n, timestamp: 1_001_000_000n },
      { name: 'nanoseconds', options: [[9, Uint8Array.of(9)]], ticks: 1_001n, timestamp: 1_001n },
      { name: 'picoseconds', options: [[9, Uint8Array.of(12)]], ticks: 1_999n, timestamp: 1n },
      { name: 'seconds', options: [[9, Uint8Array.of(0)]], ticks: 7n, timestamp: 7_000_000_000n },
      {
        name: 'units of 2^-10 s',
        options: [[9, Uint8Array.of(0x8a)]],
        ticks: 1_536n,
        timestamp: 1_500_000_000n,
      },
      {
        name: 'units of 2^-32 s',
        options: [[9, Uint8Array.of(0xa0)]],
        ticks: 1n << 33n,
        timestamp: 2_000_000_000n,
      },
      {
        name: 'the finest unit',
        options: [[9, Uint8Array.of(0x7f)]],
        ticks: (1n << 64n) - 1n,
        timestamp: 0n,
      },
      {
        name: 'an offset',
        options: [[14, b.u64(1_700_000_000n)]],
        ticks: 1n,
        timestamp: 1_700_000_000_000_001_000n,
      },
      { name: 'a negative offset', options: [[14, b.u64(-3n)]], ticks: 1n, timestamp: -2_999_999_000n },
    ] as const)('counts time in $name', ({ options, ticks, timestamp }) => {
      const { records, problems } = parseInChunks(
        join(b.section(), b.interface(options), b.packet(0, ticks, data)),
      );
      expect(problems).toEqual([]);
      expect(records.map((record) => record.timestamp)).toEqual([timestamp]);
    });

    it('reads packets of every kind', () => {
      const obsolete = [b.u16(1), b.u16(9), b.time(5n), b.u32(data.length), b.u32(99), pad(data)];
      const file = join(
        b.section([[4, utf8('dumpcap')]]),
        b.interface([[2, utf8('eth0')]], { snapLength: 20 }),
        b.interface([
          [2, utf8('wlan0\0')],
          [13, Uint8Array.of(4)],
        ]),
        b.packet(1, 3n, data, [
          [1, utf8('first')],
          [2, b.u32(0b10)],
          [5, b.u64(77n)],
          [4, b.u64(1n)],
          [1, utf8('second')],
        ]),
        b.simplePacket(61, data.subarray(0, 20)),
        b.simplePacket(7, data.subarray(0, 7)),
        b.block(2, ...obsolete, b.options([[1, utf8('old')]])),
        b.packet(0, 6n, new Uint8Array(0), [[2, b.u32(2 << 5)]]),
      );
      const { parser, records, problems } = parseInChunks(file);
      expect(problems).toEqual([]);
      expect(parser.application).toBe('dumpcap');
      const eth0 = { interfaceId: 0, interfaceName: 'eth0', linkType: 1 };
      const wlan0 = { interfaceId: 1, interfaceName: 'wlan0', linkType: 1, fcsLength: 4 };
      expect(records).toMatchObject([
        { ...wlan0, timestamp: 3000n, data, flags: 2, packetId: 77n, comments: ['first', 'second'] },
        {
          ...eth0,
          timestamp: 3000n,
          data: data.slice(0, 20),
          originalLength: 61,
          fcsLength: 0,
          flags: undefined,
        },
        { ...eth0, timestamp: 3000n, data: data.slice(0, 7), originalLength: 7 },
        { ...wlan0, timestamp: 5000n, data, originalLength: 99, comments: ['old'] },
        { ...eth0, timestamp: 6000n, capturedLength: 0, fcsLength: 2 },
      ]);
    });

    it('passes over blocks that it does not know, of any length, without keeping them', () => {
      const parser = new CaptureParser({ warn: (problem) => expect.fail(problem.message) });
      parser.push(join(b.section(), b.interface()));
      expect(parser.next()).toBeUndefined();
      const length = 64 * 1024 * 1024;
      parser.push(join(b.u32(0x0bad), b.u32(length)));
      for (let left = length - 12; left > 0; left -= 64 * 1024) {
        parser.push(new Uint8Array(Math.min(left, 64 * 1024)));
        expect(parser.next()).toBeUndefined();
        expect(parser.memory).toBeLessThanOrEqual(128 * 1024);
      }
      parser.push(join(b.u32(length), b.packet(0, 1n, data)));
      expect(parser.next()).toMatchObject({ number: 1, data });
    });

    it('takes the end of a block for the end of its options', () => {
      const file = join(
        b.section(),
        b.interface([[2, utf8('eth0')]], { ended: false }),
        b.packet(0, 1n, data),
      );
      const { records, problems } = parseInChunks(file);
      expect(problems).toEqual([]);
      expect(records).toMatchObject([{ interfaceName: 'eth0' }]);
    });

    it('takes minor version 2, which is the same as 0, and no other major version', () => {
      expect(
        parseInChunks(join(b.section([], [1, 2]), b.interface(), b.packet(0, 1n, data))).records,
      ).toHaveLength(1);
      const { records, problems } = parseInChunks(
        join(b.section([], [2, 0]), b.interface(), b.packet(0, 1n, data)),
      );
      expect(records).toEqual([]);
      expect(problems).toMatchObject([{ offset: 0, what: 'unsupported pcapng version' }]);
    });
  });

  it('reads several sections, each in its own byte order and with its own interfaces', () => {
    const [l, b] = [new Blocks(true), new Blocks(false)];
    const file = join(
      l.section(),
      l.interface([[2, utf8('one')]]),
      l.interface([[2, utf8('two')]]),
      l.packet(1, 1n, data),
      b.section(),
      b.interface([[2, utf8('three')]], { linkType: 113 }),
      b.packet(0, 2n, data),
      l.section(),
      l.packet(0, 3n, data),
      l.interface([[2, utf8('four')]]),
      l.packet(0, 4n, data),
    );
    const { records, problems } = parseInChunks(file);
    expect(records).toMatchObject([
      { number: 1, interfaceId: 1, interfaceName: 'two', linkType: 1 },
      { number: 2, interfaceId: 2, interfaceName: 'three', linkType: 113 },
      { number: 3, interfaceId: 3, interfaceName: 'four', linkType: 1 },
    ]);
    expect(problems).toMatchObject([{ what: 'packet of an unknown interface' }]);
  });

  describe('damage that costs one block', () => {
    const b = little;
    const head = join(b.section(), b.interface());
    const lying = (captured: number) => {
      const block = b.packet(0, 1n, data);
      new DataView(block.buffer).setUint32(20, captured, true);
      return block;
    };
    const statistics = (number: number) => b.block(5, b.u32(number), b.time(0n));

    it.each([
      ['packet of an unknown interface', b.packet(1, 1n, data)],
      ['lying captured length', lying(65)],
      ['lying captured length', lying(0xffff_ffff)],
      ['lying captured length', b.simplePacket(100, data)],
      ['lying captured length', b.packet(0, 1n, new Uint8Array(262_148))],
      ['packet block too short', b.block(6, b.u32(0))],
      ['packet block too short', b.block(3)],
      ['statistics block too short', b.block(5, b.u32(0))],
      ['statistics of an unknown interface', statistics(1)],
      ['name beyond its block', b.block(4, b.u16(1), b.u16(200), b.u32(0))],
    ])('is told and passed over: %s', (what, block) => {
      const { records, problems } = parseInChunks(join(head, block, block, b.packet(0, 2n, data)));
      expect(problems).toMatchObject([{ offset: head.length, what }]);
      expect(records).toMatchObject([{ number: 1, timestamp: 2000n }]);
    });

    it('is told and passed over: option beyond its block', () => {
      const block = b.block(6, b.u32(0), b.time(1n), b.u32(0), b.u32(0), b.u16(1), b.u16(5), utf8('abcd'));
      const { records, problems } = parseInChunks(join(head, block, b.packet(0, 2n, data)));
      expect(problems).toMatchObject([{ offset: head.length, what: 'option beyond its block' }]);
      expect(records).toMatchObject([
        { timestamp: 1000n, comments: [] },
        { timestamp: 2000n, comments: [] },
      ]);
    });

    it('keeps the numbers of the interfaces behind one whose options are broken', () => {
      const broken = b.block(1, b.u16(1), b.u16(0), b.u32(0), b.u16(2), b.u16(99));
      const file = join(b.section(), broken, b.interface([[2, utf8('two')]]), b.packet(1, 2n, data));
      expect(parseInChunks(file).records).toMatchObject([{ interfaceId: 1, interfaceName: 'two' }]);
      const parser = new CaptureParser();
      parser.push(file);
      expect(() => parser.next()).toThrow('option beyond its block');
      expect(parser.next()).toMatchObject({ interfaceId: 1, interfaceName: 'two' });
    });
  });

  describe('damage behind which nothing can be found', () => {
    const b = little;
    const head = join(b.section(), b.interface(), b.packet(0, 1n, data));
    const patched = (block: Uint8Array, at: number, value: number) => {
      const copy = block.slice();
      new DataView(copy.buffer).setUint32(at, value, true);
      return copy;
    };
    const packet = b.packet(0, 2n, data);

    it.each([
      ['impossible block length', patched(packet, 4, 13)],
      ['impossible block length', patched(packet, 4, 8)],
      ['impossible block length', patched(packet, 4, 0)],
      ['absurd block', patched(packet, 4, 16 * 1024 * 1024 + 4)],
      ['contradictory block lengths', patched(packet, packet.length - 4, 0)],
      ['contradictory block lengths', patched(b.block(0x0bad, data.subarray(0, 4)), 12, 20)],
      ['not a pcapng section', patched(b.section(), 8, 0x1a2b3c4e)],
      ['section header too short', b.block(0x0a0d0d0a, b.u32(0x1a2b3c4d))],
      ['interface description too short', b.block(1, b.u32(1))],
    ])('ends the reading: %s', (what, block) => {
      const { records, problems, memory, parser } = parseInChunks(join(head, block, packet));
      expect(records).toHaveLength(1);
      expect(problems).toMatchObject([{ offset: head.length, what }]);
      expect(problems[0]!.advice).toContain('records: 1');
      expect(parser.stopped).toBe(true);
      expect(memory).toBeLessThanOrEqual(1024);
    });

    it('uses what is before a cut-off block, wherever it is cut', () => {
      for (const last of [packet, b.block(0x0bad, data.subarray(0, 40)), b.section()]) {
        for (let end = 1; end < last.length; end++) {
          const { records, problems } = parseInChunks(join(head, last.slice(0, end)));
          expect(records).toHaveLength(1);
          expect(problems).toMatchObject([{ offset: head.length, what: 'cut off' }]);
          expect(problems[0]!.why).toContain(`ends ${end} bytes into`);
        }
      }
    });

    it('keeps a bounded number of interfaces', () => {
      const many = Array.from({ length: 65_537 }, () => b.interface());
      const { parser, problems } = parseInChunks(join(b.section(), ...many));
      expect(problems).toMatchObject([{ what: 'too many interfaces' }]);
      expect(parser.interfaces).toHaveLength(65_536);
      const long = b.interface([[3, new Uint8Array(65_532).fill(0x61)]]);
      const large = parseInChunks(join(b.section(), ...Array.from({ length: 300 }, () => long)));
      expect(large.problems).toMatchObject([{ what: 'too many interfaces' }]);
    });
  });
});
