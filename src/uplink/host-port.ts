import { readFileSync } from 'node:fs';
import { formatIpv4, formatIpv6, isIpv4Loopback, isIpv6Loopback } from '../../wire/address.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { bind, close, O_CLOEXEC, O_NONBLOCK, setsockopt, socket } from '../device/syscall.ts';
import {
  checked,
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EINVAL,
  EMFILE,
  ENODEV,
  type Explanation,
} from '../device/syscall-error.ts';
import {
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOCKADDR_IN,
  SOCKADDR_IN6,
  SOL_SOCKET,
} from './host-socket.ts';

/** A port of the host that is an endpoint's: where a socket waits for whoever comes from outside. */
export interface HostPort {
  family: 4 | 6;
  protocol: 6 | 17;
  /** The host's address: an int32 or four words; null for all of them. */
  host: number | readonly number[] | null;
  /** The only interface of the host by which it can be reached; null for all. */
  ifname: string | null;
  port: number;
}

const SO_REUSEADDR = 2;
const SO_BINDTODEVICE = 25;
const TCP = 6;
const LOOPBACK_INTERFACE = new TextEncoder().encode('lo');

/**
 * Opens a non-blocking socket and binds it to the port. Throws a `SyscallError` of one line that says what to do; nothing
 * is left open then.
 */
export function bindHostPort(hostPort: HostPort): number {
  const { family, protocol, ifname } = hostPort;
  const what = `cannot listen at ${formatHostPort(hostPort)}`;
  const explain = (number: number) => explanation(number, hostPort);
  const type = (protocol === TCP ? SOCK_STREAM : SOCK_DGRAM) | O_NONBLOCK | O_CLOEXEC;
  const fd = checked(socket(family === 4 ? AF_INET : AF_INET6, type, protocol), what, explain);
  try {
    const on = Int32Array.of(1);
    // Connections that linger from before do not keep the port; another program that listens does. For datagrams it would
    // let two programs have one port.
    if (protocol === TCP) checked(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, on, 4), what);
    // IPv4 has a socket of its own, so that it is no mapped address that clients come from.
    if (family === 6) checked(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, on, 4), what);
    if (ifname !== null) {
      const name = new TextEncoder().encode(ifname);
      checked(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length), what, explain);
    } else if (isLoopback(hostPort)) {
      // Where the host routes 127/8 (net.ipv4.conf.*.route_localnet), others on its links reach it too (CVE-2020-8558). Before
      // Linux 5.7 this takes privilege; what there is without is no worse than other programs' loopback.
      setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, LOOPBACK_INTERFACE, LOOPBACK_INTERFACE.length);
    }
    const address = socketAddress(hostPort);
    checked(bind(fd, address, address.length), what, explain);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function isLoopback({ host }: HostPort): boolean {
  if (host === null) return false;
  if (typeof host === 'number') return isIpv4Loopback(host);
  const [w0, w1, w2, w3] = host as [number, number, number, number];
  return isIpv6Loopback(w0, w1, w2, w3);
}

/** A sockaddr_in or sockaddr_in6. */
function socketAddress({ family, host, port }: HostPort): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? SOCKADDR_IN : SOCKADDR_IN6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  if (typeof host === 'number') view.setInt32(4, host);
  else
    host?.forEach((word, i) => {
      view.setInt32(8 + 4 * i, word);
    });
  return bytes;
}

/** `0.0.0.0:80/tcp`, `[::1]%lo:53/udp`. */
function formatHostPort({ family, protocol, host, ifname, port }: HostPort): string {
  const address =
    family === 4
      ? formatIpv4((host as number | null) ?? 0)
      : `[${formatIpv6(...((host ?? [0, 0, 0, 0]) as [number, number, number, number]))}]`;
  const scope = ifname === null ? '' : `%${ifname}`;
  return `${address}${scope}:${port}/${protocol === TCP ? 'tcp' : 'udp'}`;
}

function explanation(number: number, { family, port, ifname }: HostPort): Explanation {
  switch (number) {
    case EADDRINUSE:
      return { why: 'another program of the host has that port', remedy: 'choose another host port' };
    case EACCES:
      return {
        why: `ports below ${firstUnprivileged()} take privilege`,
        remedy: `allow it with "sysctl -w net.ipv4.ip_unprivileged_port_start=${port}", or choose a higher host port`,
      };
    case EADDRNOTAVAIL:
      return { why: 'the host has no such address', remedy: 'leave it out for all addresses' };
    case EMFILE:
      return { why: 'no descriptor is left for it', remedy: 'raise "ulimit -n", or publish fewer ports' };
    case EAFNOSUPPORT:
      return { why: `the host has no IPv${family}` };
    case EINVAL:
    case ENODEV:
      return ifname === null ? {} : { why: `the host has no interface ${ifname} with it` };
    default:
      return {};
  }
}

/** The kernel has one setting for both IP versions. */
function firstUnprivileged(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  } catch {
    return 1024;
  }
}
