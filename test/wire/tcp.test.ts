import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { set16 } from '../../wire/bytes.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { IPV4_LEN } from '../../wire/ipv4.ts';
import { IPV6_LEN } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import {
  findTcpOption,
  setTcpAcknowledgment,
  setTcpChecksum,
  setTcpDstPort,
  setTcpFlags,
  setTcpSequence,
  setTcpSrcPort,
  setTcpWindow,
  TCP_ACK,
  TCP_DATA_OFFSET,
  TCP_LEN,
  TCP_OPT_MSS,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_TIMESTAMPS,
  TCP_OPT_WINDOW_SCALE,
  TCP_PSH,
  TCP_SYN,
  TCP_URGENT,
  tcpAcknowledgment,
  tcpChecksum,
  tcpDstPort,
  tcpFlags,
  tcpHeaderLength,
  tcpMss,
  tcpSequence,
  tcpSrcPort,
  tcpUrgent,
  tcpWindow,
  writeTcp,
  writeTcpMss,
} from '../../wire/tcp.ts';
import { clampMss, fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { VNET_F_NEEDS_CSUM, VNET_GSO_NONE, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
import { AT, FRAGMENT4_LAST, frameOf, garbage, packetOf, TCP4_SYN, TCP6, UDP4 } from './samples.ts';

const L4 = AT + ETH_LEN + IPV4_LEN;
const SEGMENT = TCP6.slice(ETH_LEN + IPV6_LEN);

describe('TCP', () => {
  it('deconstruct', () => {
    const { bytes } = packetOf(TCP4_SYN);
    expect([tcpSrcPort(bytes, L4), tcpDstPort(bytes, L4)]).toEqual([40000, 443]);
    expect([tcpSequence(bytes, L4), tcpAcknowledgment(bytes, L4)]).toEqual([0xdeadbeef | 0, 0]);
    expect([tcpHeaderLength(bytes, L4), tcpFlags(bytes, L4)]).toEqual([40, TCP_SYN]);
    expect([tcpWindow(bytes, L4), tcpUrgent(bytes, L4)]).toEqual([64240, 0]);
    expect(tcpChecksum(bytes, L4)).toBe(0xb548);
    expect(tcpMss(bytes, L4)).toBe(1460);
    expect(findTcpOption(bytes, L4, TCP_OPT_MSS)).toBe(L4 + 20);
    expect(findTcpOption(bytes, L4, TCP_OPT_SACK_PERMITTED)).toBe(L4 + 24);
    expect(findTcpOption(bytes, L4, TCP_OPT_TIMESTAMPS)).toBe(L4 + 26);
    expect(findTcpOption(bytes, L4, TCP_OPT_WINDOW_SCALE)).toBe(L4 + 37);
    expect(findTcpOption(bytes, L4, 5)).toBe(0);
  });

  it('construct', () => {
    const bytes = garbage(TCP_LEN);
    setTcpSrcPort(bytes, 0, 443);
    setTcpDstPort(bytes, 0, 40000);
    setTcpSequence(bytes, 0, 0x01020304);
    setTcpAcknowledgment(bytes, 0, 0xdeadbef0);
    bytes[TCP_DATA_OFFSET] = 5 << 4;
    setTcpFlags(bytes, 0, TCP_PSH | TCP_ACK);
    setTcpWindow(bytes, 0, 502);
    setTcpChecksum(bytes, 0, tcpChecksum(SEGMENT, 0));
    set16(bytes, TCP_URGENT, 0);
    expect(bytes).toEqual(SEGMENT.slice(0, TCP_LEN));
  });

  it('parse', () => {
    const syn = packetOf(TCP4_SYN);
    expect(parse(syn)).toBe(Malformed.NONE);
    expect(syn).toMatchObject({ protocol: PROTO_TCP, l4: L4, payload: L4 + 40, end: L4 + 40 });
    const data = packetOf(TCP6);
    expect(parse(data)).toBe(Malformed.NONE);
    expect(data).toMatchObject({ protocol: PROTO_TCP, payload: data.l4 + 20, end: data.l4 + 25 });
  });

  it('emit', () => {
    const packet = packetOf(TCP6);
    parse(packet);
    packet.bytes.fill(0xa5, packet.l4, packet.payload);
    expect(
      writeTcp(packet.bytes, packet.l4, 443, 40000, 0x01020304, 0xdeadbef0 | 0, TCP_PSH | TCP_ACK, 502),
    ).toBe(packet.payload);
    fillTransportChecksum(packet);
    expect(frameOf(packet)).toEqual(TCP6);
  });

  it('emit, with options', () => {
    const packet = packetOf(TCP4_SYN);
    parse(packet);
    packet.bytes.fill(0xa5, packet.l4, packet.l4 + 24);
    const options = writeTcp(packet.bytes, packet.l4, 40000, 443, 0xdeadbeef, 0, TCP_SYN, 64240, 40);
    expect(writeTcpMss(packet.bytes, options, 1460)).toBe(packet.l4 + 24);
    fillTransportChecksum(packet);
    expect(frameOf(packet)).toEqual(TCP4_SYN);
  });

  it('with a data offset below 5 words or beyond the packet is bad', () => {
    for (let words = 0; words < 16; words++) {
      const frame = TCP4_SYN.slice();
      frame[ETH_LEN + IPV4_LEN + TCP_DATA_OFFSET] = words << 4;
      const fits = words >= 5 && words <= 10;
      expect(parse(packetOf(frame))).toBe(fits ? Malformed.NONE : Malformed.L4_INHDR);
    }
  });

  it('the checksum is right, and wrong with any byte changed', () => {
    for (const sample of [TCP4_SYN, TCP6]) {
      const packet = packetOf(sample);
      parse(packet);
      expect(transportChecksumOk(packet)).toBe(true);
      for (let at = packet.l4; at < packet.end; at++) {
        packet.bytes[at]! ^= 1;
        expect(transportChecksumOk(packet)).toBe(false);
        packet.bytes[at]! ^= 1;
      }
    }
  });
});

describe('TCP options', () => {
  it('of any bytes are searched to the end of the header and no further', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 60, maxLength: 60 }),
        fc.integer({ min: 0, max: 255 }),
        (bytes, type) => {
          const found = findTcpOption(bytes, 0, type);
          if (found !== 0) {
            expect(bytes[found]).toBe(type);
            expect(found + bytes[found + 1]!).toBeLessThanOrEqual(tcpHeaderLength(bytes, 0));
          }
          expect(tcpMss(bytes, 0)).toBeLessThanOrEqual(0xffff);
        },
      ),
      { numRuns: 1000 },
    );
  });

  /** A SYN of 24 bytes of header plus these options, padded with end-of-options. */
  function syn(...options: number[]): Uint8Array {
    const length = TCP_LEN + ((options.length + 3) & ~3);
    const bytes = new Uint8Array(length);
    writeTcp(bytes, 0, 1, 2, 3, 0, TCP_SYN, 5, length);
    bytes.set(options, TCP_LEN);
    return bytes;
  }

  it.each([
    ['none', [], 0],
    ['plain', [2, 4, 5, 0xb4], 1460],
    ['behind NOPs', [1, 1, 1, 2, 4, 5, 0xb4], 1460],
    ['behind others', [3, 3, 7, 2, 4, 5, 0xb4], 1460],
    ['behind the end', [0, 2, 4, 5, 0xb4], 0],
    ['of a wrong length', [2, 3, 5, 1], 0],
    ['of length 0', [2, 0, 5, 0xb4], 0],
    ['cut off', [1, 1, 2, 4], 0],
    ['without a length', [1, 1, 1, 2], 0],
    ['behind an option of length 0', [8, 0, 2, 4, 5, 0xb4], 0],
  ])('MSS, %s', (_, options, mss) => {
    expect(tcpMss(syn(...options), 0)).toBe(mss);
  });
});

