import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileFilter } from '../../src/capture/filter/filter.ts';
import { FilterError } from '../../src/capture/filter/filter-error.ts';

/** A frame from its bytes in hexadecimal, with blanks as one likes. */
function frame(...hex: string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.join('').replaceAll(' ', ''), 'hex'));
}

const MACS = '02420a010003 02420a010002';
/** 10.1.0.2 to 10.1.0.3. */
const IPV4 = (protocol: string, fragment = '0000') =>
  `0800 45000028 0001${fragment} 40${protocol}0000 0a010002 0a010003`;
/** fd00::2 to fd00::3. */
const IPV6 = (next: string) => `86dd 60000000 0014${next}40 fd00${'0'.repeat(26)}02 fd00${'0'.repeat(26)}03`;
/** 40000 to 80, SYN. */
const TCP = '9c400050 00000001 00000000 50020000 00000000';
/** 40000 to 53. */
const UDP = '9c400035 00140000 0000000000000000 00000000';

const tcp = frame(MACS, IPV4('06'), TCP);
const tcp6 = frame(MACS, IPV6('06'), TCP);
const udp = frame(MACS, IPV4('11'), UDP);
const laterFragment = frame(MACS, IPV4('06', '00b9'), TCP);
const firstFragment = frame(MACS, IPV4('06', '2000'), TCP);
/** Fragment header, then TCP; hop-by-hop options, then TCP. */
const fragment6 = frame(MACS, IPV6('2c'), '06000001 00000001', TCP);
const options6 = frame(MACS, IPV6('00'), '06000502 00000000', TCP);
const arp = frame(
  'ffffffffffff 02420a010002 0806 0001080006040001 02420a010002 0a010002 000000000000 0a010003',
);
const tagged = frame(MACS, '8100 0005', IPV4('06'), TCP);
const twice = frame(MACS, '88a8 0007 8100 0005', IPV4('06'), TCP);
const stp = frame('0180c2000000 02420a010002 0026 424203 0000000000');

function passes(filter: string, bytes: Uint8Array, wireLength?: number): boolean {
  return compileFilter(filter)(bytes, 0, bytes.length, wireLength);
}

/** Filters that let a frame pass, and filters that do not. */
function expectSelected(bytes: Uint8Array, by: readonly string[], notBy: readonly string[]): void {
  for (const filter of by) expect(passes(filter, bytes), filter).toBe(true);
  for (const filter of notBy) expect(passes(filter, bytes), filter).toBe(false);
}

