/** What a router and host owes to IP (RFC 791, 1122, 1812, 1191, 4443, 4884, 8200), as far as a NAT is one. */
import { fragments } from '../../src/testing/frames.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { fillIpv4Checksum, IPV4_LEN } from '../../wire/ipv4.ts';
import { arrives, type Bed, checkSums, errs, listed, nothing } from './bed.ts';
import { quotes } from './behaviour.ts';
import { reassemble } from './datagram.ts';
import { BOTH, check, type Row, same } from './row.ts';

const WEB = { publish: [{ protocol: 'tcp', port: 8080, to: 'c1:80' }] } as const;

export const IP: readonly Row[] = [
  {
    id: 'IP-1',
    strength: 'MUST',
    title: 'wrong version, header length, total length or header checksum: dropped (RFC 1812 §5.2.2)',
    async run(bed) {
      const faults: [string, (ip: Uint8Array) => void][] = [
        ['version 5', (ip) => (ip[0] = 0x55)],
        ['a header of 4 words', (ip) => (ip[0] = 0x44)],
        ['a header longer than the packet', (ip) => (ip[0] = 0x4f)],
        ['a total length shorter than the header', (ip) => ip.set([0, 19], 2)],
        ['a total length longer than the frame', (ip) => ip.set([5, 0], 2)],
      ];
      for (const [what, spoil] of faults) {
        const frame = bed.udpFrame('c1:5000', 'ext1:1', { data: 8 });
        spoil(frame.subarray(ETH_LEN));
        fillIpv4Checksum(frame, ETH_LEN);
        nothing(await bed.send('c1', frame), `with ${what}`);
      }
      const frame = bed.udpFrame('c1:5000', 'ext1:1');
      frame[ETH_LEN + 10]! ^= 1;
      nothing(await bed.send('c1', frame), 'with a wrong checksum');
      return `${faults.length + 1} faults, silence`;
    },
  },
  {
    id: 'IP-2',
    strength: 'MUST',
    title: 'TTL goes down by one and the header checksum with it (RFC 1812 §5.3.1, RFC 1624)',
    async run(bed) {
      let wrong = 0;
      let count = 0;
      // Every identification, and with it every header checksum.
      for (let identification = 0; identification < 65_536; identification++) {
        bed.post('c1', bed.udpFrame('c1:5000', 'ext1:1', { identification, ttl: 64, data: '' }));
        if (identification % 2048 !== 2047) continue;
        for (const packet of await bed.settle()) {
          count++;
          if (packet.ttl !== 63 || !packet.headerChecksumOk) wrong++;
        }
      }
      same(count, 65_536, 'the number of packets that arrive');
      same(wrong, 0, 'of 65536 header checksums, the number that is wrong');
      return '64 → 63 with all 65,536 header checksums';
    },
  },
  {
    id: 'IP-3',
    strength: 'MUST',
    title: 'TTL runs out: time exceeded to the sender, none about multicast (RFC 1812 §5.3.1)',
    families: BOTH,
    async run(bed) {
      for (const ttl of [0, 1]) {
        const frame = bed.udpFrame('c1:5000', 'ext1:1', { ttl });
        const error = errs(await bed.send('c1', frame), 'c1', 'time exceeded');
        same(error.src, bed.address('gw'), 'the source of the error');
        quotes(error, frame);
      }
      arrives(await bed.udp('c1:5000', 'ext1:1', { ttl: 2 }), 'ext1');
      const group = bed.family === 4 ? '239.1.1.1' : '[ff0e::1]';
      nothing(await bed.udp('c1:5000', `${group}:1`, { ttl: 1 }), 'about multicast');
      return 'TTL 0 and 1; silence about multicast';
    },
  },
  {
    id: 'IP-4',
    strength: 'MUST',
    title: 'no ICMP error about errors, later fragments, broadcasts and groups (RFC 1122 §3.2.2)',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const inward = arrives(await bed.udp('ext1:1', out.source), 'c1');
      nothing(await bed.error('c1', inward, 'port unreachable', { ttl: 1 }), 'about an error');
      const pieces = fragments(
        bed.udpFrame('c1:5001', 'ext1:1', { data: 1200, ttl: 1, identification: 9 }),
        576,
      );
      nothing(await bed.send('c1', pieces[2]!), 'about a fragment that is not the first');
      nothing(await bed.udp('c1:5000', '10.1.0.255:1'), 'about a broadcast');
      nothing(await bed.udp('c1:5000', '255.255.255.255:1'), 'about a limited broadcast');
      nothing(await bed.udp('c1:5000', '224.0.0.1:1'), 'about a group');
      nothing(await bed.udp('c1:5000', 'gw:1', { spoof: '10.1.0.255' }), 'to a broadcast');
      nothing(await bed.udp('c1:5000', 'gw:1', { spoof: '224.0.0.1' }), 'to a group');
      const broadcast = bed.udpFrame('c1:5000', 'gw:1').fill(0xff, 0, 6);
      const heard = await bed.send('c1', broadcast);
      check(!heard.some(({ at }) => at === 'c1'), `about a link-layer broadcast: ${listed(heard)}`);
      return 'silence about eight of them';
    },
  },
  {
    id: 'IP-5',
    strength: 'MUST',
    title: 'an error carries the IP header and 8 bytes at least, 576 bytes at most (RFC 1812 §4.3.2.3)',
    families: BOTH,
    async run(bed) {
      const longest = bed.family === 4 ? 576 : 1280;
      const lengths: number[] = [];
      for (const data of [0, 1300]) {
        const frame = bed.udpFrame('c1:5000', 'ext1:1', { ttl: 1, data });
        const error = errs(await bed.send('c1', frame), 'c1', 'time exceeded');
        check(error.bytes.length <= longest, `it has ${error.bytes.length} bytes`);
        check(error.payload.length >= error.l4 + 8, `it quotes ${error.payload.length} bytes`);
        lengths.push(error.bytes.length);
      }
      return `${lengths.join(' and ')} bytes`;
    },
  },
  {
    id: 'IP-6',
    strength: 'SHOULD',
    title: 'errors are limited: 1000 a second with a burst of 50, and by receiver (RFC 1812 §4.3.2.8)',
    async run(bed) {
      for (let i = 0; i < 200; i++) bed.post('ext1', bed.udpFrame('ext1:5000', 'out:9', { data: '' }));
      const one = (await bed.settle()).length;
      check(one <= 10, `${one} errors at once to one receiver`);
      const count = bed.virtual ? 100_000 : 20_000;
      const began = bed.now;
      let answers = 0;
      for (let i = 0; i < count; i++) {
        // From many hosts behind the router, so that no receiver's own limit speaks first.
        const spoof = `198.51.${100 + (i % 50)}.${1 + (i % 250)}`;
        bed.post('router', bed.udpFrame('router:5000', 'out:9', { spoof, data: '' }));
        if (i % 1000 !== 999) continue;
        if (bed.virtual) await bed.seconds(1 / (count / 1000));
        answers += (await bed.settle()).length;
      }
      const seconds = (bed.now - began) / 1000;
      check(answers <= 1000 * seconds + 50, `${answers} errors in ${seconds.toFixed(1)} s`);
      return `${one} at once to one receiver, ${answers} in ${seconds.toFixed(1)} s about ${count} packets`;
    },
  },
  {
    id: 'IP-7',
    strength: 'MUST',
    title: 'each refusal says what it is: no route, protocol, port, reset (RFC 1812 §5.2.7, RFC 9293 §3.5.2)',
    layout: { noRouter: true },
    async run(bed) {
      const route = arrives(await bed.udp('c1:5000', '203.0.113.9:1'), 'c1');
      check(route.icmpType === 3 && route.icmpCode <= 1, `${route} without a route`);
      const protocol = arrives(await bed.send('c1', bed.ipFrame('c1', 'gw', 143, 20)), 'c1');
      check(protocol.icmpType === 3 && protocol.icmpCode === 2, `${protocol} about protocol 143`);
      errs(await bed.udp('c1:5000', 'gw:9'), 'c1', 'port unreachable');
      const reset = arrives(await bed.tcp('c1:5000', 'gw:9', 'S', { sequence: 1000 }), 'c1');
      same(reset.flags, 'RA', 'the answer to a SYN');
      same(reset.acknowledgment, 1001, 'what it acknowledges');
      return `3/${route.icmpCode}, 3/2, 3/3 and a reset`;
    },
  },
  {
    id: 'IP-8',
    strength: 'SHOULD',
    title: 'source-routed packets and impossible addresses are dropped (RFC 7126 §4.3, RFC 1812 §5.3.7)',
    async run(bed) {
      for (const [name, type] of [
        ['loose', 131],
        ['strict', 137],
      ] as const) {
        nothing(await bed.send('c1', sourceRouted(bed, type)), `a ${name} source route`);
      }
      const sources = [
        '127.0.0.1',
        '0.0.0.7',
        '224.0.0.5',
        '255.255.255.255',
        '240.0.0.1',
        '10.1.0.1',
        '10.1.0.255',
      ];
      for (const spoof of sources) {
        nothing(await bed.udp('c1:5000', 'ext1:1', { spoof }), `from ${spoof}`);
        nothing(await bed.udp('c1:5000', 'gw:1', { spoof }), `from ${spoof} to the gateway`);
      }
      for (const to of ['127.0.0.1', '0.0.0.7', '240.0.0.1']) {
        const seen = await bed.udp('c1:5000', `${to}:1`);
        check(
          seen.every(({ at }) => at === 'c1'),
          `to ${to}: ${listed(seen)}`,
        );
      }
      nothing(
        await bed.udp('c1:5000', 'ext1:1', { spoof: '198.51.100.9' }),
        'from an address of another network',
      );
      nothing(
        await bed.udp('ext1:1', 'out:9', { spoof: '10.1.0.12' }),
        'from outside with an inside address',
      );
      return `2 source routes, ${2 * sources.length + 5} martians`;
    },
  },
  {
    id: 'IP-9',
    strength: 'SHOULD',
    title: 'source equal to destination is no storm (land)',
    layout: WEB,
    families: BOTH,
    async run(bed) {
      const own = bed.address('out');
      nothing(await bed.tcp('ext1:8080', 'out:8080', 'S', { spoof: own }), 'a SYN from the external address');
      nothing(await bed.udp('ext1:7', 'out:7', { spoof: own }), 'a datagram from the external address');
      nothing(
        await bed.tcp('c1:80', 'gw:80', 'S', { spoof: bed.address('gw') }),
        "a SYN from the gateway's address",
      );
      nothing(
        await bed.tcp('c2:80', 'd1:80', 'S', { spoof: bed.address('d1') }),
        'a SYN from its own receiver',
      );
      return 'silence';
    },
  },
  {
    id: 'IP-10',
    strength: 'MUST',
    title: 'reassembly: overlaps, giants and torsos are dropped (RFC 5722, RFC 791, RFC 8200 §4.5)',
    families: BOTH,
    async run(bed) {
      let identification = 50;
      const cut = (data: number) => {
        identification++;
        return fragments(bed.udpFrame('c1:5000', 'ext1:1', { data, identification }), 576, identification);
      };
      const overlapping = cut(1200);
      overlapping[1] = moved(bed, overlapping[1]!, -8);
      const [whole] = [reassemble(await bed.send('c1', ...overlapping))];
      check(whole === undefined, 'fragments that overlap make a datagram');
      // Beyond 65,535 bytes (ping of death).
      const giant = cut(1200);
      giant[2] = moved(bed, giant[2]!, 65_528 - 1104);
      nothing(await bed.send('c1', ...giant), 'a datagram of more than 65,535 bytes');
      if (bed.virtual) {
        const torso = cut(1200);
        await bed.send('c1', torso[0]!, torso[1]!);
        await bed.seconds(61);
        const late = await bed.send('c1', torso[2]!);
        check(!late.some(({ at }) => at === 'ext1'), `a fragment that comes 61 s later: ${listed(late)}`);
      }
      // And one of 8,000 bytes in the smallest pieces there are is a datagram like any other.
      identification++;
      const crumbs = fragments(
        bed.udpFrame('c1:5000', 'ext1:1', { data: 400, identification }),
        bed.family === 4 ? 28 : 56,
        identification,
      );
      const gathered = reassemble(await bed.send('c1', ...crumbs));
      check(gathered?.transportChecksumOk === true, `${crumbs.length} fragments of 8 bytes make no datagram`);
      return `an overlap, a giant, a torso; ${crumbs.length} fragments of 8 bytes pass`;
    },
  },
  {
    id: 'IP-11',
    strength: 'MUST',
    title: 'a UDP checksum of 0 stays 0; over IPv6 it may also be dropped (RFC 768, RFC 8200 §8.1)',
    families: BOTH,
    async run(bed) {
      const unsummed = (frame: Uint8Array) =>
        frame.fill(0, ETH_LEN + (bed.family === 4 ? 26 : 46), ETH_LEN + (bed.family === 4 ? 28 : 48));
      const seen = await bed.send('c1', unsummed(bed.udpFrame('c1:5000', 'ext1:1')));
      // Over IPv6 receivers drop it; a router may leave that to them.
      if (bed.family === 6 && seen.length === 0) return 'dropped';
      const [out] = seen;
      check(
        out !== undefined && seen.length === 1 && out.at === 'ext1',
        `not one packet at ext1, but ${listed(seen)}`,
      );
      same(out.udpChecksum, 0, 'the checksum');
      const [back] = await bed.send('ext1', unsummed(bed.udpFrame('ext1:1', out.source)));
      check(back?.at === 'c1', 'nothing arrives at c1');
      same(back.udpChecksum, 0, 'the checksum on the way back');
      return '0 stays 0 in both directions';
    },
  },
  {
    id: 'IP-12',
    strength: 'MUST',
    title: 'path MTU discovery works in both directions (RFC 1191, RFC 8201)',
    layout: { insideMtu: 1400, ...WEB },
    families: BOTH,
    async run(bed) {
      const connection = await bed.connect('ext1:7000', 'out:8080', 'c1:80');
      same(connection.external, bed.text('ext1:7000'), 'the client that the server sees');
      // Inbound: the network inside has the smaller MTU.
      const frame = bed.tcpFrame('ext1:7000', 'out:8080', 'A', {
        sequence: 1001,
        acknowledgment: 5001,
        data: bed.family === 4 ? 1460 : 1440,
        dontFragment: true,
      });
      const inward = errs(await bed.send('ext1', frame), 'ext1', 'too big');
      same(bed.family === 4 ? inward.rest & 0xffff : inward.rest, 1400, 'the MTU that the client is told');
      same(inward.src, bed.address('out'), 'who tells it');
      quotes(inward, frame);
      // Outbound: a router on the way has it.
      const sent = bed.udpFrame('c1:5000', 'far:1', { data: 1300, dontFragment: true });
      const away = arrives(await bed.send('c1', sent), 'far');
      const outward = errs(await bed.error('router', away, 'too big', { rest: 1280 }), 'c1', 'too big');
      same(outward.rest, 1280, 'the MTU that the router tells');
      quotes(outward, sent);
      return '1400 told outside, 1280 told inside';
    },
  },
  {
    id: 'IP-12a',
    strength: 'MAY',
    title: 'the maximum segment size of a SYN is clamped to the smaller MTU',
    layout: { uplinkMtu: 1280 },
    families: BOTH,
    async run(bed) {
      const syn = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S', { mss: 1460 }), 'ext1');
      checkSums(syn);
      const most = 1280 - (bed.family === 4 ? 40 : 60);
      check(syn.mss <= most, `it passes with ${syn.mss}`);
      return `1460 → ${syn.mss}`;
    },
  },
];

