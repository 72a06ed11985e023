import { existsSync, writeFileSync } from 'node:fs';
import { AF_INET, AF_INET6, parseInet, parseMac, sameSubnet } from './inet.ts';
import { inNamespace, type Namespace, type NetnsTarget, newNamespace, openNamespace } from './netns.ts';
import { type Link, Rtnetlink } from './rtnetlink.ts';
import { close } from './syscall.ts';
import type { OpenTap } from './tap.ts';
import { openTun } from './tun.ts';

/** The largest MTU of a TAP: 65,535 without the Ethernet header. */
export const LARGEST_MTU = 65_521;
/**
 * Frames that a container may be ahead of us: 7 ms of the smallest ones at full rate, which is how long the thread can be
 * kept from its CPU. The kernel's 1,000 overran at 0.88 of what a kernel bridge carries.
 */
export const QUEUE_LENGTH = 4096;
/** IPv6 needs 1,280 (RFC 8200 §5), IPv4 68 (RFC 791). */
const SMALLEST_MTU = 68;
const SMALLEST_MTU_IPV6 = 1280;

/** A route of the container's besides its default. */
export interface TapRoute {
  /** `10.1.0.0/16`, `fd01::/64`. */
  destination: string;
  /** Absent for what is on the link itself. */
  gateway?: string;
}

/** The interface that a container is to get. */
export interface TapTarget {
  /** Path of its network namespace, or pid of a process in it. */
  netns: NetnsTarget;
  /** Name of the interface in the container. */
  ifname: string;
  /** The kernel chooses one when absent. */
  mac?: string;
  /** 1,500 when absent. */
  mtu?: number;
  /** Addresses with their prefix: `172.17.0.2/16`, `fd00::2/64`. */
  addresses?: readonly string[];
  /** No other interface of the namespace may have an address in the subnets of `addresses`: there would be two ways into them. */
  exclusive?: boolean;
  /** Default gateways; on the link even when no address's subnet holds them. */
  gateway4?: string;
  gateway6?: string;
  routes?: readonly TapRoute[];
  /** Takes the place of a TAP of its name that is there already, as `ip tuntap add` makes it for whoever is to open it. */
  replace?: boolean;
  /** Frames that the container's side holds for us before it drops; `QUEUE_LENGTH` when absent. */
  txqueuelen?: number;
}

/**
 * Makes a TAP in a network namespace, gives it name, MAC, MTU, addresses and routes, brings it and `lo` up,
 * and returns our end of it. Closing the descriptor takes the interface away again.
 *
 * Works on the calling thread, which enters the namespace for a moment: synchronous, 17 ms (most of it
 * the kernel's moving of an interface), best on the main thread, never on libuv's pool; see `openTapAside`. It takes root,
 * or CAP_SYS_ADMIN and CAP_NET_ADMIN over the namespace; see `openTapFor` for ordinary users.
 *
 * Throws a one-line error (Error for what was asked wrongly, SyscallError for what the system refuses) and
 * leaves nothing behind but `lo` up.
 *
 * The TAP is born in a namespace of its own kind, the staging namespace, and moved: a TAP's descriptor keeps
 * alive the namespace in which /dev/net/tun was opened, and if that were the container's, the container's
 * network would live on after the container for as long as we hold it, and we would never learn of its end.
 */
export function openTap(target: TapTarget): OpenTap {
  const namespace = openNamespace(target.netns);
  try {
    return openTapIn(namespace, target);
  } finally {
    namespace.close();
  }
}

/** `openTap` in a namespace that is open already; `target.netns` has no meaning then. */
export function openTapIn(namespace: Namespace, target: TapTarget): OpenTap {
  validate(target);
  const rtnetlink = inNamespace(namespace, () => new Rtnetlink());
  try {
    prepare(rtnetlink, namespace, target);
    const { fd, link, cradle } = bear(target.ifname);
    try {
      cradle.moveLink(link, namespace.fd, target.ifname);
      return finish(fd, namespace, rtnetlink, target);
    } catch (error) {
      close(fd);
      throw error;
    } finally {
      cradle.close();
    }
  } finally {
    rtnetlink.close();
  }
}

/**
 * `openTap` that leaves the calling thread free while the kernel moves the interface. That takes it 16 ms with ticks of
 * 4 ms, as it waits for all CPUs (`rcu_barrier`) under the lock that all its network interfaces share: any other change to an
 * interface, made from this thread, would wait with it. So TAPs are opened, and other such things done, one after the other:
 * see `inTurn`.
 */
