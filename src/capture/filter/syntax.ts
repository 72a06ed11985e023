/** What a filter says, as a tree: the grammar of pcap-filter(7). */

/** A place in the text. */
export interface Span {
  readonly at: number;
  readonly length: number;
}

/** Names in front of `[`, of qualifiers, or alone. */
export type Protocol =
  | 'ether'
  | 'ip'
  | 'ip6'
  | 'arp'
  | 'rarp'
  | 'tcp'
  | 'udp'
  | 'sctp'
  | 'icmp'
  | 'icmp6'
  | 'igmp'
  | 'igrp'
  | 'pim'
  | 'vrrp'
  | 'carp'
  | 'ah'
  | 'esp'
  | 'stp';
/** Which of the two addresses or ports: one, either (`or`, also when nothing is said) or both (`and`). */
export type Direction = 'src' | 'dst' | 'or' | 'and';
export type AddressType = 'host' | 'net' | 'port' | 'portrange' | 'proto';

/** What stands in front of an address, a port or a protocol, and is inherited by those behind `and` and `or`. */
export interface Qualifiers {
  readonly protocol: Protocol | undefined;
  readonly direction: Direction | undefined;
  /** Without it `host` is meant, but an IPv6 address with a length is then none. */
  readonly type: AddressType | undefined;
  /** The qualifiers as written. */
  readonly span: Span;
}

export type Identifier = Span &
  (
    | { readonly kind: 'number'; readonly value: number }
    | { readonly kind: 'name'; readonly name: string }
    | { readonly kind: 'mac'; readonly text: string }
    /** An IPv4 address, perhaps of less than four parts; the mask is another, or a length. */
    | { readonly kind: 'ipv4'; readonly text: string; readonly mask: string | number | undefined }
    | { readonly kind: 'ipv6'; readonly text: string; readonly prefix: number | undefined }
  );

export type Relation = '=' | '!=' | '<' | '<=' | '>' | '>=';
export type Operator = '+' | '-' | '*' | '/' | '%' | '&' | '|' | '^' | '<<' | '>>';

/** A number of 32 bits without sign. */
export type Arithmetic = Span &
  (
    | { readonly kind: 'number'; readonly value: number }
    /** The length of the frame on the wire. */
    | { readonly kind: 'length' }
    | {
        readonly kind: 'load';
        readonly protocol: Protocol;
        readonly index: Arithmetic;
        readonly size: 1 | 2 | 4;
      }
    | {
        readonly kind: 'binary';
        readonly operator: Operator;
        readonly left: Arithmetic;
        readonly right: Arithmetic;
      }
    | { readonly kind: 'negative'; readonly of: Arithmetic }
  );

export type Expression =
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'not'; readonly of: Expression }
  | { readonly kind: 'identifier'; readonly qualifiers: Qualifiers; readonly id: Identifier }
  | { readonly kind: 'protocol'; readonly protocol: Protocol; readonly span: Span }
  | {
      readonly kind: 'broadcast' | 'multicast';
      readonly protocol: Protocol | undefined;
      readonly span: Span;
    }
  | { readonly kind: 'vlan'; readonly id: number | undefined; readonly span: Span }
  | {
      readonly kind: 'relation';
      readonly relation: Relation;
      readonly left: Arithmetic;
      readonly right: Arithmetic;
    };
