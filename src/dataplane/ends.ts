import { IPV4_MAPPED } from '../../nat/tuple.ts';
import type { Frame } from '../../switch/frame.ts';
import { ROW_ARGUMENTS } from '../../switch/trace.ts';
import { arpSpa, arpTpa } from '../../wire/arp.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { IPV4_DST, IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parseEthernet, parseNetwork } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';

/** Arguments that `Ends.write` writes. */
const WORDS = 10;

/**
 * Reads whom a frame is from and for into a row, however broken it is: what cannot be read is 0. It has a description of the
 * frame of its own, because the frame's may be of the one before it in the slot, and must not change by being looked at.
 */
export class Ends {
  readonly #packet: Packet;

  constructor(bytes: Uint8Array) {
    this.#packet = new Packet(bytes);
  }

  /** Writes the arguments a0 to a9 (ENDS of `switch/trace.ts`). */
  write(frame: Frame, row: Int32Array): void {
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + WORDS);
    const packet = this.#packet;
    packet.at = frame.at;
    packet.length = frame.length;
    if (parseEthernet(packet) !== Malformed.NONE) return;
    const { bytes, l3, etherType } = packet;
    row[ROW_ARGUMENTS + 9] = etherType;
    if (parseNetwork(packet) !== Malformed.NONE) return;
    switch (etherType) {
      case ETHERTYPE_IPV4:
        writeIpv4(row, 0, get32(bytes, l3 + IPV4_SRC));
        writeIpv4(row, 4, get32(bytes, l3 + IPV4_DST));
        break;
      case ETHERTYPE_IPV6:
        for (let i = 0; i < 4; i++) {
          row[ROW_ARGUMENTS + i] = get32(bytes, l3 + IPV6_SRC + 4 * i);
          row[ROW_ARGUMENTS + 4 + i] = get32(bytes, l3 + IPV6_DST + 4 * i);
        }
        break;
      case ETHERTYPE_ARP:
        writeIpv4(row, 0, arpSpa(bytes, l3));
        writeIpv4(row, 4, arpTpa(bytes, l3));
        return;
      default:
        return;
    }
    const { protocol, l4 } = packet;
    row[ROW_ARGUMENTS + 9] = etherType | ((protocol & 0xff) << 16);
    if (l4 === 0) return;
    if (protocol === PROTO_TCP || protocol === PROTO_UDP) row[ROW_ARGUMENTS + 8] = get32(bytes, l4);
    else if (protocol === PROTO_ICMP || protocol === PROTO_ICMPV6) row[ROW_ARGUMENTS + 8] = get16(bytes, l4);
  }
}

function writeIpv4(row: Int32Array, argument: number, address: number): void {
  row[ROW_ARGUMENTS + argument + 2] = IPV4_MAPPED;
  row[ROW_ARGUMENTS + argument + 3] = address;
}
