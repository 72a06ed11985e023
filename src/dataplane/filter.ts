import { BY_RULE, DNAT } from '../../nat/conntrack.ts';
import { IPV4_MAPPED, TUPLE_WORDS } from '../../nat/tuple.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { Action, Stage } from '../../switch/trace.ts';
import { drop, PASS, type Verdict } from '../../switch/verdict.ts';
import { get32 } from '../../wire/bytes.ts';
import { type Carrier, carryFlag } from '../../wire/carrier.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_SRC } from '../../wire/ipv6.ts';
import type { RuleCounter, UserRule } from './commands.ts';
import { type Nat, REPLY_AT } from './nat.ts';
import type { Reject } from './reject.ts';
import { Rule, type Rules } from './rules.ts';
import { pointDropped, pointRoute } from './trace-points.ts';
import type { Uplink } from './uplink.ts';
import { STATE_DNAT, STATE_RELATED, UserAction, UserRules } from './user-rules.ts';

/**
 * The chains that every packet meets in FORWARD before it is asked what it is: DOCKER-USER, then
 * DOCKER-ISOLATION-STAGE-1 and -2. They are asked for packets of connections that stand, too, so that a new rule ends these.
 */
export class Filter {
  /** Whether a rule of the user has accepted the packet that was asked about last: no chain behind DOCKER-USER sees it. */
  isAccepted = false;
  /** Whether there is no rule of the user. */
  isEmpty = true;
  readonly #nat: Nat;
  readonly #uplinks: readonly (Uplink | undefined)[];
  readonly #rules: Rules;
  readonly #userRules = new UserRules();
  readonly #reject: Reject;
  /** Source of an ICMP error, as a tuple has it. */
  readonly #errorSource = new Int32Array(TUPLE_WORDS);

  constructor(nat: Nat, uplinks: readonly (Uplink | undefined)[], rules: Rules, reject: Reject) {
    this.#nat = nat;
    this.#uplinks = uplinks;
    this.#rules = rules;
    this.#reject = reject;
  }

  /** Replaces the rules of the user: see `UserRules.set`. */
  setRules(rules: readonly UserRule[], isNetwork: (network: number) => boolean): void {
    this.#userRules.set(rules, isNetwork);
    this.isEmpty = rules.length === 0;
    // With no rule nobody asks any more.
    this.isAccepted = false;
  }

  carry(carrier: Carrier): void {
    this.isEmpty = carryFlag(carrier, this.isEmpty);
    this.isAccepted = carryFlag(carrier, this.isAccepted);
    this.#userRules.carry(carrier);
  }

  /** No rule that names the network matches any more. */
  forget(network: number): void {
    this.#userRules.forget(network);
  }

  /** What the rules of the user have counted. */
  list(): RuleCounter[] {
    return this.#userRules.list();
  }

  /**
   * PASS, or a drop, for the first packet of a connection, of which `nat.words` has where it comes from and where it goes.
   * @param states bits of `user-rules.ts`; with STATE_DNAT the destination is published, or mapped by whom it is for
   */
  first(frame: Frame, network: Network, egress: Network, states: number, now: number): Verdict {
    this.isAccepted = false;
    if (frame.trace !== null) pointRoute(frame, network, egress);
    if (!this.isEmpty) {
      const { words } = this.#nat;
      const verdict = this.#ask(frame, network, egress, words, 0, words, REPLY_AT, states, now);
      if (verdict !== PASS) return verdict;
    }
    if (egress === network) return PASS;
    const bytes = frame.end - frame.l3;
    // Nothing that could be accepted: what makes a network internal is that it has no way out.
    if (network.isInternal) {
      this.#rules.count(Rule.INTERNAL_OUT, network.id, bytes);
      if (frame.trace !== null) pointDropped(frame, Stage.ISOLATION_1, network, egress, Rule.INTERNAL_OUT);
      return drop(DropReason.NETWORK_INTERNAL);
    }
    if (egress.isInternal) {
      this.#rules.count(Rule.INTERNAL_IN, egress.id, bytes);
      if (frame.trace !== null) pointDropped(frame, Stage.ISOLATION_1, network, egress, Rule.INTERNAL_IN);
      return drop(DropReason.NETWORK_INTERNAL);
    }
    if (frame.trace !== null && !this.isAccepted)
      frame.trace.point(frame, Stage.ISOLATION_1, Action.RETURNED, 1, network.id, egress.id);
    return (states & STATE_DNAT) !== 0 ? PASS : this.#isolate(frame, network, egress);
  }