describe('clampMss', () => {
  it('lowers what is too large, and nothing else', () => {
    const packet = packetOf(TCP4_SYN);
    parse(packet);
    expect(clampMss(packet, 1460)).toBe(false);
    expect(frameOf(packet)).toEqual(TCP4_SYN);
    expect(clampMss(packet, 1360)).toBe(true);
    expect(tcpMss(packet.bytes, packet.l4)).toBe(1360);
    expect(transportChecksumOk(packet)).toBe(true);
  });

  it('keeps the checksum right at odd places and of odd lengths', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4 }),
        fc.integer({ min: 1, max: 0xffff }),
        fc.nat(0xffff),
        (nops, before, mss) => {
          const packet = packetOf(TCP4_SYN);
          parse(packet);
          const options = packet.l4 + TCP_LEN;
          packet.bytes.fill(1, options, options + 20);
          writeTcpMss(packet.bytes, options + nops, before);
          fillTransportChecksum(packet);
          expect(clampMss(packet, mss)).toBe(before > mss);
          expect(tcpMss(packet.bytes, packet.l4)).toBe(Math.min(before, mss));
          expect(transportChecksumOk(packet)).toBe(true);
        },
      ),
    );
  });

  it('leaves a partial checksum alone: it does not cover the option yet', () => {
    const packet = packetOf(TCP4_SYN);
    parse(packet);
    writeVnet(packet.bytes, AT - VNET_LEN, VNET_F_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, 34, 16);
    const before = tcpChecksum(packet.bytes, L4);
    expect(clampMss(packet, 500)).toBe(true);
    expect(tcpChecksum(packet.bytes, L4)).toBe(before);
  });

  it('touches only TCP that is there', () => {
    for (const sample of [UDP4, FRAGMENT4_LAST, TCP6]) {
      const packet = packetOf(sample);
      parse(packet);
      expect(clampMss(packet, 1)).toBe(false);
      expect(frameOf(packet)).toEqual(sample);
    }
  });
});
