/** RFC 5508 (BCP 148): NAT behavioral requirements for ICMP. */
import { ETH_LEN } from '../../wire/ethernet.ts';
import { fillIpv4Checksum, IPV4_LEN } from '../../wire/ipv4.ts';
import { arrives, type Bed, errs, nothing } from './bed.ts';
import { quotes } from './behaviour.ts';
import { BOTH, check, type Row, same, sameBytes, Undrivable } from './row.ts';

const WEB = { publish: [{ protocol: 'tcp', port: 8080, to: 'c1:80' }] } as const;

export const RFC5508: readonly Row[] = [
  {
    id: '5508-1',
    strength: 'MUST',
    title: 'queries from inside and their answers pass',
    families: BOTH,
    async run(bed) {
      const one = arrives(await bed.ping('c1:77', 'ext1'), 'ext1');
      const other = arrives(await bed.ping('c2:77', 'ext1'), 'ext1');
      check(one.identifier !== other.identifier, `two hosts share the identifier ${one.identifier}`);
      for (const [ping, host] of [
        [other, 'c2'],
        [one, 'c1'],
      ] as const) {
        const pong = arrives(await bed.pong(ping), host);
        same(pong.identifier, 77, 'the identifier of the answer');
        sameBytes(pong.payload, ping.payload, 'the data of the answer');
      }
      for (let sequence = 0; sequence < 500; sequence++) {
        for (const host of ['c1', 'c2']) bed.post(host, bed.pingFrame(`${host}:77`, 'ext1', { sequence }));
      }
      const pings = await bed.settle();
      for (const ping of pings) bed.post('ext1', bed.pongFrame(ping));
      const pongs = await bed.settle();
      same(pongs.length, 1000, 'of 1000 echo requests, the number that is answered');
      if (bed.family === 4) await timestamp(bed);
      return 'identifier 77 of two hosts, 1000 of 1000 echoes, timestamps';
    },
  },
  {
    id: '5508-1a',
    strength: 'SHOULD',
    title: 'the mapping of identifiers is endpoint-independent',
    families: BOTH,
    async run(bed) {
      const ids: number[] = [];
      for (const host of ['c1', 'c2']) {
        for (const to of ['ext1', 'ext2', 'far']) {
          ids.push(arrives(await bed.ping(`${host}:77`, to), to).identifier);
        }
      }
      const [first, , , second] = ids;
      check(
        ids.every((id, i) => id === (i < 3 ? first : second)),
        `three destinations each see ${ids.join(', ')}`,
      );
      return `77 → ${first} and ${second}`;
    },
  },
  {
    id: '5508-2',
    strength: 'MUST',
    title: 'a query is remembered for 60 s or more',
    families: BOTH,
    async run(bed) {
      const ping = arrives(await bed.ping('c1:77', 'ext1'), 'ext1');
      const lifetime = await bed.lifetime('c1:77');
      check(lifetime > 59, `it is forgotten after ${lifetime} s`);
      if (bed.virtual) {
        await bed.seconds(59);
        arrives(await bed.pong(ping), 'c1');
      }
      return `${lifetime} s`;
    },
  },
  {
    id: '5508-2a',
    strength: 'SHOULD',
    title: 'that time is configurable',
    layout: { timeouts: { icmp: 3000 } },
    async run(bed) {
      const ping = arrives(await bed.ping('c1:77', 'ext1'), 'ext1');
      await bed.seconds(3.5);
      nothing(await bed.pong(ping), 'it is still known after 3.5 s');
      return 'set to 3 s: not known after 3.5 s';
    },
  },
  {
    id: '5508-3',
    strength: 'SHOULD',
    title: 'ICMP with a wrong checksum is dropped',
    families: BOTH,
    async run(bed) {
      const spoilt = (frame: Uint8Array) => {
        frame[ETH_LEN + (bed.family === 4 ? 22 : 42)]! ^= 0x55;
        return frame;
      };
      nothing(await bed.send('c1', spoilt(bed.pingFrame('c1:77', 'ext1'))), 'an echo request passes');
      const ping = arrives(await bed.ping('c1:78', 'ext1'), 'ext1');
      nothing(await bed.send('ext1', spoilt(bed.pongFrame(ping))), 'an answer passes');
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      nothing(
        await bed.send('ext1', spoilt(bed.errorFrame('ext1', out, 'port unreachable'))),
        'an error passes',
      );
      return 'requests, answers and errors';
    },
  },
  {
    id: '5508-3a',
    strength: 'SHOULD',
    title: 'an error that quotes an IP header with a wrong checksum is dropped',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const alter = (quotation: Uint8Array) => {
        quotation[10]! ^= 0x55;
        return quotation;
      };
      nothing(await bed.error('router', out, 'port unreachable', { alter }), 'it passes');
      return 'dropped';
    },
  },
  {
    id: '5508-3b',
    strength: 'MUST',
    title: 'options in the quoted IP header are skipped',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      for (let words = 6; words <= 15; words++) {
        const alter = (quotation: Uint8Array) => withOptions(quotation, words);
        const error = errs(
          await bed.error('router', out, 'port unreachable', { alter }),
          'c1',
          'port unreachable',
        );
        same(error.quoted.l4, words * 4, 'the length of the quoted header');
        same(
          error.quoted.source,
          bed.text('c1:5000'),
          `with a header of ${words} words, the source that it quotes`,
        );
        check(error.quoted.headerChecksumOk, `with a header of ${words} words, the quoted checksum is wrong`);
      }
      return 'headers of 6 to 15 words';
    },
  },
  {
    id: '5508-3c',
    strength: 'SHOULD',
    title: 'the quoted transport checksum is not looked at',
    families: BOTH,
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const short = errs(
        await bed.error('router', out, 'port unreachable', { quote: out.l4 + 8 }),
        'c1',
        'port unreachable',
      );
      same(short.quoted.source, bed.text('c1:5000'), 'the source that a short one quotes');
      const alter = (quotation: Uint8Array) => {
        quotation[out.l4 + 6]! ^= 0x55;
        return quotation;
      };
      const wrong = errs(
        await bed.error('router', out, 'port unreachable', { alter }),
        'c1',
        'port unreachable',
      );
      same(wrong.quoted.source, bed.text('c1:5000'), 'the source that a wrong one quotes');
      return 'quotations of 8 bytes, and with a wrong checksum';
    },
  },
  {
    id: '5508-3d',
    strength: 'MUST',
    title: 'extensions behind the quotation (RFC 4884) stay as they are',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'far:1', { data: 200 }), 'far');
      const alter = (quotation: Uint8Array) => {
        const message = new Uint8Array(128 + MPLS.length);
        message.set(quotation.subarray(0, 128));
        message.set(MPLS, 128);
        return message;
      };
      // The second byte of the second word counts the quotation's words.
      const error = errs(
        await bed.error('router', out, 'time exceeded', { alter, rest: (128 / 4) << 16 }),
        'c1',
        'time exceeded',
      );
      same(error.rest, 0x200000, 'the second word');
      same(error.quoted.source, bed.text('c1:5000'), 'the source that it quotes');
      sameBytes(error.payload.subarray(128), MPLS, 'the extension');
      return 'an MPLS label stack behind 128 bytes';
    },
  },
  {
    id: '5508-4a',
    strength: 'MUST',
    title: 'an error from outside about no mapping is dropped',
    families: BOTH,
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      // As if the packet had come from another port: bytes 0 and 1 of the UDP header.
      const alter = (quotation: Uint8Array) => {
        quotation[out.l4]! ^= 0x11;
        return quotation;
      };
      nothing(await bed.error('ext1', out, 'port unreachable', { alter }), 'one about another port passes');
      // And as if it had gone to somebody else.
      const astray = (quotation: Uint8Array) => {
        quotation[out.l4 + 3]! ^= 0x11;
        return quotation;
      };
      nothing(
        await bed.error('ext1', out, 'port unreachable', { alter: astray }),
        'one about another peer passes',
      );
      return 'about other ports and peers';
    },
  },
  {
    id: '5508-4b',
    strength: 'MUST',
    title: 'an error from outside quotes what the host inside sent (4b, 4c)',
    families: BOTH,
    async run(bed) {
      const sent: [string, Uint8Array][] = [
        ['UDP', bed.udpFrame('c1:5000', 'ext1:1')],
        ['UDP with DF', bed.udpFrame('c1:5000', 'ext1:1', { identification: 4711, dontFragment: true })],
        ['TCP', bed.tcpFrame('c1:5000', 'ext1:80', 'S', { mss: 1220 })],
        ['an echo request', bed.pingFrame('c1:5000', 'ext1')],
      ];
      for (const [what, frame] of sent) {
        const out = arrives(await bed.send('c1', frame), 'ext1');
        const error = arrives(await bed.error('router', out, 'host unreachable'), 'c1');
        same(error.icmpCode, bed.family === 4 ? 1 : 3, `the code of an error about ${what}`);
        same(error.src, bed.address('router'), `the source of an error about ${what}`);
        same(error.dst, bed.address('c1'), `the destination of an error about ${what}`);
        quotes(error, frame);
      }
      return 'UDP, TCP and echo, byte for byte but for the TTL';
    },
  },
  {
    id: '5508-5',
    strength: 'MUST',
    title: 'an error from inside quotes what the host outside sent, and comes from the external address',
    layout: WEB,
    families: BOTH,
    async run(bed) {
      const frame = bed.tcpFrame('ext1:7000', 'out:8080', 'S');
      const syn = arrives(await bed.send('ext1', frame), 'c1');
      // From the host itself, and from somebody on the way to it.
      for (const from of ['c1', 'c2']) {
        const error = arrives(await bed.error(from, syn, 'host unreachable'), 'ext1');
        same(error.src, bed.address('out'), `the source of an error from ${from}`);
        quotes(error, frame);
      }
      return 'from the host and from a router inside';
    },
  },
  {
    id: '5508-5a',
    strength: 'MUST',
    title: 'an error from inside about no mapping is dropped',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const inward = arrives(await bed.udp('ext1:1', source), 'c1');
      const alter = (quotation: Uint8Array) => {
        quotation[inward.l4 + 3]! ^= 0x11;
        return quotation;
      };
      nothing(await bed.error('c1', inward, 'port unreachable', { alter }), 'it passes');
      return 'dropped';
    },
  },
  {
    id: '5508-6',
    strength: 'MUST',
    title: 'errors neither refresh nor end a connection',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const inward = arrives(await bed.udp('ext1:1', out.source), 'c1');
      await bed.seconds(2.5);
      const before = await bed.lifetime('c1:5000');
      for (let i = 0; i < 20; i++) {
        await bed.error('ext1', out, 'port unreachable');
        await bed.error('c1', inward, 'port unreachable');
      }
      const after = await bed.lifetime('c1:5000');
      check(after <= before && after > before - 5, `its lifetime goes from ${before} s to ${after} s`);
      return `${before} s before 40 errors, ${after} s after them`;
    },
  },
  {
    id: '5508-7',
    strength: 'MUST',
    title: 'hairpinned errors pass (7a: and come from the external address)',
    layout: { publish: [{ protocol: 'udp', port: 5353, to: 'c2:53' }] },
    families: BOTH,
    async run(bed) {
      const frame = bed.udpFrame('c1:5000', 'out:5353');
      const there = arrives(await bed.send('c1', frame), 'c2');
      const error = errs(await bed.error('c2', there, 'port unreachable'), 'c1', 'port unreachable');
      same(error.src, bed.address('out'), 'the source of the error');
      quotes(error, frame);
      return `${error}`;
    },
  },
  {
    id: '5508-8',
    strength: 'SHOULD',
    title: 'no room for a connection: prohibited (3/13), and the packet is dropped',
    layout: { capacity: 64, quota: 64 },
    families: BOTH,
    async run(bed) {
      // Connections that may not be evicted: both sides have spoken.
      for (let port = 5000; port < 5064; port++) {
        const { source } = arrives(await bed.udp(`c1:${port}`, 'ext1:1'), 'ext1');
        arrives(await bed.udp('ext1:1', source), 'c1');
        arrives(await bed.udp(`c1:${port}`, 'ext1:1'), 'ext1');
      }
      const error = errs(await bed.udp('c1:6000', 'ext1:1'), 'c1', 'prohibited');
      same(error.quoted.source, bed.text('c1:6000'), 'the source that it quotes');
      // Some at once, then one a second (RFC 1812 §4.3.2.8).
      let answered = 1;
      for (let port = 6001; port < 6100; port++) answered += (await bed.udp(`c1:${port}`, 'ext1:1')).length;
      check(answered < 20, `${answered} of 100 refusals are told`);
      return `${error}; ${answered} of 100 told`;
    },
  },
  {
    id: '5508-9',
    strength: 'MAY',
    title: 'ICMP can be silenced by policy',
    async run() {
      throw new Undrivable('there is no such policy');
    },
    kernel: 'a matter of filter rules',
  },
  {
    id: '5508-10',
    strength: 'MUST',
    title: 'destination unreachable (all codes), time exceeded and path MTU reach the host inside (10a–c)',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'far:1', { data: 1000, dontFragment: true }), 'far');
      for (let code = 0; code < 16; code++) {
        const rest = code === 4 ? 900 : 0;
        const error = arrives(await bed.error('router', out, [3, code], { rest }), 'c1');
        same(error.icmpCode, code, 'the code');
        same(error.rest, rest, 'the second word');
      }
      for (const code of [0, 1]) arrives(await bed.error('router', out, [11, code]), 'c1');
      return '3/0 to 3/15, 3/4 with its MTU, 11/0 and 11/1';
    },
  },
  {
    id: '5508-10d',
    strength: 'MUST',
    title: 'it answers echo requests to its own addresses, and says when there is no route (10d, 10e)',
    layout: { noRouter: true },
    families: BOTH,
    async run(bed) {
      for (const address of ['gw', 'out']) {
        same(
          arrives(await bed.ping('c1:77', address), 'c1').src,
          bed.address(address),
          'the source of the answer',
        );
      }
      const unreachable = arrives(await bed.udp('c1:5000', 'far:1'), 'c1');
      same(unreachable.icmpType, bed.family === 4 ? 3 : 1, 'the type of what c1 gets');
      const allowed = bed.family === 4 ? [0, 1] : [0, 3];
      check(allowed.includes(unreachable.icmpCode), `${unreachable} where there is no route`);
      return `echo replies; ${unreachable}`;
    },
  },
  {
    id: '5508-10f',
    strength: 'SHOULD',
    title: 'source quench is neither sent nor translated (RFC 6633)',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      nothing(await bed.error('ext1', out, [4, 0]), 'it passes');
      return 'dropped';
    },
  },
  {
    id: '5508-11',
    strength: 'MAY',
    title: 'redirects and router advertisements are not forwarded',
    async run(bed) {
      const out = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      nothing(await bed.error('ext1', out, [5, 1], { rest: 0xc0000215 }), 'a redirect comes in');
      const { source } = out;
      const inward = arrives(await bed.udp('ext1:1', source), 'c1');
      nothing(await bed.error('c1', inward, [5, 1], { rest: 0x0a01000c }), 'a redirect goes out');
      nothing(
        await bed.send('c1', bed.icmpFrame('c1', 'ext1', 9, 0, { data: 8 })),
        'an advertisement goes out',
      );
      return 'neither in nor out';
    },
  },
];

