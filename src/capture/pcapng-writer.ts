// Writes pcapng as draft-ietf-opsawg-pcapng says, in the subset that every reader understands: one section,
// little-endian, one link type and one snapshot length for all interfaces (libpcap refuses anything else),
// times in nanoseconds.
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { set32 } from '../../wire/bytes.ts';
import { BlockWriter, type Sink } from './block-writer.ts';
import { type InterfaceStatistics, MAX_CAPTURED_LENGTH } from './capture-record.ts';
import { LinkType } from './link-type.ts';
import * as ng from './pcapng-format.ts';
import { BlockType } from './pcapng-format.ts';

const NANOSECONDS = 9;

export interface SectionDescription {
  /** What wrote the file; "tapdeck" by default. */
  application?: string;
  /** The machine that was captured on, and its system; not said by default. */
  hardware?: string;
  os?: string;
  comments?: readonly string[];
  /** Of all interfaces; Ethernet by default. */
  linkType?: number;
  /** Most bytes written of a frame; 262,144 by default. */
  snapLength?: number;
}

export interface InterfaceDescription {
  name?: string;
  description?: string;
  /** Six bytes. */
  macAddress?: Uint8Array;
  /** What was captured, in tcpdump's language. */
  filter?: string;
  comments?: readonly string[];
}

/** What may be said of a frame besides its bytes. */
export interface FrameNotes {
  /** Length on the wire; the length given by default. */
  originalLength?: number | undefined;
  /** `epb_flags`, see `PacketFlags`. */
  flags?: number | undefined;
  /** `epb_packetid`: the same on every copy of one packet. */
  packetId?: bigint | undefined;
  comments?: readonly string[] | undefined;
}

/**
 * Writes one pcapng section. The same calls give the same bytes: nothing of the machine or the hour goes in.
 * Every block goes to the sink in one piece.
 */
export class PcapngWriter {
  readonly #block: BlockWriter;
  readonly #linkType: number;
  readonly #snapLength: number;
  #interfaces = 0;

  constructor(sink: Sink, section: SectionDescription = {}) {
    this.#block = new BlockWriter(sink);
    this.#linkType = section.linkType ?? LinkType.ETHERNET;
    this.#snapLength = section.snapLength ?? MAX_CAPTURED_LENGTH;
    const block = this.#block;
    block.begin(BlockType.SECTION_HEADER);
    block.u32(ng.BYTE_ORDER_MAGIC);
    block.u16(1);
    block.u16(0);
    // Section length -1: not known, as the section may be a stream.
    block.u64(0xffff_ffff_ffff_ffffn);
    for (const comment of section.comments ?? []) block.optionText(ng.Opt.COMMENT, comment);
    if (section.hardware !== undefined) block.optionText(ng.ShbOpt.HARDWARE, section.hardware);
    if (section.os !== undefined) block.optionText(ng.ShbOpt.OS, section.os);
    block.optionText(ng.ShbOpt.USERAPPL, section.application ?? 'tapdeck');
    block.finish();
  }

  /** Describes an interface, at any time before its first frame; its number is the answer. */
  addInterface(description: InterfaceDescription = {}): number {
    const { name, description: says, macAddress, filter, comments } = description;
    if (macAddress !== undefined && macAddress.length !== 6)
      throw new RangeError('a MAC address has 6 bytes');
    const block = this.#block;
    block.begin(BlockType.INTERFACE_DESCRIPTION);
    block.u16(this.#linkType);
    block.u16(0);
    block.u32(this.#snapLength);
    for (const comment of comments ?? []) block.optionText(ng.Opt.COMMENT, comment);
    if (name !== undefined) block.optionText(ng.IdbOpt.NAME, name);
    if (says !== undefined) block.optionText(ng.IdbOpt.DESCRIPTION, says);
    if (macAddress !== undefined) block.optionBytes(ng.IdbOpt.MAC_ADDRESS, macAddress);
    block.optionU8(ng.IdbOpt.TSRESOL, NANOSECONDS);
    // The zero in front says that the text is a filter of libpcap's.
    if (filter !== undefined) block.optionText(ng.IdbOpt.FILTER, `\0${filter}`);
    block.finish();
    return this.#interfaces++;
  }

  /**
   * Writes `length` bytes from `at` on as one frame, shortened to the snapshot length.
   * @param timestamp nanoseconds since 1970-01-01 UTC
   * @throws RangeError when the interface has not been described, or the time does not fit into 64 bits
   */
  write(
    interfaceId: number,
    timestamp: bigint,
    bytes: Uint8Array,
    at: number,
    length: number,
    notes?: FrameNotes,
  ): void {
    this.#known(interfaceId);
    const capturedLength = Math.min(length, this.#snapLength);
    const block = this.#block;
    block.begin(BlockType.ENHANCED_PACKET);
    block.u32(interfaceId);
    block.time(timestamp);
    block.u32(capturedLength);
    block.u32(notes?.originalLength ?? length);
    block.padded(bytes, at, capturedLength);
    if (notes !== undefined) {
      for (const comment of notes.comments ?? []) block.optionText(ng.Opt.COMMENT, comment);
      if (notes.flags !== undefined) block.optionU32(ng.EpbOpt.FLAGS, notes.flags);
      if (notes.packetId !== undefined) block.optionU64(ng.EpbOpt.PACKETID, notes.packetId);
    }
    block.finish();
  }

  /**
   * Gives addresses names, so that a reader shows the names.
   * @throws RangeError when an address is neither IPv4 nor IPv6
   */
  names(entries: Iterable<readonly [address: string, names: readonly string[]]>): void {
    const block = this.#block;
    block.begin(BlockType.NAME_RESOLUTION);
    for (const [address, names] of entries) {
      const bytes = addressBytes(address);
      // Names are terminated by a zero, each.
      block.record(
        bytes.length === 4 ? ng.NameRecord.IPV4 : ng.NameRecord.IPV6,
        bytes,
        `${names.join('\0')}\0`,
      );
    }
    block.u32(ng.NameRecord.END);
    block.finish();
  }

  /** Counters of an interface, usually at the end. */
  statistics(interfaceId: number, statistics: InterfaceStatistics): void {
    this.#known(interfaceId);
    const { timestamp, startTime, endTime, received, dropped } = statistics;
    const block = this.#block;
    block.begin(BlockType.INTERFACE_STATISTICS);
    block.u32(interfaceId);
    block.time(timestamp);
    if (startTime !== undefined) block.optionTime(ng.IsbOpt.STARTTIME, startTime);
    if (endTime !== undefined) block.optionTime(ng.IsbOpt.ENDTIME, endTime);
    if (received !== undefined) block.optionU64(ng.IsbOpt.IFRECV, received);
    if (dropped !== undefined) block.optionU64(ng.IsbOpt.IFDROP, dropped);
    block.finish();
  }

  #known(interfaceId: number): void {
    if (interfaceId >= 0 && interfaceId < this.#interfaces) return;
    throw new RangeError(`interface ${interfaceId} has not been described (there are ${this.#interfaces})`);
  }
}

function addressBytes(address: string): Uint8Array {
  const ipv4 = parseIpv4(address);
  const words = ipv4 === undefined ? parseIpv6(address) : [ipv4];
  if (words === undefined) throw new RangeError(`${address} is neither an IPv4 nor an IPv6 address`);
  const bytes = new Uint8Array(words.length * 4);
  for (const [i, word] of words.entries()) set32(bytes, i * 4, word);
  return bytes;
}
