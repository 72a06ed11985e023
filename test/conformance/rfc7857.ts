/** RFC 7857 (part of BCP 127): updates to the requirements of RFC 4787, RFC 5382 and RFC 5508, by section. */
import { fragments } from '../../src/testing/frames.ts';
import { arrives, type Bed, listed, type Seen } from './bed.ts';
import { reassemble } from './datagram.ts';
import { BOTH, check, type Row, same } from './row.ts';

export const RFC7857: readonly Row[] = [
  {
    id: '7857-2',
    strength: 'SHOULD',
    title: 'TCP connections are tracked through their states',
    families: BOTH,
    async run(bed) {
      const states: string[] = [];
      const note = async () => states.push((await bed.flow('c1:5000'))?.state ?? 'none');
      const { source } = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S', { sequence: 1000 }), 'ext1');
      await note();
      await bed.tcp('ext1:80', source, 'SA', { sequence: 5000, acknowledgment: 1001 });
      await note();
      await bed.tcp('c1:5000', 'ext1:80', 'A', { sequence: 1001, acknowledgment: 5001 });
      await note();
      await bed.tcp('c1:5000', 'ext1:80', 'FA', { sequence: 1001, acknowledgment: 5001 });
      await note();
      await bed.tcp('ext1:80', source, 'A', { sequence: 5001, acknowledgment: 1002 });
      await note();
      await bed.tcp('ext1:80', source, 'FA', { sequence: 5001, acknowledgment: 1002 });
      await note();
      await bed.tcp('c1:5000', 'ext1:80', 'A', { sequence: 1002, acknowledgment: 5002 });
      await note();
      same(
        states.join(' '),
        'SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT',
        'the sequence of states',
      );
      return states.join(' → ');
    },
  },
  {
    id: '7857-2.1',
    strength: 'SHOULD',
    title: 'opening and closing connections have their own times, 4 minutes each',
    async run(bed) {
      await bed.tcp('c1:5000', 'ext1:80', 'S');
      const opening = await bed.lifetime('c1:5000');
      const connection = await bed.connect('c1:5001', 'ext1:80');
      await connection.out('FA', '');
      const closing = await bed.lifetime('c1:5001');
      check(opening > 239 && closing > 239, `half open for ${opening} s, half closed for ${closing} s`);
      return `half open ${opening} s, half closed ${closing} s`;
    },
  },
  {
    id: '7857-2.2',
    strength: 'MUST',
    title: 'a reset is translated',
    families: BOTH,
    async run(bed) {
      const first = await bed.connect('c1:5000', 'ext1:80');
      const out = arrives(await first.out('R', ''), 'ext1');
      same(out.flags, 'R', 'what the server gets');
      const second = await bed.connect('c1:5001', 'ext1:80');
      const back = arrives(await second.in('RA', ''), 'c1');
      same(back.flags, 'RA', 'what the client gets');
      return 'in both directions';
    },
  },
  {
    id: '7857-2.2a',
    strength: 'SHOULD',
    title: 'the connection is kept for 4 minutes after a reset',
    async run(bed) {
      const connection = await bed.connect('c1:5000', 'ext1:80');
      await connection.in('RA', '');
      const lifetime = await bed.lifetime('c1:5000');
      check(lifetime > 239, `it is forgotten ${lifetime} s after the reset`);
      if (bed.virtual) {
        await bed.seconds(239);
        same(arrives(await connection.out(), 'ext1').source, connection.external, 'the source after 239 s');
      }
      return `${lifetime} s`;
    },
  },
  {
    id: '7857-3',
    strength: 'MAY',
    title: 'one external port for several destinations only where mapping depends on them: not here',
    async run(bed) {
      for (const transport of ['udp', 'tcp'] as const) {
        const knock = (from: string, to: string) =>
          transport === 'udp' ? bed.udp(from, to) : bed.tcp(from, to, 'S');
        const one = arrives(await knock('c1:5000', 'ext1:1'), 'ext1').source;
        const other = arrives(await knock('c2:5000', 'ext2:1'), 'ext2').source;
        check(one !== other, `two hosts share ${one} of ${transport}`);
      }
      return 'ports do not overlap';
    },
  },
  {
    id: '7857-4',
    strength: 'SHOULD',
    title: 'paired pooling holds also when the ports of the address run out',
    layout: { addresses: 2 },
    async run(bed) {
      const seen: Seen[] = [];
      for (const host of ['c1', 'c2', 'd1']) seen.push(...(await bed.udp(`${host}:5000`, 'ext1:1')));
      // Of three hosts on two addresses, two have the same one, and together more ports than there are.
      const crowded = seen.find(({ src }, i) => seen.some((other, j) => j > i && other.src === src));
      check(
        crowded !== undefined,
        `three hosts on two addresses have ${seen.map(({ src }) => src).join(', ')}`,
      );
      const host = ['c1', 'c2', 'd1'][seen.indexOf(crowded)]!;
      const addresses = new Set<string>();
      let arrived = 0;
      for (let port = 1024; port < 65_536; port++) {
        bed.post(host, bed.udpFrame(`${host}:${port}`, 'ext1:1', { data: '' }));
        if (port % 4096 !== 4095) continue;
        for (const packet of await bed.settle()) {
          if (packet.at !== 'ext1') continue;
          arrived++;
          addresses.add(packet.src);
        }
      }
      check(addresses.size === 1, `${host} leaves from ${[...addresses].join(' and ')}`);
      check(
        arrived < 64_512,
        `64,512 ports are given to ${host} alone although another host has one of them`,
      );
      return `${arrived} of 64512 ports of ${host}, all at ${[...addresses]}`;
    },
  },
  {
    id: '7857-5',
    strength: 'SHOULD',
    title: 'mappings are of one protocol',
    async run(bed) {
      const udp = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const stray = await bed.tcp('ext1:1', udp.source, 'S');
      check(!stray.some(({ at }) => at === 'c1'), `TCP comes in by a mapping of UDP: ${listed(stray)}`);
      const tcp = arrives(await bed.tcp('c1:6000', 'ext1:1', 'S'), 'ext1');
      const other = await bed.udp('ext1:1', tcp.source);
      check(!other.some(({ at }) => at === 'c1'), `UDP comes in by a mapping of TCP: ${listed(other)}`);
      return 'UDP and TCP do not open each other';
    },
  },
  {
    id: '7857-6',
    strength: 'SHOULD',
    title: 'endpoint-independent filtering is of one protocol',
    layout: { filtering: 'endpoint-independent' },
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      arrives(await bed.udp('ext2:1', source), 'c1');
      const stray = await bed.tcp('ext2:1', source, 'S');
      check(!stray.some(({ at }) => at === 'c1'), `TCP comes in by a mapping of UDP: ${listed(stray)}`);
      return 'a mapping of UDP lets in UDP alone';
    },
  },
  {
    id: '7857-7',
    strength: 'SHOULD',
    title: 'with endpoint-independent filtering, what comes in does not hold a mapping',
    layout: { filtering: 'endpoint-independent' },
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      let minutes = 0;
      for (; minutes < 30; minutes++) {
        await bed.seconds(60);
        if (!(await bed.udp('ext2:1', source)).some(({ at }) => at === 'c1')) break;
      }
      check(minutes < 30, 'a stranger holds it with a packet a minute');
      return `gone after ${minutes} minutes of packets from a stranger`;
    },
  },
  {
    id: '7857-7.1',
    strength: 'SHOULD',
    title: 'an ICMP error or a reset that answers from inside does not refresh a mapping',
    async run(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      let steps = 0;
      for (; steps < 60; steps++) {
        await bed.seconds(10);
        const [probe] = (await bed.udp('ext1:1', source)).filter(({ at }) => at === 'c1');
        if (probe === undefined) break;
        await bed.error('c1', probe, 'port unreachable');
      }
      check(steps < 60, 'refusing inbound packets holds it for ever');
      return `gone after ${steps * 10} s of refused packets`;
    },
    async kernel(bed) {
      const { source } = arrives(await bed.udp('c1:5000', 'ext1:1'), 'ext1');
      const probe = arrives(await bed.udp('ext1:1', source), 'c1');
      await bed.seconds(2.5);
      const before = await bed.lifetime('c1:5000');
      await bed.error('c1', probe, 'port unreachable');
      const after = await bed.lifetime('c1:5000');
      check(after <= before, `an error takes its lifetime from ${before} s to ${after} s`);
      return 'an error from inside does not refresh';
    },
  },
  {
    id: '7857-8',
    strength: 'MAY',
    title: 'port parity need not be kept',
    async run(bed) {
      const ports: number[] = [];
      for (const port of [5000, 5001])
        ports.push(arrives(await bed.udp(`c1:${port}`, 'ext1:1'), 'ext1').srcPort);
      const kept = ports[0]! % 2 === 0 && ports[1]! % 2 === 1;
      return `5000 → ${ports[0]}, 5001 → ${ports[1]}: ${kept ? 'kept' : 'not kept'}`;
    },
  },
  {
    id: '7857-9',
    strength: 'SHOULD',
    title: 'ports are chosen at random (RFC 6056)',
    async run(bed) {
      const count = 10_000;
      for (let port = 20_000; port < 20_000 + count; port++) {
        bed.post('c1', bed.udpFrame(`c1:${port}`, 'ext1:1', { data: '' }));
      }
      const ports = (await bed.settle()).map(({ srcPort }) => srcPort);
      same(ports.length, count, 'the number of packets that arrive');
      const bins = new Array<number>(63).fill(0);
      for (const port of ports) bins[Math.floor((port - 1024) / 1024)]!++;
      const expected = count / bins.length;
      const chiSquare = bins.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
      const successors = ports.filter((port, i) => i > 0 && Math.abs(port - ports[i - 1]!) === 1).length;
      // 62 degrees of freedom: 1 in 1,000 beyond 102.2.
      check(chiSquare < 102.2, `chi-square of 10,000 ports over 63 classes is ${chiSquare.toFixed(0)}`);
      check(successors < 10, `${successors} ports follow their predecessor`);
      return `chi-square ${chiSquare.toFixed(1)} over 63 classes, ${successors} neighbours`;
    },
  },
  {
    id: '7857-10',
    strength: 'SHOULD',
    title: 'fragments of two hosts with the same identification do not merge (RFC 6864)',
    layout: {
      publish: [
        { protocol: 'udp', port: 7001, to: 'c1:7000' },
        { protocol: 'udp', port: 7002, to: 'c2:7000' },
      ],
    },
    async run(bed) {
      // What hosts send by themselves, and what they answer by their published ports.
      const asked = [];
      for (const [host, port] of [
        ['c1', 7001],
        ['c2', 7002],
      ] as const) {
        asked.push(arrives(await bed.udp('ext1:9', `out:${port}`), host));
      }
      const own = await merged(bed, ['c1:5000', 'ext1:1'], ['c2:5000', 'ext1:1']);
      const answers = await merged(bed, ['c1:7000', asked[0]!.source], ['c2:7000', asked[1]!.source]);
      return `${own}; ${answers} of answers`;
    },
  },
  {
    id: '7857-11',
    strength: 'MAY',
    title: 'a mapping of ICMP goes with its last query',
    async run(bed) {
      const ping = arrives(await bed.ping('c1:7', 'ext1'), 'ext1');
      arrives(await bed.pong(ping), 'c1');
      const lifetime = await bed.lifetime('c1:7');
      if (!bed.virtual) return `${lifetime} s`;
      await bed.seconds(lifetime + 1);
      same((await bed.flows()).length, 0, 'the number of connections left');
      return `gone after ${lifetime} s`;
    },
  },
  {
    id: '7857-12',
    strength: 'MUST',
    title: 'an echo request from inside to the external address is answered',
    families: BOTH,
    run: pingsOutside,
  },
];

