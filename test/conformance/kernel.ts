import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeStaging, openTapIn } from '../../src/device/attach.ts';
import { inNamespace, type Namespace, openNamespace } from '../../src/device/netns.ts';
import { TapDevice } from '../../src/device/tap.ts';
import { Arena } from '../../switch/frame.ts';
import { formatIpv6, parseIpv6 } from '../../wire/address.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { type Geography, PREFIX4, PREFIX6, type Publish, SEGMENTS, type Segment } from './geography.ts';
import { Undrivable } from './row.ts';
import type { Flow, FrameListener, Subject, Wire } from './subject.ts';
import { finished, withPartialChecksum } from './tapdeck.ts';

/** Milliseconds without a frame after which nothing is believed to be under way. */
const QUIET = 25;
/** The longest that a row may wait in real time, milliseconds. */
const PATIENCE = 7000;
/** Frames sent between two looks at what came: a TAP's queue holds 4,096. */
const BURST = 64;

/**
 * Linux itself: bridges, addresses and nftables' masquerade in a namespace of its own, with TAPs for stations, set up as
 * administrators set up a NAT. Takes root, iproute2 and nftables.
 */
export const KERNEL: Subject = {
  name: 'kernel',
  open: async (geography, onFrame) => KernelWire.open(geography, onFrame),
};

const BRIDGES: Record<Segment, string> = { A: 'brA', B: 'brB', uplink: 'brU' };

/** Namespaces that are there now. */
const live = new Set<string>();

/** Removes what an interrupted run has left. */
export function removeNamespaces(): void {
  for (const netns of live) execFileSync('ip', ['netns', 'del', netns]);
  live.clear();
}

class KernelWire implements Wire {
  readonly virtual = false;
  readonly #netns: string;
  readonly #onFrame: FrameListener;
  readonly #arena = new Arena({ small: 256, big: 16 });
  readonly #taps = new Map<string, TapDevice>();
  #namespace: Namespace | undefined;
  #underWay: [string, Uint8Array][] = [];
  #unread = 0;

  private constructor(onFrame: FrameListener) {
    this.#onFrame = onFrame;
    this.#netns = `conformance-${randomBytes(4).toString('hex')}`;
  }

  static async open(geography: Geography, onFrame: FrameListener): Promise<KernelWire> {
    const { layout } = geography;
    if (layout.filtering !== undefined && layout.filtering !== 'address-and-port-dependent')
      throw new Undrivable('netfilter filters by address and port, and by nothing less');
    if (layout.capacity !== undefined) throw new Undrivable("nf_conntrack_max is the whole machine's");
    const wire = new KernelWire(onFrame);
    try {
      wire.#make(geography);
      // Until routers and hosts have said what they say when an interface comes up.
      await wire.settle();
      return wire;
    } catch (error) {
      await wire.close();
      throw error;
    }
  }

