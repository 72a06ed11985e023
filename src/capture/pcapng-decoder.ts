// pcapng: draft-ietf-opsawg-pcapng. A sequence of blocks that each say their length twice; sections may follow
// one another, each in its own byte order and with its own interfaces.
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import type { CaptureDecoder, CaptureInput } from './capture-input.ts';
import {
  type CaptureInterface,
  type CaptureRecord,
  type InterfaceStatistics,
  MAX_CAPTURED_LENGTH,
} from './capture-record.ts';
import * as ng from './pcapng-format.ts';
import { BlockType } from './pcapng-format.ts';

/** Largest block that is taken into memory, the same as libpcap's and Wireshark's. */
export const MAX_BLOCK_LENGTH = 16 * 1024 * 1024;
/** Most interfaces of a section; a port each is far above what a deck has. */
const MAX_INTERFACES = 65_536;
/** Most bytes of blocks whose contents outlive them: a section's interfaces, or all names. */
const MAX_KEPT_BYTES = MAX_BLOCK_LENGTH;

/** How an interface counts time: nanoseconds = ticks * 10^9 / ticksPerSecond + offset. */
interface Clock {
  readonly ticksPerSecond: bigint;
  readonly offset: bigint;
}

const MICROSECONDS: Clock = { ticksPerSecond: 1_000_000n, offset: 0n };

