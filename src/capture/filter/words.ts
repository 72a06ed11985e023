/** What words mean in a filter: those of the language, numbers, ports, protocols (pcap-filter(7)). */
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../../wire/ethernet.ts';

/** Words of the language, each with the one that stands for all of its kind. */
export const WORDS: ReadonlyMap<string, string> = new Map(
  [
    ...['and', 'or', 'not', 'src', 'dst', 'host', 'net', 'mask', 'port', 'portrange', 'proto'],
    ...['broadcast', 'multicast', 'vlan', 'less', 'greater', 'len', 'ether'],
    ...['ip', 'ip6', 'arp', 'rarp', 'tcp', 'udp', 'sctp', 'icmp', 'icmp6', 'igmp'],
    ...['igrp', 'pim', 'vrrp', 'carp', 'ah', 'esp', 'stp'],
  ].map((word): [string, string] => [word, word]),
)
  .set('length', 'len')
  .set('link', 'ether');

const NOT_ETHERNET = 'frames here are Ethernet';
const ANCIENT = "write 'ether proto NUMBER' or 'ether[12:2] = NUMBER'";
const TUNNEL = 'filters do not look into this kind of tunnel';

/** Words of tcpdump's language that are refused, and why. */
export const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ...because(NOT_ETHERNET, 'ppp slip fddi tr wlan radio type subtype direction dir ra ta'),
  ...because(NOT_ETHERNET, 'address1 addr1 address2 addr2 address3 addr3 address4 addr4'),
  ...because(
    NOT_ETHERNET,
    'lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect',
  ),
  ...because(NOT_ETHERNET, 'fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls'),
  ...because(NOT_ETHERNET, 'on ifname rset ruleset rnr rulenum srnr subrulenum reason action'),
  ...because(ANCIENT, 'atalk aarp decnet lat sca moprc mopdl iso esis es-is isis is-is clnp ipx netbeui llc'),
  ...because(ANCIENT, 'l1 l2 iih lsp snp csnp psnp'),
  ...because(TUNNEL, 'mpls pppoed pppoes geneve'),
  ...because("it would need a loop; use 'proto' for the first header", 'protochain'),
  ...because('a frame does not say which way it goes', 'inbound outbound ifindex'),
  ...because("use 'ether host MAC and not host ADDRESS'", 'gateway'),
  ...because("use 'ether[OFFSET]'", 'byte'),
]);

function because(reason: string, words: string): [string, string][] {
  return words.split(' ').map((word) => [word, reason]);
}

/** Names of numbers: offsets of fields, and values of theirs. */
export const NUMBER_NAMES: ReadonlyMap<string, number> = new Map([
  // RFC 792, RFC 950, RFC 1256
  ...numbers(
    'icmptype 0 icmpcode 1 icmp-echoreply 0 icmp-unreach 3 icmp-sourcequench 4 icmp-redirect 5 icmp-echo 8',
  ),
  ...numbers('icmp-routeradvert 9 icmp-routersolicit 10 icmp-timxceed 11 icmp-paramprob 12 icmp-tstamp 13'),
  ...numbers('icmp-tstampreply 14 icmp-ireq 15 icmp-ireqreply 16 icmp-maskreq 17 icmp-maskreply 18'),
  // RFC 4443, RFC 4861, RFC 2710, RFC 3810, RFC 4620, RFC 6275, RFC 3971, RFC 4286
  ...numbers('icmp6type 0 icmp6code 1 icmp6-destinationunreach 1 icmp6-packettoobig 2 icmp6-timeexceeded 3'),
  ...numbers('icmp6-parameterproblem 4 icmp6-echo 128 icmp6-echoreply 129 icmp6-multicastlistenerquery 130'),
  ...numbers('icmp6-multicastlistenerreportv1 131 icmp6-multicastlistenerdone 132 icmp6-routersolicit 133'),
  ...numbers('icmp6-routeradvert 134 icmp6-neighborsolicit 135 icmp6-neighboradvert 136 icmp6-redirect 137'),
  ...numbers('icmp6-routerrenum 138 icmp6-nodeinformationquery 139 icmp6-nodeinformationresponse 140'),
  ...numbers('icmp6-ineighbordiscoverysolicit 141 icmp6-ineighbordiscoveryadvert 142'),
  ...numbers('icmp6-multicastlistenerreportv2 143 icmp6-homeagentdiscoveryrequest 144'),
  ...numbers('icmp6-homeagentdiscoveryreply 145 icmp6-mobileprefixsolicit 146 icmp6-mobileprefixadvert 147'),
  ...numbers('icmp6-certpathsolicit 148 icmp6-certpathadvert 149 icmp6-multicastrouteradvert 151'),
  ...numbers('icmp6-multicastroutersolicit 152 icmp6-multicastrouterterm 153'),
  // RFC 9293 §3.1
  ...numbers(
    'tcpflags 13 tcp-fin 1 tcp-syn 2 tcp-rst 4 tcp-push 8 tcp-ack 16 tcp-urg 32 tcp-ece 64 tcp-cwr 128',
  ),
]);

