import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  arpReply,
  arpRequest,
  ethernet,
  fragments,
  icmp,
  icmpEcho,
  ip,
  neighborAdvertisement,
  neighborSolicitation,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { set16, set32 } from '../../wire/bytes.ts';
import { DHCP_LEN, DHCP_MAGIC, DhcpType } from '../../wire/dhcp.ts';
import { DnsRcode, DnsType, encodeDnsName } from '../../wire/dns.ts';
import { TCP_CHECKSUM } from '../../wire/tcp.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { C1, C2, EXT1, GA, natBed, VIA_GA } from '../dataplane/nat-bed.ts';
import { send } from '../switch/gateway-bed.ts';
import { watched } from './watched.ts';

const { deck, told } = watched();

/** What is said of a frame when it comes in from c1. */
function said(frame: Uint8Array): string {
  send(deck, 'c1', frame);
  return told()[0]![0]!.replace('ingress: a:3, ', '');
}

test('TCP: flags, and how much it carries', () => {
  const segment = (flags: string, data = 0) =>
    said(tcp({ from: C1, to: C2, srcPort: 5000, dstPort: 80, flags, data }));
  expect(segment('S')).toBe('TCP SYN 10.0.0.2:5000 → 10.0.0.3:80, 54 bytes');
  expect(segment('SA')).toBe('TCP SYN+ACK 10.0.0.2:5000 → 10.0.0.3:80, 54 bytes');
  expect(segment('A')).toBe('TCP ACK 10.0.0.2:5000 → 10.0.0.3:80, 54 bytes');
  expect(segment('PA', 100)).toBe('TCP PSH+ACK 10.0.0.2:5000 → 10.0.0.3:80, 154 bytes, 100 of payload');
  expect(segment('FA')).toBe('TCP FIN+ACK 10.0.0.2:5000 → 10.0.0.3:80, 54 bytes');
  expect(segment('R')).toBe('TCP RST 10.0.0.2:5000 → 10.0.0.3:80, 54 bytes');
  expect(segment('FSRPAUEC')).toContain('TCP SYN+FIN+RST+PSH+URG+ECE+CWR+ACK 10');
  expect(segment('')).toContain('TCP no flags 10');
  const options = tcp({ from: C1, to: C2, family: 6, dstPort: 80, mss: 1460, flags: 'S', data: 5 });
  expect(said(options)).toBe('TCP SYN [fd00::2]:49152 → [fd00::3]:80, 83 bytes, 5 of payload');
});

test('what pads a frame is no payload', () => {
  const padded = new Uint8Array(100);
  padded.set(udp({ from: C1, to: C2, srcPort: 5000, dstPort: 6000, data: 3 }));
  expect(said(padded)).toBe('UDP 10.0.0.2:5000 → 10.0.0.3:6000, 100 bytes, 3 of payload');
});

test('ARP, as tcpdump says it', () => {
  expect(said(arpRequest({ from: C1, ask: '10.0.0.3' }))).toBe(
    'ARP who-has 10.0.0.3 tell 10.0.0.2, 42 bytes',
  );
  expect(said(arpReply({ from: C1, to: C2 }))).toBe('ARP 10.0.0.2 is-at 02:42:0a:00:00:02, 42 bytes');
  const odd = arpReply({ from: C1, to: C2 });
  odd[21] = 9;
  expect(said(odd)).toBe('ARP operation 9 10.0.0.2 → 10.0.0.3, 42 bytes');
  expect(said(ethernet({ from: C1.mac, to: C2.mac, type: 0x806, data: 3 }))).toBe('ARP, 17 bytes');
});

