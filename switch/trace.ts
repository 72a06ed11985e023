import type { Frame } from './frame.ts';

/** Where a packet is on its way, in netfilter's and Docker's words. Numbers are stable: new stages are appended. */
export const Stage = {
  /** By which port it came in. */
  INGRESS: 0,
  /** Port security. */
  GUARD: 1,
  BRIDGE: 2,
  /** Connection tracking and DNAT. */
  PREROUTING: 3,
  /** The deck itself is the destination. */
  INPUT: 4,
  DOCKER_USER: 5,
  ISOLATION_1: 6,
  ISOLATION_2: 7,
  /** What is published, and what belongs to a connection. */
  DOCKER: 8,
  FORWARD: 9,
  /** SNAT, fragments. */
  POSTROUTING: 10,
  NEIGHBOR: 11,
  EGRESS: 12,
  /** Frames that the deck makes by itself. */
  ORIGIN: 13,
  UPLINK: 14,
  /** The verdict. */
  END: 15,
} as const;
export type Stage = (typeof Stage)[keyof typeof Stage];

/**
 * What happened there; `a0` to `a10` are the row's arguments. Addresses are four words (IPv4 mapped, as in `nat/tuple.ts`), two
 * ports are one word (`first << 16 | second`), a MAC is two words. Numbers are stable: new actions are appended.
 *
 * `ENDS` below is a0–a3 source, a4–a7 destination, a8 ports, a9 EtherType | protocol << 16 | TCP's flags, or `Piece` of all others,
 * << 24. Of ICMP a8 is code | type << 8 | the sequence number of an echo, or the MTU that an error tells, << 16. Of ARP a0–a1 is the
 * sender's MAC, a3 and a7 are the addresses, and a8 is the operation.
 */
export const Action = {
  /** INGRESS: ENDS, a10 length | bytes of it that are no payload of TCP or UDP << 17, 0 where that is not known. */
  RECEIVED: 0,
  /** END: ENDS, a10 verdict. One for every account in the ledger. */
  VERDICT: 1,

  /** BRIDGE: the source a0–a1 is new on port a2. */
  LEARNED: 2,
  /** BRIDGE: the source a0–a1 is on port a2 and was on port a3. */
  MOVED: 3,
  /** BRIDGE: the destination a0–a1 is behind port a2. */
  KNOWN: 4,
  /** BRIDGE: the destination a0–a1 is everybody or nobody knows where; to a3 ports of network a2. */
  FLOODED: 5,

  /** PREROUTING: a packet of connection a0 (row), direction a1, state a2 (a bit of `RULE_STATES`), TCP state a3. */
  CONNECTION: 6,
  /** PREROUTING: connection a0 begins. */
  OPENED: 7,
  /** PREROUTING: no connection for the drop reason a0. */
  REFUSED: 8,
  /** PREROUTING: destination a0–a3 becomes a4–a7, ports a8 (before, after); by a9 (`By`), which a10. */
  DNAT: 9,
  /** POSTROUTING: source a0–a3 becomes a4–a7, ports a8 (before, after); by a9 (`By`), which a10. */
  SNAT: 10,
  /** PREROUTING: a fragment waits for the others. */
  FRAGMENT_HELD: 11,
  /** PREROUTING: the fragment was the last; a0 bytes of IP packet. */
  REASSEMBLED: 12,

  /** INPUT: the deck's service a0 (`Service`) is asked. */
  SERVICE: 13,

  /** DOCKER_USER: the a0-th rule (the first is 1), whose id is a2, says a1 (`UserAction`). */
  RULE: 14,
  /** GUARD: it may say that it is who it says. DOCKER_USER, ISOLATION_1, ISOLATION_2: no rule stops it; a0 rules were asked, from network a1 to a2. */
  RETURNED: 15,
  /** ISOLATION_1, ISOLATION_2, DOCKER: dropped, from network a0 to a1, by the rule of kind a2 (a place in `RULE_KINDS`). */
  DROPPED: 16,
  /** DOCKER: accepted, from network a0 to a1, by the rule of kind a2 (a place in `RULE_KINDS`), publish a3 or -1. */
  ACCEPTED: 17,

  /** FORWARD: from network a0 to network a1, TTL or hop limit a2 when it came. */
  ROUTED: 18,

  /** POSTROUTING: cut into pieces of at most a0 bytes. */
  FRAGMENTED: 19,
  /** POSTROUTING: its a0 segments are cut into pieces of at most a1 bytes. */
  SEGMENTED: 20,

  /** NEIGHBOR: next hop a0–a3 of network a4 has MAC a5–a6. */
  RESOLVED: 21,
  /** NEIGHBOR: next hop a0–a3 of network a4 is asked for its MAC, and the packet waits. */
  ASKED: 22,
  /** NEIGHBOR: next hop a0–a3 of network a4 is being asked already, and the packet waits. */
  WAITS: 23,
  /**
   * NEIGHBOR: next hop a0–a3 of network a4 has MAC a5–a6, or has not answered when that is 0; the packet has waited for a7
   * microseconds, until packet a8 came (0 when none did). All are 0 where nobody has seen the packet begin to wait. EGRESS: the port
   * for which a frame waited has room again.
   */
  RESUMED: 24,

  /**
   * EGRESS: a1 bytes to port a0; a2 is 1 when that was said before, and then taken back by QUEUED. Small frames are said to be sent
   * when they are put together for the device; should that not take them all, QUEUED or LOST says so.
   */
  SENT: 25,
  /** EGRESS: port a0 has no room now, and the frame waits; a1 is 1 when it was said to be sent. */
  QUEUED: 26,
  /** EGRESS: lost to port a0 for the drop reason a1; a2 is 1 when it was said to be sent. */
  LOST: 27,

  /** ORIGIN: ENDS; because of packet a10, or by itself when that is 0. */
  MADE: 28,
  /** ORIGIN: no answer to the packet, because too many were sent. */
  LIMITED: 29,

  /** UPLINK: the sockets of the host take it; a0 protocol. */
  SOCKET: 30,

  // What a message says; INGRESS and ORIGIN, behind RECEIVED and MADE.
  /** Neighbor discovery about a0–a3. */
  TARGET: 31,
  /**
   * DNS: a0 flags << 16 | type of the question, a1 number of answers << 16 | bytes of the name, of which the first `NAME_BYTES` are in
   * a2–a10 as they stand in the message, low byte first.
   */
  QUESTION: 32,
  /** DHCP: message of type a0, with address a1 for the client, or 0. */
  DHCP: 33,
  /** INGRESS: the frame is a0 segments of at most a1 bytes in one, which whoever sends it on is to cut. */
  UNCUT: 34,
} as const;
export type Action = (typeof Action)[keyof typeof Action];

