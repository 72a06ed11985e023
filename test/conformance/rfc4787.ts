/** RFC 4787 (BCP 127): network address translation behavioral requirements for unicast UDP. */
import { fragments } from '../../src/testing/frames.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { arrives, type Bed, checkSums, errs, listed, type Seen } from './bed.ts';
import { expectedFiltering, filteringOf, mappingOf, quotes } from './behaviour.ts';
import { reassemble } from './datagram.ts';
import { icmpStorm } from './icmp-storm.ts';
import { BOTH, check, pattern, type Row, same, sameBytes } from './row.ts';

/** A text that an application-level gateway would want to change. */
const SIP = (address: string) =>
  `REGISTER sip:registrar SIP/2.0\r\nVia: SIP/2.0/UDP ${address}:5060\r\nContact: <sip:me@${address}:7078>\r\n\r\n`;

export const RFC4787: readonly Row[] = [
  {
    id: '4787-1',
    strength: 'MUST',
    title: 'endpoint-independent mapping',
    families: BOTH,
    async run(bed) {
      const first = await mappingOf(bed, 'udp', 'c1:5000');
      // From the same port of another host, which cannot have the same one outside.
      const second = await mappingOf(bed, 'udp', 'c2:5000');
      return `one port for three destinations: ${first}, ${second}`;
    },
  },
  {
    id: '4787-2',
    strength: 'SHOULD',
    title: 'paired pooling: one external address per host',
    layout: { addresses: 4 },
    families: BOTH,
    async run(bed) {
      for (const host of ['c1', 'c2', 'd1']) {
        for (let port = 5000; port < 5016; port++) {
          bed.post(
            host,
            bed.udpFrame(`${host}:${port}`, `${port % 2 ? 'ext1' : 'ext2'}:${port}`, { data: host }),
          );
          bed.post(
            host,
            bed.tcpFrame(`${host}:${port}`, `${port % 2 ? 'ext1' : 'ext2'}:${port}`, 'S', { data: host }),
          );
        }
      }
      const seen = await bed.settle();
      same(seen.length, 96, 'the number of packets that arrive');
      const addresses = (host: string) =>
        new Set(seen.filter(({ payload }) => String.fromCharCode(...payload) === host).map(({ src }) => src));
      for (const host of ['c1', 'c2', 'd1'])
        check(addresses(host).size === 1, `${host} leaves from ${[...addresses(host)].join(', ')}`);
      return `c1 always ${[...addresses('c1')]}, c2 ${[...addresses('c2')]}, d1 ${[...addresses('d1')]}`;
    },
  },
  {
    id: '4787-3',
    strength: 'MUST',
    title: 'no port overloading, also when the ports run out',
    async run(bed) {
      const one = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const other = arrives(await bed.udp('c2:5000', 'ext2:1'), 'ext2');
      check(one.source !== other.source, `two hosts share ${one.source}`);
      const taken = new Set([one.source, other.source]);
      // One host may be kept from taking all of them: several together take what is left.
      const crowd = [
        ['c1', 64_512],
        ['c2', 10_000],
        ['d1', 10_000],
      ] as const;
      for (const [host, ports] of crowd) {
        for (let port = 1024; port < 1024 + ports; port++) {
          if (port !== 5000) bed.post(host, bed.udpFrame(`${host}:${port}`, 'ext1:1', { data: '' }));
        }
        for (const { source, at } of await bed.settle()) {
          if (at !== 'ext1') continue;
          check(!taken.has(source), `${source} is given twice`);
          taken.add(source);
        }
      }
      const late = await bed.udp('d1:60000', 'ext2:1');
      const passed = late.find(({ at }) => at === 'ext2');
      check(passed === undefined, `when ${taken.size} are given, one more gets ${passed?.source}`);
      // Who waits until he may be told again is told.
      await bed.seconds(10);
      const error = errs(await bed.udp('d1:60001', 'ext2:1'), 'd1', 'prohibited');
      return `${taken.size} ports are given once each; then ${error}`;
    },
  },
  {
    id: '4787-3a',
    strength: 'SHOULD',
    title: 'ports keep their class: below 1024 or not',
    families: BOTH,
    async run(bed) {
      const low = arrives(await bed.udp('c1:500', 'ext1:1'), 'ext1');
      const again = arrives(await bed.udp('c2:500', 'ext1:1'), 'ext1');
      const high = arrives(await bed.udp('c1:40000', 'ext1:1'), 'ext1');
      for (const { srcPort } of [low, again])
        check(srcPort < 1024 && srcPort > 0, `port 500 becomes ${srcPort}`);
      check(high.srcPort >= 1024, `port 40000 becomes ${high.srcPort}`);
      return `500 → ${low.srcPort} and ${again.srcPort}, 40000 → ${high.srcPort}`;
    },
  },
  {
    id: '4787-4',
    strength: 'SHOULD',
    title: 'port parity is kept',
    async run(bed) {
      for (const host of ['c1', 'c2']) {
        for (let port = 20_000; port < 20_100; port++) {
          bed.post(host, bed.udpFrame(`${host}:${port}`, 'ext1:1', { data: `${port}` }));
        }
      }
      const seen = await bed.settle();
      same(seen.length, 200, 'the number of packets that arrive');
      const odd = seen.filter(({ payload, srcPort }) => (payload.at(-1)! & 1) !== (srcPort & 1));
      same(odd.length, 0, 'the number of ports that change parity');
      return '200 of 200';
    },
  },
  {
    id: '4787-5',
    strength: 'MUST',
    title: 'a mapping lives for 2 minutes or more',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const lifetime = await bed.lifetime('c1:5000');
      check(lifetime > 119, `it is forgotten after ${lifetime} s`);
      if (bed.virtual) {
        await bed.seconds(119);
        arrives(await bed.udp('ext1:1', source), 'c1');
      }
      return `${lifetime} s`;
    },
  },
  {
    id: '4787-5a',
    strength: 'MAY',
    title: 'shorter for well-known ports',
    async run(bed) {
      arrives(await bed.udp('c1:5000', 'ext1:53'), 'ext1');
      const lifetime = await bed.lifetime('c1:5000');
      check(lifetime > 0, 'there is no lifetime');
      return `${lifetime} s towards port 53`;
    },
  },
  {
    id: '4787-5b',
    strength: 'MAY',
    title: 'the time is configurable',
    layout: { timeouts: { udp: 3000 } },
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      await bed.seconds(2);
      arrives(await bed.udp('ext1:1', source), 'c1');
      arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      // The kernel's second timeout, for flows seen in both directions, is another.
      if (!bed.virtual) return '3 s for what was not answered';
      await bed.seconds(3.3);
      const late = await bed.udp('ext1:1', source);
      check(!late.some(({ at }) => at === 'c1'), 'it is still known after 3.3 s');
      return 'set to 3 s: known after 2 s, not after 3.3 s';
    },
  },
  {
    id: '4787-5c',
    strength: 'SHOULD',
    title: 'by default 5 minutes or more',
    async run(bed) {
      arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const lifetime = await bed.lifetime('c1:5000');
      check(lifetime > 299, `it is forgotten after ${lifetime} s`);
      return `${lifetime} s`;
    },
  },
  {
    id: '4787-6',
    strength: 'MUST',
    title: 'what goes out refreshes the mapping, also when nothing comes back',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      for (let minute = 1; minute <= 10; minute++) {
        await bed.seconds(60);
        same(arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1').source, source, 'the mapping');
      }
      await bed.seconds(119);
      arrives(await bed.udp('ext1:1', source), 'c1');
      return 'held for 12 minutes by a packet a minute';
    },
    async kernel(bed) {
      arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      await bed.seconds(2.5);
      const before = await bed.lifetime('c1:5000');
      arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const after = await bed.lifetime('c1:5000');
      check(after > before, `its lifetime is ${before} s before a packet and ${after} s after it`);
      return `its lifetime goes from ${before} s to ${after} s`;
    },
  },
  {
    id: '4787-6a',
    strength: 'MAY',
    title: 'what comes in alone does not hold the mapping (a choice)',
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      let held = 0;
      for (; held < 10; held++) {
        await bed.seconds(60);
        if (!(await bed.udp('ext1:1', source)).some(({ at }) => at === 'c1')) break;
      }
      check(held < 10, 'a packet a minute from outside holds it for ever');
      return `gone after ${held} minutes of inbound packets`;
    },
    async kernel(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      await bed.seconds(2.5);
      const before = await bed.lifetime('c1:5000');
      arrives(await bed.udp('ext1:1', source), 'c1');
      const after = await bed.lifetime('c1:5000');
      check(after <= before, `a packet from outside takes its lifetime from ${before} s to ${after} s`);
      return 'not refreshed from outside';
    },
  },
  {
    id: '4787-7',
    strength: 'MUST',
    title: "the uplink's subnet is an inside one: refused, or all is translated",
    layout: { sameSubnet: true },
    refusal: true,
    async run(bed) {
      const away = arrives(await bed.udp('c1:5000', 'far:1'), 'far');
      arrives(await bed.udp('far:1', away.source), 'c1');
      const frame = bed.udpFrame('c1:5000', 'ext1:1');
      const near = await bed.send('c1', frame);
      check(
        near.some(({ at }) => at === 'ext1'),
        `a host outside whose address is also inside gets ${listed(near)}`,
      );
      return 'translated in both directions';
    },
  },
  {
    id: '4787-8',
    strength: 'SHOULD',
    title: 'filtering is endpoint-independent or address-dependent',
    families: BOTH,
    async run(bed) {
      const found = await filteringOf(bed, 'udp', 'c1:5000');
      check(found !== 'address-and-port-dependent', `it is ${found}`);
      return found;
    },
  },
  {
    id: '4787-8/eif',
    strength: 'MAY',
    title: 'filtering as configured: endpoint-independent',
    layout: { filtering: 'endpoint-independent' },
    families: BOTH,
    run: (bed) => expectedFiltering(bed, 'udp', 'endpoint-independent'),
  },
  {
    id: '4787-8/apdf',
    strength: 'MAY',
    title: 'filtering as configured: address and port dependent',
    layout: { filtering: 'address-and-port-dependent' },
    families: BOTH,
    run: (bed) => expectedFiltering(bed, 'udp', 'address-and-port-dependent'),
  },
  {
    id: '4787-9',
    strength: 'MUST',
    title: 'hairpinning: from inside to the external address and port of another inside host',
    families: BOTH,
    async run(bed) {
      const { there } = await hairpin(bed);
      return `c1 reaches c2 by ${there}`;
    },
  },
  {
    id: '4787-9a',
    strength: 'MUST',
    title: 'hairpinned packets come from the external address and port',
    families: BOTH,
    async run(bed) {
      const { own, seen } = await hairpin(bed);
      same(seen.source, own, 'the source that c2 sees');
      const back = arrives(await bed.udp('c2:6000', own), 'c1');
      return `c2 sees ${own}; its answer reaches c1 from ${back.source}`;
    },
  },
  {
    id: '4787-10',
    strength: 'SHOULD',
    title: 'no application-level gateway: payloads pass as they are and open nothing',
    async run(bed) {
      const address = bed.address('c1');
      const telling: [port: number, text: string][] = [
        [5060, SIP(address)],
        [69, '\0\x01file\0octet\0'],
        [1719, `H.323 ${address}:1720`],
        [21, `PORT ${address.replaceAll('.', ',')},27,166\r\n`],
      ];
      for (const [port, text] of telling) {
        const seen = arrives(await bed.udp(`c1:${port + 3}`, `ext1:${port}`, { data: text }), 'ext1');
        sameBytes(seen.payload, new TextEncoder().encode(text), `what goes to port ${port}`);
      }
      for (const port of [7078, 5060, 7078 + 1]) {
        const seen = await bed.udp('ext1:9000', `out:${port}`);
        check(!seen.some(({ at }) => at === 'c1'), `port ${port} is open to all`);
      }
      return 'SIP, TFTP, H.323 and FTP pass byte for byte';
    },
  },
  {
    id: '4787-11',
    strength: 'MUST',
    title: 'deterministic: nothing changes with load or after a collision',
    layout: { quota: 262_144 },
    async run(bed) {
      return deterministic(bed, [10, 10_000, 200_000]);
    },
    kernel: (bed) => deterministic(bed, [10, 10_000]),
  },
  {
    id: '4787-12',
    strength: 'MUST',
    title: 'no ICMP message ends a mapping',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const count = await icmpStorm(bed, out);
      const back = arrives(await bed.udp('ext1:1', out.source), 'c1');
      same(back.dstPort, 5000, 'the port that it comes to');
      same(arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1').source, out.source, 'the mapping');
      return `unharmed by ${count} messages of all types`;
    },
  },
  {
    id: '4787-12a',
    strength: 'SHOULD',
    title: 'destination unreachable is delivered, translated, whoever it comes from (12b: type 3)',
    families: BOTH,
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'far:1'), 'far');
      const error = errs(await bed.error('router', out, 'port unreachable'), 'c1', 'port unreachable');
      same(error.src, bed.address('router'), 'the source of the error');
      same(error.quoted.source, bed.text('c1:5000'), 'the source that it quotes');
      return `${error}`;
    },
  },
  {
    id: '4787-13',
    strength: 'MUST',
    title: 'too big and not to be fragmented: ICMP with the MTU',
    layout: { uplinkMtu: 1280 },
    families: BOTH,
    async run(bed) {
      const frame = bed.udpFrame('c1:5000', 'ext1:1', {
        data: 1472 - (bed.family === 6 ? 20 : 0),
        dontFragment: true,
      });
      const error = errs(await bed.send('c1', frame), 'c1', 'too big');
      same(bed.family === 4 ? error.rest & 0xffff : error.rest, 1280, 'the MTU that it names');
      quotes(error, frame);
      return `${error}, MTU 1280`;
    },
  },
  {
    id: '4787-13a',
    strength: 'MUST',
    title: 'too big and may be fragmented: fragments, in order',
    layout: { uplinkMtu: 1280 },
    async run(bed) {
      const seen = await bed.udp('c1:5000', 'ext1:1', { data: 1472 });
      check(seen.length > 1, `${listed(seen)} of 1500 bytes`);
      for (const [i, piece] of seen.entries()) {
        checkSums(piece);
        check(piece.bytes.length <= 1280, `a fragment has ${piece.bytes.length} bytes`);
        check(
          i === 0 || piece.fragmentOffset > seen[i - 1]!.fragmentOffset,
          'the fragments are out of order',
        );
      }
      const whole = reassemble(seen);
      check(whole?.transportChecksumOk === true, 'the fragments do not make the datagram');
      sameBytes(whole.payload, pattern(1472), 'the payload');
      return `${seen.length} fragments of at most ${Math.max(...seen.map(({ bytes }) => bytes.length))} bytes`;
    },
  },
  {
    id: '4787-14',
    strength: 'MUST',
    title: 'fragments are translated in whatever order they come, in both directions',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      let identification = 100;
      for (const [from, to, at, port] of [
        ['c1:5000', 'ext1:1', 'ext1', 1],
        ['ext1:1', source, 'c1', 5000],
      ] as const) {
        for (const order of ORDERS) {
          identification++;
          const datagram = bed.udpFrame(from, to, { data: 1200, identification });
          const pieces = fragments(datagram, 576, identification);
          same(pieces.length, 3, 'the number of fragments sent');
          const seen = await bed.send(from, ...order.map((i) => pieces[i]!));
          const whole = gathered(seen, at);
          check(whole !== undefined, `sent ${order.map((i) => i + 1).join(', ')}: ${listed(seen)}`);
          check(
            whole.transportChecksumOk,
            `sent ${order.map((i) => i + 1).join(', ')}: the checksum is wrong`,
          );
          same(whole.dstPort, port, 'the port that they come to');
          sameBytes(whole.payload, pattern(1200), 'the payload');
        }
      }
      return 'three fragments in six orders, out and in';
    },
  },
  {
    id: '4787-14a',
    strength: 'MUST',
    title: 'fragments that are never completed harm nobody else',
    async run(bed) {
      const count = bed.virtual ? 100_000 : 20_000;
      const { source } = arrives(await bed.udp('c2:5000', 'ext2:1'), 'ext2');
      const datagram = fragments(bed.udpFrame('c1:5000', 'ext1:1', { data: 1200 }), 576)[1]!;
      let lost = 0;
      const chunks = 20;
      for (let chunk = 0; chunk < chunks; chunk++) {
        for (let i = 0; i < count / chunks; i++)
          bed.post('c1', renumbered(datagram, chunk * (count / chunks) + i));
        await bed.settle();
        if (bed.virtual) await bed.seconds(1 / chunks);
        // Another host's datagrams, whole and in fragments, both ways.
        const identification = 1000 + chunk;
        const out = await bed.send(
          'c2',
          ...fragments(bed.udpFrame('c2:5000', 'ext2:1', { data: 1200, identification }), 576),
        );
        const back = await bed.send(
          'ext2',
          ...fragments(bed.udpFrame('ext2:1', source, { data: 1200, identification }), 576),
        );
        const plain = await bed.udp('c2:5000', 'ext2:1');
        if (gathered(out, 'ext2') === undefined) lost++;
        if (gathered(back, 'c2') === undefined) lost++;
        if (plain.length !== 1) lost++;
      }
      same(lost, 0, `of another host's ${3 * chunks} datagrams, the number that is lost`);
      return `${count} first-less fragments: none of another host's ${3 * chunks} datagrams is lost`;
    },
  },
];

