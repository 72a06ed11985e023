import { execFileSync } from 'node:child_process';
import { netnsPath } from '../device/sandbox.ts';
import type { Lab, Station } from './lab.ts';

/**
 * The world outside of a deck, in namespaces of its own so that nothing gets onto a real network: the host `out`, into
 * which the uplink leads, and behind it, one hop farther, `far`. Nobody there has a route to a container.
 */
export interface Outside {
  out: Station;
  far: Station;
  /** For `lab.open`. */
  uplink: string[];
}

/** The deck's on the uplink. */
export const DECK = { ipv4: '192.0.2.2', ipv6: '2001:db8::2', mac: '02:42:c0:00:02:02' } as const;
/** Of `out` on the uplink. */
export const OUT = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
export const FAR = { ipv4: '198.51.100.2', ipv6: '2001:db8:1::2' } as const;
export const FAMILIES = ['ipv4', 'ipv6'] as const;

/** Makes it. The interface of the uplink comes with `lab.open(...uplink)`. `mtu` is that of the line to `far`. */
export function outside(
  lab: Lab,
  { options = '', mtu = 1500 }: { options?: string; mtu?: number } = {},
): Outside {
  const out = lab.station('out', 'up0');
  const far = lab.station('far', 'eth0');
  const peer = ['peer', 'name', far.ifname, 'netns', far.netns];
  out.ip('link', 'add', 'toFar', 'mtu', String(mtu), 'type', 'veth', ...peer);
  // Without duplicate address detection, so that the addresses serve at once.
  out.ip('addr', 'add', '198.51.100.1/24', 'dev', 'toFar');
  out.ip('addr', 'add', '2001:db8:1::1/64', 'dev', 'toFar', 'nodad');
  out.ip('link', 'set', 'toFar', 'up');
  far.ip('link', 'set', far.ifname, 'mtu', String(mtu));
  far.ip('addr', 'add', `${FAR.ipv4}/24`, 'dev', far.ifname);
  far.ip('addr', 'add', `${FAR.ipv6}/64`, 'dev', far.ifname, 'nodad');
  far.ip('link', 'set', far.ifname, 'up');
  far.ip('route', 'add', '192.0.2.0/24', 'via', '198.51.100.1');
  far.ip('route', 'add', '2001:db8::/64', 'via', '2001:db8:1::1');
  out.sysctl('net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  // Linux sends few errors to one address, and everybody behind the deck has the same; and few in all, whatever asks for
  // them at that moment. Those of no type are counted.
  for (const each of [out, far]) each.sysctl('net.ipv4.icmp_ratemask=0', 'net.ipv6.icmp.ratemask=255');
  const spec = [`tap:${out.ifname}`, `addr=${DECK.ipv4}/24`, `addr=${DECK.ipv6}/64`];
  spec.push(`netns=${netnsPath(out.netns)}`);
  return { out, far, uplink: ['--uplink', `${spec.join(',')}${options && `,${options}`}`] };
}

/** Rules of nftables in a namespace. */
export function nft({ netns }: Station, rules: string): void {
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: rules });
}
