/**
 * `tapdeck/switch`: a learning bridge and the gateway of its network, without I/O, clock or randomness.
 *
 * Frames live in an `Arena`; `Bridge.ingress` learns and answers a `Verdict`; `Gateway` and `Neighbors` speak ARP, ND
 * and ICMP for the deck and put what they say into an `Outbox`. Who sends it is not the switch's business:
 * `src/dataplane` composes these parts, and a program of yours may compose them otherwise.
 */
export * from './bridge.ts';
export * from './device.ts';
export * from './drop-reason.ts';
export * from './fdb.ts';
export * from './fragmenter.ts';
export * from './frame.ts';
export * from './frame-ring.ts';
export * from './gateway.ts';
export * from './icmp.ts';
export * from './icmpv6.ts';
export * from './neighbors.ts';
export * from './network.ts';
export * from './originator.ts';
export * from './outbox.ts';
export * from './ports.ts';
export * from './rate-limit.ts';
export * from './trace.ts';
export * from './verdict.ts';