/** Two hosts send a datagram each, in fragments with the same identification, in turns. */
async function merged(bed: Bed, ...ends: readonly (readonly [from: string, to: string])[]): Promise<string> {
  const datagrams = ends.map(([from, to], i) =>
    fragments(bed.udpFrame(from, to, { data: new Uint8Array(2000).fill(i), identification: 777 }), 1500),
  );
  for (const i of datagrams[0]!.keys()) {
    for (const [host, pieces] of datagrams.entries()) bed.post(ends[host]![0], pieces[i]!);
  }
  const seen = await bed.settle();
  check(seen.every(({ at }) => at === 'ext1') && seen.length > 1, `not fragments, but ${listed(seen)}`);
  const streams = new Map<number, Seen[]>();
  for (const piece of seen) {
    streams.set(piece.identification, [...(streams.get(piece.identification) ?? []), piece]);
  }
  same(streams.size, datagrams.length, 'the number of identifications on two datagrams');
  for (const stream of streams.values())
    check(reassemble(stream)?.transportChecksumOk === true, 'a datagram does not reassemble');
  return `identifications ${[...streams.keys()].join(' and ')}`;
}

async function pingsOutside(bed: Bed): Promise<string> {
  const answer = arrives(await bed.ping('c1:7', 'out'), 'c1');
  same(answer.src, bed.address('out'), 'the source of the answer');
  same(answer.identifier, 7, 'its identifier');
  return `${answer}`;
}
