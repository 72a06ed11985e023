import { isIpv6Multicast } from '../wire/address.ts';
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
import { PROTO_TCP } from '../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_LEN,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpDstPort,
  tcpFlags,
  tcpSequence,
  tcpSrcPort,
  writeTcp,
} from '../wire/tcp.ts';
import { fillTransportChecksum } from '../wire/transport.ts';
import type { Frame } from './frame.ts';
import { DEFAULT_TTL } from './icmp.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';

/**
 * Answers a segment to which no connection belongs (RFC 9293 §3.10.7.1). The packet is parsed and its checksum right, its
 * source is a single host; it is answered to where its frame came from.
 */
export function sendTcpReset(originator: Originator, frame: Frame, network: Network, now: number): void {
  const { bytes, at, l3, l4 } = frame;
  const flags = tcpFlags(bytes, l4);
  // A reset is never answered, or two hosts would go on for ever.
  if ((flags & TCP_RST) !== 0) return;
  const isIpv4 = frame.etherType === ETHERTYPE_IPV4;
  // RFC 9293 §3.9.2.3 (MUST-57): nobody is connected to a group. IPv4 groups do not come here.
  if (!isIpv4 && isIpv6Multicast(ipv6Dst(bytes, l3, 0))) return;
  const reset = originator.allocate(ETH_LEN + (isIpv4 ? IPV4_LEN : IPV6_LEN) + TCP_LEN);
  if (reset === undefined) return;
  const out = reset.bytes;
  const { macHi, macLo } = network;
  const ip = writeEthernet(
    out,
    reset.at,
    ethSrcHi(bytes, at),
    ethSrcLo(bytes, at),
    macHi,
    macLo,
    isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6,
  );
  let tcp: number;
  if (isIpv4) {
    const total = IPV4_LEN + TCP_LEN;
    tcp = writeIpv4(
      out,
      ip,
      total,
      PROTO_TCP,
      DEFAULT_TTL,
      ipv4Dst(bytes, l3),
      ipv4Src(bytes, l3),
      0,
      IPV4_DF,
    );
  } else {
    tcp = writeIpv6(out, ip, TCP_LEN, PROTO_TCP, DEFAULT_TTL);
    setIpv6Src(
      out,
      ip,
      ipv6Dst(bytes, l3, 0),
      ipv6Dst(bytes, l3, 1),
      ipv6Dst(bytes, l3, 2),
      ipv6Dst(bytes, l3, 3),
    );
    setIpv6Dst(
      out,
      ip,
      ipv6Src(bytes, l3, 0),
      ipv6Src(bytes, l3, 1),
      ipv6Src(bytes, l3, 2),
      ipv6Src(bytes, l3, 3),
    );
  }
  const acknowledges = (flags & TCP_ACK) !== 0;
  // SYN and FIN each take one sequence number.
  const length =
    frame.end - frame.payload + ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0);
  writeTcp(
    out,
    tcp,
    tcpDstPort(bytes, l4),
    tcpSrcPort(bytes, l4),
    acknowledges ? tcpAcknowledgment(bytes, l4) : 0,
    acknowledges ? 0 : tcpSequence(bytes, l4) + length,
    acknowledges ? TCP_RST : TCP_RST | TCP_ACK,
    0,
  );
  parse(reset);
  fillTransportChecksum(reset);
  originator.send(reset, network, now);
}
