/** What became of TCP connections, and of segments, since the start. */
export interface TcpCounters {
  /** Connections made to the outside, and taken from there. */
  opened: number;
  accepted: number;
  /** Connections that the host refused, or could not make. */
  failed: number;
  /** New connections for which there was no descriptor, memory or row. */
  exhausted: number;
  /** Connections that the inside has reset, and those that were reset by the outside or failed. */
  reset: number;
  broken: number;
  /** Connections given up because the inside was silent. */
  timedOut: number;
  /** Frames sent again, and timeouts after which all was. */
  resent: number;
  timeouts: number;
  /** Segments of no connection, answered by a reset. */
  strange: number;
  /** Segments with a wrong checksum. */
  corrupt: number;
  /** Segments out of bounds, and challenge ACKs sent. */
  unacceptable: number;
  challenges: number;
}
