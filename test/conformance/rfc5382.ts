/** RFC 5382 (BCP 142): NAT behavioral requirements for TCP. */
import { arrives, type Bed, ERRORS, errs, listed, nothing } from './bed.ts';
import { expectedFiltering, filteringOf, mappingOf } from './behaviour.ts';
import { icmpStorm } from './icmp-storm.ts';
import { BOTH, check, type Row, same, sameBytes } from './row.ts';

const WEB = { publish: [{ protocol: 'tcp', port: 8080, to: 'c2:80' }] } as const;

export const RFC5382: readonly Row[] = [
  {
    id: '5382-1',
    strength: 'MUST',
    title: 'endpoint-independent mapping',
    families: BOTH,
    async run(bed) {
      const first = await mappingOf(bed, 'tcp', 'c1:5000');
      const second = await mappingOf(bed, 'tcp', 'c2:5000');
      return `one port for three destinations: ${first}, ${second}`;
    },
  },
  {
    id: '5382-2',
    strength: 'MUST',
    title: 'all valid sequences of TCP segments',
    families: BOTH,
    async run(bed) {
      await ordinary(bed, 'c1:5000', 'client');
      await ordinary(bed, 'c1:5001', 'server');
      await splitHandshake(bed);
      await dataInSyn(bed);
      await retransmissions(bed);
      return 'half-close from either side, split handshake, data in the SYN, retransmissions';
    },
  },
  {
    id: '5382-2a',
    strength: 'MUST',
    title: 'simultaneous open',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S', { sequence: 1000 }), 'ext1');
      arrives(await bed.tcp('ext1:80', source, 'S', { sequence: 5000 }), 'c1');
      arrives(await bed.tcp('c1:5000', 'ext1:80', 'SA', { sequence: 1000, acknowledgment: 5001 }), 'ext1');
      arrives(await bed.tcp('ext1:80', source, 'SA', { sequence: 5000, acknowledgment: 1001 }), 'c1');
      arrives(
        await bed.tcp('c1:5000', 'ext1:80', 'PA', { sequence: 1001, acknowledgment: 5001, data: 'a' }),
        'ext1',
      );
      arrives(
        await bed.tcp('ext1:80', source, 'PA', { sequence: 5001, acknowledgment: 1002, data: 'b' }),
        'c1',
      );
      return 'SYN, SYN, SYN/ACK, SYN/ACK, data both ways';
    },
  },
  {
    id: '5382-3',
    strength: 'SHOULD',
    title: 'filtering is endpoint-independent or address-dependent',
    families: BOTH,
    async run(bed) {
      const found = await filteringOf(bed, 'tcp', 'c1:5000');
      check(found !== 'address-and-port-dependent', `it is ${found}`);
      return found;
    },
  },
  {
    id: '5382-3/eif',
    strength: 'MAY',
    title: 'filtering as configured: endpoint-independent',
    layout: { filtering: 'endpoint-independent' },
    run: (bed) => expectedFiltering(bed, 'tcp', 'endpoint-independent'),
  },
  {
    id: '5382-4',
    strength: 'MUST',
    title: 'an unsolicited SYN is not answered for 6 s; a SYN to its sender in that time connects',
    families: BOTH,
    async run(bed) {
      const { source } = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S'), 'ext1');
      nothing(await bed.tcp('ext2:7000', source, 'S', { sequence: 5000 }), 'the SYN is answered');
      await bed.seconds(3);
      nothing(await bed.settle(), 'the SYN is answered within 3 s');
      const out = arrives(await bed.tcp('c1:5000', 'ext2:7000', 'S', { sequence: 1000 }), 'ext2');
      same(out.source, source, 'the mapping');
      arrives(await bed.tcp('ext2:7000', source, 'S', { sequence: 5000 }), 'c1');
      arrives(await bed.tcp('c1:5000', 'ext2:7000', 'SA', { sequence: 1000, acknowledgment: 5001 }), 'ext2');
      arrives(await bed.tcp('ext2:7000', source, 'SA', { sequence: 5000, acknowledgment: 1001 }), 'c1');
      // Where nobody inside ever spoke from, too.
      nothing(await bed.tcp('ext2:7001', 'out:9999', 'S'), 'a SYN to a port of nobody is answered');
      await bed.seconds(6);
      const late = await bed.settle();
      check(
        late.every(({ isIcmp }) => isIcmp),
        `a SYN to a port of nobody is answered: ${listed(late)}`,
      );
      return `silence; a SYN after 3 s connects; after 6 s ${listed(late)}`;
    },
  },
  {
    id: '5382-5',
    strength: 'MUST',
    title: 'established connections live for 2 hours 4 minutes, others for 4 minutes',
    families: BOTH,
    async run(bed) {
      await bed.tcp('c1:4999', 'ext1:80', 'S');
      const opening = await bed.lifetime('c1:4999');
      const connection = await bed.connect('c1:5000', 'ext1:80');
      const established = await bed.lifetime('c1:5000');
      check(established >= 7439, `an established connection is forgotten after ${established} s`);
      check(opening >= 239, `a connection on its way is forgotten after ${opening} s`);
      if (bed.virtual) {
        await bed.seconds(7439);
        arrives(await connection.in(), 'c1');
        arrives(await connection.out(), 'ext1');
      }
      return `${established} s and ${opening} s`;
    },
  },
  {
    id: '5382-6',
    strength: 'SHOULD',
    title: 'no application-level gateway: payloads pass as they are and open nothing',
    async run(bed) {
      const control = await bed.connect('c1:5000', 'ext1:21');
      const text = `PORT ${bed.address('c1').replaceAll('.', ',')},27,166\r\n`;
      const seen = arrives(await control.out('PA', text), 'ext1');
      sameBytes(seen.payload, new TextEncoder().encode(text), 'what the server gets');
      const data = await bed.tcp('ext1:20', `out:${27 * 256 + 166}`, 'S');
      check(!data.some(({ at }) => at === 'c1'), 'the port that the client names is open');
      return 'PORT passes byte for byte';
    },
  },
  {
    id: '5382-7',
    strength: 'MUST',
    title: 'no port overloading',
    families: BOTH,
    async run(bed) {
      const one = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S'), 'ext1').source;
      const other = arrives(await bed.tcp('c2:5000', 'ext2:80', 'S'), 'ext2').source;
      check(one !== other, `two hosts share ${one}`);
      return `${one} and ${other}`;
    },
  },
  {
    id: '5382-8',
    strength: 'MUST',
    title: 'hairpinning: from inside to a published port, of another host and of its own',
    layout: WEB,
    families: BOTH,
    async run(bed) {
      for (const client of ['c1', 'c2', 'd1']) {
        const connection = await bed.connect(`${client}:5000`, 'out:8080', 'c2:80');
        const request = arrives(await connection.out(), 'c2');
        same(request.dstPort, 80, 'the port that it comes to');
        const response = arrives(await connection.in(), client);
        same(response.source, bed.text('out:8080'), `the source that ${client} sees`);
      }
      return 'c1, d1 and c2 itself reach c2:80 by the external address';
    },
  },
  {
    id: '5382-8a',
    strength: 'MUST',
    title: 'hairpinned segments come from the external address and port',
    layout: WEB,
    families: BOTH,
    async run(bed) {
      const outside = arrives(await bed.tcp('c1:5000', 'ext1:80', 'S'), 'ext1').source;
      const syn = arrives(await bed.tcp('c1:5000', 'out:8080', 'S'), 'c2');
      same(syn.source, outside, 'the source that c2 sees');
      return syn.source;
    },
  },
  {
    id: '5382-9',
    strength: 'SHOULD',
    title: 'destination unreachable about a SYN is translated',
    families: BOTH,
    async run(bed) {
      const kinds = ['host unreachable', 'port unreachable', 'prohibited'] as const;
      for (const [i, kind] of kinds.entries()) {
        const out = arrives(await bed.tcp(`c1:${5000 + i}`, 'far:80', 'S'), 'far');
        const error = errs(await bed.error('router', out, kind), 'c1', kind);
        same(error.quoted.source, bed.text(`c1:${5000 + i}`), 'the source that it quotes');
        same(error.quoted.destination, bed.text('far:80'), 'the destination that it quotes');
      }
      return kinds.map((kind) => ERRORS[kind][bed.family].join('/')).join(', ');
    },
  },
  {
    id: '5382-10',
    strength: 'MUST',
    title: 'no ICMP message ends a mapping or a connection',
    async run(bed) {
      const connection = await bed.connect('c1:5000', 'ext1:80');
      const count = await icmpStorm(bed, arrives(await connection.out(), 'ext1'));
      arrives(await connection.in(), 'c1');
      same(arrives(await connection.out(), 'ext1').source, connection.external, 'the mapping');
      return `unharmed by ${count} messages of all types`;
    },
  },
];