  /**
   * As `first`, for a packet of the connection and direction `ref`, and for errors about it.
   * @param state STATE_ESTABLISHED and its like
   */
  next(ref: number, frame: Frame, network: Network, egress: Network, state: number, now: number): Verdict {
    const { status, tuples } = this.#nat.conntrack;
    const bits = status[ref >> 1];
    this.isAccepted = false;
    if (!this.isEmpty) {
      let source = tuples;
      let sourceAt = ref * TUPLE_WORDS;
      if (state === STATE_RELATED) {
        // From whoever found something wrong, which need not be the other end.
        source = this.#errorSource;
        sourceAt = 0;
        readSource(frame, source);
      }
      const states = (bits & DNAT) !== 0 ? state | STATE_DNAT : state;
      const destinationAt = (ref ^ 1) * TUPLE_WORDS;
      const verdict = this.#ask(frame, network, egress, source, sourceAt, tuples, destinationAt, states, now);
      if (verdict !== PASS) return verdict;
    }
    return (bits & BY_RULE) !== 0 ? this.#isolate(frame, network, egress) : PASS;
  }

  /** Chain DOCKER-USER. */
  #ask(
    frame: Frame,
    network: Network,
    egress: Network,
    source: Int32Array,
    sourceAt: number,
    destination: Int32Array,
    destinationAt: number,
    states: number,
    now: number,
  ): Verdict {
    const rules = this.#userRules;
    const action = rules.judge(
      frame,
      source,
      sourceAt,
      destination,
      destinationAt,
      network.id,
      egress.id,
      states,
    );
    const { trace } = frame;
    if (trace !== null) {
      const place = rules.matched;
      if (place < 0) {
        trace.point(frame, Stage.DOCKER_USER, Action.RETURNED, rules.size, network.id, egress.id);
      } else trace.point(frame, Stage.DOCKER_USER, Action.RULE, place + 1, action, rules.matchedId);
    }
    switch (action) {
      case UserAction.ACCEPT:
        this.isAccepted = true;
        return PASS;
      case UserAction.DROP:
        return drop(DropReason.USER_DROP);
      case UserAction.REJECT:
        this.#reject.answer(frame, network, rules.rejection, now);
        return drop(DropReason.USER_REJECT);
      default:
        return PASS;
    }
  }

  /** No packet goes from one network to another, unless a rule has accepted it. */
  #isolate(frame: Frame, network: Network, egress: Network): Verdict {
    const isOutside = this.#uplinks[network.id] !== undefined || this.#uplinks[egress.id] !== undefined;
    if (isOutside || this.isAccepted) {
      if (frame.trace !== null && !this.isAccepted)
        frame.trace.point(frame, Stage.ISOLATION_2, Action.RETURNED, 1, network.id, egress.id);
      return PASS;
    }
    this.#rules.count(Rule.ISOLATED, egress.id, frame.end - frame.l3);
    if (frame.trace !== null) pointDropped(frame, Stage.ISOLATION_2, network, egress, Rule.ISOLATED);
    return drop(DropReason.NETWORK_ISOLATED);
  }
}

/** Writes the source of an IP packet as a tuple has it. */
function readSource({ bytes, l3, etherType }: Frame, words: Int32Array): void {
  const isIpv4 = etherType === ETHERTYPE_IPV4;
  for (let i = 0; i < 3; i++) words[i] = isIpv4 ? 0 : get32(bytes, l3 + IPV6_SRC + 4 * i);
  if (isIpv4) words[2] = IPV4_MAPPED;
  words[3] = get32(bytes, isIpv4 ? l3 + IPV4_SRC : l3 + IPV6_SRC + 12);
}
