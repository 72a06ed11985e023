// For every drop reason something that is dropped for it. The type keeps the list complete.
import type { VirtualPortSpec } from '../../src/replay/virtual-port.ts';
import {
  arpReply,
  arpRequest,
  eth,
  ethernet,
  fragments,
  icmp,
  icmpEcho,
  ip,
  type MemoryDeck,
  type MemoryDeckOptions,
  memoryDeck,
  neighborAdvertisement,
  neighborSolicitation,
  type Station,
  tagged,
  tcp,
  udp,
} from '../../src/testing/index.ts';
import { type Device, discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { DropReasonName } from '../../switch/drop-text.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import {
  C1,
  C2,
  D1,
  EXT1,
  EXT2,
  GA,
  type NatBedOptions,
  natBed,
  R,
  UP,
  VIA_GA,
  VIA_UP,
} from '../dataplane/nat-bed.ts';
import { type BedOptions, gatewayBed } from '../switch/gateway-bed.ts';

/** Makes a deck, about which something is then done; it is watched from its first frame on. */
export interface Stage {
  /** c1 and c2 in network a, d1 in b, a router behind ext on the uplink; all but the last are guarded. */
  nat(options?: NatBedOptions): MemoryDeck;
  /** c1 and c2 in network a, d1 in b; nobody is known, everything is learned, and networks reach each other. */
  bed(options?: BedOptions): MemoryDeck;
  deck(options: MemoryDeckOptions): MemoryDeck;
}

export type DropScenario = (stage: Stage) => void;

const OUT: Station = { ...EXT1, mac: GA.mac };
const patched = (frame: Uint8Array, at: number, ...values: number[]): Uint8Array => {
  const copy = frame.slice();
  copy.set(values, at);
  return copy;
};
/** With a right header checksum. */
const summed = (frame: Uint8Array): Uint8Array => {
  fillIpv4Checksum(frame, 14);
  return frame;
};
const ask = (to: Station, more: { srcPort?: number; dstPort?: number } = {}): Uint8Array =>
  udp({ from: C1, to, via: VIA_GA, srcPort: 5000, dstPort: 53, data: 'ask', ...more });
const ping = (to: Station = GA): Uint8Array => icmpEcho({ from: C1, to, via: VIA_GA });
/** One frame from c1, whom the bed knows and guards. */
const fromC1 =
  (frame: Uint8Array): DropScenario =>
  ({ nat }) =>
    void nat().send('c1', frame);
const learned =
  (frame: Uint8Array): DropScenario =>
  ({ bed }) =>
    void bed().send('c1', frame);
const fromOutside =
  (frame: Uint8Array): DropScenario =>
  ({ nat }) =>
    void nat().send('ext', frame);

/** What a device answers to whoever sends by it: as that of a container, or of the host's sockets, can. */
const answering = (answer: Transmit): VirtualPortSpec['wrap'] => {
  return (device: Device): Device => ({
    fd: -1,
    offload: true,
    gone: false,
    receive: (arena, now) => device.receive(arena, now),
    transmit: () => answer,
    deadline: () => Number.POSITIVE_INFINITY,
    close: () => {},
  });
};
/** A frame to a device that answers so. */
const refusedBy =
  (answer: Transmit): DropScenario =>
  ({ bed }) => {
    const deck = bed();
    deck.virtual.attach('odd', {
      network: 'a',
      mac: { hi: 0x0200, lo: 9 },
      guard: false,
      wrap: answering(answer),
    });
    deck.send('c1', ethernet({ from: C1.mac, to: '02:00:00:00:00:09', type: 0x88b5, data: 50 }));
  };
/** The sockets of a host refuse what goes out. */
const refusedOutside =
  (reason: DropReason): DropScenario =>
  ({ nat }) => {
    const deck = nat({ uplink: { isHost: true } });
    deck.detach('ext');
    deck.virtual.attach('host', {
      network: 'up',
      mac: { hi: 0x0200, lo: 1 },
      ipv4: 0xc6336401 | 0,
      wrap: answering(discarded(reason)),
    });
    deck.send('c1', ask(EXT1));
  };