/** Opens, half-closes from one side, goes on from the other, closes. */
async function ordinary(bed: Bed, client: string, first: 'client' | 'server'): Promise<void> {
  const connection = await bed.connect(client, 'ext1:80');
  const [close, other, near, far] =
    first === 'client'
      ? [connection.out, connection.in, 'c1', 'ext1']
      : [connection.in, connection.out, 'ext1', 'c1'];
  arrives(await close('FA', ''), far);
  arrives(await other('A', ''), near);
  for (let i = 0; i < 3; i++) {
    arrives(await other(), near);
    arrives(await close('A', ''), far);
  }
  arrives(await other('FA', ''), near);
  arrives(await close('A', ''), far);
}

/** RFC 9293 §3.5 allows the server to acknowledge the SYN first and to send its own then. */
async function splitHandshake(bed: Bed): Promise<void> {
  const { source } = arrives(await bed.tcp('c1:5100', 'ext1:80', 'S', { sequence: 1000 }), 'ext1');
  arrives(await bed.tcp('ext1:80', source, 'S', { sequence: 5000 }), 'c1');
  arrives(await bed.tcp('c1:5100', 'ext1:80', 'SA', { sequence: 1000, acknowledgment: 5001 }), 'ext1');
  arrives(await bed.tcp('ext1:80', source, 'A', { sequence: 5001, acknowledgment: 1001 }), 'c1');
  arrives(
    await bed.tcp('c1:5100', 'ext1:80', 'PA', { sequence: 1001, acknowledgment: 5001, data: 'x' }),
    'ext1',
  );
}