function nanoseconds(ticks: bigint, clock: Clock): bigint {
  return (ticks * 1_000_000_000n) / clock.ticksPerSecond + clock.offset;
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
  #lastTimestamp = 0n;
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

  next(): CaptureRecord | undefined {
    const input = this.#input;
    const { queue } = input;
    while (!input.stopped) {
      if (this.#passingLength > 0) {
        if (!this.#pass()) return undefined;
        continue;
      }
      const length = this.#blockLength();
      if (length === 0) return undefined;
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
        return undefined;
      }
      if (queue.length < length) return undefined;
      const at = queue.start;
      const offset = queue.offset;
      if (!this.#checkTrailer(at + length - 4, length, offset)) return undefined;
      // Consumed first: whoever is told of a fault in this block may throw, and reading can go on behind it.
      queue.skip(length);
      const record = this.#block(type, at, length, offset);
      if (record !== undefined) return record;
    }
    return undefined;
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

  #block(type: number, at: number, length: number, offset: number): CaptureRecord | undefined {
    switch (type) {
      case BlockType.SECTION_HEADER:
        this.#sectionHeader(at, length, offset);
        return undefined;
      case BlockType.INTERFACE_DESCRIPTION:
        this.#interfaceDescription(at, length, offset);
        return undefined;
      case BlockType.PACKET:
      case BlockType.ENHANCED_PACKET:
        return this.#packet(type, at, length, offset);
      case BlockType.SIMPLE_PACKET:
        return this.#simplePacket(at, length, offset);
      case BlockType.NAME_RESOLUTION:
        this.#nameResolution(at, length, offset);
        return undefined;
      default:
        this.#interfaceStatistics(at, length, offset);
        return undefined;
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
        timeOffset = option.getBigInt64(0, this.#littleEndian) * 1_000_000_000n;
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
      this.#clocks.push({ ticksPerSecond, offset: timeOffset });
    }
  }

  #packet(type: number, at: number, length: number, offset: number): CaptureRecord | undefined {
    const { view } = this.#input.queue;
    if (length < ng.EPB_DATA + 4)
      return this.#skipped(offset, 'packet block too short', `it has ${length} bytes`);
    // The obsolete Packet Block differs only in its interface: 16 bits, then a drop count.
    const number =
      type === BlockType.PACKET
        ? view.getUint16(at + ng.EPB_INTERFACE, this.#littleEndian)
        : view.getUint32(at + ng.EPB_INTERFACE, this.#littleEndian);
    const from = this.interfaces[number];
    if (from === undefined) {
      const why = `interface ${number} of ${this.interfaces.length} described before it`;
      return this.#skipped(offset, 'packet of an unknown interface', why);
    }
    const capturedLength = view.getUint32(at + ng.EPB_CAPTURED, this.#littleEndian);
    if (!this.#credible(capturedLength, length - ng.EPB_DATA - 4, offset)) return undefined;
    this.#lastTimestamp = this.#timestamp(at + ng.EPB_TIMESTAMP, number);
    let flags: number | undefined;
    let packetId: bigint | undefined;
    const comments: string[] = [];
    const originalLength = view.getUint32(at + ng.EPB_ORIGINAL, this.#littleEndian);
    this.#options(
      at + ng.EPB_DATA + ng.padded(capturedLength),
      at + length - 4,
      offset,
      (code, value, option) => {
        if (code === ng.Opt.COMMENT) comments.push(text(value));
        else if (code === ng.EpbOpt.FLAGS && value.length === 4)
          flags = option.getUint32(0, this.#littleEndian);
        else if (code === ng.EpbOpt.PACKETID && value.length === 8 && type === BlockType.ENHANCED_PACKET) {
          packetId = option.getBigUint64(0, this.#littleEndian);
        }
      },
    );
    return this.#record(
      from,
      at + ng.EPB_DATA,
      offset,
      capturedLength,
      originalLength,
      flags,
      packetId,
      comments,
    );
  }

  #simplePacket(at: number, length: number, offset: number): CaptureRecord | undefined {
    if (length < ng.SPB_DATA + 4)
      return this.#skipped(offset, 'packet block too short', `it has ${length} bytes`);
    const from = this.interfaces[0];
    if (from === undefined) {
      return this.#skipped(offset, 'packet of an unknown interface', 'no interface was described before it');
    }
    const originalLength = this.#input.queue.view.getUint32(at + ng.SPB_ORIGINAL, this.#littleEndian);
    // It does not say how much was captured: that follows from the interface's snapshot length (§4.4).
    const capturedLength = from.snapLength === 0 ? originalLength : Math.min(originalLength, from.snapLength);
    if (!this.#credible(capturedLength, length - ng.SPB_DATA - 4, offset)) return undefined;
    return this.#record(
      from,
      at + ng.SPB_DATA,
      offset,
      capturedLength,
      originalLength,
      undefined,
      undefined,
      [],
    );
  }

  #record(
    from: CaptureInterface,
    at: number,
    offset: number,
    capturedLength: number,
    originalLength: number,
    flags: number | undefined,
    packetId: bigint | undefined,
    comments: readonly string[],
  ): CaptureRecord {
    // Bits 5 to 8 of the flags say the FCS length of this packet and overrule the interface's; 0 says nothing.
    const fcsOfPacket = ((flags ?? 0) >>> 5) & 0xf;
    return {
      number: ++this.#input.records,
      offset,
      interfaceId: from.id,
      interfaceName: from.name,
      linkType: from.linkType,
      timestamp: this.#lastTimestamp,
      data: this.#input.queue.bytes.subarray(at, at + capturedLength),
      capturedLength,
      originalLength,
      fcsLength: fcsOfPacket === 0 ? from.fcsLength : fcsOfPacket,
      flags,
      packetId,
      comments,
    };
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
    const high = BigInt(view.getUint32(at, this.#littleEndian));
    const low = BigInt(view.getUint32(at + 4, this.#littleEndian));
    return nanoseconds((high << 32n) | low, this.#clocks[number] ?? MICROSECONDS);
  }

  #credible(capturedLength: number, room: number, offset: number): boolean {
    if (capturedLength <= room && capturedLength <= MAX_CAPTURED_LENGTH) return true;
    const why = `${capturedLength} bytes in a block with room for ${room} (at most ${MAX_CAPTURED_LENGTH} are believed)`;
    this.#skipped(offset, 'lying captured length', why);
    return false;
  }

  /** A block whose frame is lost, but behind which the next one is found. */
  #skipped(offset: number, what: string, why: string): undefined {
    this.#input.complain(
      offset,
      what,
      why,
      'check that the file was not damaged in transfer; the block is left out',
    );
    return undefined;
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
        const why = `option ${code} says ${size} bytes, ${end - value} are there`;
        const advice = 'check that the file was not damaged in transfer; the option is left out';
        this.#input.complain(offset, 'option beyond its block', why, advice);
        return;
      }
      visit(code, bytes.subarray(value, value + size), new DataView(bytes.buffer, value, size));
      option = value + ng.padded(size);
    }
  }
}
