import type { FlowDirection, FlowEntry } from '../../src/dataplane/commands.ts';

const direction = (fields: Partial<FlowDirection>): FlowDirection => ({
  network: 0,
  src: '172.17.0.2',
  dst: '192.0.2.9',
  srcPort: 0,
  dstPort: 0,
  packets: 0,
  bytes: 0,
  ...fields,
});

/** A TCP connection from an endpoint through masquerade, with what a test wants to be different. */
export function flowEntry(fields: Partial<FlowEntry> = {}): FlowEntry {
  return {
    id: 7,
    protocol: 6,
    family: 4,
    state: 'ESTABLISHED',
    original: direction({ srcPort: 40000, dstPort: 443, packets: 3, bytes: 164 }),
    reply: direction({
      network: 1,
      src: '192.0.2.9',
      dst: '192.0.2.1',
      srcPort: 443,
      dstPort: 50001,
      packets: 2,
      bytes: 113,
    }),
    unreplied: false,
    assured: true,
    icmp: null,
    snat: true,
    dnat: false,
    remaining: 7_439_900,
    publish: -1,
    ...fields,
  };
}

/** An echo request that nobody has answered. */
export function pingEntry(fields: Partial<FlowEntry> = {}): FlowEntry {
  return flowEntry({
    id: 8,
    protocol: 1,
    state: null,
    original: direction({ srcPort: 9583, packets: 1, bytes: 84 }),
    reply: direction({ network: 1, src: '192.0.2.9', dst: '192.0.2.1', dstPort: 4711 }),
    unreplied: true,
    assured: false,
    icmp: { type: 8, code: 0, id: 9583 },
    remaining: 59_000,
    ...fields,
  });
}