/** What decided about a translation. */
export const By = {
  /** The connection: decided with its first packet. */
  CONNECTION: 0,
  /** A publish, by its id. */
  PUBLISH: 1,
  /** A mapping, by its row. */
  MAPPING: 2,
  /** Prefix translation, by its network. */
  PREFIX: 3,
  /** The host's loopback at the gateway's address. */
  HOST: 4,
  /** Masquerade, by the network of the new source. */
  MASQUERADE: 5,
} as const;
export type By = (typeof By)[keyof typeof By];

/** Services of the deck. */
export const Service = { ARP: 0, ND: 1, ICMP: 2, DNS: 3, DHCP: 4, DNS_STREAM: 5, CLOSED: 6 } as const;
export type Service = (typeof Service)[keyof typeof Service];

/** Third word of an IPv4 address in a row, as in `nat/tuple.ts`: ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). */
export const MAPPED = 0xffff;

/** What of an IP packet is there. */
export const Piece = { WHOLE: 0, FIRST: 1, LATER: 2 } as const;
export type Piece = (typeof Piece)[keyof typeof Piece];

/** Bytes of a name in a row of QUESTION. */
export const NAME_BYTES = 36;

/** RECEIVED: bits of the length. */
export const LENGTH_BITS = 17;

/** Words of a row: packet, stage and action, `now` (a double), the port by which the packet came in, arguments. */
export const ROW_WORDS = 16;
export const ROW_PACKET = 0;
/** `stage | action << 8` */
export const ROW_POINT = 1;
/** In doubles, not words. */
export const ROW_NOW = 1;
export const ROW_PORT = 4;
export const ROW_ARGUMENTS = 5;

/** Takes rows; the array is the trace's own and written again for the next row. */
export interface RowSink {
  row(row: Int32Array): void;
}

/**
 * What stages say about a packet that is observed. A frame has one only while somebody looks: where nobody does, a stage
 * costs a load and a branch (`if (frame.trace !== null) frame.trace.point(…)`). Nothing is allocated for a row.
 */
export class Trace {
  /** The port by which the packet in hand came in, and when. Set by whoever begins with a packet. */
  port = 0;
  /** The row written last. */
  readonly row = new Int32Array(ROW_WORDS);
  readonly #doubles = new Float64Array(this.row.buffer);
  readonly #sink: RowSink;

  constructor(sink: RowSink) {
    this.#sink = sink;
  }

  set now(now: number) {
    this.#doubles[ROW_NOW] = now;
  }

  get now(): number {
    return this.#doubles[ROW_NOW]!;
  }

  /** Says what a stage has done, in at most seven words. */
  point(
    frame: Frame,
    stage: Stage,
    action: Action,
    a0 = 0,
    a1 = 0,
    a2 = 0,
    a3 = 0,
    a4 = 0,
    a5 = 0,
    a6 = 0,
  ): void {
    const { row } = this;
    row[5] = a0;
    row[6] = a1;
    row[7] = a2;
    row[8] = a3;
    row[9] = a4;
    row[10] = a5;
    row[11] = a6;
    row[12] = 0;
    row[13] = 0;
    row[14] = 0;
    row[15] = 0;
    this.#give(frame.packet, stage, action);
  }

  /**
   * Says that one address and its port became others.
   * @param ports before and after, in one word
   */
  translated(
    frame: Frame,
    stage: Stage,
    action: Action,
    before: Int32Array,
    beforeAt: number,
    after: Int32Array,
    afterAt: number,
    ports: number,
    by: By,
    which: number,
  ): void {
    const { row } = this;
    for (let i = 0; i < 4; i++) {
      row[ROW_ARGUMENTS + i] = before[beforeAt + i]!;
      row[ROW_ARGUMENTS + 4 + i] = after[afterAt + i]!;
    }
    row[13] = ports;
    row[14] = by;
    row[15] = which;
    this.#give(frame.packet, stage, action);
  }

  /** Says something of which the caller has written the arguments into `row`. */
  written(packet: number, stage: Stage, action: Action): void {
    this.#give(packet, stage, action);
  }

  #give(packet: number, stage: Stage, action: Action): void {
    const { row } = this;
    row[ROW_PACKET] = packet;
    row[ROW_POINT] = stage | (action << 8);
    row[ROW_PORT] = this.port;
    this.#sink.row(row);
  }
}

/** Of a row at `at`. */
export function rowStage(rows: Int32Array, at: number): Stage {
  return (rows[at + ROW_POINT]! & 0xff) as Stage;
}

/** Of a row at `at`. */
export function rowAction(rows: Int32Array, at: number): Action {
  return (rows[at + ROW_POINT]! >>> 8) as Action;
}
