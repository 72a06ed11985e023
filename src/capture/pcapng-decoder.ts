// pcapng: draft-ietf-opsawg-pcapng. A sequence of blocks that each say their length twice; sections may follow
// one another, each in its own byte order and with its own interfaces.
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import type { CaptureDecoder, CaptureInput } from './capture-input.ts';
import { type CaptureInterface, type InterfaceStatistics, MAX_CAPTURED_LENGTH } from './capture-record.ts';
import * as ng from './pcapng-format.ts';
import { BlockType } from './pcapng-format.ts';

/** Largest block that is taken into memory, the same as libpcap's and Wireshark's. */
export const MAX_BLOCK_LENGTH = 16 * 1024 * 1024;
/** Most interfaces of a section; a port each is far above what a deck has. */
const MAX_INTERFACES = 65_536;
/** Most bytes of blocks whose contents outlive them: a section's interfaces, or all names. */
const MAX_KEPT_BYTES = MAX_BLOCK_LENGTH;

/** How an interface counts time: seconds = ticks / ticksPerSecond + offset. */
interface Clock {
  readonly ticksPerSecond: bigint;
  /** Seconds. */
  readonly offset: bigint;
  /** The ticks as numbers when the unit is a power of ten from a second to a nanosecond; 0 otherwise. */
  readonly ticks: number;
  readonly nanosecondsPerTick: number;
  readonly offsetSeconds: number;
}

const BILLION = 1_000_000_000;

function clockOf(ticksPerSecond: bigint, offset: bigint): Clock {
  const isPlain = ticksPerSecond <= BILLION && BigInt(BILLION) % ticksPerSecond === 0n;
  const ticks = isPlain ? Number(ticksPerSecond) : 0;
  const nanosecondsPerTick = isPlain ? BILLION / ticks : 0;
  return { ticksPerSecond, offset, ticks, nanosecondsPerTick, offsetSeconds: Number(offset) };
}

const MICROSECONDS = clockOf(1_000_000n, 0n);

function nanosecondsOf(high: number, low: number, { ticksPerSecond, offset }: Clock): bigint {
  const ticks = (BigInt(high) << 32n) | BigInt(low);
  return (ticks * 1_000_000_000n) / ticksPerSecond + offset * 1_000_000_000n;
}

const utf8 = new TextDecoder();

/** Text of an option: UTF-8, not terminated; some writers pad it with zeros. */
function text(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return utf8.decode(bytes.subarray(0, end));
}

type OptionVisitor = (code: number, value: Uint8Array, view: DataView) => void;

/** Reads pcapng in either byte order. */
export class PcapngDecoder implements CaptureDecoder {
  interfaces: CaptureInterface[] = [];
  /** Addresses (text) and the names that Name Resolution Blocks give them. */
  readonly names = new Map<string, readonly string[]>();
  /** Application that wrote the current section, as it says. */
  application: string | undefined;
  /** Comments of the current section. */
  comments: string[] = [];

  readonly #input: CaptureInput;
  #clocks: Clock[] = [];
  #littleEndian = true;
  #interfacesBefore = 0;
  #interfaceBytes = 0;
  #nameBytes = 0;
  /** Of the packet before: a Simple Packet Block has no time of its own. */
  #seconds = 0;
  #nanoseconds = 0;
  /** Where the options of the packet in hand begin and end. */
  #optionsAt = 0;
  #optionsEnd = 0;
  // A block being passed over: its bytes still to come without the repeated length, and that length.
  #passing = 0;
  #passingLength = 0;
  #passingFrom = 0;

  constructor(input: CaptureInput) {
    this.#input = input;
  }

  get begun(): number {
    return this.#passingLength > 0 ? this.#passingFrom : this.#input.queue.offset;
  }