/** TCP Fast Open (RFC 7413). */
async function dataInSyn(bed: Bed): Promise<void> {
  const syn = arrives(await bed.tcp('c1:5200', 'ext1:80', 'S', { sequence: 1000, data: 'early' }), 'ext1');
  same(String.fromCharCode(...syn.payload), 'early', 'the data in the SYN');
  const answer = { sequence: 5000, acknowledgment: 1006, data: 'answer' };
  arrives(await bed.tcp('ext1:80', syn.source, 'SA', answer), 'c1');
  arrives(await bed.tcp('c1:5200', 'ext1:80', 'A', { sequence: 1006, acknowledgment: 5007 }), 'ext1');
}

/** Segments that are lost on the way come again. */
async function retransmissions(bed: Bed): Promise<void> {
  const syn = () => bed.tcp('c1:5300', 'ext1:80', 'S', { sequence: 1000 });
  const { source } = arrives(await syn(), 'ext1');
  arrives(await syn(), 'ext1');
  const answer = () => bed.tcp('ext1:80', source, 'SA', { sequence: 5000, acknowledgment: 1001 });
  arrives(await answer(), 'c1');
  arrives(await answer(), 'c1');
  const data = () =>
    bed.tcp('c1:5300', 'ext1:80', 'PA', { sequence: 1001, acknowledgment: 5001, data: 'again' });
  arrives(await data(), 'ext1');
  arrives(await bed.tcp('ext1:80', source, 'A', { sequence: 5001, acknowledgment: 1006 }), 'c1');
  // Its acknowledgment was lost.
  arrives(await data(), 'ext1');
}