describe('a filter', () => {
  it('of nothing lets everything pass', () => {
    expectSelected(tcp, ['', '  \n'], []);
  });

  it('looks at addresses', () => {
    expectSelected(
      tcp,
      [
        'host 10.1.0.2',
        'src host 10.1.0.2',
        'dst 10.1.0.3',
        'src or dst host 10.1.0.3',
        'net 10.1',
        'net 10',
        'src and dst net 10.1.0.0/24',
        'net 10.1.0.0 mask 255.255.0.0',
        'ip host 10.1.0.2',
        'ether src 02:42:0a:01:00:02',
        'ether host 2:42:a:1:0:3',
        'ether dst 0242.0a01.0003',
        'ether dst 02420a010003',
        'ether src 02-42-0a-01-00-02',
      ],
      ['dst host 10.1.0.2', 'src and dst host 10.1.0.2', 'net 10.2', 'arp host 10.1.0.2', 'host fd00::2'],
    );
    expectSelected(
      tcp6,
      ['host fd00::2', 'dst net fd00::/64', 'ip6 src fd00::2'],
      ['net fe80::/10', 'host 10.1.0.2'],
    );
    expectSelected(
      arp,
      ['host 10.1.0.3', 'arp src 10.1.0.2', 'arp net 10.1'],
      ['ip host 10.1.0.3', 'ip', 'rarp'],
    );
  });

  it('looks at ports', () => {
    expectSelected(
      tcp,
      [
        'port 80',
        'tcp dst port http',
        'src portrange 39999-40001',
        'portrange 90-80',
        'port 443 or 80',
        'port http',
        'portrange ssh-http',
      ],
      ['src port 80', 'udp port 80', 'port 22', 'dst and src port 80', 'port domain', 'portrange 81-100'],
    );
    expectSelected(
      udp,
      ['port domain', 'udp port 53'],
      ['port 80', 'tcp port domain', 'port ssh', 'portrange ssh-http'],
    );
    expectSelected(tcp6, ['tcp port 80', 'dst port http'], ['udp port 80']);
  });

  it('looks at protocols', () => {
    expectSelected(
      tcp,
      ['tcp', 'ip', 'ip proto 6', 'proto \\tcp', 'ether proto \\ip', 'ether proto 0x0800'],
      ['icmp'],
    );
    expectSelected(
      stp,
      ['stp', 'ether proto \\stp', 'ether proto 0x42', 'multicast'],
      ['ip', 'broadcast', 'ether proto 0'],
    );
    expectSelected(
      arp,
      ['arp', 'broadcast', 'multicast', 'ether[12:2] = 0x806'],
      ['ip broadcast', 'ip multicast'],
    );
  });

  it('computes without sign', () => {
    expectSelected(
      tcp,
      [
        'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
        'ip[0] & 0xf = 5',
        'len = 54',
        '- 1 > 0x7fffffff',
        '0 - 1 = 4294967295',
        '7 / 2 = 3',
        '0xfffffffe / 2 = 0x7fffffff',
        '1 << 31 = 2147483648',
        '- 1 >> 31 = 1',
        'ether[12:4] = 0x08004500',
        'tcp[0 - 4] = 10',
        '(tcp[12] >> 4) * 4 = 20',
        '2 + 3 * 4 = 14',
        // `%` and `^` take all that is to the right of them.
        '10 % 4 + 3 = 3',
        '6 & 3 = 2',
        'greater 54 and less 54',
      ],
      ['tcp[0] / (tcp[8] - 0) = 0', 'ip[0 - 1] = 0 or ip', 'len < 54', '1 << tcp[1] = 1'],
    );
  });

  it('binds and and or equally, from the left, and not more tightly', () => {
    // (tcp or udp) and port 53, although others would read tcp or (udp and port 53).
    expectSelected(tcp, ['not udp and tcp', '(tcp or (udp and port 53))'], ['tcp or udp and port 53']);
    expectSelected(udp, ['tcp or udp and port 53', '! tcp && port 53 || arp'], ['not tcp and not udp']);
  });

  it('lets identifiers inherit qualifiers', () => {
    expectSelected(
      tcp,
      [
        'host 10.1.0.9 or 10.1.0.2',
        'tcp dst port 22 or 80',
        'host 10.1.0.2 and (10.1.0.9 or 10.1.0.3)',
        'port not 22',
      ],
      ['tcp dst port 22 or 40000', 'host 10.1.0.2 and not 10.1.0.3', 'src host 10.1.0.9 or 10.1.0.3'],
    );
    // Behind parentheses what was before them counts.
    expectSelected(tcp, ['host 10.1.0.2 and (port 80) and 10.1.0.3'], ['host 10.1.0.2 and (port 80) and 80']);
  });

  it('looks further behind each vlan', () => {
    expectSelected(
      tagged,
      [
        'vlan',
        'vlan 5',
        'vlan and tcp port 80',
        'vlan 5 and host 10.1.0.2',
        'vlan and ether src 02:42:0a:01:00:02',
      ],
      ['tcp', 'host 10.1.0.2', 'vlan 6', 'vlan and vlan', 'tcp or not vlan'],
    );
    expectSelected(twice, ['vlan 7 and vlan 5 and tcp', 'vlan and vlan'], ['vlan 5', 'vlan 7 and tcp']);
    // Also when it is not true, and in a part that need not be: what stands behind it looks 4 bytes further.
    expectSelected(tcp, ['tcp or vlan'], ['vlan or tcp']);
  });

  it('finds no ports in later fragments', () => {
    expectSelected(
      laterFragment,
      ['tcp', 'ip[6:2] & 0x1fff != 0'],
      ['port 80', 'tcp[2:2] = 80', 'not tcp[2:2] = 80 and arp'],
    );
    expectSelected(firstFragment, ['tcp', 'port 80', 'tcp[2:2] = 80'], ['ip[6:2] & 0x1fff != 0']);
  });

  it('looks only at the first header of IPv6, or behind a fragment header', () => {
    expectSelected(fragment6, ['tcp', 'ip6 proto 6', 'ip6 proto 44'], ['port 80', 'ip proto 6']);
    expectSelected(options6, ['ip6 proto 0', 'ip6'], ['tcp', 'port 80']);
    // The fields of TCP are those behind IPv4.
    expectSelected(tcp6, ['tcp', 'ip6[42:2] = 80'], ['tcp[2:2] = 80', 'tcp[tcpflags] & tcp-syn != 0']);
  });

  it('is false for a frame that lacks what it asks for, and its opposite too', () => {
    const cut = tcp.subarray(0, 36);
    expectSelected(
      cut,
      ['tcp', 'tcp or port 80', 'tcp src port 40000'],
      ['port 80', 'not port 80', 'port 80 or tcp'],
    );
    expectSelected(new Uint8Array(), ['len = 0', ''], ['ip', 'not ip', 'ether[0] = 0']);
  });

  it('knows the length on the wire of a frame that was cut', () => {
    expect(passes('len = 1514 and greater 1000', tcp, 1514)).toBe(true);
    expect(passes('less 54', tcp, 1514)).toBe(false);
  });

  it('reads nothing outside its frame', () => {
    const filters = [
      'port 80',
      'host fd00::2',
      'tcp[13] & 2 != 0',
      'vlan and ip',
      'ip[ip[2]] = 3',
      'ether[60:4] = 0',
    ];
    const compiled = filters.map((text) => compileFilter(text));
    const samples = fc.constantFrom(tcp, tcp6, udp, arp, tagged, fragment6, stp);
    fc.assert(
      fc.property(samples, fc.nat(60), fc.nat(200), fc.nat(255), (bytes, length, at, around) => {
        const frameBytes = bytes.subarray(0, length);
        const buffer = new Uint8Array(512).fill(around);
        buffer.set(frameBytes, at);
        for (const filter of compiled) {
          expect(filter(buffer, at, frameBytes.length)).toBe(filter(frameBytes, 0, frameBytes.length));
        }
      }),
    );
  });
});

