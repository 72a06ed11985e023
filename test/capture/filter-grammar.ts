// Random filters of the grammar of pcap-filter(7), about addresses and ports that are in the frames they are tried on.
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import type { Random } from '../../wire/random.ts';
import type { TestFrame } from './filter-frames.ts';

const PROTOCOLS =
  'ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp pim vrrp ah esp stp igrp carp tcp udp icmp ip ip6'.split(' ');
const INDEXED = 'ether ether link ip ip ip tcp tcp tcp udp udp icmp igmp sctp arp rarp ip6 icmp6'.split(' ');
const NAMED_PROTOCOLS = ['\\tcp', '\\udp', '\\icmp', 'gre', 'ospf', 'ipv6-icmp', '\\sctp', 'ipv6-frag'];
const NAMED_ETHER_PROTOCOLS = ['\\ip', '\\ip6', '\\arp', '\\rarp', '\\stp', 'loopback'];
const FIELDS = [
  'tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn',
  'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
  'tcp[tcpflags] & tcp-push != 0',
  'icmp[icmptype] = icmp-echo',
  'icmp[icmptype] != icmp-echoreply',
  'icmp6[icmp6type] = icmp6-neighborsolicit',
  'ip[6:2] & 0x1fff != 0',
  'ip[0] & 0xf != 5',
  'ip[2:2] > 576',
  'ether[0] & 1 = 0 and ip[16] >= 224',
  '((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0',
];

/** Kinds of identifiers, each with what it may be qualified by. */
type Kind = 'host4' | 'host6' | 'net' | 'port' | 'portrange' | 'mac' | 'proto';

export class FilterGrammar {
  readonly #random: Random;
  readonly #ipv4: string[] = ['10.0.0.1', '255.255.255.255'];
  readonly #ipv6: string[] = ['fe80::1', '::', 'ff02::1'];
  readonly #macs: string[] = ['ff:ff:ff:ff:ff:ff', '1:80:c2:0:0:0'];
  readonly #ports: number[] = [53, 80, 443];

  constructor(random: Random, frames: readonly TestFrame[]) {
    this.#random = random;
    for (const { data } of frames) this.#learn(data);
  }

