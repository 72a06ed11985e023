import {
  ETH_LEN,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethSrcHi,
  ethSrcLo,
  writeEthernet,
} from '../wire/ethernet.ts';
import { IPV4_DF, IPV4_LEN, ipv4Dst, ipv4Src, writeIpv4 } from '../wire/ipv4.ts';
import { IPV6_LEN, ipv6Dst, ipv6Src, setIpv6Dst, setIpv6Src, writeIpv6 } from '../wire/ipv6.ts';
import { parse } from '../wire/parse.ts';
import { PROTO_UDP } from '../wire/protocol.ts';
import { fillTransportChecksum } from '../wire/transport.ts';
import { UDP_LEN, udpDstPort, udpSrcPort, writeUdp } from '../wire/udp.ts';
import type { Frame } from './frame.ts';
import { DEFAULT_TTL } from './icmp.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';

/** Int32 words of a `Peer` that is kept in a table. */
export const PEER_WORDS = 12;

/** Who asks a service of a gateway, at which address of it: filled and reused, so that no packet makes an object. */
export class Peer {
  macHi = 0;
  macLo = 0;
  isIpv4 = true;
  /** Its address and the gateway's, four words each; IPv4 has the first one. */
  readonly remote = new Int32Array(4);
  readonly local = new Int32Array(4);
  remotePort = 0;
  localPort = 0;

  /** The sender of a parsed UDP datagram or TCP segment. */
  read({ bytes, at, l3, l4, etherType }: Frame): void {
    this.macHi = ethSrcHi(bytes, at);
    this.macLo = ethSrcLo(bytes, at);
    this.isIpv4 = etherType === ETHERTYPE_IPV4;
    if (this.isIpv4) {
      this.remote[0] = ipv4Src(bytes, l3);
      this.local[0] = ipv4Dst(bytes, l3);
    } else {
      for (let i = 0; i < 4; i++) {
        this.remote[i] = ipv6Src(bytes, l3, i);
        this.local[i] = ipv6Dst(bytes, l3, i);
      }
    }
    this.remotePort = udpSrcPort(bytes, l4);
    this.localPort = udpDstPort(bytes, l4);
  }

  /** Bytes in front of the transport header of an answer. */
  get headers(): number {
    return ETH_LEN + (this.isIpv4 ? IPV4_LEN : IPV6_LEN);
  }

  save(words: Int32Array, at: number): void {
    words[at] = (this.macHi << 1) | (this.isIpv4 ? 1 : 0);
    words[at + 1] = this.macLo;
    words[at + 2] = (this.remotePort << 16) | this.localPort;
    for (let i = 0; i < 4; i++) {
      words[at + 4 + i] = this.remote[i];
      words[at + 8 + i] = this.local[i];
    }
  }

  load(words: Int32Array, at: number): void {
    this.isIpv4 = (words[at] & 1) !== 0;
    this.macHi = words[at] >>> 1;
    this.macLo = words[at + 1];
    this.remotePort = words[at + 2] >>> 16;
    this.localPort = words[at + 2] & 0xffff;
    for (let i = 0; i < 4; i++) {
      this.remote[i] = words[at + 4 + i];
      this.local[i] = words[at + 8 + i];
    }
  }

  /**
   * Writes the headers of an answer of the gateway, of which `length` bytes lie behind them in `frame`; answers the offset of those. It
   * goes to where the question's frame came from: an answer never goes to a third party.
   */
  writeHeaders(frame: Frame, network: Network, protocol: number, length: number): number {
    const { bytes } = frame;
    const { remote, local } = this;
    frame.length = this.headers + length;
    const ip = writeEthernet(
      bytes,
      frame.at,
      this.macHi,
      this.macLo,
      network.macHi,
      network.macLo,
      this.isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6,
    );
    if (this.isIpv4) {
      // Never cut, so the identification means nothing and may be 0 (RFC 6864 §4.1).
      const total = IPV4_LEN + length;
      return writeIpv4(bytes, ip, total, protocol, DEFAULT_TTL, local[0], remote[0], 0, IPV4_DF);
    }
    const end = writeIpv6(bytes, ip, length, protocol, DEFAULT_TTL);
    setIpv6Src(bytes, ip, local[0], local[1], local[2], local[3]);
    setIpv6Dst(bytes, ip, remote[0], remote[1], remote[2], remote[3]);
    return end;
  }

  /**
   * Sends a datagram, of which `length` bytes of data lie behind the room for all headers in `frame`; takes over the caller's reference.
   */
  sendUdp(originator: Originator, frame: Frame, length: number, network: Network, now: number): void {
    const udp = this.writeHeaders(frame, network, PROTO_UDP, UDP_LEN + length);
    writeUdp(frame.bytes, udp, this.localPort, this.remotePort, UDP_LEN + length);
    parse(frame);
    fillTransportChecksum(frame);
    originator.send(frame, network, now);
  }
}
