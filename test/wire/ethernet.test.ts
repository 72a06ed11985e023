import { describe, expect, it } from 'vitest';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_MIN,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
  ethType,
  setEthDst,
  setEthSrc,
  setEthType,
  writeEthernet,
} from '../../wire/ethernet.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse, parseEthernet } from '../../wire/parse.ts';
import {
  vlanDropEligible,
  vlanId,
  vlanPriority,
  vlanTagTci,
  vlanTci,
  vlanTpid,
  writeVlan,
} from '../../wire/vlan.ts';
import { ARP, AT, frameOf, garbage, LLDP, packetOf, QINQ, STP, UDP4, VLAN } from './samples.ts';

describe('Ethernet', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(ARP);
    expect([ethDstHi(bytes, AT), ethDstLo(bytes, AT)]).toEqual([0xffff, -1]);
    expect([ethSrcHi(bytes, AT), ethSrcLo(bytes, AT)]).toEqual([0x0242, 0xac110002 | 0]);
    expect(ethType(bytes, AT)).toBe(ETHERTYPE_ARP);
  });

  it('construct', () => {
    const bytes = garbage(ETH_LEN);
    setEthDst(bytes, 0, 0xffff, -1);
    setEthSrc(bytes, 0, 0x0242, 0xac110002 | 0);
    setEthType(bytes, 0, ETHERTYPE_ARP);
    expect(bytes).toEqual(ARP.slice(0, ETH_LEN));
  });

  it('parse', () => {
    const packet = packetOf(ARP);
    expect(parseEthernet(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ etherType: ETHERTYPE_ARP, vlan: -1, l3: AT + ETH_LEN, end: AT + 42 });
  });

  it('emit', () => {
    const bytes = garbage(ETH_LEN);
    expect(writeEthernet(bytes, 0, 0xffff, -1, 0x0242, 0xac110002 | 0, ETHERTYPE_ARP)).toBe(ETH_LEN);
    expect(bytes).toEqual(ARP.slice(0, ETH_LEN));
  });

  it('a frame shorter than its header is too small', () => {
    for (let length = 0; length < ETH_LEN; length++) {
      const packet = packetOf(ARP.slice(0, length));
      expect(parse(packet)).toBe(Malformed.PKT_TOO_SMALL);
      expect(packet).toMatchObject({ etherType: 0, vlan: -1, l3: AT + length, end: AT + length, l4: 0 });
    }
  });

  it('unknown types and IEEE 802.3 lengths are well-formed', () => {
    const lldp = packetOf(LLDP);
    expect(parse(lldp)).toBe(Malformed.NONE);
    expect(lldp).toMatchObject({ etherType: 0x88cc, protocol: -1, l4: 0, end: AT + LLDP.length });
    const stp = packetOf(STP);
    expect(parse(stp)).toBe(Malformed.NONE);
    expect(stp.etherType).toBe(38);
    expect(stp.etherType).toBeLessThan(ETHERTYPE_MIN);
  });

  it('parseEthernet forgets what it found in the frame before', () => {
    const packet = packetOf(UDP4);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.l4).not.toBe(0);
    packet.fragmentOffset = 8;
    packet.moreFragments = true;
    packet.fragmentHeader = 60;
    parseEthernet(packet);
    expect(packet).toMatchObject({
      protocol: -1,
      l4: 0,
      payload: 0,
      fragmentOffset: 0,
      moreFragments: false,
      fragmentHeader: 0,
    });
  });
});

describe('VLAN tag', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(VLAN);
    expect(vlanTpid(bytes, AT + 12)).toBe(ETHERTYPE_VLAN);
    const tci = vlanTagTci(bytes, AT + 12);
    expect(tci).toBe(0x6005);
    expect([vlanId(tci), vlanPriority(tci), vlanDropEligible(tci)]).toEqual([5, 3, false]);
  });

  it('construct', () => {
    expect(vlanTci(5, 3, false)).toBe(0x6005);
    expect(vlanTci(4095, 7, true)).toBe(0xffff);
    expect(vlanTci(0x1000, 8, false)).toBe(0);
  });

  it('parse', () => {
    const packet = packetOf(VLAN);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ etherType: ETHERTYPE_IPV4, vlan: 0x6005, l3: AT + 18, l4: AT + 38 });
  });

  it('emit', () => {
    const bytes = garbage(4);
    expect(writeVlan(bytes, 0, ETHERTYPE_VLAN, vlanTci(5, 3, false))).toBe(4);
    expect(bytes).toEqual(VLAN.slice(12, 16));
  });

  it('two tags: the outer one counts, the inner type says what follows', () => {
    const packet = packetOf(QINQ);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ etherType: ETHERTYPE_IPV6, vlan: 0x0064, l3: AT + 22, l4: AT + 62 });
  });

  it('a third tag is an unknown type', () => {
    const triple = new Uint8Array(QINQ.length + 4);
    triple.set(QINQ.slice(0, 12));
    triple.set([0x88, 0xa8, 0x00, 0x01], 12);
    triple.set(QINQ.slice(12), 16);
    const packet = packetOf(triple);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ etherType: ETHERTYPE_VLAN, vlan: 1, l3: AT + 22, protocol: -1 });
    expect(ethType(packet.bytes, AT)).toBe(ETHERTYPE_QINQ);
  });

  it('a tag that is cut off is a truncated header', () => {
    for (const length of [14, 15, 17]) {
      const packet = packetOf(VLAN.slice(0, length));
      expect(parse(packet)).toBe(Malformed.HDR_TRUNC);
      expect(packet.vlan).toBe(-1);
    }
    for (const length of [18, 21]) {
      const packet = packetOf(QINQ.slice(0, length));
      expect(parse(packet)).toBe(Malformed.HDR_TRUNC);
      expect(packet.vlan).toBe(0x64);
      expect(frameOf(packet)).toEqual(QINQ.slice(0, length));
    }
  });
});
