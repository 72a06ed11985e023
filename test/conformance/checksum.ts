/** RFC 1071 and RFC 1624: what translation must do to checksums. */
import { ETH_LEN } from '../../wire/ethernet.ts';
import { arrives, type Bed } from './bed.ts';
import { BOTH, check, type Row, same } from './row.ts';

export const CHECKSUM: readonly Row[] = [
  {
    id: 'CK-1',
    strength: 'MUST',
    title: 'checksums are right after translation, whatever they were (RFC 1624, equation 3)',
    families: BOTH,
    async run(bed) {
      const udp = await sweep(bed, (data) => bed.udpFrame('c1:5000', 'ext1:1', { data }));
      const tcp = await sweep(bed, (data) => bed.tcpFrame('c1:5000', 'ext1:80', 'S', { data }));
      check(udp.zeroes === 0, `${udp.zeroes} UDP checksums of 0`);
      return `${udp.count + tcp.count} packets with every checksum of UDP and TCP`;
    },
  },
  {
    id: 'CK-2',
    strength: 'MUST',
    title: 'a wrong transport checksum is never made right',
    families: BOTH,
    async run(bed) {
      const said: string[] = [];
      for (const [name, frame, at] of [
        ['UDP', bed.udpFrame('c1:5000', 'ext1:1'), 6],
        ['TCP', bed.tcpFrame('c1:5000', 'ext1:80', 'S'), 16],
      ] as const) {
        frame[ETH_LEN + (bed.family === 4 ? 20 : 40) + at]! ^= 0x55;
        const [seen] = await bed.send('c1', frame);
        check(seen === undefined || !seen.transportChecksumOk, `that of ${name} is right when it arrives`);
        said.push(`${name} ${seen === undefined ? 'is dropped' : 'stays wrong'}`);
      }
      return said.join(', ');
    },
  },
  {
    id: 'CK-3',
    strength: 'MUST',
    title: 'a partial checksum (virtio-net NEEDS_CSUM) is right when it leaves',
    families: BOTH,
    async run(bed) {
      for (let i = 0; i < 100; i++) {
        bed.post('c1', bed.udpFrame('c1:5000', 'ext1:1', { data: 100 + i }), true);
        bed.post('c1', bed.tcpFrame('c1:5000', 'ext1:80', 'S', { data: 100 + i }), true);
      }
      const seen = await bed.settle();
      same(seen.length, 200, 'the number of packets that arrive');
      const wrong = seen.filter(({ transportChecksumOk }) => !transportChecksumOk);
      same(wrong.length, 0, 'of 200 checksums, the number that is wrong');
      // And towards a host inside, whose device takes such.
      const { source } = arrives(await bed.udp('c2:5000', 'ext1:1'), 'ext1');
      arrives(await bed.udp('ext1:1', source), 'c2');
      return '200 of 200';
    },
  },
];

/** Sends packets whose data takes the checksum through all its values. */
async function sweep(
  bed: Bed,
  frame: (data: Uint8Array) => Uint8Array,
): Promise<{ count: number; zeroes: number }> {
  let count = 0;
  let zeroes = 0;
  for (let word = 0; word < 65_536; word++) {
    bed.post('c1', frame(Uint8Array.of(word >>> 8, word & 0xff)));
    if (word % 2048 !== 2047) continue;
    for (const packet of await bed.settle()) {
      count++;
      if (!packet.transportChecksumOk || !packet.headerChecksumOk)
        check(false, `with data ${packet.payload.join(' ')} the checksum is wrong`);
      if (packet.protocol === 17 && packet.udpChecksum === 0) zeroes++;
    }
  }
  same(count, 65_536, 'the number of packets that arrive');
  return { count, zeroes };
}