test('ICMP by its name, and by its numbers when it has none', () => {
  const message = (type: number, code: number, rest = 0, family: 4 | 6 = 4) =>
    said(icmp({ from: C1, to: C2, family, type, code, rest, data: 28 })).replace(/ \S+ → .*/, '');
  expect(said(icmpEcho({ from: C1, to: C2, sequence: 7 }))).toBe(
    'ICMP echo request 10.0.0.2 → 10.0.0.3, seq 7, 98 bytes',
  );
  expect(said(icmpEcho({ from: C1, to: C2, sequence: 40_000, reply: true, family: 6 }))).toBe(
    'ICMPv6 echo reply fd00::2 → fd00::3, seq 40000, 118 bytes',
  );
  expect(message(3, 1)).toBe('ICMP host unreachable');
  expect(said(icmp({ from: C1, to: C2, type: 3, code: 4, rest: 1280, data: 28 }))).toBe(
    'ICMP fragmentation needed 10.0.0.2 → 10.0.0.3, mtu 1280, 70 bytes',
  );
  expect(message(11, 0)).toBe('ICMP time exceeded in transit');
  expect(message(40, 2)).toBe('ICMP type 40 code 2');
  expect(said(icmp({ from: C1, to: C2, family: 6, type: 2, rest: 1400, data: 48 }))).toContain(
    'ICMPv6 packet too big fd00::2 → fd00::3, mtu 1400, ',
  );
  expect(said(icmp({ from: C1, to: C2, family: 6, type: 2, rest: -1, data: 48 }))).toContain('mtu 65535, ');
  expect(message(1, 3, 0, 6)).toBe('ICMPv6 address unreachable');
  expect(message(200, 1, 0, 6)).toBe('ICMPv6 type 200 code 1');
});

test('neighbor discovery: about whom', () => {
  expect(said(neighborSolicitation({ from: C1, ask: 'fd00::3' }))).toBe(
    'ICMPv6 neighbor solicitation fd00::2 → ff02::1:ff00:3, 86 bytes, who has fd00::3',
  );
  expect(said(neighborAdvertisement({ from: C1, to: C2 }))).toBe(
    'ICMPv6 neighbor advertisement fd00::2 → fd00::3, 86 bytes, target fd00::2',
  );
  const cut = icmp({ from: C1, to: C2, family: 6, type: 135, data: 8 });
  expect(said(cut)).toBe('ICMPv6 neighbor solicitation fd00::2 → fd00::3, 70 bytes');
});

test('fragments', () => {
  const [first, later] = fragments(icmpEcho({ from: C1, to: C2, data: 2000 }), 1500);
  expect(said(first!)).toBe('ICMP echo request 10.0.0.2 → 10.0.0.3, first fragment, seq 1, 1514 bytes');
  expect(said(later!)).toBe('ICMP 10.0.0.2 → 10.0.0.3, later fragment, 562 bytes');
  const segment = fragments(tcp({ from: C1, to: C2, dstPort: 80, data: 2000 }), 1500);
  expect(said(segment[1]!)).toBe('TCP 10.0.0.2 → 10.0.0.3, later fragment, 574 bytes');
  expect(said(ip({ from: C1, to: C2 }, 47, 8))).toBe('GRE 10.0.0.2 → 10.0.0.3, 42 bytes');
});

const question = (name: Uint8Array, type: number, flags = 0x0100, answers = 0) =>
  Uint8Array.of(
    0,
    1,
    flags >>> 8,
    flags & 255,
    0,
    1,
    0,
    answers,
    0,
    0,
    0,
    0,
    ...name,
    type >>> 8,
    type & 255,
    0,
    1,
  );
const asks = (data: Uint8Array) =>
  said(udp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort: 53, data }));

test('DNS: what is asked, and what is answered', () => {
  const name = encodeDnsName('web.front')!;
  expect(asks(question(name, DnsType.A))).toBe(
    'UDP 10.0.0.2:5000 → 203.0.113.1:53, 69 bytes, DNS A? web.front',
  );
  expect(asks(question(name, 65))).toMatch(/DNS HTTPS\? web\.front$/);
  expect(asks(question(name, 999))).toMatch(/DNS TYPE999\? web\.front$/);
  expect(asks(question(name, DnsType.AAAA, 0x8180, 2))).toMatch(/DNS AAAA web\.front: 2 answers$/);
  expect(asks(question(name, DnsType.A, 0x8180 | DnsRcode.NXDOMAIN))).toMatch(/DNS A web\.front: NXDOMAIN$/);
  expect(asks(question(name, DnsType.A, 0x818f))).toMatch(/: RCODE15$/);
  expect(asks(Uint8Array.of(1, 2, 3))).toBe('UDP 10.0.0.2:5000 → 203.0.113.1:53, 45 bytes, 3 of payload');
});

