import { accessSync, constants, existsSync } from 'node:fs';
import { type Finding, type Host, ok } from './finding.ts';

/** What is asked of the kernel without a system call of our own. */

const DEVICE = '/dev/net/tun';
/** TUN's numbers, of a device file. */
const MAKE_DEVICE = `mkdir -p /dev/net; mknod -m 0666 ${DEVICE} c 10 200`;
const NO_TAP = 'no container gets an interface';

export function checkTun({ read }: Host): Finding {
  const check = 'tun';
  if (!existsSync(DEVICE)) {
    return {
      check,
      level: 'problem',
      found: `there is no ${DEVICE}`,
      means: NO_TAP,
      todo: read('/proc/misc')?.match(/\btun$/m)
        ? `make it: ${MAKE_DEVICE}; into a container it comes by --device ${DEVICE}`
        : `load the driver: modprobe tun; if it is not there then: ${MAKE_DEVICE}; into a container it comes by --device ${DEVICE}`,
    };
  }
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
  } catch {
    return {
      check,
      level: 'problem',
      found: `${DEVICE} may not be opened by this user`,
      means: NO_TAP,
      todo: `allow it as udev does: chmod 0666 ${DEVICE}`,
    };
  }
  return ok(check, `${DEVICE} may be opened`);
}

export function checkPing({ root, gid, groups, read }: Host): Finding {
  const check = 'ping';
  if (root) return ok(check, 'root may ping, whatever net.ipv4.ping_group_range says');
  const range = read('/proc/sys/net/ipv4/ping_group_range') ?? '1\t0';
  const [first = 1, last = 0] = range.split(/\s+/).map(Number);
  const found = `net.ipv4.ping_group_range is ${first} ${last}`;
  if ([gid, ...groups].some((group) => group >= first && group <= last)) return ok(check, found);
  return {
    check,
    level: 'warning',
    found: `${found}, in which no group of this user is`,
    means: 'containers can ping each other, but nobody outside',
    todo: `sysctl -w net.ipv4.ping_group_range='0 2147483647', and the same in /etc/sysctl.d to keep it`,
  };
}

export function checkLowPorts({ root, read }: Host): Finding {
  const check = 'low-ports';
  const first = Number(read('/proc/sys/net/ipv4/ip_unprivileged_port_start') ?? 1024);
  const found = `net.ipv4.ip_unprivileged_port_start is ${first}`;
  if (root || first <= 80) return ok(check, root ? 'root may publish all ports' : found);
  return {
    check,
    level: 'note',
    found,
    means: `ports below ${first} of the host cannot be published`,
    todo: 'publish a higher one, as in -p 8080:80, or sysctl -w net.ipv4.ip_unprivileged_port_start=80',
  };
}

/** Descriptors below which an uplink has few sockets for connections; what systems have for services is more. */
const FEW_DESCRIPTORS = 4096;

export function checkDescriptors({ read }: Host): Finding {
  const check = 'descriptors';
  // Node.js has raised the soft limit to the hard one.
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(read('/proc/self/limits') ?? '') ?? [];
  const most = hard === 'unlimited' ? Number.MAX_SAFE_INTEGER : Math.max(Number(soft), Number(hard));
  const found = `${hard} descriptors for a process`;
  if (most >= FEW_DESCRIPTORS) return ok(check, found);
  return {
    check,
    level: 'warning',
    found: `${found} at most`,
    means: 'each connection to the outside, each published port and each container takes one',
    todo: 'ulimit -Hn 1048576, LimitNOFILE=1048576 in a unit, or /etc/security/limits.conf',
  };
}

export function checkIpv6({ read }: Host): Finding {
  const check = 'ipv6';
  const disabled = read('/proc/sys/net/ipv6/conf/all/disable_ipv6');
  if (disabled === '0') return ok(check, 'the host has IPv6');
  return {
    check,
    level: 'note',
    found: disabled === undefined ? 'the kernel has no IPv6' : 'net.ipv6.conf.all.disable_ipv6 is 1',
    means: 'containers have IPv6 among themselves, but no way out by it, and no port is published on ::',
    todo:
      disabled === undefined ? 'boot without ipv6.disable=1' : 'sysctl -w net.ipv6.conf.all.disable_ipv6=0',
  };
}
