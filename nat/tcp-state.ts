/**
 * The states of a tracked TCP connection and how segments lead from one to the next, as Linux has them. What a segment's numbers
 * have to do with it is in `tcp-tracking.ts`.
 */
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG } from '../wire/tcp.ts';

/** Linux's states of a tracked connection; the numbers are its own. */
export const TcpState = {
  NONE: 0,
  SYN_SENT: 1,
  SYN_RECV: 2,
  ESTABLISHED: 3,
  FIN_WAIT: 4,
  CLOSE_WAIT: 5,
  LAST_ACK: 6,
  TIME_WAIT: 7,
  CLOSE: 8,
  /** Both sides have sent a SYN (RFC 9293 §3.5, simultaneous open). */
  SYN_SENT2: 9,
} as const;
export type TcpState = (typeof TcpState)[keyof typeof TcpState];

/** By number, as `conntrack -L` prints them. */
export const TCP_STATE_NAMES: readonly string[] = Object.keys(TcpState);

/** Classes of segments: by the first of RST, SYN, FIN and ACK that is set. */
export const SYN = 0;
export const SYN_ACK = 1;
export const FIN = 2;
export const ACK = 3;
export const RST = 4;
export const NO_FLAG = 5;
const CLASSES = 6;
const STATES = 10;

export const SS = TcpState.SYN_SENT;
export const SR = TcpState.SYN_RECV;
export const ES = TcpState.ESTABLISHED;
export const FW = TcpState.FIN_WAIT;
export const CW = TcpState.CLOSE_WAIT;
export const LA = TcpState.LAST_ACK;
export const TW = TcpState.TIME_WAIT;
export const CL = TcpState.CLOSE;
export const S2 = TcpState.SYN_SENT2;
/** In the table: the segment cannot belong. */
export const IV = 10;
/** In the table: the segment passes without a change of state. */
export const IG = 11;

/** (direction × class × state) → next state. */
// biome-ignore format: a table
const NEXT = Uint8Array.from([
  // original    NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
  /* SYN     */  SS, SS, IG, IG, IG, IG, IG, SS, SS, S2,
  /* SYN,ACK */  IV, IV, SR, IV, IV, IV, IV, IV, IV, SR,
  /* FIN     */  IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ACK     */  ES, IV, ES, ES, CW, CW, TW, TW, CL, IV,
  /* RST     */  IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none    */  IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
  // reply
  /* SYN     */  IV, S2, IV, IV, IV, IV, IV, SS, IV, S2,
  /* SYN,ACK */  IV, SR, IG, IG, IG, IG, IG, IG, IG, SR,
  /* FIN     */  IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ACK     */  IV, IG, SR, ES, CW, CW, TW, TW, CL, IG,
  /* RST     */  IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none    */  IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
]);

/**
 * The state after a segment of class `kind` in `state`; `IV` or `IG` for one that cannot belong, or that passes and changes
 * nothing.
 */
export function nextState(direction: 0 | 1, kind: number, state: number): number {
  return NEXT[(direction * CLASSES + kind) * STATES + state];
}

const SIGNIFICANT = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG;
/** Whether a set of flags occurs in TCP: bit n stands for n = flags & SIGNIFICANT. PSH, ECE and CWR go with anything. */
const VALID_FLAGS = new Uint8Array(SIGNIFICANT + 1);
for (const flags of [
  TCP_SYN,
  TCP_SYN | TCP_URG,
  TCP_SYN | TCP_ACK,
  TCP_RST,
  TCP_RST | TCP_ACK,
  TCP_FIN | TCP_ACK,
  TCP_FIN | TCP_ACK | TCP_URG,
  TCP_ACK,
  TCP_ACK | TCP_URG,
]) {
  VALID_FLAGS[flags] = 1;
}

/** Whether flags occur together in TCP. */
export function areFlagsValid(flags: number): boolean {
  return VALID_FLAGS[flags & SIGNIFICANT] !== 0;
}

/** The class of a segment with these flags. */
export function classOf(flags: number): number {
  if ((flags & TCP_RST) !== 0) return RST;
  if ((flags & TCP_SYN) !== 0) return (flags & TCP_ACK) !== 0 ? SYN_ACK : SYN;
  if ((flags & TCP_FIN) !== 0) return FIN;
  return (flags & TCP_ACK) !== 0 ? ACK : NO_FLAG;
}
