import { describe, expect, it } from 'vitest';
import {
  ARP_HLEN,
  ARP_HTYPE,
  ARP_LEN,
  ARP_OPER,
  ARP_PLEN,
  ARP_PTYPE,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SHA,
  ARP_SPA,
  ARP_THA,
  ARP_TPA,
  arpOper,
  arpShaHi,
  arpShaLo,
  arpSpa,
  arpThaHi,
  arpThaLo,
  arpTpa,
  isArpAnnouncement,
  isArpProbe,
  writeArp,
} from '../../wire/arp.ts';
import { set16, set32 } from '../../wire/bytes.ts';
import { ETH_LEN, ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { ARP, AT, garbage, packetOf } from './samples.ts';

const L3 = AT + ETH_LEN;
const ADDRESS = 0xac110002 | 0;
const GATEWAY = 0xac110001 | 0;

describe('ARP', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(ARP);
    expect(arpOper(bytes, L3)).toBe(ARP_REQUEST);
    expect([arpShaHi(bytes, L3), arpShaLo(bytes, L3), arpSpa(bytes, L3)]).toEqual([0x0242, ADDRESS, ADDRESS]);
    expect([arpThaHi(bytes, L3), arpThaLo(bytes, L3), arpTpa(bytes, L3)]).toEqual([0, 0, GATEWAY]);
  });

  it('construct', () => {
    const bytes = garbage(ARP_LEN);
    set16(bytes, ARP_HTYPE, 1);
    set16(bytes, ARP_PTYPE, ETHERTYPE_IPV4);
    bytes[ARP_HLEN] = 6;
    bytes[ARP_PLEN] = 4;
    set16(bytes, ARP_OPER, ARP_REQUEST);
    set16(bytes, ARP_SHA, 0x0242);
    set32(bytes, ARP_SHA + 2, ADDRESS);
    set32(bytes, ARP_SPA, ADDRESS);
    set16(bytes, ARP_THA, 0);
    set32(bytes, ARP_THA + 2, 0);
    set32(bytes, ARP_TPA, GATEWAY);
    expect(bytes).toEqual(ARP.slice(ETH_LEN));
  });

  it('parse', () => {
    const packet = packetOf(ARP);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet).toMatchObject({ l3: L3, end: L3 + ARP_LEN, protocol: -1, l4: 0, payload: 0 });
  });

  it('emit', () => {
    const bytes = garbage(ARP_LEN);
    expect(writeArp(bytes, 0, ARP_REQUEST, 0x0242, ADDRESS, ADDRESS, 0, 0, GATEWAY)).toBe(ARP_LEN);
    expect(bytes).toEqual(ARP.slice(ETH_LEN));
  });

  it('padding lies behind the end', () => {
    const padded = new Uint8Array(60);
    padded.set(ARP);
    const packet = packetOf(padded);
    expect(parse(packet)).toBe(Malformed.NONE);
    expect(packet.end).toBe(L3 + ARP_LEN);
  });

  it('is truncated below 28 bytes', () => {
    expect(parse(packetOf(ARP.slice(0, -1)))).toBe(Malformed.HDR_TRUNC);
  });

  it.each([
    ['hardware type', ARP_HTYPE + 1],
    ['protocol type', ARP_PTYPE],
    ['hardware length', ARP_HLEN],
    ['protocol length', ARP_PLEN],
  ])('with another %s is not Ethernet and IPv4', (_, field) => {
    const frame = ARP.slice();
    frame[ETH_LEN + field]! ^= 2;
    expect(parse(packetOf(frame))).toBe(Malformed.ARP_INHDR);
  });

  it('is a probe from 0.0.0.0, an announcement about itself', () => {
    const bytes = garbage(ARP_LEN);
    writeArp(bytes, 0, ARP_REQUEST, 0x0242, ADDRESS, 0, 0, 0, ADDRESS);
    expect([isArpProbe(bytes, 0), isArpAnnouncement(bytes, 0)]).toEqual([true, false]);
    writeArp(bytes, 0, ARP_REQUEST, 0x0242, ADDRESS, ADDRESS, 0, 0, ADDRESS);
    expect([isArpProbe(bytes, 0), isArpAnnouncement(bytes, 0)]).toEqual([false, true]);
    writeArp(bytes, 0, ARP_REPLY, 0x0242, ADDRESS, ADDRESS, 0, 0, ADDRESS);
    expect([isArpProbe(bytes, 0), isArpAnnouncement(bytes, 0)]).toEqual([false, true]);
    writeArp(bytes, 0, ARP_REQUEST, 0x0242, ADDRESS, ADDRESS, 0, 0, GATEWAY);
    expect([isArpProbe(bytes, 0), isArpAnnouncement(bytes, 0)]).toEqual([false, false]);
    writeArp(bytes, 0, ARP_REPLY, 0x0242, ADDRESS, 0, 0, 0, 0);
    expect([isArpProbe(bytes, 0), isArpAnnouncement(bytes, 0)]).toEqual([false, false]);
  });
});
