import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  arpRequest,
  ethernet,
  fragments,
  frameDifference,
  frameLine,
  icmpEcho,
  tagged,
  tcp,
  udp,
} from '../../src/testing/index.ts';
import { set16 } from '../../wire/bytes.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { IPV6_NEXT_HEADER, isIpv6Extension } from '../../wire/ipv6.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';
import { checksums, destination, type Host, Lab, sendAndCollect, source, transfer } from './lab.ts';

// What one kernel sends, byte for byte and in this order, is what the other gets: between two namespaces, with
// tcpdump on both sides.

const EXPERIMENT = 0x88b5;
const QINQ = 0x88a8;
const [BEGIN, END] = ['begin', 'end'];

let lab: Lab;
beforeAll(async () => {
  lab = new Lab();
  await lab.open();
});
afterEach(() => lab.stopPrograms());
afterAll(() => lab.close());

interface Pair {
  a: Host;
  b: Host;
}

async function pair(network: string, mtu: number): Promise<Pair> {
  await lab.network(network, '--ipv6', '--mtu', String(mtu));
  // The bridge alone: port security knows what some of the frames are not.
  const a = await lab.attach(`a-${network}`, '--network', network, '--allow-spoof');
  const b = await lab.attach(`b-${network}`, '--network', network, '--allow-spoof');
  return { a, b };
}

/**
 * What was recorded in both namespaces while `traffic` ran: the frames of each direction as they were sent and as
 * they arrived. A frame in front and one behind mark the time, because kernels speak unasked, too.
 */
async function record({ a, b }: Pair, traffic: () => Promise<unknown>) {
  const captures = [await a.capture(), await b.capture()] as const;
  const mark = (text: string) => Promise.all([a.send([marker(a, b, text)]), b.send([marker(b, a, text)])]);
  await mark(BEGIN);
  await traffic();
  await mark(END);
  // There and back behind the last marks, so that these have arrived.
  await a.ok('ping', '-c', '1', b.ipv4);
  const [atA, atB] = [await captures[0].stop(), await captures[1].stop()];
  return {
    paths: captures.map(({ path }) => path),
    directions: [
      { sent: framesOf(a, atA), arrived: framesOf(a, atB) },
      { sent: framesOf(b, atB), arrived: framesOf(b, atA) },
    ],
  };
}

function marker(from: Host, to: Host, text: string): Uint8Array {
  return ethernet({ from: from.mac, to: to.mac, type: EXPERIMENT, data: text });
}

/** The frames that a host sent, but for the gateway alone, between its markers. */
function framesOf(host: Host, capture: readonly Uint8Array[]): Uint8Array[] {
  const frames = capture.filter(
    (frame) => source(frame) === host.mac && (frame[0]! & 1 || destination(frame) !== host.gateway.mac),
  );
  const at = (text: string) => frames.findIndex((frame) => textOf(frame) === text);
  const [begin, end] = [at(BEGIN), at(END)];
  if (begin < 0 || end < 0)
    throw new Error(`a marker is missing among ${frames.length} frames of ${host.name}`);
  return frames.slice(begin, end + 1);
}

function textOf(frame: Uint8Array): string {
  return frame.length > 24 ? '' : Buffer.from(frame.subarray(14)).toString();
}

/** The first difference in words; undefined when the frames are the same in the same order. */
function difference(sent: readonly Uint8Array[], arrived: readonly Uint8Array[]): string | undefined {
  for (let i = 0; i < Math.max(sent.length, arrived.length); i++) {
    const [one, other] = [sent[i], arrived[i]];
    if (one === undefined)
      return `frame ${i} of ${sent.length} arrived and was not sent: ${frameLine(other!)}`;
    if (other === undefined) return `frame ${i} of ${sent.length} did not arrive: ${frameLine(one)}`;
    const words = Buffer.compare(one, other) === 0 ? undefined : frameDifference(one, other);
    if (words !== undefined) return `frame ${i} of ${sent.length}, ${arrived.length} arrived:\n${words}`;
  }
  return undefined;
}

/** Frames as no kernel sends them by itself: tags, LLC, unknown types, every kind of receiver. */
function rareFrames(from: Host, to: Host, count: number): Uint8Array[] {
  const random = new Random(count);
  const receivers = [
    to.mac,
    'ff:ff:ff:ff:ff:ff',
    '01:00:5e:00:00:fb',
    '33:33:00:00:00:fb',
    '02:00:00:00:99:99',
  ];
  return Array.from({ length: count }, (_, i) => {
    const receiver = receivers[random.below(receivers.length)]!;
    const data = 2 + random.below(1200);
    const frame = ethernet({ from: from.mac, to: receiver, type: EXPERIMENT + (i % 2), data });
    switch (i % 6) {
      case 0:
        return frame;
      case 1:
        return tagged(frame, random.below(4095), random.below(8));
      case 2: {
        const outer = tagged(tagged(frame, 1 + random.below(4094)), 5);
        set16(outer, 12, QINQ);
        return outer;
      }
      case 3:
        // IEEE 802.3 with LLC: what spanning tree and old protocols use.
        return ethernet({ from: from.mac, to: receiver, type: data, data });
      case 4:
        return tagged(udp({ from, to, dstPort: 9, data: random.below(1200) }), 1 + random.below(4094), 6);
      default:
        return tagged(icmpEcho({ from, to, family: 6, data: random.below(1200) }), 7);
    }
  });
}