  advance(): boolean {
    const input = this.#input;
    const { queue } = input;
    while (!input.stopped) {
      if (this.#passingLength > 0) {
        if (!this.#pass()) return false;
        continue;
      }
      const length = this.#blockLength();
      if (length === 0) return false;
      const type = queue.view.getUint32(queue.start, this.#littleEndian);
      if (!this.#isRead(type)) {
        this.#passing = length - 4;
        this.#passingLength = length;
        this.#passingFrom = queue.offset;
        continue;
      }
      if (length > MAX_BLOCK_LENGTH) {
        const why = `its length is ${length}, more than ${MAX_BLOCK_LENGTH}; the file is damaged here`;
        input.stop(queue.offset, 'absurd block', why);
        return false;
      }
      if (queue.length < length) return false;
      const at = queue.start;
      const offset = queue.offset;
      if (!this.#checkTrailer(at + length - 4, length, offset)) return false;
      // Consumed first: whoever is told of a fault in this block may throw, and reading can go on behind it.
      queue.skip(length);
      if (this.#block(type, at, length, offset)) return true;
    }
    return false;
  }

  recordComments(): readonly string[] {
    const { bytes, view } = this.#input.queue;
    const comments: string[] = [];
    // The options have been gone through once: whatever is wrong with them has been told.
    for (let at = this.#optionsAt; at + 4 <= this.#optionsEnd; ) {
      const code = view.getUint16(at, this.#littleEndian);
      const value = at + 4;
      const end = value + view.getUint16(at + 2, this.#littleEndian);
      if (code === ng.Opt.END || end > this.#optionsEnd) break;
      if (code === ng.Opt.COMMENT) comments.push(text(bytes.subarray(value, end)));
      at = ng.padded(end - value) + value;
    }
    return comments;
  }

  #isRead(type: number): boolean {
    return (
      type === BlockType.SECTION_HEADER ||
      (type >= BlockType.INTERFACE_DESCRIPTION && type <= BlockType.ENHANCED_PACKET)
    );
  }

  /** Total length of the block at the front, its byte order set when it begins a section; 0 while unknown. */
  #blockLength(): number {
    const input = this.#input;
    const { queue } = input;
    if (queue.length < ng.BLOCK_HEADER_LENGTH) return 0;
    const { view, start } = queue;
    // The type of a Section Header Block reads the same in both byte orders.
    if (view.getUint32(start) === BlockType.SECTION_HEADER) {
      if (queue.length < ng.SHB_MAGIC + 4) return 0;
      const magic = view.getUint32(start + ng.SHB_MAGIC, true);
      if (magic === ng.BYTE_ORDER_MAGIC) this.#littleEndian = true;
      else if (view.getUint32(start + ng.SHB_MAGIC) === ng.BYTE_ORDER_MAGIC) this.#littleEndian = false;
      else {
        const why = `the byte-order magic is 0x${magic.toString(16).padStart(8, '0')}`;
        input.stop(queue.offset, 'not a pcapng section', why);
        return 0;
      }
    }
    const length = view.getUint32(start + 4, this.#littleEndian);
    if (length < ng.BLOCK_OVERHEAD || length % 4 !== 0) {
      const why = `its length is ${length}, not a multiple of 4 of at least ${ng.BLOCK_OVERHEAD}`;
      input.stop(queue.offset, 'impossible block length', why);
      return 0;
    }
    return length;
  }

  #checkTrailer(at: number, length: number, offset: number): boolean {
    const repeated = this.#input.queue.view.getUint32(at, this.#littleEndian);
    if (repeated === length) return true;
    const why = `it says ${length} bytes at its beginning and ${repeated} at its end`;
    this.#input.stop(offset, 'contradictory block lengths', why);
    return false;
  }

  /** Lets go of a block that is not for us, of whatever length, without keeping it. */
  #pass(): boolean {
    const { queue } = this.#input;
    const now = Math.min(this.#passing, queue.length);
    queue.skip(now);
    this.#passing -= now;
    if (this.#passing > 0 || queue.length < 4) return false;
    const length = this.#passingLength;
    this.#passingLength = 0;
    if (!this.#checkTrailer(queue.start, length, this.#passingFrom)) return false;
    queue.skip(4);
    return true;
  }

  /** True when the block was a packet, which is the record in hand then. */
  #block(type: number, at: number, length: number, offset: number): boolean {
    switch (type) {
      case BlockType.ENHANCED_PACKET:
      case BlockType.PACKET:
        return this.#packet(type, at, length, offset);
      case BlockType.SIMPLE_PACKET:
        return this.#simplePacket(at, length, offset);
      case BlockType.SECTION_HEADER:
        this.#sectionHeader(at, length, offset);
        return false;
      case BlockType.INTERFACE_DESCRIPTION:
        this.#interfaceDescription(at, length, offset);
        return false;
      case BlockType.NAME_RESOLUTION:
        this.#nameResolution(at, length, offset);
        return false;
      default:
        this.#interfaceStatistics(at, length, offset);
        return false;
    }
  }

  #sectionHeader(at: number, length: number, offset: number): void {
    const input = this.#input;
    if (length < ng.SHB_OPTIONS + 4) {
      input.stop(offset, 'section header too short', `it has ${length} bytes`);
      return;
    }
    // Minor versions add only what older readers can ignore; 1.2 is in use and the same as 1.0.
    const major = input.queue.view.getUint16(at + ng.SHB_MAJOR, this.#littleEndian);
    if (major !== 1) {
      input.stop(offset, 'unsupported pcapng version', `it says ${major}, only 1 is understood`);
      return;
    }
    this.#interfacesBefore += this.interfaces.length;
    this.interfaces = [];
    this.#clocks = [];
    this.#interfaceBytes = 0;
    this.application = undefined;
    this.comments = [];
    this.#options(at + ng.SHB_OPTIONS, at + length - 4, offset, (code, value) => {
      if (code === ng.Opt.COMMENT) this.comments.push(text(value));
      else if (code === ng.ShbOpt.USERAPPL) this.application = text(value);
    });
  }

  #interfaceDescription(at: number, length: number, offset: number): void {
    const input = this.#input;
    if (length < ng.IDB_OPTIONS + 4) {
      input.stop(offset, 'interface description too short', `it has ${length} bytes`);
      return;
    }
    this.#interfaceBytes += length;
    if (this.interfaces.length === MAX_INTERFACES || this.#interfaceBytes > MAX_KEPT_BYTES) {
      const why = `more than ${MAX_INTERFACES}, or than ${MAX_KEPT_BYTES} bytes of them`;
      input.stop(offset, 'too many interfaces', why);
      return;
    }
    const { view } = input.queue;
    let name: string | undefined;
    let description: string | undefined;
    let macAddress: Uint8Array | undefined;
    let fcsLength = 0;
    let ticksPerSecond = MICROSECONDS.ticksPerSecond;
    let timeOffset = 0n;
    const comments: string[] = [];
    const described = {
      id: this.#interfacesBefore + this.interfaces.length,
      linkType: view.getUint16(at + ng.IDB_LINKTYPE, this.#littleEndian),
      snapLength: view.getUint32(at + ng.IDB_SNAPLEN, this.#littleEndian),
    };
    const options: OptionVisitor = (code, value, option) => {
      if (code === ng.Opt.COMMENT) comments.push(text(value));
      else if (code === ng.IdbOpt.NAME) name = text(value);
      else if (code === ng.IdbOpt.DESCRIPTION) description = text(value);
      else if (code === ng.IdbOpt.MAC_ADDRESS && value.length === 6) macAddress = value.slice();
      else if (code === ng.IdbOpt.FCSLEN && value.length === 1) fcsLength = value[0]!;
      else if (code === ng.IdbOpt.TSOFFSET && value.length === 8) {
        timeOffset = option.getBigInt64(0, this.#littleEndian);
      } else if (code === ng.IdbOpt.TSRESOL && value.length === 1) {
        const exponent = BigInt(value[0]! & 0x7f);
        ticksPerSecond = value[0]! & 0x80 ? 2n ** exponent : 10n ** exponent;
      }
    };
    // The interface exists also when its options are broken, else all numbers behind it would be wrong.
    try {
      this.#options(at + ng.IDB_OPTIONS, at + length - 4, offset, options);
    } finally {
      const statistics = undefined;
      this.interfaces.push({ ...described, name, description, macAddress, fcsLength, comments, statistics });
      this.#clocks.push(clockOf(ticksPerSecond, timeOffset));
    }
  }

  #packet(type: number, at: number, length: number, offset: number): boolean {
    const { view } = this.#input.queue;
    const littleEndian = this.#littleEndian;
    if (length < ng.EPB_DATA + 4) {
      return this.#skipped(offset, 'packet block too short', `it has ${length} bytes`);
    }
    // The obsolete Packet Block differs only in its interface: 16 bits, then a drop count.
    const number =
      type === BlockType.PACKET
        ? view.getUint16(at + ng.EPB_INTERFACE, littleEndian)
        : view.getUint32(at + ng.EPB_INTERFACE, littleEndian);
    const from = this.interfaces[number];
    if (from === undefined) {
      const why = `interface ${number} of ${this.interfaces.length} described before it`;
      return this.#skipped(offset, 'packet of an unknown interface', why);
    }
    const capturedLength = view.getUint32(at + ng.EPB_CAPTURED, littleEndian);
    if (!this.#credible(capturedLength, length - ng.EPB_DATA - 4, offset)) return false;
    this.#readTime(
      view.getUint32(at + ng.EPB_TIMESTAMP, littleEndian),
      view.getUint32(at + ng.EPB_TIMESTAMP + 4, littleEndian),
      this.#clocks[number] ?? MICROSECONDS,
    );
    const originalLength = view.getUint32(at + ng.EPB_ORIGINAL, littleEndian);
    const record = this.#input.view;
    record.hasFlags = false;
    record.hasPacketId = false;
    this.#optionsAt = at + ng.EPB_DATA + ng.padded(capturedLength);
    this.#optionsEnd = at + length - 4;
    if (this.#optionsAt + 4 <= this.#optionsEnd) this.#packetOptions(type, offset);
    this.#found(from, at + ng.EPB_DATA, offset, capturedLength, originalLength);
    return true;
  }

  /** Flags and identification of the packet in hand. */
  #packetOptions(type: number, offset: number): void {
    const { view } = this.#input.queue;
    const littleEndian = this.#littleEndian;
    const record = this.#input.view;
    const end = this.#optionsEnd;
    for (let at = this.#optionsAt; at + 4 <= end; ) {
      const code = view.getUint16(at, littleEndian);
      const size = view.getUint16(at + 2, littleEndian);
      if (code === ng.Opt.END) return;
      const value = at + 4;
      if (value + size > end) {
        this.#optionBeyond(offset, code, size, end - value);
        return;
      }
      if (code === ng.EpbOpt.FLAGS && size === 4) {
        record.flags = view.getUint32(value, littleEndian);
        record.hasFlags = true;
      } else if (code === ng.EpbOpt.PACKETID && size === 8 && type === BlockType.ENHANCED_PACKET) {
        record.packetIdHigh = view.getUint32(littleEndian ? value + 4 : value, littleEndian);
        record.packetIdLow = view.getUint32(littleEndian ? value : value + 4, littleEndian);
        record.hasPacketId = true;
      }
      at = value + ng.padded(size);
    }
  }

  #simplePacket(at: number, length: number, offset: number): boolean {
    if (length < ng.SPB_DATA + 4) {
      return this.#skipped(offset, 'packet block too short', `it has ${length} bytes`);
    }
    const from = this.interfaces[0];
    if (from === undefined) {
      return this.#skipped(offset, 'packet of an unknown interface', 'no interface was described before it');
    }
    const originalLength = this.#input.queue.view.getUint32(at + ng.SPB_ORIGINAL, this.#littleEndian);
    // It does not say how much was captured: that follows from the interface's snapshot length (§4.4).
    const capturedLength = from.snapLength === 0 ? originalLength : Math.min(originalLength, from.snapLength);
    if (!this.#credible(capturedLength, length - ng.SPB_DATA - 4, offset)) return false;
    const record = this.#input.view;
    record.hasFlags = false;
    record.hasPacketId = false;
    this.#optionsAt = 0;
    this.#optionsEnd = 0;
    this.#found(from, at + ng.SPB_DATA, offset, capturedLength, originalLength);
    return true;
  }

  #found(
    from: CaptureInterface,
    at: number,
    offset: number,
    capturedLength: number,
    originalLength: number,
  ): void {
    const input = this.#input;
    const record = input.view;
    record.number = ++input.records;
    record.offset = offset;
    record.from = from;
    record.bytes = input.queue.bytes;
    record.at = at;
    record.capturedLength = capturedLength;
    record.originalLength = originalLength;
    record.seconds = this.#seconds;
    record.nanoseconds = this.#nanoseconds;
    // Bits 5 to 8 of the flags say the FCS length of this packet and overrule the interface's; 0 says nothing.
    const fcsOfPacket = record.hasFlags ? (record.flags >>> 5) & 0xf : 0;
    record.fcsLength = fcsOfPacket === 0 ? from.fcsLength : fcsOfPacket;
  }

  #interfaceStatistics(at: number, length: number, offset: number): void {
    const { view } = this.#input.queue;
    if (length < ng.ISB_OPTIONS + 4) {
      this.#skipped(offset, 'statistics block too short', `it has ${length} bytes`);
      return;
    }
    const number = view.getUint32(at + ng.ISB_INTERFACE, this.#littleEndian);
    const of = this.interfaces[number];
    if (of === undefined) {
      this.#skipped(
        offset,
        'statistics of an unknown interface',
        `interface ${number} of ${this.interfaces.length}`,
      );
      return;
    }
    const found: { -readonly [field in keyof InterfaceStatistics]: InterfaceStatistics[field] } = {
      timestamp: this.#timestamp(at + ng.ISB_TIMESTAMP, number),
    };
    this.#options(at + ng.ISB_OPTIONS, at + length - 4, offset, (code, value, option) => {
      if (value.length !== 8) return;
      // Times are two halves, high first, in any byte order; counters are one 64-bit number.
      if (code === ng.IsbOpt.STARTTIME) found.startTime = this.#time(option, 0, number);
      else if (code === ng.IsbOpt.ENDTIME) found.endTime = this.#time(option, 0, number);
      else if (code === ng.IsbOpt.IFRECV) found.received = option.getBigUint64(0, this.#littleEndian);
      else if (code === ng.IsbOpt.IFDROP) found.dropped = option.getBigUint64(0, this.#littleEndian);
    });
    of.statistics = found;
  }

  #nameResolution(at: number, length: number, offset: number): void {
    const { bytes, view } = this.#input.queue;
    const end = at + length - 4;
    let record = at + ng.NRB_RECORDS;
    while (record + 4 <= end) {
      const type = view.getUint16(record, this.#littleEndian);
      const size = view.getUint16(record + 2, this.#littleEndian);
      if (type === ng.NameRecord.END) return;
      if (record + 4 + size > end) {
        this.#skipped(offset, 'name beyond its block', `a record of ${size} bytes`);
        return;
      }
      const addressLength = type === ng.NameRecord.IPV4 ? 4 : type === ng.NameRecord.IPV6 ? 16 : 0;
      // Names only help a reader, so what is too much is left out without a word.
      if (addressLength > 0 && size > addressLength && this.#nameBytes + size <= MAX_KEPT_BYTES) {
        this.#nameBytes += size;
        const value = record + 4;
        const address =
          type === ng.NameRecord.IPV4
            ? formatIpv4(get32(bytes, value))
            : formatIpv6(
                get32(bytes, value),
                get32(bytes, value + 4),
                get32(bytes, value + 8),
                get32(bytes, value + 12),
              );
        const names = text(bytes.subarray(value + addressLength, value + size));
        this.names.set(address, names.split('\0'));
      }
      record += 4 + ng.padded(size);
    }
  }

  #timestamp(at: number, number: number): bigint {
    return this.#time(this.#input.queue.view, at, number);
  }

  #time(view: DataView, at: number, number: number): bigint {
    const high = view.getUint32(at, this.#littleEndian);
    const low = view.getUint32(at + 4, this.#littleEndian);
    return nanosecondsOf(high, low, this.#clocks[number] ?? MICROSECONDS);
  }

  /** The time of a packet in ticks, as seconds and nanoseconds. */
  #readTime(high: number, low: number, clock: Clock): void {
    const { ticks } = clock;
    if (ticks === 0) {
      const all = nanosecondsOf(high, low, clock);
      const part = Number(all % 1_000_000_000n);
      this.#nanoseconds = part < 0 ? part + BILLION : part;
      this.#seconds = Number((all - BigInt(this.#nanoseconds)) / 1_000_000_000n);
      return;
    }
    // Long division by digits of 16 bits: 64 bits fit in no number, a remainder and a digit do. The quotient's floor is exact
    // (a remainder and a digit have 46 bits at most), and `%` would be a call for numbers of this size.
    let digit = high >>> 16;
    let quotient = Math.floor(digit / ticks);
    let seconds = quotient;
    let rest = (digit - quotient * ticks) * 0x1_0000 + (high & 0xffff);
    quotient = Math.floor(rest / ticks);
    seconds = seconds * 0x1_0000 + quotient;
    digit = low >>> 16;
    rest = (rest - quotient * ticks) * 0x1_0000 + digit;
    quotient = Math.floor(rest / ticks);
    seconds = seconds * 0x1_0000 + quotient;
    rest = (rest - quotient * ticks) * 0x1_0000 + (low & 0xffff);
    quotient = Math.floor(rest / ticks);
    this.#seconds = seconds * 0x1_0000 + quotient + clock.offsetSeconds;
    this.#nanoseconds = (rest - quotient * ticks) * clock.nanosecondsPerTick;
  }

  #credible(capturedLength: number, room: number, offset: number): boolean {
    if (capturedLength <= room && capturedLength <= MAX_CAPTURED_LENGTH) return true;
    const why = `${capturedLength} bytes in a block with room for ${room} (at most ${MAX_CAPTURED_LENGTH} are believed)`;
    this.#skipped(offset, 'lying captured length', why);
    return false;
  }

  /** A block whose frame is lost, but behind which the next one is found. */
  #skipped(offset: number, what: string, why: string): false {
    this.#input.complain(
      offset,
      what,
      why,
      'check that the file was not damaged in transfer; the block is left out',
    );
    return false;
  }

  /** Visits the options between two places; the end mark may be missing. */
  #options(at: number, end: number, offset: number, visit: OptionVisitor): void {
    const { bytes, view } = this.#input.queue;
    let option = at;
    while (option + 4 <= end) {
      const code = view.getUint16(option, this.#littleEndian);
      const size = view.getUint16(option + 2, this.#littleEndian);
      if (code === ng.Opt.END) return;
      const value = option + 4;
      if (value + size > end) {
        this.#optionBeyond(offset, code, size, end - value);
        return;
      }
      visit(code, bytes.subarray(value, value + size), new DataView(bytes.buffer, value, size));
      option = value + ng.padded(size);
    }
  }

  #optionBeyond(offset: number, code: number, size: number, there: number): void {
    const why = `option ${code} says ${size} bytes, ${there} are there`;
    const advice = 'check that the file was not damaged in transfer; the option is left out';
    this.#input.complain(offset, 'option beyond its block', why, advice);
  }
}
