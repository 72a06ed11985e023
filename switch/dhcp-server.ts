import { MAC_BROADCAST_HI, MAC_BROADCAST_LO, type Mac } from '../wire/address.ts';
import { type Carrier, carryList } from '../wire/carrier.ts';
import {
  DHCP_BROADCAST,
  DHCP_CLIENT_PORT,
  DHCP_SERVER_PORT,
  DhcpOption,
  DhcpRequest,
  DhcpType,
  parseDhcp,
  writeDhcpOption8,
  writeDhcpOption16,
  writeDhcpOption32,
  writeDhcpReply,
} from '../wire/dhcp.ts';
import { ethSrcHi, ethSrcLo } from '../wire/ethernet.ts';
import { parse } from '../wire/parse.ts';
import { PROTO_UDP } from '../wire/protocol.ts';
import { fillTransportChecksum } from '../wire/transport.ts';
import { UDP_LEN, udpLength, writeUdp } from '../wire/udp.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame, PortId } from './frame.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { Peer } from './peer.ts';
import { CONSUME, drop, forward, type Verdict } from './verdict.ts';

/** Seconds of a lease. The address is the endpoint's for as long as it is attached; this is how often it asks. */
export const DHCP_LEASE = 3600;
/** Milliseconds in which an address that its client found in use is not offered (RFC 2131 §3.1 (5): at least ten seconds). */
const QUARANTINE = 10_000;
/** Bytes of an answer: the least that BOOTP clients take (RFC 951 §3), which has room for all options that there are. */
const REPLY = 300;
const ALL = -1;

/** Whose lease a port has. */
interface Lease {
  readonly mac: Mac;
  readonly address: number;
  /** Until when it is not offered. */
  quarantine: number;
}

/**
 * DHCP of the gateways (RFC 2131), for guests that ask for what they might be told. There is nothing to choose: the control plane has
 * given the endpoint its address, and this tells it to the endpoint's own MAC at the endpoint's own port and to nobody else. So there is
 * no pool that somebody could exhaust, and no table that grows.
 */
export class DhcpServer {
  readonly #originator: Originator;
  /** By network. */
  readonly #serving: boolean[] = [];
  /** By port. */
  readonly #leases: (Lease | undefined)[] = [];
  readonly #request = new DhcpRequest();
  readonly #peer = new Peer();

  constructor(originator: Originator) {
    this.#originator = originator;
  }

  carry(carrier: Carrier): void {
    carryList(carrier, this.#serving);
    carryList(carrier, this.#leases);
  }

  /** From now on the gateway of `network` answers, or does not any more. */
  serve(network: number, on: boolean): void {
    this.#serving[network] = on;
  }

  serves(network: number): boolean {
    return this.#serving[network] === true;
  }

  /** The endpoint at a port and the address that it is to have. */
  addPort(port: PortId, mac: Mac, address: number): void {
    this.#leases[port] = { mac, address, quarantine: Number.NEGATIVE_INFINITY };
  }

  removePort(port: PortId): void {
    this.#leases[port] = undefined;
  }

  /** A parsed datagram to port 67, its checksum right, to the gateway or to all. The frame is not changed. */
  input(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, at, l4, ingress } = frame;
    const request = this.#request;
    if (!parseDhcp(bytes, l4 + UDP_LEN, l4 + udpLength(bytes, l4), request))
      return drop(DropReason.DHCP_MALFORMED);
    const lease = this.#leases[ingress];
    // No relay is in between (giaddr), and nobody asks for another's MAC.
    const isOwn =
      lease !== undefined &&
      request.giaddr === 0 &&
      request.macHi === lease.mac.hi &&
      request.macLo === lease.mac.lo &&
      ethSrcHi(bytes, at) === lease.mac.hi &&
      ethSrcLo(bytes, at) === lease.mac.lo;
    if (!isOwn) return drop(DropReason.DHCP_FOREIGN);
    const { requested, server, ciaddr } = request;
    switch (request.type) {
      case DhcpType.DISCOVER:
        if (now >= lease.quarantine) this.#reply(frame, network, DhcpType.OFFER, lease);
        break;
      case DhcpType.REQUEST: {
        // RFC 2131 §4.3.2: who names another server has taken that one's offer.
        if (server !== 0 && server !== network.ipv4) break;
        const wanted = requested !== 0 ? requested : ciaddr;
        this.#reply(frame, network, wanted === lease.address ? DhcpType.ACK : DhcpType.NAK, lease);
        break;
      }
      case DhcpType.DECLINE:
        if (requested === lease.address) lease.quarantine = now + QUARANTINE;
        break;
      case DhcpType.INFORM:
        // RFC 2131 §4.3.5: who has an address already gets the rest, and no lease.
        if (ciaddr === lease.address) this.#reply(frame, network, DhcpType.ACK, lease);
        break;
    }
    // RELEASE: the address stays the endpoint's.
    return CONSUME;
  }

  #reply(frame: Frame, network: Network, type: number, lease: Lease): void {
    const request = this.#request;
    const peer = this.#peer;
    peer.read(frame);
    peer.local[0] = network.ipv4;
    peer.localPort = DHCP_SERVER_PORT;
    peer.remotePort = DHCP_CLIENT_PORT;
    const isNak = type === DhcpType.NAK;
    // RFC 2131 §4.1: to its address when it has one, to all when it cannot hear otherwise, else to the address that it is to have.
    const toAll = isNak || (request.ciaddr === 0 && (request.flags & DHCP_BROADCAST) !== 0);
    peer.remote[0] = toAll ? ALL : request.ciaddr !== 0 ? request.ciaddr : lease.address;
    if (toAll) {
      peer.macHi = MAC_BROADCAST_HI;
      peer.macLo = MAC_BROADCAST_LO;
    }
    const reply = this.#originator.allocate(peer.headers + UDP_LEN + REPLY);
    if (reply === undefined) return;
    const { bytes } = reply;
    const message = peer.headers + UDP_LEN + reply.at;
    const isInform = request.type === DhcpType.INFORM;
    let end = writeDhcpReply(bytes, message, request, isNak || isInform ? 0 : lease.address);
    end = writeDhcpOption8(bytes, end, DhcpOption.MESSAGE_TYPE, type);
    end = writeDhcpOption32(bytes, end, DhcpOption.SERVER_IDENTIFIER, network.ipv4);
    if (!isNak) {
      if (!isInform) end = writeDhcpOption32(bytes, end, DhcpOption.LEASE_TIME, DHCP_LEASE);
      end = writeDhcpOption32(bytes, end, DhcpOption.SUBNET_MASK, network.ipv4Mask);
      // From an internal network nothing leads anywhere.
      if (!network.isInternal) end = writeDhcpOption32(bytes, end, DhcpOption.ROUTER, network.ipv4);
      end = writeDhcpOption32(bytes, end, DhcpOption.NAME_SERVER, network.ipv4);
      end = writeDhcpOption16(bytes, end, DhcpOption.MTU, network.mtu);
    }
    bytes[end] = DhcpOption.END;
    const udp = peer.writeHeaders(reply, network, PROTO_UDP, UDP_LEN + REPLY);
    writeUdp(bytes, udp, peer.localPort, peer.remotePort, UDP_LEN + REPLY);
    parse(reply);
    fillTransportChecksum(reply);
    reply.ingress = network.port;
    // Also what is for all is for this port alone: nobody else has asked.
    if (this.#originator.outbox.originate(reply, forward(frame.ingress))) return;
    this.#originator.failures++;
    this.#originator.arena.release(reply);
  }
}
