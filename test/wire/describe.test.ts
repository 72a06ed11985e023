import { describe, expect, it } from 'vitest';
import { describe as describeFrame } from '../../wire/describe.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { fillIpv4Checksum, IPV4_LEN, IPV4_PROTOCOL } from '../../wire/ipv4.ts';
import { Packet } from '../../wire/packet.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { ARP, AT, ICMP, ICMPV6, LLDP, NA, NS, packetOf, SAMPLES, STP, TCP4_SYN, UDP4 } from './samples.ts';

const A = '02:42:ac:11:00:02';
const B = '02:42:ac:11:00:03';

/** The sample with bytes behind its Ethernet header replaced, the IPv4 header checksum made right. */
function changed(sample: Uint8Array, ...changes: [number, ...number[]][]): string {
  const frame = sample.slice();
  for (const [at, ...values] of changes) frame.set(values, ETH_LEN + at);
  if (frame[12] === 8 && frame[13] === 0) fillIpv4Checksum(frame, ETH_LEN);
  return describeFrame(packetOf(frame)).replace(/^.*?, /, '');
}

describe('describe', () => {
  it.each([
    ['ARP', `${A} > ff:ff:ff:ff:ff:ff, ARP, request who-has 172.17.0.1 tell 172.17.0.2`],
    ['ICMP', `${A} > ${B}, IP 172.17.0.2 > 172.17.0.3: ICMP echo request, id 1234, seq 7, length 16`],
    ['UDP4', `${A} > ${B}, IP 172.17.0.2.40000 > 172.17.0.3.7: UDP, length 5`],
    ['UDP6', `${A} > ${B}, IP6 fd00:dec::2.40000 > fd00:dec::3.7: UDP, length 5`],
    [
      'TCP4_SYN',
      `${A} > ${B}, IP 172.17.0.2.40000 > 172.17.0.3.443: Flags [S], seq 3735928559, win 64240, mss 1460, length 0`,
    ],
    [
      'TCP6',
      `${A} > ${B}, IP6 fd00:dec::2.443 > fd00:dec::3.40000: Flags [P.], seq 16909060:16909065, ack 3735928560, win 502, length 5`,
    ],
    ['ICMPV6', `${A} > ${B}, IP6 fd00:dec::2 > fd00:dec::3: ICMP6, echo request, id 1234, seq 7, length 16`],
    [
      'NS',
      `${A} > 33:33:ff:00:00:03, IP6 fd00:dec::2 > ff02::1:ff00:3: ICMP6, neighbor solicitation, who has fd00:dec::3, length 32`,
    ],
    [
      'NA',
      `${B} > ${A}, IP6 fd00:dec::3 > fd00:dec::2: ICMP6, neighbor advertisement, tgt is fd00:dec::3 [solicited override], length 32`,
    ],
    [
      'RA',
      `02:42:ac:11:00:01 > 33:33:00:00:00:01, IP6 fe80::42:acff:fe11:1 > ff02::1: ICMP6, router advertisement, lifetime 1800 s, length 24`,
    ],
    [
      'RS',
      `${A} > 33:33:00:00:00:02, IP6 fe80::42:acff:fe11:1 > ff02::2: ICMP6, router solicitation, length 16`,
    ],
    ['IGMP_ROUTER_ALERT', `${A} > 01:00:5e:00:00:fb, IP 172.17.0.2 > 224.0.0.251: IGMP, length 8`],
    [
      'MLD_HOP_BY_HOP',
      `${A} > 33:33:00:00:00:16, IP6 fe80::42:acff:fe11:1 > ff02::16: ICMP6, multicast listener report v2, length 28`,
    ],
    ['VLAN', `${A} > ${B}, vlan 5 p3, IP 172.17.0.2.40000 > 172.17.0.3.7: UDP, length 5`],
    ['QINQ', `${A} > ${B}, vlan 100 p0, IP6 fd00:dec::2.40000 > fd00:dec::3.7: UDP, length 5`],
    ['FRAGMENT4_FIRST', `${A} > ${B}, IP 172.17.0.2.40000 > 172.17.0.3.9999: UDP, length 44, first fragment`],
    ['FRAGMENT4_LAST', `${A} > ${B}, IP 172.17.0.2 > 172.17.0.3: UDP fragment, id 77, offset 32`],
    [
      'FRAGMENT6_FIRST',
      `${A} > ${B}, IP6 fd00:dec::2.40000 > fd00:dec::3.9999: UDP, length 44, first fragment`,
    ],
    ['FRAGMENT6_LAST', `${A} > ${B}, IP6 fd00:dec::2 > fd00:dec::3: UDP fragment, id 77, offset 32`],
    [
      'FRAGMENTATION_NEEDED',
      `${B} > ${A}, IP 172.17.0.1 > 172.17.0.2: ICMP fragmentation needed mtu 1400 (172.17.0.2 > 172.17.0.3), length 36`,
    ],
    [
      'PACKET_TOO_BIG',
      `${B} > ${A}, IP6 fd00:dec::1 > fd00:dec::2: ICMP6, packet too big, mtu 1400 (fd00:dec::2 > fd00:dec::3), length 56`,
    ],
    ['STP', `${A} > 01:80:c2:00:00:00, STP config, length 38`],
    ['LLDP', `${A} > 01:80:c2:00:00:0e, LLDP, length 33`],
    ['EXTENSIONS', `${A} > ${B}, IP6 fd00:dec::2.40000 > fd00:dec::3.7: UDP, length 5`],
  ])('%s', (name, text) => {
    expect(describeFrame(packetOf(SAMPLES[name]!))).toBe(text);
  });

  it('ARP that answers, or does something else', () => {
    expect(changed(ARP, [7, 2])).toBe('ARP, reply 172.17.0.2 is-at 02:42:ac:11:00:02');
    expect(changed(ARP, [7, 9])).toBe('ARP, operation 9 from 172.17.0.2 to 172.17.0.1');
  });

  it('ICMP of every kind', () => {
    const icmp = (type: number, code: number, ...rest: number[]) =>
      changed(ICMP, [20, type, code], [24, ...rest]).replace('IP 172.17.0.2 > 172.17.0.3: ICMP ', '');
    expect(icmp(0, 0, 0, 1, 0, 2)).toBe('echo reply, id 1, seq 2, length 16');
    expect(icmp(3, 0)).toBe('net unreachable, length 16');
    expect(icmp(3, 1)).toBe('host unreachable, length 16');
    expect(icmp(3, 3)).toBe('port unreachable, length 16');
    expect(icmp(3, 13)).toBe('administratively prohibited, length 16');
    expect(icmp(5, 1, 10, 0, 0, 1)).toBe('redirect to 10.0.0.1, length 16');
    expect(icmp(11, 0)).toBe('time exceeded in transit, length 16');
    expect(icmp(11, 1)).toBe('time exceeded in reassembly, length 16');
    expect(icmp(12, 0, 20)).toBe('parameter problem at 20, length 16');
    expect(icmp(4, 0)).toBe('source quench, length 16');
    expect(icmp(3, 8)).toBe('unreachable code 8, length 16');
    expect(icmp(40, 1)).toBe('type 40 code 1, length 16');
    expect(icmp(13, 0)).toBe('timestamp request, length 16');
  });

  it('ICMPv6 of every kind', () => {
    const icmp = (type: number, code: number, ...rest: number[]) =>
      changed(ICMPV6, [40, type, code], [44, ...rest]).replace('IP6 fd00:dec::2 > fd00:dec::3: ICMP6, ', '');
    expect(icmp(129, 0, 0, 1, 0, 2)).toBe('echo reply, id 1, seq 2, length 16');
    expect(icmp(1, 4)).toBe('port unreachable, length 16');
    expect(icmp(1, 9)).toBe('unreachable code 9, length 16');
    expect(icmp(2, 0, 255, 255, 255, 255)).toBe('packet too big, mtu 4294967295, length 16');
    expect(icmp(3, 0)).toBe('time exceeded in transit, length 16');
    expect(icmp(3, 1)).toBe('time exceeded in reassembly, length 16');
    expect(icmp(4, 1, 0, 0, 0, 6)).toBe('parameter problem code 1 at 6, length 16');
    expect(icmp(130, 0)).toBe('multicast listener query, length 16');
    expect(icmp(131, 0)).toBe('multicast listener report, length 16');
    expect(icmp(132, 0)).toBe('multicast listener done, length 16');
    expect(icmp(135, 0)).toBe('type 135 truncated, length 16');
    expect(icmp(200, 3)).toBe('type 200 code 3, length 16');
    expect(changed(NA, [44, 0x80])).toContain('[router]');
    expect(changed(NA, [44, 0])).toContain('tgt is fd00:dec::3, length');
    expect(changed(NS, [40, 137])).toContain('type 137 truncated');
  });

  it('TCP flags, also none, and sequence numbers that wrap', () => {
    expect(changed(TCP4_SYN, [33, 0])).toContain('Flags [none]');
    expect(changed(TCP4_SYN, [33, 0xff])).toContain('Flags [FSRP.UEW]');
    const data = TCP4_SYN.slice();
    data[ETH_LEN + IPV4_LEN + 12] = 5 << 4;
    data.fill(0xff, ETH_LEN + IPV4_LEN + 4, ETH_LEN + IPV4_LEN + 8);
    expect(describeFrame(packetOf(data))).toContain('seq 4294967295:19');
  });

  it('protocols and types that nobody asked for', () => {
    expect(changed(UDP4, [IPV4_PROTOCOL, 132])).toContain('SCTP, length 13');
    expect(changed(UDP4, [IPV4_PROTOCOL, 253])).toContain('protocol 253, length 13');
    expect(changed(LLDP, [-2, 0x12, 0x34])).toBe('ethertype 0x1234, length 33');
    expect(changed(LLDP, [-2, 0x81, 0x00], [2, 0x81, 0x00], [6, 0x81, 0x00])).toMatch(
      /vlan \d+ p\d( dei)?, 802.1Q/,
    );
    expect(changed(STP, [6, 0x80])).toBe('STP topology change, length 38');
    expect(changed(STP, [6, 0x02])).toBe('STP rapid, length 38');
    expect(changed(STP, [6, 0x33])).toBe('STP type 51, length 38');
    expect(changed(STP, [0, 0xe0, 0xe0])).toBe('802.3 LLC dsap 0xe0 ssap 0xe0, length 38');
    expect(describeFrame(packetOf(STP.slice(0, 15)))).toContain('802.3, length 38');
  });

  it('what is malformed, with the reason and what is known', () => {
    expect(describeFrame(packetOf(ARP.slice(0, 13)))).toBe('malformed PKT_TOO_SMALL, length 13');
    expect(describeFrame(packetOf(ARP.slice(0, 20)))).toContain('ARP: malformed HDR_TRUNC, length 20');
    expect(describeFrame(packetOf(UDP4.slice(0, 30)))).toContain('IP: malformed HDR_TRUNC, length 30');
    const checksum = UDP4.slice();
    checksum[ETH_LEN + 10]! ^= 1;
    expect(describeFrame(packetOf(checksum))).toContain(
      'IP 172.17.0.2 > 172.17.0.3: malformed IP_CSUM, length 47',
    );
    expect(changed(ICMPV6, [4, 0xff])).toBe('IP6 fd00:dec::2 > fd00:dec::3: malformed IPV6_INHDR, length 70');
  });

  it('what is not finished yet', () => {
    const packet = packetOf(TCP4_SYN);
    writeVnet(packet.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, 0, 1448, 34, 16);
    expect(describeFrame(packet)).toMatch(/, length 0, gso 1448, partial checksum$/);
  });

  it('changes nothing in the packet that it describes', () => {
    const packet = packetOf(TCP4_SYN);
    const before = { ...packet, bytes: packet.bytes.slice() };
    describeFrame(packet);
    expect({ ...packet }).toEqual(before);
  });

  it('says something about a packet that is not in its buffer at all', () => {
    const packet = new Packet(new Uint8Array(4));
    packet.length = 100;
    expect(describeFrame(packet)).toContain('00:00:00:00:00:00');
    packet.at = 1000;
    expect(describeFrame(packet)).toContain('00:00:00:00:00:00');
  });
});