/** A fragment at another place of its datagram, so many bytes further. */
function moved(bed: Bed, frame: Uint8Array, bytes: number): Uint8Array {
  const copy = frame.slice();
  const view = new DataView(copy.buffer, ETH_LEN);
  if (bed.family === 6) {
    view.setUint16(42, view.getUint16(42) + bytes);
  } else {
    view.setUint16(6, view.getUint16(6) + bytes / 8);
    fillIpv4Checksum(copy, ETH_LEN);
  }
  return copy;
}

/** A datagram with a source route of one address, by way of ext2. */
function sourceRouted(bed: Bed, type: number): Uint8Array {
  const frame = bed.udpFrame('c1:5000', 'ext1:1');
  const longer = new Uint8Array(frame.length + 8);
  longer.set(frame.subarray(0, ETH_LEN + IPV4_LEN));
  longer.set([type, 7, 4, ...bed.address('ext2').split('.').map(Number), 0], ETH_LEN + IPV4_LEN);
  longer.set(frame.subarray(ETH_LEN + IPV4_LEN), ETH_LEN + IPV4_LEN + 8);
  longer[ETH_LEN] = 0x47;
  new DataView(longer.buffer, ETH_LEN).setUint16(2, longer.length - ETH_LEN);
  fillIpv4Checksum(longer, ETH_LEN);
  return longer;
}