export function openTapAside(target: TapTarget): Promise<OpenTap> {
  return inTurn(async () => {
    validate(target);
    const namespace = openNamespace(target.netns);
    let rtnetlink: Rtnetlink | undefined;
    try {
      rtnetlink = inNamespace(namespace, () => new Rtnetlink());
      prepare(rtnetlink, namespace, target);
      const { fd, link, cradle } = bear(target.ifname);
      try {
        await cradle.moveLinkAside(link, namespace.fd, target.ifname);
        return finish(fd, namespace, rtnetlink, target);
      } catch (error) {
        close(fd);
        throw error;
      } finally {
        cradle.close();
      }
    } finally {
      rtnetlink?.close();
      namespace.close();
    }
  });
}

let last: Promise<unknown> = Promise.resolve();

/** Runs `work` when all that was given here before is done: what asks the kernel for changes to interfaces. */
export function inTurn<T>(work: () => T | Promise<T>): Promise<T> {
  const mine = last.then(work);
  last = mine.catch(() => {});
  return mine;
}

function finish(fd: number, namespace: Namespace, rtnetlink: Rtnetlink, target: TapTarget): OpenTap {
  const { name, mac, mtu } = configure(namespace, rtnetlink, target);
  return { fd, ifname: name, mac, mtu };
}

let staging: Namespace | undefined;

/**
 * Closes the staging namespace, one descriptor per thread that ever opened a TAP; the next `openTap` makes
 * another. (One for all TAPs, because every network namespace costs the kernel some 220 KB.)
 */
export function closeStaging(): void {
  staging?.close();
  staging = undefined;
}

/** Makes a TAP in the staging namespace: its descriptor, and what it is to be moved with. */
function bear(ifname: string): { fd: number; link: Link; cradle: Rtnetlink } {
  staging ??= newNamespace('the staging namespace');
  return inNamespace(staging, () => {
    const cradle = new Rtnetlink();
    try {
      const fd = openTun(ifname);
      try {
        return { fd, link: find(cradle, ifname), cradle };
      } catch (error) {
        close(fd);
        throw error;
      }
    } catch (error) {
      cradle.close();
      throw error;
    }
  });
}

/** What must be so before anything is made. */
function prepare(
  rtnetlink: Rtnetlink,
  namespace: Namespace,
  { ifname, addresses = [], exclusive = false, replace = false }: TapTarget,
): void {
  const links = rtnetlink.links();
  const taken = links.find((link) => link.name === ifname);
  if (taken?.kind === 'tun' && replace) rtnetlink.deleteLink(taken);
  else if (taken !== undefined) {
    throw new Error(
      `cannot make interface ${ifname} in the network namespace of ${namespace.label}: there is one of that name already; choose another name`,
    );
  }
  const wanted = addresses.map((text) => ({ text, ...parseInet(text) }));
  for (const { index, address } of rtnetlink.addresses()) {
    const other = parseInet(address);
    const name = links.find((link) => link.index === index)?.name ?? `interface ${index}`;
    for (const { text, bytes, prefix } of wanted) {
      if (!sameSubnet(bytes, other.bytes, exclusive ? prefix : 8 * bytes.length)) continue;
      const why = sameSubnet(bytes, other.bytes, 8 * bytes.length)
        ? `${name} has it already; choose another address`
        : `${name} has ${address}, in the same subnet; choose another subnet`;
      throw new Error(
        `cannot give address ${text} to ${ifname} in the network namespace of ${namespace.label}: ${why}`,
      );
    }
  }
  const lo = links.find((link) => link.loopback);
  if (lo !== undefined && !lo.up) rtnetlink.setLink(lo, { up: true });
}

function configure(namespace: Namespace, rtnetlink: Rtnetlink, target: TapTarget): Link {
  const {
    ifname,
    mac,
    mtu = 1500,
    addresses = [],
    gateway4,
    gateway6,
    routes = [],
    txqueuelen = QUEUE_LENGTH,
  } = target;
  const link = find(rtnetlink, ifname);
  const hasIpv6 = addresses.some((address) => parseInet(address).family === AF_INET6);
  inNamespace(namespace, () => tuneIpv6(ifname, hasIpv6));
  rtnetlink.setLink(link, {
    mtu,
    ...(mac === undefined ? {} : { mac }),
    txqueuelen,
  });
  for (const address of addresses) rtnetlink.addAddress(link, address);
  // Routes through an interface need it up.
  rtnetlink.setLink(link, { up: true });
  for (const { destination, gateway } of routes) {
    rtnetlink.addRoute(
      link,
      gateway === undefined
        ? { destination }
        : { destination, gateway, onlink: isOffLink(gateway, addresses) },
    );
  }
  for (const gateway of [gateway4, gateway6]) {
    if (gateway === undefined) continue;
    rtnetlink.addRoute(link, { destination: 'default', gateway, onlink: isOffLink(gateway, addresses) });
  }
  return find(rtnetlink, ifname);
}