/** An RFC 4884 extension structure with one MPLS label stack object (RFC 4950); its checksum is that of its 12 bytes. */
const MPLS = (() => {
  const words = [0x2000, 0, 0x0008, 0x0101, 0x0001, 0x2101];
  let sum = words.reduce((total, word) => total + word, 0);
  sum = (sum & 0xffff) + (sum >>> 16);
  words[1] = ~sum & 0xffff;
  return Uint8Array.from(words.flatMap((word) => [word >>> 8, word & 0xff]));
})();

/** The packet with an IPv4 header of so many words: no-operations, and an end. */
function withOptions(packet: Uint8Array, words: number): Uint8Array {
  const extra = words * 4 - IPV4_LEN;
  const copy = new Uint8Array(packet.length + extra).fill(1, IPV4_LEN, IPV4_LEN + extra);
  copy.set(packet.subarray(0, IPV4_LEN));
  copy.set(packet.subarray(IPV4_LEN), IPV4_LEN + extra);
  copy[IPV4_LEN + extra - 1] = 0;
  copy[0] = 0x40 | words;
  const view = new DataView(copy.buffer);
  view.setUint16(2, view.getUint16(2) + extra);
  fillIpv4Checksum(copy, 0);
  return copy;
}

async function timestamp(bed: Bed): Promise<void> {
  const query = arrives(
    await bed.send('c1', bed.icmpFrame('c1', 'ext1', 13, 0, { rest: (79 << 16) | 1, data: 12 })),
    'ext1',
  );
  const answer = bed.icmpFrame('ext1', query.source, 14, 0, { rest: query.rest | 0, data: 12 });
  const reply = arrives(await bed.send('ext1', answer), 'c1');
  same(reply.identifier, 79, 'the identifier of the timestamp reply');
}