test('a name of DNS sets nothing on a terminal, and a long one is cut', () => {
  expect(asks(question(Uint8Array.of(3, 0x1b, 0x5b, 0x0a, 0), DnsType.A))).toMatch(/DNS A\? \\027\[\\010$/);
  const long = `${'a'.repeat(20)}.${'b'.repeat(20)}.example`;
  expect(asks(question(encodeDnsName(long)!, DnsType.A))).toMatch(/DNS A\? a{20}\.b{14}…$/);
  // The cut falls between two labels.
  expect(asks(question(encodeDnsName(`${'a'.repeat(35)}.example`)!, DnsType.A))).toMatch(/DNS A\? a{35}…$/);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 4 }), (labels) => {
      const name = Uint8Array.from([...labels.flatMap((label) => [label.length, ...label]), 0]);
      fc.pre(name.length <= 255);
      const text = / DNS A\? (.*)$/.exec(asks(question(name, DnsType.A)))![1]!;
      expect(text).toMatch(/^[\x21-\x7e]+…?$/);
      expect(text.endsWith('…')).toBe(name.length > 36);
    }),
    { numRuns: 50 },
  );
});

test("the deck's own answers", () => {
  const answering = watched(natBed());
  send(answering.deck, 'c1', arpRequest({ from: C1, ask: GA.ipv4 }));
  expect(answering.told().at(-1)![0]).toBe(
    'origin: made by the deck because of packet 1: ARP 10.0.0.1 is-at 02:42:0a:00:00:01',
  );
  send(answering.deck, 'c1', neighborSolicitation({ from: C1, ask: GA.ipv6 }));
  expect(answering.told().at(-1)![0]).toBe(
    'origin: made by the deck because of packet 3: ICMPv6 neighbor advertisement fd00::1 → fd00::2, target fd00::1',
  );
});

test('DHCP: which message', () => {
  const message = (type: readonly number[], yiaddr = 0) => {
    const data = new Uint8Array(DHCP_LEN + 16);
    set32(data, 16, yiaddr);
    set32(data, 236, DHCP_MAGIC);
    data.set([0, ...type, 255], DHCP_LEN);
    return said(udp({ from: C1, to: C2, srcPort: 68, dstPort: 67, data }));
  };
  expect(message([53, 1, DhcpType.DISCOVER])).toBe('UDP 10.0.0.2:68 → 10.0.0.3:67, 298 bytes, DHCP DISCOVER');
  expect(message([12, 1, 65, 53, 1, DhcpType.OFFER], 0x0a000005)).toMatch(/DHCP OFFER 10\.0\.0\.5$/);
  expect(message([53, 1, 99])).toMatch(/DHCP type 99$/);
  const none = new Uint8Array(300);
  set16(none, 0, 0x0101);
  expect(said(udp({ from: C1, to: C2, srcPort: 68, dstPort: 67, data: none }))).toMatch(/300 of payload$/);
});

test('a frame that is to be cut into segments says so', () => {
  const { dataplane } = deck.virtual;
  const large = tcp({ from: C1, to: C2, srcPort: 5000, dstPort: 80, flags: 'PA', data: 4000 });
  const frame = dataplane.arena.allocate(large.length)!;
  frame.bytes.set(large, frame.at);
  const vnet = frame.at - VNET_LEN;
  writeVnet(frame.bytes, vnet, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, 54, 1448, 34, TCP_CHECKSUM);
  dataplane.receive(3, frame, deck.now);
  expect(told()[0]![0]).toBe(
    'ingress: a:3, TCP PSH+ACK 10.0.0.2:5000 → 10.0.0.3:80, 4054 bytes, 4000 of payload, 3 segments of 1448 in one',
  );
});