/**
 * The deck decides addresses and routes, so the container neither listens to router advertisements nor
 * waits a second for duplicate address detection. Where /proc is read-only this stays as it was: slower, not
 * wrong. The thread must be in the namespace: /proc/sys/net shows that of whoever looks.
 */
function tuneIpv6(ifname: string, wanted: boolean): void {
  const directory = `/proc/sys/net/ipv6/conf/${ifname}`;
  if (!existsSync(directory)) return;
  const values: [string, string][] = [
    ['accept_ra', '0'],
    ['accept_dad', '0'],
  ];
  // Docker switches IPv6 off per interface and namespace by default.
  if (wanted) values.push(['disable_ipv6', '0']);
  for (const [name, value] of values) {
    try {
      writeFileSync(`${directory}/${name}`, value);
    } catch {
      // Not ours to write here; what cannot do without it (an IPv6 address) fails with its own message.
    }
  }
}

function find(rtnetlink: Rtnetlink, ifname: string): Link {
  const link = rtnetlink.link(ifname);
  if (link === undefined) throw new Error(`interface ${ifname} has vanished while it was set up`);
  return link;
}

function isOffLink(gateway: string, addresses: readonly string[]): boolean {
  const { family, bytes } = parseInet(gateway, 'gateway');
  // fe80::/10 is on every link.
  if (family === AF_INET6 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80) return false;
  return !addresses.some((address) => {
    const own = parseInet(address);
    return own.family === family && sameSubnet(own.bytes, bytes, own.prefix);
  });
}

/** Refuses what the kernel would refuse with a bare EINVAL, or take and mean something else by. */
function validate({
  ifname,
  mac,
  mtu,
  addresses = [],
  gateway4,
  gateway6,
  routes = [],
  txqueuelen,
}: TapTarget): void {
  checkIfname(ifname);
  if (mac !== undefined) parseMac(mac);
  for (const address of addresses) {
    if (!address.includes('/'))
      throw new Error(`address '${address}' needs a prefix length, as in ${address}/16`);
    parseInet(address);
  }
  if (gateway4 !== undefined && parseInet(gateway4, 'gateway').family !== AF_INET) {
    throw new Error(`gateway '${gateway4}' is not an IPv4 address`);
  }
  if (gateway6 !== undefined && parseInet(gateway6, 'gateway').family !== AF_INET6) {
    throw new Error(`gateway '${gateway6}' is not an IPv6 address`);
  }
  for (const { destination, gateway } of routes) {
    parseInet(destination, 'destination');
    if (gateway !== undefined) parseInet(gateway, 'gateway');
  }
  const ipv6 = addresses.some((address) => address.includes(':'));
  const smallest = ipv6 ? SMALLEST_MTU_IPV6 : SMALLEST_MTU;
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= smallest && mtu <= LARGEST_MTU)) {
    throw new Error(
      `MTU ${mtu} is impossible; with ${ipv6 ? 'IPv6' : 'IPv4'} a TAP takes ${smallest} to ${LARGEST_MTU}`,
    );
  }
  if (txqueuelen !== undefined && !(Number.isInteger(txqueuelen) && txqueuelen >= 0)) {
    throw new Error(`a queue of ${txqueuelen} frames is impossible; give a whole number`);
  }
}

/** The kernel's rule (dev_valid_name), and no `%`, from which TUNSETIFF would make a number. */
export function checkIfname(ifname: string): void {
  const length = new TextEncoder().encode(ifname).length;
  if (length < 1 || length > 15 || ifname === '.' || ifname === '..' || /[\s/:%\0]/.test(ifname)) {
    throw new Error(
      `'${ifname}' cannot be an interface's name: 1 to 15 bytes without spaces, '/', ':' and '%', as in eth0`,
    );
  }
}
