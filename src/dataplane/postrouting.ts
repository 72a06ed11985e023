import { type Conntrack, DNAT, NPT, SNAT } from '../../nat/conntrack.ts';
import { translateError } from '../../nat/icmp-error.ts';
import { translate } from '../../nat/translate.ts';
import type { Frame } from '../../switch/frame.ts';
import type { Identifications } from '../../switch/identifications.ts';
import type { Network } from '../../switch/network.ts';
import type { Verdict } from '../../switch/verdict.ts';
import type { Router } from './router.ts';
import { pointSource } from './trace-points.ts';

/** The connection's packets are rewritten. */
const TRANSLATED = SNAT | DNAT | NPT;

/** The end of an admitted packet's way: translated as its connection is, and to its next hop. */
export class Postrouting {
  readonly #conntrack: Conntrack;
  readonly #identifications: Identifications;
  readonly #router: Router;

  constructor(conntrack: Conntrack, identifications: Identifications, router: Router) {
    this.#conntrack = conntrack;
    this.#identifications = identifications;
    this.#router = router;
  }

  /** A packet of a connection. */
  send(ref: number, frame: Frame, network: Network, egress: Network, now: number): Verdict {
    const { status, tuples, serial } = this.#conntrack;
    const row = ref >> 1;
    if ((status[row] & TRANSLATED) !== 0) {
      if (frame.trace !== null) pointSource(frame, this.#conntrack, ref, egress);
      translate(frame, tuples, ref);
      // Endpoints that share an address, also that of their published ports, may have chosen the same identification.
      if ((status[row] & ((ref & 1) === 0 ? SNAT : DNAT)) !== 0) this.#identifications.renumber(frame);
      // While it waits for its next hop: an error about it has to quote what its sender knows.
      frame.flow = ref;
      frame.flowSerial = serial[row];
    }
    return this.#router.output(frame, network, egress, now);
  }

  /**
   * An ICMP error about a packet of a connection's other direction.
   * @param isInside who says so is not on an uplink
   */
  sendError(
    ref: number,
    frame: Frame,
    network: Network,
    egress: Network,
    isInside: boolean,
    now: number,
  ): Verdict {
    const { status, tuples } = this.#conntrack;
    // RFC 5508 REQ-5: nobody outside learns an address from inside.
    if ((status[ref >> 1] & TRANSLATED) !== 0) translateError(frame, tuples, ref, isInside);
    return this.#router.output(frame, network, egress, now);
  }
}
