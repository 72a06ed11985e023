/**
 * How long a connection is remembered after its last packet, milliseconds. The defaults satisfy RFC 4787 REQ-5, RFC 5382
 * REQ-5, RFC 5508 REQ-2 and RFC 7857 §2.1; Linux's own are shorter for UDP and longer for established TCP.
 */
export interface Timeouts {
  /** UDP, either direction (RFC 4787 REQ-5 c: 5 minutes or more). */
  udp: number;
  /** ICMP queries (RFC 5508 REQ-2: 60 seconds or more). */
  icmp: number;
  /** TCP in ESTABLISHED (RFC 5382 REQ-5: 2 hours 4 minutes or more). */
  tcpEstablished: number;
  /**
   * TCP in ESTABLISHED while the other side seems to be gone: data that nobody acknowledges, the same segment four times,
   * a closed window. Never longer than `tcpEstablished`, and by default as long: RFC 5382 REQ-5 makes no exception. Linux
   * takes 5 minutes.
   */
  tcpUnanswered: number;
  /** TCP on its way to ESTABLISHED: SYN_SENT, SYN_SENT2, SYN_RECV (RFC 7857 §2.1: 4 minutes). */
  tcpOpening: number;
  /** TCP on its way out: FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT (RFC 7857 §2.1: 4 minutes). */
  tcpClosing: number;
  /** TCP after an RST: CLOSE (RFC 7857 §2.2: 4 minutes). */
  tcpReset: number;
  /** Other protocols. */
  generic: number;
}

export const DEFAULT_TIMEOUTS: Readonly<Timeouts> = {
  udp: 300_000,
  icmp: 60_000,
  tcpEstablished: 7_440_000,
  tcpUnanswered: 7_440_000,
  tcpOpening: 240_000,
  tcpClosing: 240_000,
  tcpReset: 240_000,
  generic: 600_000,
};