  #learn(data: Uint8Array): void {
    if (data.length < 60) return;
    this.#macs.push(formatMac(get16(data, 6), get32(data, 8)), formatMac(get16(data, 0), get32(data, 2)));
    const type = get16(data, 12);
    if (type === 0x0800) {
      this.#ipv4.push(formatIpv4(get32(data, 26)), formatIpv4(get32(data, 30)));
      this.#ports.push(get16(data, 34), get16(data, 36));
    } else if (type === 0x86dd) {
      const at = (offset: number) =>
        formatIpv6(
          get32(data, offset),
          get32(data, offset + 4),
          get32(data, offset + 8),
          get32(data, offset + 12),
        );
      this.#ipv6.push(at(22), at(38));
      this.#ports.push(get16(data, 54), get16(data, 56));
    }
  }

  /** One filter, of up to a dozen primitives. */
  filter(): string {
    return this.#expression(2);
  }

  #expression(depth: number): string {
    let [text, kind] = this.#term(depth);
    for (let more = this.#below(3); more > 0; more--) {
      const joint = this.#of(['and', 'or', 'or', '&&', '||']);
      if (kind !== undefined && this.#chance(0.5)) {
        text += ` ${joint} ${this.#inherited(kind)}`;
      } else {
        const [right, next] = this.#term(depth);
        text += ` ${joint} ${right}`;
        kind = next;
      }
    }
    return text;
  }

  /** A term, and the kind of identifier that may follow it without qualifiers. */
  #term(depth: number): [string, Kind | undefined] {
    if (this.#chance(0.15)) {
      const [text, kind] = this.#term(depth);
      return [`${this.#of(['not ', '!', '! '])}${text}`, kind];
    }
    if (depth > 0 && this.#chance(0.3)) return [`(${this.#expression(depth - 1)})`, undefined];
    return this.#primitive();
  }

  /** Identifiers that have the qualifiers of what is before them. */
  #inherited(kind: Kind): string {
    if (this.#chance(0.3)) {
      return `(${this.#identifier(kind)} ${this.#of(['and', 'or'])} ${this.#inherited(kind)})`;
    }
    return `${this.#chance(0.2) ? 'not ' : ''}${this.#identifier(kind)}`;
  }

  #primitive(): [string, Kind | undefined] {
    switch (this.#below(16)) {
      case 0:
      case 1:
        return [this.#of(PROTOCOLS), undefined];
      case 2:
      case 3:
        return this.#address();
      case 4: {
        const protocol = this.#of(['', '', 'ip ', 'arp ']);
        return [
          `${protocol}${this.#direction()}net ${this.#identifier('net')}`,
          protocol === '' ? 'net' : undefined,
        ];
      }
      case 5:
      case 6:
        return [`${this.#of(['', '', 'tcp ', 'udp '])}${this.#direction()}port ${this.#port()}`, 'port'];
      case 7: {
        const qualifiers = `${this.#of(['', 'tcp ', 'udp ', 'sctp '])}${this.#direction()}`;
        return [`${qualifiers}portrange ${this.#identifier('portrange')}`, 'portrange'];
      }
      case 8: {
        const [type, mac] = [
          this.#of(['host', 'src', 'dst', 'src host', 'src and dst']),
          this.#identifier('mac'),
        ];
        return [`ether ${type} ${mac}`, 'mac'];
      }
      case 9:
        return this.#protocol();
      case 10:
        return [
          this.#of([
            'broadcast',
            'multicast',
            'ip multicast',
            'ip6 multicast',
            'ether broadcast',
            'ip broadcast',
          ]),
          undefined,
        ];
      case 11:
        return [this.#length(), undefined];
      case 12:
        return this.#chance(0.5) ? [this.#vlan(), undefined] : [this.#of(FIELDS), undefined];
      default:
        return [this.#relation(), undefined];
    }
  }

  #address(): [string, Kind | undefined] {
    const host = this.#chance(0.6);
    if (this.#chance(0.3)) {
      const text = `${this.#of(['', 'ip6 '])}${this.#qualifiers(host)}${this.#identifier('host6')}`;
      return [text, 'host6'];
    }
    const protocol = this.#of(['', '', 'ip ', 'arp ', 'rarp ']);
    return [`${protocol}${this.#qualifiers(host)}${this.#identifier('host4')}`, 'host4'];
  }

  /** At least one of direction and type: without both there is no primitive. */
  #qualifiers(host: boolean): string {
    return host ? `${this.#direction()}host ` : this.#of(['src ', 'dst ', 'src or dst ', 'dst and src ']);
  }

  #protocol(): [string, Kind | undefined] {
    if (this.#chance(0.3)) {
      const number = this.#of([
        '0x800',
        '0x806',
        '0x86dd',
        '4',
        '0x42',
        '6',
        '0xfe',
        '0xe0',
        '0x8100',
        '0x80f3',
      ]);
      return [`ether proto ${this.#chance(0.5) ? number : this.#of(NAMED_ETHER_PROTOCOLS)}`, undefined];
    }
    return [`${this.#of(['', 'ip ', 'ip6 '])}proto ${this.#identifier('proto')}`, 'proto'];
  }

  #identifier(kind: Kind): string {
    switch (kind) {
      case 'host4':
        return this.#of(this.#ipv4);
      case 'host6':
        return this.#of(this.#ipv6);
      case 'net': {
        const parts = this.#of(this.#ipv4).split('.');
        const keep = 1 + this.#below(4);
        const kept = parts.slice(0, keep).join('.');
        const whole = [...parts.slice(0, keep), ...new Array<string>(4 - keep).fill('0')].join('.');
        if (keep > 1 && this.#chance(0.2)) {
          return `${whole} mask ${[...new Array<string>(keep).fill('255'), '0', '0', '0'].slice(0, 4).join('.')}`;
        }
        return this.#chance(0.4) ? kept : `${whole}/${8 * keep + (keep === 4 ? 0 : this.#below(2) * 8)}`;
      }
      case 'port':
        return this.#port();
      case 'portrange': {
        const port = this.#of(this.#ports);
        return `${port}-${Math.min(65_535, port + this.#below(2_000))}`;
      }
      case 'mac':
        return this.#of(this.#macs);
      case 'proto':
        return this.#of([...NAMED_PROTOCOLS, '1', '2', '6', '17', '58', '44', '47', '0']);
    }
  }

  #port(): string {
    return String(this.#of(this.#ports));
  }

  #direction(): string {
    return this.#of(['', '', '', 'src ', 'dst ', 'src or dst ', 'src and dst ']);
  }

  #length(): string {
    const length = this.#of([42, 54, 60, 66, 74, 100, 200, 500, 1000, 1514]);
    return this.#of([`less ${length}`, `greater ${length}`, `len > ${length}`, `length <= ${length}`]);
  }

  #vlan(): string {
    return this.#of([
      'vlan',
      'vlan 1',
      'vlan 3',
      'vlan 5',
      `vlan ${this.#below(7)}`,
      'vlan and vlan 2',
      'vlan and ip',
    ]);
  }

  #relation(): string {
    const relation = this.#of(['=', '==', '!=', '<', '<=', '>', '>=']);
    return `${this.#number(2)} ${relation} ${this.#number(1)}`;
  }

  #number(depth: number): string {
    switch (depth === 0 ? this.#below(4) : this.#below(10)) {
      case 0:
        return String(this.#of([0, 1, 2, 4, 5, 6, 8, 17, 20, 64, 80, 128, 255, '0x45', '0xffff', 'tcp-syn']));
      case 1:
      case 2:
        return `${this.#of(INDEXED)}[${this.#index()}${this.#of(['', '', ':1', ':2', ':4'])}]`;
      case 3:
        return 'len';
      case 4:
        return `(${this.#number(depth - 1)} ${this.#operator()} ${this.#number(depth - 1)})`;
      case 5:
        return `${this.#of(INDEXED)}[${this.#number(depth - 1)} & 0x1f]`;
      case 6:
        return `- ${this.#number(depth - 1)}`;
      default:
        return `${this.#number(depth - 1)} ${this.#operator()} ${this.#number(depth - 1)}`;
    }
  }

  #index(): number {
    return this.#chance(0.9) ? this.#below(24) : this.#below(100);
  }

  /** Division is by what may be 0, but is not written so. */
  #operator(): string {
    return this.#of([
      '+',
      '-',
      '*',
      '&',
      '|',
      '^',
      '/ 3 +',
      '% 7 ^',
      '<< 2 +',
      '>> 4 &',
      '/',
      '%',
      '<<',
      '>>',
    ]);
  }

  #of<T>(choices: readonly T[]): T {
    return choices[this.#random.below(choices.length)]!;
  }

  #below(n: number): number {
    return this.#random.below(n);
  }

  #chance(probability: number): boolean {
    return this.#random.chance(probability);
  }
}
