import { describe, expect, it } from 'vitest';
import { conntrackLine, eventLine, flowTable } from '../../src/cli/conntrack-text.ts';
import type { FlowView } from '../../src/control/flows.ts';

const end = { network: 'lab', srcPort: 0, dstPort: 0, packets: 1 };
const tcp: FlowView = {
  id: 1,
  protocol: 'tcp',
  protocolNumber: 6,
  family: 4,
  state: 'ESTABLISHED',
  original: {
    ...end,
    src: '127.0.0.1',
    dst: '127.0.0.1',
    srcPort: 45568,
    dstPort: 40039,
    packets: 3,
    bytes: 164,
  },
  reply: {
    ...end,
    src: '127.0.0.1',
    dst: '127.0.0.1',
    srcPort: 40039,
    dstPort: 45568,
    packets: 2,
    bytes: 113,
  },
  unreplied: false,
  assured: true,
  icmp: null,
  snat: false,
  dnat: false,
  remaining: 431999,
  published: null,
};
const udp: FlowView = {
  ...tcp,
  protocol: 'udp',
  protocolNumber: 17,
  state: null,
  original: { ...end, src: '127.0.0.1', dst: '127.0.0.1', srcPort: 53640, dstPort: 9, bytes: 29 },
  reply: { ...end, src: '127.0.0.1', dst: '127.0.0.1', srcPort: 9, dstPort: 53640, packets: 0, bytes: 0 },
  unreplied: true,
  assured: false,
  remaining: 29,
};
const icmp: FlowView = {
  ...udp,
  protocol: 'icmp',
  protocolNumber: 1,
  original: { ...end, src: '127.0.0.1', dst: '127.0.0.1', srcPort: 9583, bytes: 84 },
  reply: { ...end, src: '127.0.0.1', dst: '127.0.0.1', dstPort: 9583, bytes: 84 },
  icmp: { type: 8, code: 0, id: 9583 },
  unreplied: false,
};
const icmpv6: FlowView = {
  ...icmp,
  protocol: 'icmpv6',
  protocolNumber: 58,
  family: 6,
  original: { ...end, src: '::1', dst: '::1', srcPort: 9584, bytes: 104 },
  reply: { ...end, src: '::1', dst: '::1', dstPort: 9584, bytes: 104 },
  icmp: { type: 128, code: 0, id: 9584 },
};

// What conntrack 1.4.7 printed for such connections.
describe('lines of conntrack-tools', () => {
  it.each([
    [
      tcp,
      'tcp      6 431999 ESTABLISHED src=127.0.0.1 dst=127.0.0.1 sport=45568 dport=40039 packets=3 bytes=164 src=127.0.0.1 dst=127.0.0.1 sport=40039 dport=45568 packets=2 bytes=113 [ASSURED] mark=0 use=1',
    ],
    [
      udp,
      'udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=53640 dport=9 packets=1 bytes=29 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=9 dport=53640 packets=0 bytes=0 mark=0 use=1',
    ],
    [
      icmp,
      'icmp     1 29 src=127.0.0.1 dst=127.0.0.1 type=8 code=0 id=9583 packets=1 bytes=84 src=127.0.0.1 dst=127.0.0.1 type=0 code=0 id=9583 packets=1 bytes=84 mark=0 use=1',
    ],
    [
      icmpv6,
      'icmpv6   58 29 src=::1 dst=::1 type=128 code=0 id=9584 packets=1 bytes=104 src=::1 dst=::1 type=129 code=0 id=9584 packets=1 bytes=104 mark=0 use=1',
    ],
  ])('are the same for %#', (flow, line) => {
    expect(conntrackLine(flow)).toBe(line);
  });

  it('are the same for events', () => {
    const opening = { ...tcp, state: 'SYN_SENT', remaining: 120, unreplied: true, assured: false };
    expect(eventLine({ event: 'NEW', flow: opening })).toBe(
      '    [NEW] tcp      6 120 SYN_SENT src=127.0.0.1 dst=127.0.0.1 sport=45568 dport=40039 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=40039 dport=45568',
    );
    expect(eventLine({ event: 'UPDATE', flow: { ...tcp, remaining: 432000 } })).toBe(
      ' [UPDATE] tcp      6 432000 ESTABLISHED src=127.0.0.1 dst=127.0.0.1 sport=45568 dport=40039 src=127.0.0.1 dst=127.0.0.1 sport=40039 dport=45568 [ASSURED]',
    );
    expect(eventLine({ event: 'DESTROY', flow: udp })).toBe(
      '[DESTROY] udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=53640 dport=9 packets=1 bytes=29 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=9 dport=53640 packets=0 bytes=0',
    );
    expect(eventLine({ event: 'LOST', count: 5 })).toBe('   [LOST] 5 events');
  });

  it('have no ports where the protocol has none', () => {
    const gre = { ...udp, protocol: 'unknown', protocolNumber: 253 };
    expect(conntrackLine(gre)).toMatch(/^unknown {2}253 29 src=127\.0\.0\.1 dst=127\.0\.0\.1 packets=1 /);
  });
});

it('connections are a table for people', () => {
  const published = { ...udp, published: 'web', dnat: true };
  expect(flowTable([tcp, published, icmpv6]).replaceAll(/ {3,}/g, '  ')).toBe(
    'PROTO  TIMEOUT  STATE  FROM  SOURCE  DESTINATION  PACKETS  BYTES  REPLY FROM  REPLY SOURCE  REPLY DESTINATION  PACKETS  BYTES  STATUS\n' +
      'tcp  431999  ESTABLISHED  lab  127.0.0.1:45568  127.0.0.1:40039  3  164  lab  127.0.0.1:40039  127.0.0.1:45568  2  113  ASSURED\n' +
      'udp  29  -  lab  127.0.0.1:53640  127.0.0.1:9  1  29  lab  127.0.0.1:9  127.0.0.1:53640  0  0  UNREPLIED DNAT (web)\n' +
      'icmpv6  29  -  lab  ::1  ::1  1  104  lab  ::1  ::1  1  104  -\n',
  );
});
