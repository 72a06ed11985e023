import fc from 'fast-check';
import { eth, type Ip6Frame, type PayloadFrame, type TestFrame } from '../../src/testing/index.ts';
import { formatIpv6 } from '../../wire/address.ts';

/** Frames of every layer that the builder knows, with lengths and checksums that are right. */
const byte = fc.integer({ min: 0, max: 0xff });
const number16 = fc.integer({ min: 0, max: 0xffff });
const number32 = fc.nat(0xffff_ffff);
const data = fc.uint8Array({ maxLength: 64 });
const mac = fc
  .array(byte, { minLength: 5, maxLength: 5 })
  .map((rest) => [2, ...rest].map((each) => each.toString(16).padStart(2, '0')).join(':'));
const ipv4 = fc.tuple(fc.integer({ min: 1, max: 223 }), byte, byte, byte).map((parts) => parts.join('.'));
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const ipv6 = fc.tuple(fc.constant(0xfd000000 | 0), word, word, word).map((words) => formatIpv6(...words));
const flags = fc.subarray([...'FSRPAUEC']).map((letters) => letters.join(''));

/** An optional field is there or not, with the default. */
const tcp = fc.record(
  {
    sport: number16,
    dport: number16,
    seq: number32,
    ack: number32,
    flags,
    window: number16,
    urgent: number16,
    checksum: number16,
    options: fc.record(
      {
        mss: number16,
        wscale: fc.integer({ min: 0, max: 14 }),
        sackPermitted: fc.constant(true),
        timestamps: fc.tuple(number32, number32),
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);
const udp = fc.record({ sport: number16, dport: number16, checksum: number16 }, { requiredKeys: [] });
const echo = fc.record({
  type: fc.constantFrom('echo-request' as const, 'echo-reply' as const),
  id: number16,
  seq: number16,
});
const error = fc.record({
  type: fc.constantFrom('unreachable' as const, 'time-exceeded' as const),
  code: byte,
  rest: number32,
});

type Above = (frame: { tcp: Ip6Frame['tcp']; udp: Ip6Frame['udp'] }) => PayloadFrame;

const transport: fc.Arbitrary<Above> = fc.oneof(
  tcp.map(
    (fields): Above =>
      (frame) =>
        frame.tcp(fields),
  ),
  udp.map(
    (fields): Above =>
      (frame) =>
        frame.udp(fields),
  ),
);

const ip = fc.record(
  {
    tos: byte,
    id: number16,
    df: fc.boolean(),
    mf: fc.boolean(),
    offset: fc.nat(8191).map((units) => units * 8),
    ttl: byte,
    checksum: number16,
    options: fc.nat(10).map((words) => new Uint8Array(4 * words).fill(1)),
  },
  { requiredKeys: [] },
);
const ip6 = fc.record(
  { trafficClass: byte, flowLabel: fc.nat(0xfffff), hopLimit: byte },
  { requiredKeys: [] },
);
const vlan = fc.record({
  id: fc.nat(4094),
  priority: fc.nat(7),
  dropEligible: fc.boolean(),
  tpid: fc.constantFrom(0x8100, 0x88a8),
});
/** Options of the experimental type that who does not know them steps over (RFC 4727). */
const options = fc
  .array(fc.uint8Array({ maxLength: 8 }), { maxLength: 3 })
  .map((list) => Uint8Array.from(list.flatMap((each) => [0x1e, each.length, ...each])));
/** A routing header of an experimental type, all its stations visited (RFC 4727). */
const visited = fc
  .nat(2)
  .map((units) => Uint8Array.from([253, 0, ...new Array<number>(4 + 8 * units).fill(0)]));
const extensions = fc.array(
  fc.oneof(
    fc.tuple(fc.constantFrom('hopByHop' as const, 'destination' as const), options),
    fc.tuple(fc.constant('routing' as const), visited),
  ),
  { maxLength: 3 },
);

const link = fc
  .tuple(mac, mac, fc.array(vlan, { maxLength: 2 }))
  .map(([src, dst, tags]) => tags.reduce((frame, tag) => frame.vlan(tag), eth({ src, dst })));

const above4 = fc.oneof({ weight: 3, arbitrary: transport }, { weight: 1, arbitrary: fc.oneof(echo, error) });

const packet4 = fc
  .tuple(link, fc.record({ src: ipv4, dst: ipv4 }), ip, above4, data)
  .map(([below, ends, fields, above, payload]): TestFrame => {
    const frame = below.ip({ ...ends, ...fields });
    return (typeof above === 'function' ? above(frame) : frame.icmp(above)).payload(payload);
  });

const discovery = fc.tuple(fc.boolean(), ipv6, fc.option(mac, { nil: null }), fc.boolean());
const above6 = fc.oneof(transport, echo, discovery);

const packet6 = fc
  .tuple(link, fc.record({ src: ipv6, dst: ipv6 }), ip6, extensions, fc.boolean(), above6, data)
  .map(([below, ends, fields, headers, isAtomic, above, payload]): TestFrame => {
    let frame = below.ip6({ ...ends, ...fields });
    for (const [kind, bytes] of headers) frame = frame[kind]({ data: bytes });
    // An atomic fragment: whole, with a header that says so (RFC 6946).
    if (isAtomic) frame = frame.fragment({ id: 7 });
    if (typeof above === 'function') return above(frame).payload(payload);
    if (!Array.isArray(above)) return frame.icmp6(above).payload(payload);
    const [asks, target, linkLayer, router] = above;
    return asks
      ? frame.icmp6({ type: 'neighbor-solicitation', target, linkLayer })
      : frame.icmp6({ type: 'neighbor-advertisement', target, linkLayer, router, solicited: true });
  });

const arp = fc
  .tuple(link, fc.constantFrom('who-has' as const, 'is-at' as const), mac, ipv4, mac, ipv4)
  .map(([below, op, sha, spa, tha, tpa]): TestFrame => below.arp({ op, sha, spa, tha, tpa }));

const other = fc.tuple(link, data).map(([below, payload]): TestFrame => below.payload(payload));

/** Any frame that the builder can make, some of them padded. */
export const frame: fc.Arbitrary<TestFrame> = fc
  .tuple(fc.oneof(packet4, packet6, arp, other), fc.boolean())
  .map(([made, isPadded]) => (isPadded ? made.pad() : made));