const vnet = (...values: number[]): Uint8Array => Uint8Array.from({ length: 12 }, (_, i) => values[i] ?? 0);
const quoting = (quoted: Uint8Array): Uint8Array =>
  icmp({ from: R, to: UP, via: VIA_UP, type: 3, code: 1, data: quoted.slice(14) });

export const DROP_SCENARIOS: Readonly<Record<DropReasonName, DropScenario>> = {
  PKT_TOO_SMALL: learned(new Uint8Array(10)),
  HDR_TRUNC: learned(ping().slice(0, 20)),
  IP_INHDR: learned(patched(ping(), 14, 0x44)),
  IP_CSUM: learned(patched(ping(), 24, 0, 0)),
  IPV6_INHDR: learned(patched(icmpEcho({ from: C1, to: GA, family: 6 }), 14, 0x50)),
  FRAG_INVALID: learned(
    summed(patched(fragments(icmpEcho({ from: C1, to: GA, data: 3000 }), 1500)[0]!, 20, 0x3f, 0xff)),
  ),
  L4_INHDR: learned(patched(udp({ from: C1, to: GA, dstPort: 9 }), 38, 0, 3)),
  ARP_INHDR: learned(patched(arpRequest({ from: C1, ask: GA.ipv4!, to: GA.mac }), 14, 0, 9)),
  VNET_INHDR: ({ bed }) => {
    const { virtual } = bed();
    // Segments of a length that is none.
    virtual.receive(
      virtual.ports.get('c1')!,
      ping(),
      0,
      ping().length,
      vnet(1, 1, 0, 0, 0, 0, 255, 255, 0, 0),
    );
  },
  MAC_RESERVED: learned(ethernet({ from: C1.mac, to: '01:80:c2:00:00:00', type: 0x88cc })),
  MAC_SOURCE_INVALID: learned(ethernet({ from: '01:00:5e:00:00:01', to: C2.mac, type: 0x88b5 })),
  MAC_OWN: learned(ethernet({ from: GA.mac, to: C2.mac, type: 0x88b5 })),
  MAC_FOREIGN: ({ nat }) => void nat().send('c1', ethernet({ from: C2.mac, to: GA.mac, type: 0x88b5 })),
  FDB_SAME_PORT: ({ bed }) => {
    const deck = bed();
    deck.send('c1', ping());
    deck.send('c1', ethernet({ from: C2.mac, to: C1.mac, type: 0x88b5 }));
  },
  VLAN_NOT_OURS: learned(tagged(ping(), 7)),
  PORT_ISOLATED: ({ bed }) =>
    void bed({ isolated: true, known: true }).send('c1', icmpEcho({ from: C1, to: C2 })),
  STORM_LIMIT: ({ deck }) => {
    const bed = deck({ ports: { a: { stormLimit: 1 }, b: {} } });
    for (let i = 0; i < 9; i++)
      bed.send('a', ethernet({ from: C1.mac, to: 'ff:ff:ff:ff:ff:ff', type: 0x88b5 }));
  },
  NO_EGRESS: ({ deck }) =>
    void deck({ ports: { a: {} } }).send('a', ethernet({ from: C1.mac, to: C2.mac, type: 0x88b5 })),
  PKT_TOO_BIG: ({ bed }) =>
    void bed({ known: true }).send(
      'c1',
      udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9, data: 1450, dontFragment: true }),
    ),
  FULL_RING: ({ bed }) => {
    const deck = bed({ known: true, arena: { small: 128, big: 24 } });
    deck.virtual.block('c2');
    for (let i = 0; i < 70; i++) deck.send('c1', icmpEcho({ from: C1, to: C2 }));
  },
  LINK_DOWN: refusedBy(Transmit.REFUSED),
  PORT_GONE: refusedBy(Transmit.GONE),
  NOMEM: ({ deck }) => {
    const bed = deck({
      networks: { lan: { ipv4: '10.0.0.1/24' } },
      ports: { a: {} },
      arena: { small: 1, big: 0 },
    });
    // The question takes the only slot, and its answer needs another.
    bed.send(
      'a',
      udp({
        from: C1,
        to: { ...GA },
        dstPort: 53,
        data: Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1),
      }),
    );
  },
  EXCEPTION: ({ bed }) => {
    const { virtual } = bed();
    const throwing = (device: Device): Device => ({
      ...answering(Transmit.SENT)!(device, virtual.dataplane.arena),
      transmit: () => {
        throw new Error('a device that fails');
      },
    });
    virtual.attach('bad', { network: 'a', mac: { hi: 0x0200, lo: 9 }, guard: false, wrap: throwing });
    virtual.receive(
      virtual.ports.get('c1')!,
      ethernet({ from: C1.mac, to: '02:00:00:00:00:09', type: 0x88b5, data: 50 }),
    );
  },
  NETWORK_GONE: ({ bed }) => {
    const deck = bed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.detach('d1');
    deck.virtual.dataplane.removeNetwork(deck.networkId('b'), deck.now);
  },
  ARP_NOT_FOR_US: learned(arpReply({ from: C1, to: GA })),
  ARP_SPOOF: fromC1(arpRequest({ from: { ...C1, ipv4: C2.ipv4 }, ask: GA.ipv4! })),
  ND_NOT_FOR_US: learned(neighborAdvertisement({ from: C1, to: GA })),
  ND_INVALID: learned(patched(neighborSolicitation({ from: C1, ask: GA.ipv6!, to: GA }), 21, 64)),
  RA_GUARD: fromC1(icmp({ from: C1, to: GA, family: 6, ttl: 255, type: 134, data: 8 })),
  ND_SPOOF: fromC1(neighborSolicitation({ from: { ...C1, ipv6: C2.ipv6 }, ask: GA.ipv6!, to: GA })),
  IP_MARTIAN_SOURCE: learned(icmpEcho({ from: { ...C1, ipv4: '127.0.0.1' }, to: GA })),
  IP_MARTIAN_DESTINATION: learned(icmpEcho({ from: C1, to: { mac: GA.mac, ipv4: '127.0.0.1' } })),
  IP_SOURCE_ROUTED: learned(
    eth({ src: C1.mac, dst: GA.mac })
      .ip({ src: C1.ipv4!, dst: D1.ipv4!, options: Uint8Array.of(131, 7, 4, 10, 1, 0, 9, 0) })
      .udp({ dport: 9 })
      .bytes(),
  ),
  IP_INNOROUTES: learned(ping(OUT)),
  IP_TTL_EXCEEDED: ({ bed }) =>
    void bed({ known: true }).send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, ttl: 1 })),
  IP_GROUP: learned(udp({ from: C1, to: { mac: GA.mac, ipv4: '224.0.0.5' }, dstPort: 9 })),
  UNHANDLED_PROTO: learned(ip({ from: C1, to: GA }, 132, 8)),
  NO_SOCKET: learned(udp({ from: C1, to: GA, dstPort: 9 })),
  NEIGH_FAILED: ({ bed }) => {
    const deck = bed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.advance(10_000);
  },
  NEIGH_QUEUEFULL: ({ bed }) => {
    const deck = bed({ arena: { small: 512, big: 24 } });
    for (let i = 0; i < 200; i++) deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, sequence: i }));
  },
  NEIGH_TABLE_FULL: ({ bed }) => {
    const deck = bed({ arena: { small: 512, big: 24 } });
    for (let host = 2; host < 80; host++) {
      deck.send('c1', icmpEcho({ from: C1, to: { mac: GA.mac, ipv4: `10.1.0.${host}` } }));
    }
  },
  ICMP_CSUM: learned(patched(ping(), 36, 0, 0)),
  ICMP_UNHANDLED: learned(icmp({ from: C1, to: GA, type: 13, data: 12 })),
  L4_CSUM: learned(patched(udp({ from: C1, to: GA, dstPort: 9, data: 'x' }), 40, 1, 1)),
  FRAG_OVERLAP: ({ bed }) => {
    const deck = bed();
    const [first, second] = fragments(icmpEcho({ from: C1, to: GA, data: 2000 }), 1500);
    deck.send('c1', first!);
    deck.send('c1', summed(patched(second!, 20, 0, 100)));
  },
  FRAG_TIMEOUT: ({ bed }) => {
    const deck = bed();
    deck.send('c1', fragments(icmpEcho({ from: C1, to: GA, data: 2000 }), 1500)[0]!);
    deck.advance(60_000);
  },
  FRAG_QUEUEFULL: ({ bed }) => {
    // Datagrams are put together in big slots.
    const deck = bed({ arena: { small: 64, big: 0 } });
    deck.send('c1', fragments(icmpEcho({ from: C1, to: GA, data: 2000 }), 1500)[0]!);
  },
  CT_INVALID: fromC1(tcp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 7777, dstPort: 99, flags: 'SA' })),
  CT_TABLE_FULL: ({ nat }) => {
    const deck = nat({ conntrack: { capacity: 1, quota: 1 } });
    assured(deck);
    deck.send('c2', udp({ from: C2, to: EXT1, via: VIA_GA, srcPort: 1, dstPort: 1 }));
  },
  CT_QUOTA: ({ nat }) => {
    const deck = nat({ conntrack: { capacity: 8, quota: 1 } });
    assured(deck);
    deck.send('c1', ask(EXT2));
  },
  CT_CLASH: ({ nat }) => {
    // Two ports of the deck are one of the endpoint: from one port outside, both connections would have the same reply.
    const deck = nat();
    const theirs = { from: EXT1, to: UP, via: VIA_UP, srcPort: 7000 };
    for (const dstPort of [8080, 8081]) {
      deck.publish({ station: C1, network: 'a', from: dstPort, target: 80, protocol: 'udp' });
      deck.send('ext', udp({ ...theirs, dstPort }));
    }
  },
  NAT_PORTS_EXHAUSTED: ({ nat }) => {
    const deck = nat({ conntrack: { capacity: 4096 } });
    // Of the well-known ports of one parity an endpoint has its share.
    for (let port = 1; port < 1024; port++) deck.send('c1', ask(EXT1, { srcPort: port }));
  },
  NAT_FILTERED: ({ nat }) => {
    const deck = nat();
    deck.send('c1', ask(EXT1));
    const [flow] = deck.flows();
    deck.send('ext', udp({ from: EXT2, to: UP, via: VIA_UP, srcPort: 9, dstPort: flow!.reply.dstPort }));
  },
  NOT_PUBLISHED: fromOutside(tcp({ from: EXT1, to: UP, via: VIA_UP, dstPort: 81 })),
  ICMP_ERROR_UNRELATED: fromOutside(
    quoting(udp({ from: UP, to: EXT1, srcPort: 60_000, dstPort: 53, data: 8 })),
  ),
  ICMP_ERROR_MALFORMED: fromOutside(
    quoting(udp({ from: UP, to: EXT1, srcPort: 60_000, dstPort: 53 }).slice(0, 40)),
  ),
  PORT_ZERO: fromC1(ask(EXT1, { srcPort: 0 })),
  DESTINATION_DENIED: ({ nat }) => void nat({ uplink: { denied: ['203.0.113.0/24'] } }).send('c1', ask(EXT1)),
  UPLINK_GONE: ({ nat }) => {
    const deck = nat();
    deck.send('c1', ask(EXT1));
    deck.detach('ext');
    deck.send('c1', ask(EXT1));
  },
  MAC_SPOOF: fromC1(ethernet({ from: '02:00:00:00:00:77', to: GA.mac, type: 0x88b5 })),
  IP_SPOOF: fromC1(icmpEcho({ from: { ...C1, ipv4: C2.ipv4 }, to: GA })),
  DHCP_GUARD: fromC1(udp({ from: C1, to: C2, srcPort: 67, dstPort: 68, data: 240 })),
  VLAN_DEPTH: fromC1(
    [1, 2, 3, 4, 5].reduce((frame, vlan) => tagged(frame, vlan), icmpEcho({ from: C1, to: C2 })),
  ),
  SNAP_ENCAPSULATED: fromC1(
    ethernet({
      from: C1.mac,
      to: C2.mac,
      type: 40,
      data: Uint8Array.from([0xaa, 0xaa, 3, 0, 0, 0, 8, 0, ...new Uint8Array(40)]),
    }),
  ),
  NETWORK_ISOLATED: fromC1(ask(D1)),
  NETWORK_INTERNAL: ({ deck }) => {
    const bed = deck({
      networks: { in: { ipv4: '10.0.0.1/24', internal: true }, b: { ipv4: '10.1.0.1/24' } },
      ports: { c1: { network: 'in', station: C1 }, d1: { network: 'b', station: D1 } },
    });
    bed.send('c1', ask(D1));
  },
  USER_DROP: ({ nat }) => {
    const deck = nat();
    deck.setUserRules([{ id: 1, action: 'DROP' }]);
    deck.send('c1', ask(EXT1));
  },
  USER_REJECT: ({ nat }) => {
    const deck = nat();
    deck.setUserRules([{ id: 1, action: 'REJECT' }]);
    deck.send('c1', ask(EXT1));
  },
  SOCKET_EXHAUSTED: refusedOutside(DropReason.SOCKET_EXHAUSTED),
  SOCKET_ERROR: refusedOutside(DropReason.SOCKET_ERROR),
  SOCKET_FULL: refusedOutside(DropReason.SOCKET_FULL),
  PING_FORBIDDEN: refusedOutside(DropReason.PING_FORBIDDEN),
  DNS_MALFORMED: fromC1(udp({ from: C1, to: GA, srcPort: 5000, dstPort: 53, data: 3 })),
  DNS_BUSY: ({ nat }) => {
    const deck = nat();
    deck.virtual.dataplane.onQuery = () => {};
    for (let id = 0; id < 65; id++) {
      const name = [1, 0x61 + (id % 26), 1, 0x61 + Math.floor(id / 26), 0];
      deck.send(
        'c1',
        udp({
          from: C1,
          to: GA,
          srcPort: 5000 + id,
          dstPort: 53,
          data: Uint8Array.of(0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 1, 0, 1),
        }),
      );
    }
  },
  DHCP_MALFORMED: ({ deck }) =>
    void dhcpDeck(deck).send('c1', udp({ from: C1, to: GA, srcPort: 68, dstPort: 67, data: 8 })),
  DHCP_FOREIGN: ({ deck }) => {
    const message = new Uint8Array(244);
    message.set([1, 1, 6]);
    // Another MAC than the endpoint's, the cookie, and DISCOVER.
    message.set([2, 0, 0, 0, 0, 0x77], 28);
    message.set([99, 130, 83, 99, 53, 1, 1, 255], 236);
    dhcpDeck(deck).send('c1', udp({ from: C1, to: GA, srcPort: 68, dstPort: 67, data: message }));
  },
};

function dhcpDeck(deck: Stage['deck']): MemoryDeck {
  return deck({
    networks: { lan: { ipv4: '10.0.0.1/24', mac: GA.mac, dhcp: true } },
    ports: { c1: { station: C1 } },
  });
}

/** A connection of c1 that both ends have spoken in: it is not given up for another. */
function assured(deck: MemoryDeck): void {
  deck.send('c1', ask(EXT1));
  const answer = { from: EXT1, to: UP, via: VIA_UP, srcPort: 53, dstPort: deck.flows()[0]!.reply.dstPort };
  for (let i = 0; i < 3; i++) {
    deck.advance(3000);
    deck.send('ext', udp({ ...answer, data: 'so' }));
    deck.send('c1', ask(EXT1));
  }
}

/** Decks on a stage, each with whoever is to watch it. */
export function stage(watch: (deck: MemoryDeck) => void): Stage {
  const watched = (deck: MemoryDeck): MemoryDeck => {
    watch(deck);
    return deck;
  };
  return {
    nat: (options) => watched(natBed(options)),
    bed: (options) => watched(gatewayBed(options)),
    deck: (options) => watched(memoryDeck(options)),
  };
}