/** Protocols of IP that have a name behind `proto` (IANA "Protocol Numbers", spelled as /etc/protocols does). */
export const IP_PROTOCOLS: ReadonlyMap<string, number> = new Map(
  numbers(
    'icmp 1 igmp 2 ipencap 4 tcp 6 egp 8 igp 9 udp 17 dccp 33 ipv6 41 ipv6-route 43 ipv6-frag 44 rsvp 46 gre 47 ' +
      'esp 50 ah 51 ipv6-icmp 58 ipv6-nonxt 59 ipv6-opts 60 eigrp 88 ospf 89 ipip 94 pim 103 ipcomp 108 vrrp 112 ' +
      'l2tp 115 sctp 132 udplite 136',
  ),
);

/** IEEE 802.1D: spanning tree is an LLC service access point, not an EtherType. */
export const LLC_STP = 0x42;

/** Protocols of Ethernet that have a name behind `ether proto`. */
export const ETHER_PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['ip', ETHERTYPE_IPV4],
  ['ip6', ETHERTYPE_IPV6],
  ['arp', ETHERTYPE_ARP],
  ['rarp', 0x8035],
  ['loopback', 0x9000],
  ['stp', LLC_STP],
]);

/** A port with a name: with which protocols it is registered. */
export interface Service {
  readonly port: number;
  readonly tcp: boolean;
  readonly udp: boolean;
}

/**
 * Ports that have a name: a fixed list, so that a filter means the same on every machine. Numbers, spelling and
 * protocols as in /etc/services of Debian, which follows IANA's registry but leaves out what nobody uses.
 */
export const SERVICES: ReadonlyMap<string, Service> = new Map([
  ...services(
    true,
    true,
    'echo 7 discard 9 daytime 13 time 37 domain 53 kerberos 88 sunrpc 111 ldap 389 syslog 514',
  ),
  ...services(true, true, 'ldaps 636 openvpn 1194 radius 1812 radius-acct 1813 sip 5060 sip-tls 5061'),
  ...services(
    true,
    false,
    'ftp-data 20 ftp 21 ssh 22 telnet 23 smtp 25 gopher 70 finger 79 http 80 pop3 110',
  ),
  ...services(true, false, 'nntp 119 imap2 143 bgp 179 submissions 465 submission 587 imaps 993 pop3s 995'),
  ...services(true, false, 'mysql 3306 postgresql 5432 x11 6000 http-alt 8080 amqp 5672 rsync 873'),
  ...services(true, true, 'snmp 161 snmp-trap 162 https 443'),
  ...services(false, true, 'bootps 67 bootpc 68 tftp 69 ntp 123 netbios-ns 137 netbios-dgm 138'),
  ...services(
    false,
    true,
    'isakmp 500 route 520 dhcpv6-client 546 dhcpv6-server 547 mdns 5353 ipsec-nat-t 4500',
  ),
]);

function services(tcp: boolean, udp: boolean, list: string): [string, Service][] {
  return numbers(list).map(([name, port]) => [name, { port, tcp, udp }]);
}

/** `name number name number`. */
function numbers(list: string): [string, number][] {
  const words = list.split(' ');
  const pairs: [string, number][] = [];
  for (let i = 0; i < words.length; i += 2) pairs.push([words[i]!, Number(words[i + 1])]);
  return pairs;
}
