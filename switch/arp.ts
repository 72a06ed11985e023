import { isGroup, MAC_BROADCAST_HI, MAC_BROADCAST_LO } from '../wire/address.ts';
import {
  ARP_LEN,
  ARP_REPLY,
  ARP_REQUEST,
  arpOper,
  arpShaHi,
  arpShaLo,
  arpSpa,
  arpTpa,
  writeArp,
} from '../wire/arp.ts';
import { ETH_LEN, ETHERTYPE_ARP, ethDstHi, ethSrcHi, ethSrcLo, writeEthernet } from '../wire/ethernet.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame } from './frame.ts';
import { isIpv4Source } from './martian.ts';
import { Heard, type Neighbors } from './neighbors.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { CONSUME, drop, PASS, type Verdict } from './verdict.ts';

/** ARP of the gateways (RFC 826, RFC 5227): answers for their addresses, and learns from who asks and who answers. */
export class Arp {
  readonly #originator: Originator;
  readonly #neighbors: Neighbors;

  constructor(originator: Originator, neighbors: Neighbors) {
    this.#originator = originator;
    this.#neighbors = neighbors;
  }

  /**
   * A well-formed ARP packet, sent to the gateway or to all. PASS when it is among others; the frame stays as it is,
   * because others may get it, too.
   */
  input(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, at, l3 } = frame;
    const toAll = isGroup(ethDstHi(bytes, at));
    const notForUs = toAll ? PASS : drop(DropReason.ARP_NOT_FOR_US);
    if (!network.hasIpv4) return notForUs;
    const shaHi = arpShaHi(bytes, l3);
    const shaLo = arpShaLo(bytes, l3);
    // Who names another MAC than his own wants the traffic to go where it does not belong.
    if (shaHi !== ethSrcHi(bytes, at) || shaLo !== ethSrcLo(bytes, at)) return drop(DropReason.ARP_SPOOF);
    const oper = arpOper(bytes, l3);
    if (oper !== ARP_REQUEST && oper !== ARP_REPLY) return notForUs;
    const spa = arpSpa(bytes, l3);
    const forUs = network.isOwnIpv4(arpTpa(bytes, l3));
    if (spa === 0) {
      // RFC 5227 §2.1.1: a probe asks whether an address is taken, and says nothing about its sender.
      if (oper !== ARP_REQUEST || !forUs) return notForUs;
      this.#reply(frame, network, now);
      return CONSUME;
    }
    if (!network.containsIpv4(spa) || !isIpv4Source(network, spa)) {
      // Another subnet may share the wire; that somebody of it asks somebody else is not our business.
      return toAll && !forUs && !network.isOwnIpv4(spa) ? PASS : drop(DropReason.ARP_SPOOF);
    }

    if (oper === ARP_REPLY && forUs && !toAll) {
      const heard = this.#neighbors.answerIpv4(network, spa, shaHi, shaLo, frame.ingress, now);
      if (heard === Heard.FOREIGN) return drop(DropReason.ARP_SPOOF);
      // Nobody had asked: nothing is made of it (poisoning).
      return heard === Heard.UNKNOWN ? drop(DropReason.ARP_NOT_FOR_US) : CONSUME;
    }
    // RFC 826: merge what is known already; a new entry only for who speaks to us.
    const create = oper === ARP_REQUEST && forUs;
    const heard = this.#neighbors.hearIpv4(network, spa, shaHi, shaLo, frame.ingress, create, now);
    if (heard === Heard.FOREIGN) return drop(DropReason.ARP_SPOOF);
    if (!create) return notForUs;
    this.#reply(frame, network, now);
    return CONSUME;
  }

  #reply(request: Frame, network: Network, now: number): void {
    const { bytes, l3 } = request;
    const hi = arpShaHi(bytes, l3);
    const lo = arpShaLo(bytes, l3);
    const asked = arpTpa(bytes, l3);
    sendArp(this.#originator, network, ARP_REPLY, hi, lo, asked, hi, lo, arpSpa(bytes, l3), now);
  }
}

/** Asks all stations of a network for the MAC of an address. */
export function sendArpRequest(originator: Originator, network: Network, tpa: number, now: number): void {
  sendArp(originator, network, ARP_REQUEST, MAC_BROADCAST_HI, MAC_BROADCAST_LO, network.ipv4, 0, 0, tpa, now);
}

/** Asks one station whether it still has an address (RFC 1122 §2.3.2.1, "unicast poll"). */
export function sendArpPoll(
  originator: Originator,
  network: Network,
  tpa: number,
  hi: number,
  lo: number,
  now: number,
): void {
  sendArp(originator, network, ARP_REQUEST, hi, lo, network.ipv4, 0, 0, tpa, now);
}

function sendArp(
  originator: Originator,
  network: Network,
  oper: number,
  dstHi: number,
  dstLo: number,
  spa: number,
  thaHi: number,
  thaLo: number,
  tpa: number,
  now: number,
): void {
  const frame = originator.allocate(ETH_LEN + ARP_LEN);
  if (frame === undefined) return;
  const { macHi, macLo } = network;
  const l3 = writeEthernet(frame.bytes, frame.at, dstHi, dstLo, macHi, macLo, ETHERTYPE_ARP);
  writeArp(frame.bytes, l3, oper, macHi, macLo, spa, thaHi, thaLo, tpa);
  originator.send(frame, network, now);
}