/** Everything at once, both ways. */
async function mixedTraffic({ a, b }: Pair, bytes: number): Promise<void> {
  await Promise.all([
    transfer(a, b, b.ipv4, bytes),
    transfer(b, a, a.ipv6, bytes),
    sendAndCollect(a, b, b.ipv6, { size: 1000, count: 300 }),
    sendAndCollect(b, a, a.ipv4, { size: 700, count: 300 }),
    a.ok('ping', '-q', '-c', '20', '-i', '0.02', '-s', '3000', b.ipv4),
    b.ok('ping', '-q', '-c', '20', '-i', '0.02', '-s', '3000', a.ipv6),
    a.ok('traceroute', '-n', '-q', '1', b.ipv4),
    a.send(rareFrames(a, b, 600)),
    b.send(rareFrames(b, a, 500)),
  ]);
}

describe('frames are the same, and in the same order, on both sides', () => {
  it.each([1500, 65520])('without offloads, MTU %i', async (mtu) => {
    const hosts = await pair(`plain-${mtu}`, mtu);
    const { a, b } = hosts;
    for (const host of [a, b]) host.offloadsOff();
    const { directions, paths } = await record(hosts, () => mixedTraffic(hosts, 6_000_000));
    // Who loses frames before they leave its interface would have sent what nobody got.
    expect([a.lostFrames(), b.lostFrames()]).toEqual([0, 0]);
    for (const { sent, arrived } of directions) {
      expect(difference(sent, arrived)).toBeUndefined();
      expect(sent.length).toBeGreaterThan(900);
    }
    for (const path of paths) {
      const { packets, wrong } = await checksums(lab.account, path);
      // Linux writes 0xffff where TCP's sum is 0, as one must for UDP (skb_checksum_help): the same number to every
      // receiver, but Wireshark calls it wrong.
      expect(wrong.filter((line) => !line.includes('[TCP CHECKSUM 0xFFFF]'))).toEqual([]);
      for (const [protocol, count] of Object.entries(packets)) expect(count, protocol).toBeGreaterThan(15);
    }
  });

  it('with segments of 64 KiB and partial checksums', async () => {
    const hosts = await pair('offload', 1500);
    for (const host of [hosts.a, hosts.b]) host.longQueue();
    const { directions } = await record(hosts, () => mixedTraffic(hosts, 6_000_000));
    expect([hosts.a.lostFrames(), hosts.b.lostFrames()]).toEqual([0, 0]);
    for (const { sent, arrived } of directions) {
      expect(difference(sent, arrived)).toBeUndefined();
      expect(sent.some(({ length }) => length > 20_000)).toBe(true);
    }
  });

  it('whatever is in them', async () => {
    const hosts = await pair('garbage', 1500);
    const { a, b } = hosts;
    const frames = [...brokenFrames(a, b), ...garbage(a, b, 800)];
    const { directions } = await record(hosts, () => a.send(frames));
    const [{ sent, arrived }] = directions as [(typeof directions)[0]];
    expect(difference(sent, arrived)).toBeUndefined();
    // Also what was given to the kernel is what it sent.
    const given = new Set(frames.map((frame) => Buffer.from(frame).toString('hex')));
    const carried = arrived.filter((frame) => given.has(Buffer.from(frame).toString('hex')));
    expect(difference(frames, carried)).toBeUndefined();
  });
});

/** A bridge looks at Ethernet addresses alone: what else is wrong is the receiver's business. */
function brokenFrames(from: Host, to: Host): Uint8Array[] {
  const change = (frame: Uint8Array, at: number, ...bytes: number[]) => {
    frame.set(bytes, at);
    return frame;
  };
  const v4 = () => udp({ from, to, dstPort: 9, data: 100 });
  const v6 = () => udp({ from, to, family: 6, dstPort: 9, data: 100 });
  return [
    change(v4(), 24, 0xde, 0xad), // IPv4 header checksum
    change(v4(), 14, 0x44), // header length
    change(v4(), 14, 0x65), // version
    change(v4(), 16, 0xff, 0xff), // total length
    change(v4(), 38, 0, 3), // UDP length
    change(v4(), 40, 0xba, 0xd0), // UDP checksum
    change(v6(), 18, 0xff, 0xff), // payload length
    change(v6(), 60, 0, 0), // UDP without checksum
    change(tcp({ from, to, dstPort: 9, flags: 'S' }), 46, 0x10), // TCP data offset
    change(tcp({ from, to, dstPort: 9, flags: 'SFRPU' }), 50, 0xba, 0xd0), // TCP checksum
    change(arpRequest({ from, ask: to.ipv4 }), 18, 7), // hardware address length
    arpRequest({ from, ask: to.ipv4 }).subarray(0, 30),
    v4().subarray(0, 20),
    v6().subarray(0, 30),
    ...fragments(icmpEcho({ from, to, data: 4000 }), 1500).slice(1),
    ...fragments(icmpEcho({ from, to, family: 6, data: 4000 }), 1500).reverse(),
  ];
}

function garbage(from: Host, to: Host, count: number): Uint8Array[] {
  const random = new Random(7);
  const types = [0x0800, 0x86dd, 0x0806, 0x8847, 0x0000, 0xffff];
  return Array.from({ length: count }, () => {
    const data = Uint8Array.from({ length: random.below(1501) }, () => random.below(256));
    const frame = ethernet({ from: from.mac, to: to.mac, type: types[random.below(types.length)]!, data });
    // A chain of IPv6 extension headers that cannot be read is not carried: neighbor discovery could hide behind it.
    if (isIpv6Extension(frame[ETH_LEN + IPV6_NEXT_HEADER] ?? 0))
      frame[ETH_LEN + IPV6_NEXT_HEADER] = PROTO_UDP;
    return frame;
  });
}
