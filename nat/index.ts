/**
 * `tapdeck/nat`: network address translation. So far, how a packet is rewritten; connection tracking and the rules
 * that decide what to rewrite are being built.
 */
export * from './rewrite.ts';
export { restore, translate } from './translate.ts';