/** Of three fragments. */
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/** The one datagram that arrived at a place, whether whole or in fragments. */
function gathered(seen: readonly Seen[], at: string) {
  return seen.every((piece) => piece.at === at) ? reassemble(seen) : undefined;
}

/** The IPv4 fragment as one of another datagram. */
function renumbered(frame: Uint8Array, identification: number): Uint8Array {
  const copy = frame.slice();
  const view = new DataView(copy.buffer, ETH_LEN);
  const before = view.getUint16(4);
  const after = identification & 0xffff;
  view.setUint16(4, after);
  // RFC 1624, equation 3.
  let check = (~view.getUint16(10) & 0xffff) + (~before & 0xffff) + after;
  check = (check & 0xffff) + (check >>> 16);
  view.setUint16(10, ~((check & 0xffff) + (check >>> 16)) & 0xffff);
  return copy;
}

/** c1 sends to the external endpoint of c2, as peers do who have been told of each other by a server outside. */
async function hairpin(bed: Bed): Promise<{ own: string; there: string; seen: Seen }> {
  const there = arrives(await bed.udp('c2:6000', 'ext1:1'), 'ext1').source;
  const own = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1').source;
  // Where filtering depends on the address, this opens the way for the other side, and may itself be filtered.
  await bed.udp('c2:6000', own);
  const seen = arrives(await bed.udp('c1:5000', there), 'c2');
  same(seen.dstPort, 6000, 'the port that it comes to');
  return { own, there, seen };
}

/** Mapping and filtering of fresh ports while there are ever more connections. */
async function deterministic(bed: Bed, loads: readonly number[]): Promise<string> {
  let first: string | undefined;
  let flows = 0;
  let port = 5000;
  for (const load of loads) {
    for (; flows < load; flows++) {
      const from = 10_000 + (flows & 7);
      bed.post('c2', bed.udpFrame(`c2:${from}`, `ext2:${1 + (flows >>> 3)}`, { data: '' }));
      if (flows % 1024 === 0) await bed.settle();
    }
    await bed.settle();
    for (const collision of [false, true]) {
      const [mapped, filtered] = [++port, ++port];
      if (collision) {
        // Another host has the same ports, and had them first.
        await bed.udp(`d1:${mapped}`, 'ext1:1');
        await bed.udp(`d1:${filtered}`, 'ext1:1');
      }
      await mappingOf(bed, 'udp', `c1:${mapped}`);
      const filtering = await filteringOf(bed, 'udp', `c1:${filtered}`);
      first ??= filtering;
      same(
        filtering,
        first,
        `with ${load} connections${collision ? ' and after a collision' : ''}, the filtering`,
      );
    }
  }
  return `endpoint-independent and ${first} with ${loads.join(', ')} connections`;
}