  #make({ stations, decks, router4, router6, layout }: Geography): void {
    const netns = this.#netns;
    execFileSync('ip', ['netns', 'add', netns]);
    live.add(netns);
    const namespace = openNamespace(`/run/netns/${netns}`);
    this.#namespace = namespace;
    this.#sysctl('net/ipv4/ip_forward', '1');
    this.#sysctl('net/ipv6/conf/all/forwarding', '1');
    this.#sysctl('net/ipv6/conf/default/accept_dad', '0');
    // Strict reverse path filtering, as distributions set it, and no advice to stations of a bridge about each other.
    for (const conf of ['all', 'default']) {
      this.#sysctl(`net/ipv4/conf/${conf}/rp_filter`, '1');
      this.#sysctl(`net/ipv4/conf/${conf}/send_redirects`, '0');
    }
    for (const table of ['iptables', 'ip6tables', 'arptables'])
      this.#sysctl(`net/bridge/bridge-nf-call-${table}`, '0');
    const { udp, icmp } = layout.timeouts ?? {};
    for (const [name, value] of Object.entries({ udp, icmp })) {
      if (value !== undefined)
        this.#sysctl(`net/netfilter/nf_conntrack_${name}_timeout`, `${Math.round(value / 1000)}`);
    }
    const links: string[] = [];
    for (const segment of SEGMENTS) {
      const bridge = BRIDGES[segment];
      const { mac, ipv4, ipv6, mtu } = decks[segment];
      links.push(`link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`);
      links.push(`link set ${bridge} address ${mac} mtu ${mtu} up`);
      for (const address of ipv4) links.push(`addr add ${address}/${PREFIX4} dev ${bridge}`);
      for (const address of ipv6) links.push(`addr add ${address}/${PREFIX6} dev ${bridge} nodad`);
    }
    if (router4 !== null) links.push(`route add default via ${router4} dev brU onlink`);
    if (router6 !== null) links.push(`route add default via ${router6} dev brU onlink`);
    for (const { name, segment } of stations) {
      const tap = openTapIn(namespace, {
        netns: `/run/netns/${netns}`,
        ifname: name,
        mtu: decks[segment].mtu,
      });
      this.#taps.set(name, new TapDevice(tap));
      links.push(`link set ${name} master ${BRIDGES[segment]}`);
    }
    // The bridges come first: what brings them up brings up their ports.
    execFileSync('ip', ['-n', netns, '-batch', '-'], { input: links.join('\n') });
    execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], {
      input: ruleset(layout.publish ?? [], decks.uplink.ipv4, decks.uplink.ipv6, stations),
    });
  }

  #sysctl(name: string, value: string): void {
    inNamespace(this.#namespace!, () => writeFileSync(`/proc/sys/${name}`, value));
  }

  now(): number {
    return performance.now();
  }

  send(station: string, frame: Uint8Array, partial = false): void {
    const [bytes, header] = partial ? withPartialChecksum(frame) : [frame, undefined];
    const slot = this.#arena.allocate(bytes.length);
    if (slot === undefined) throw new Error('the arena has no room for the frame');
    slot.bytes.set(bytes, slot.at);
    slot.bytes.fill(0, slot.at - VNET_LEN, slot.at);
    if (header !== undefined) slot.bytes.set(header, slot.at - VNET_LEN);
    this.#taps.get(station)!.transmit(slot, 0);
    this.#arena.release(slot);
    if (++this.#unread >= BURST) this.#read();
  }

  /** What has come, without waiting. */
  #read(): void {
    this.#unread = 0;
    for (const [name, tap] of this.#taps) {
      for (let frame = tap.receive(this.#arena, 0); frame !== null; frame = tap.receive(this.#arena, 0)) {
        this.#underWay.push([name, finished(frame)]);
        this.#arena.release(frame);
      }
    }
  }

  async settle(): Promise<void> {
    for (let quietSince = performance.now(); ; ) {
      // The last look is that after the time: what came while we stood still is there then.
      const isOver = performance.now() - quietSince >= QUIET;
      this.#read();
      if (this.#underWay.length > 0) {
        const batch = this.#underWay;
        this.#underWay = [];
        for (const [station, frame] of batch) this.#onFrame(station, frame);
        quietSince = performance.now();
      } else if (isOver) return;
      else await sleep(1);
    }
  }

  async advance(milliseconds: number): Promise<void> {
    if (milliseconds > PATIENCE) throw new Undrivable(`takes ${Math.round(milliseconds / 1000)} s`);
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      await this.settle();
      await sleep(Math.max(0, Math.min(50, end - performance.now())));
    }
  }

  async flows(): Promise<Flow[]> {
    const text = inNamespace(this.#namespace!, () =>
      readFileSync('/proc/thread-self/net/nf_conntrack', 'utf8'),
    );
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map(flowOf);
  }

  async close(): Promise<void> {
    for (const tap of this.#taps.values()) tap.close();
    this.#namespace?.close();
    if (!live.delete(this.#netns)) return;
    closeStaging();
    execFileSync('ip', ['netns', 'del', this.#netns]);
  }
}

/** The rules of a NAT with published ports: what Docker makes, in one table for both IP versions. */
function ruleset(
  publish: readonly Publish[],
  out4: readonly string[],
  out6: readonly string[],
  stations: Geography['stations'],
): string {
  const address = (to: string, family: 4 | 6) => {
    const [name, port] = to.split(':');
    const station = stations.find((one) => one.name === name)!;
    return family === 4 ? `${station.ipv4[0]}:${port}` : `[${station.ipv6[0]}]:${port}`;
  };
  const dnat = publish.flatMap(({ protocol, port, to }) =>
    [4, 6].map((family) => {
      const which = family === 4 ? 'ip' : 'ip6';
      const version = family === 4 ? 'ipv4' : 'ipv6';
      return `meta nfproto ${version} fib daddr type local ${protocol} dport ${port} dnat ${which} to ${address(to, family as 4 | 6)}`;
    }),
  );
  const pooled = out4.length > 1;
  const range = (addresses: readonly string[]) => `${addresses[0]}-${addresses.at(-1)}`;
  const source = pooled
    ? [`oifname "brU" snat ip to ${range(out4)}`, `oifname "brU" snat ip6 to ${range(out6)}`]
    : ['oifname "brU" masquerade'];
  return `
table inet nat {
  chain prerouting {
    type nat hook prerouting priority dstnat
    ${dnat.join('\n    ')}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ${source.join('\n    ')}
    iifname "brA" oifname "brA" ct status dnat masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy drop
    ct state invalid drop
    ct state established,related accept
    iifname { "brA", "brB" } accept
    ct status dnat accept
  }
}
`;
}

/** One line of /proc/net/nf_conntrack. */
function flowOf(line: string): Flow {
  const words = line.trim().split(/\s+/);
  const [network, , , protocol, remaining] = words;
  const state = words[5]!.includes('=') ? null : words[5]!;
  const values = (name: string) =>
    words.filter((word) => word.startsWith(`${name}=`)).map((word) => word.slice(name.length + 1));
  const [src, replySrc] = values('src').map(compressed);
  const [dst, replyDst] = values('dst').map(compressed);
  const [srcPort = values('id')[0]] = values('sport');
  return {
    protocol: Number(protocol),
    family: network === 'ipv6' ? 6 : 4,
    state,
    src: src!,
    dst: dst!,
    srcPort: Number(srcPort ?? 0),
    dstPort: Number(values('dport')[0] ?? 0),
    replySrc: replySrc!,
    replyDst: replyDst!,
    remaining: Number(remaining) * 1000,
    unreplied: line.includes('[UNREPLIED]'),
    assured: line.includes('[ASSURED]'),
  };
}

function compressed(address: string): string {
  const words = address.includes(':') ? parseIpv6(address) : undefined;
  return words === undefined ? address : formatIpv6(...words);
}