describe('a mistake', () => {
  const mistake = (text: string): FilterError => {
    try {
      compileFilter(text);
    } catch (error) {
      if (error instanceof FilterError) return error;
      throw error;
    }
    throw new Error(`no mistake in ${text}`);
  };

  it('is shown where it is, with what was expected', () => {
    expect(mistake('tcp and host and port 80').message).toBe(
      [
        "expected an address like 10.1.0.2 or fd00::2, but there is 'and'",
        '  tcp and host and port 80',
        '               ^^^',
      ].join('\n'),
    );
    expect(mistake('port 80 and (').message).toContain('\n  port 80 and (\n               ^');
  });

  it.each([
    ['host 10.1.0.0/16', 5, "expected 'net' in front"],
    ['net 10.1.0.2/16', 4, 'outside its mask'],
    ['net 10.1.0.0/33', 4, '0 to 32 bits'],
    ['net fd00::1/64', 4, 'outside its prefix'],
    ['host fd00:::1', 5, 'no IPv6 address'],
    ['host 10.1.0.300', 5, 'from 0 to 255'],
    ['host web', 5, 'names of hosts are not looked up'],
    ['host 02:42:0a:01:00:02', 5, "needs 'ether'"],
    ['ether host 10.1.0.2', 11, 'a MAC address'],
    ['ip host fd00::2', 0, 'does not go with an IPv6 address'],
    ['ip6 host 10.1.0.2', 0, 'does not go with an IPv4 address'],
    ['tcp host 10.1.0.2', 0, "'tcp and host ...'"],
    ['tcp dst 80', 8, "'port' in front of 80"],
    ['10.1.0.2', 0, "'host', 'net', 'port', 'proto'"],
    ['tcp and 80', 8, 'stands alone'],
    ['port 65536', 5, 'up to 65535'],
    ['port nosuch', 5, 'its number'],
    ['udp port ssh', 9, 'one of TCP'],
    ['icmp port 80', 0, 'has no ports'],
    ['ip proto tcp', 9, '\\tcp'],
    ['proto \\nosuch', 6, 'its number'],
    ['tcp proto 6', 0, 'carries no other protocol'],
    ['ether', 0, 'every frame'],
    ['vlan 4096', 0, '0 to 4095'],
    ['tcp[0:3] = 1', 6, '1, 2 or 4'],
    ['len-14 > 5', 0, "spaces around '-'"],
    ['len / 0 = 1', 6, 'division by 0'],
    ['len << 32 = 1', 7, '0 to 31'],
    ['len = 4294967296', 6, '32 bits'],
    ['len = 08', 6, 'octal'],
    ['len', 3, 'a comparison'],
    ['(tcp', 4, "')'"],
    ['tcp udp', 4, "'and', 'or' or the end"],
    ['mpls 5', 0, 'not supported'],
    ['ip6 protochain 6', 4, "use 'proto'"],
    ['inbound', 0, 'which way'],
    ['tcp; udp', 3, 'no meaning'],
  ])('%s', (text, at, expected) => {
    const { at: found, message, what } = mistake(text);
    expect(found).toBe(at);
    expect(what).toContain(expected);
    expect(message.split('\n')).toHaveLength(3);
  });

  it('is found in any text, and nothing worse', () => {
    const words = fc.constantFrom(
      ...'tcp port 80 host 10.1.0.2 and or not ( ) [ ] : = & vlan len ip6 net /16 fd00:: \\ \u00e9 \n proto src'.split(
        ' ',
      ),
    );
    const texts = fc.oneof(
      fc.string(),
      fc.array(words).map((list) => list.join(' ')),
    );
    fc.assert(
      fc.property(texts, (text) => {
        let error: unknown;
        try {
          compileFilter(text);
          return;
        } catch (caught) {
          error = caught;
        }
        expect(error).toBeInstanceOf(FilterError);
        const { at, length, message } = error as FilterError;
        expect(at).toBeLessThanOrEqual(text.length);
        expect(length).toBeGreaterThan(0);
        expect(message.split('\n')).toHaveLength(3);
      }),
    );
  });

  it('is too much of everything', () => {
    expect(mistake(`${'('.repeat(1_000)}tcp${')'.repeat(1_000)}`).what).toContain('deep');
    expect(mistake(`${'not '.repeat(5_000)}tcp`).what).toContain('deep');
    expect(mistake(`len = ${'1 ^ '.repeat(4_000)}1`).what).toContain('deep');
    expect(mistake(`tcp${' or tcp'.repeat(5_000)}`).what).toContain('10000');
    const many = Array.from({ length: 3_000 }, (_, i) => `host 10.9.${i >> 8}.${i & 255}`);
    expect(passes([...many, 'tcp port 80'].join(' or '), tcp)).toBe(true);
    expect(passes(`len = ${'1 + '.repeat(53)}1`, tcp)).toBe(true);
    expect(passes(`len = ${'1 + '.repeat(4_500)}1`, tcp)).toBe(false);
  });
});
