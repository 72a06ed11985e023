import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { build, dissect, eth, type IpFrame, icmpEcho, type Station, tcp } from '../../src/testing/index.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { frame as anyFrame } from './arbitrary-frame.ts';

const alice: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };
const bob: Station = { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' };

function parsed(bytes: Uint8Array): Packet {
  const packet = new Packet(bytes);
  packet.length = bytes.length;
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

test('what is built and dissected can be built again', () => {
  fc.assert(
    fc.property(anyFrame, (frame) => {
      const bytes = frame.bytes();
      const { layers } = dissect(bytes);
      expect(build(layers)).toEqual(bytes);
    }),
    { numRuns: 1000 },
  );
});

test('a change of nothing changes nothing', () => {
  fc.assert(
    fc.property(anyFrame, (frame) => {
      const bytes = frame.bytes();
      expect(dissect(bytes).with({ eth: {} }).bytes()).toEqual(bytes);
    }),
    { numRuns: 1000 },
  );
});

test('any bytes of a header and more are dissected', () => {
  fc.assert(
    fc.property(
      fc.constantFrom([8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]),
      fc.uint8Array({ maxLength: 90 }),
      (type, rest) => {
        const bytes = Uint8Array.from([...new Array<number>(12).fill(2), ...type, ...rest]);
        const { layers } = dissect(bytes);
        expect(layers[0]).toMatchObject({ layer: 'eth' });
        expect(dissect(bytes).bytes()).toEqual(bytes);
      },
    ),
  );
  expect(() => dissect(new Uint8Array(13))).toThrow('a frame has at least 14 bytes, and this one 13');
});

describe('lengths and checksums', () => {
  test('are right', () => {
    const options = { mss: 1460, wscale: 7, sackPermitted: true, timestamps: [1, 0] } as const;
    const syn = eth({ src: alice, dst: bob }).vlan({ id: 5 }).ip({ df: true }).tcp({ dport: 80, options });
    const packet = parsed(syn.payload('early').bytes());
    expect(transportChecksumOk(packet)).toBe(true);
    // As Linux sends it: 20 bytes of options.
    expect(Buffer.from(syn.bytes().subarray(-20)).toString('hex')).toBe(
      '020405b40402080a000000010000000001030307',
    );
    expect(dissect(syn.bytes()).tcp).toMatchObject({ headerLength: 40, flags: 'S', options });
  });

  test('are those of the functions', () => {
    const base = { from: alice, to: bob } as const;
    expect(eth({ src: alice, dst: bob }).ip().icmp({ id: 1, seq: 1 }).payload(56).bytes()).toEqual(
      icmpEcho(base),
    );
    expect(eth({ src: alice, dst: bob }).ip6().tcp({ dport: 80, flags: 'PA' }).payload('x').bytes()).toEqual(
      tcp({ ...base, family: 6, dstPort: 80, flags: 'PA', data: 'x' }),
    );
  });

  test('are wrong on purpose', () => {
    const frame = eth({ src: alice, dst: bob })
      .ip({ checksum: 0xbad, length: 1000 })
      .udp({ checksum: 0xbad, length: 3, dport: 53 });
    const read = dissect(frame.bytes());
    expect(read.ip).toMatchObject({ checksum: 0xbad, length: 1000 });
    expect(read.udp).toMatchObject({ checksum: 0xbad, length: 3 });
  });

  test('follow a change where they were right, and stay where they were wrong', () => {
    const sent = eth({ src: alice, dst: bob }).ip({ ttl: 64 }).udp({ dport: 53, checksum: 0xbad }).bytes();
    const routed = dissect(sent).with({ ip: { ttl: 63 }, eth: { src: bob.mac } });
    expect(routed.bytes()).toEqual(
      eth({ src: bob.mac, dst: bob }).ip({ src: alice, ttl: 63 }).udp({ dport: 53, checksum: 0xbad }).bytes(),
    );
    parsed(routed.bytes());
  });

  test('do not count what pads', () => {
    const padded = eth({ src: alice, dst: bob }).ip().udp({ dport: 53 }).pad().bytes();
    expect(padded).toHaveLength(60);
    expect(parsed(padded).end).toBe(42);
  });
});

describe('addresses', () => {
  test('come from stations', () => {
    const { eth: link, ip } = dissect(eth().ip({ src: alice, dst: bob }).udp({ dport: 53 }).bytes());
    expect(link).toMatchObject({ src: alice.mac, dst: bob.mac });
    expect(ip).toMatchObject({ src: alice.ipv4, dst: bob.ipv4, ttl: 64 });
  });

  test('of groups have MACs of groups', () => {
    const to = (dst: string) => dissect(eth({ src: alice }).ip({ dst }).udp({ dport: 53 }).bytes()).eth.dst;
    expect(to('224.0.0.251')).toBe('01:00:5e:00:00:fb');
    expect(to('255.255.255.255')).toBe('ff:ff:ff:ff:ff:ff');
    const six = eth({ src: alice }).ip6({ dst: 'ff02::fb' }).udp({ dport: 5353 }).bytes();
    expect(dissect(six).eth.dst).toBe('33:33:00:00:00:fb');
  });

  test.each([
    [
      () => eth().ip({ dst: bob }).udp().bytes(),
      'the frame has no source MAC; give eth({ src }), or name a station',
    ],
    [
      () => eth({ src: alice }).ip({ dst: '10.0.0.9' }).udp().bytes(),
      'the frame has no destination MAC; give eth({ dst })',
    ],
    [
      () => eth({ src: alice, dst: bob.mac }).ip().udp().bytes(),
      'the frame has no destination address; give ip({ dst })',
    ],
    [
      () => eth({ src: 'alice' }).ip({ src: alice, dst: bob }).udp().bytes(),
      "'alice' is not a MAC; one looks like 02:42:0a:00:00:02",
    ],
    [() => eth().ip({ dst: { mac: bob.mac } }), 'the station 02:42:0a:00:00:0b has no IPv4 address'],
    [() => eth({ src: alice }).ip({ dst: bob }).tcp({ flags: 'SX' }).bytes(), "'X' is no TCP flag"],
  ])('that are missing or wrong are said', (make, message) => {
    expect(make).toThrow(message);
  });
});

describe('questions and answers', () => {
  test('ARP', () => {
    const asks = dissect(eth({ src: alice }).arp({ tpa: bob }).bytes());
    expect(asks.eth.dst).toBe('ff:ff:ff:ff:ff:ff');
    expect(asks.arp).toMatchObject({
      op: 'who-has',
      spa: alice.ipv4,
      tpa: bob.ipv4,
      tha: '00:00:00:00:00:00',
    });
    const answers = dissect(eth({ src: bob }).arp({ op: 'is-at', tpa: alice }).bytes());
    expect(answers.eth.dst).toBe(alice.mac);
    expect(answers.arp).toMatchObject({ op: 'is-at', sha: bob.mac, tha: alice.mac, tpa: alice.ipv4 });
  });

  test('neighbor discovery', () => {
    const asks = dissect(eth({ src: alice }).ip6().whoHas(bob).bytes());
    expect(asks.eth.dst).toBe('33:33:ff:00:00:0b');
    expect(asks.ip6).toMatchObject({ dst: 'ff02::1:ff00:b', hopLimit: 255 });
    expect(asks.icmp6).toMatchObject({
      type: 'neighbor-solicitation',
      target: 'fd00::b',
      linkLayer: alice.mac,
    });
    const answers = dissect(eth({ src: bob, dst: alice }).ip6().isAt().bytes());
    expect(answers.icmp6).toMatchObject({
      target: 'fd00::b',
      solicited: true,
      override: true,
      linkLayer: bob.mac,
    });
  });

  test('an ICMP error quotes', () => {
    const sent = eth({ src: alice, dst: bob }).ip().udp({ dport: 53 });
    const error = eth({ src: bob, dst: alice }).ip().icmp({ type: 'unreachable', code: 3 }).quote(sent);
    const { icmp, payload } = dissect(error.bytes());
    expect(icmp).toMatchObject({ type: 'unreachable', code: 3 });
    expect(payload).toEqual(sent.bytes().slice(14));
  });
});

test('nothing changes a frame that was built', () => {
  const base = eth({ src: alice, dst: bob }).ip();
  const before = base.bytes();
  base.udp({ dport: 1 });
  base.with({ ip: { ttl: 1 } });
  expect(base.bytes()).toEqual(before);
  expect(() => base.with({ tcp: { ack: 1 } })).toThrow("the frame has no layer 'tcp'; it has eth, ip");
});

test('the types know what may follow', () => {
  expectTypeOf(eth()).not.toHaveProperty('tcp');
  expectTypeOf(eth().ip()).toEqualTypeOf<IpFrame>();
  expectTypeOf(eth().ip()).not.toHaveProperty('icmp6');
  expectTypeOf(eth().ip().tcp()).not.toHaveProperty('udp');
});
