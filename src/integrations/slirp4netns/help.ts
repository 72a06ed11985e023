import { packageVersion } from '../../control/version.ts';

/** Callers look for the names of options in it, to learn what they may use. */
export const HELP = `Usage: slirp4netns [OPTION]... PID|PATH [TAPNAME]
tapdeck in place of slirp4netns: connects a network namespace to the switch of the user's daemon.

-c, --configure          give the interface its addresses and routes
-e, --exit-fd=FD         end when this descriptor is closed at its other end
-r, --ready-fd=FD        write "1" to this descriptor when the interface is there
-m, --mtu=MTU            largest IP packet (default 1500, at most 65521)
-6, --enable-ipv6        IPv6 too
-a, --api-socket=PATH    take add_hostfwd, list_hostfwd and remove_hostfwd at this socket
--cidr=CIDR              the network (default 10.0.2.0/24)
--disable-host-loopback  keep the host's 127.0.0.1 from the namespace
--netns-type=TYPE        what names the namespace: pid or path (default pid)
--userns-path=PATH       accepted: the kernel knows the user namespace
--enable-sandbox         accepted: this process sees no packet
--enable-seccomp         accepted: this process sees no packet
--macaddress=MAC         MAC address of the interface (only with -c)
--target-type=TYPE       netns
-h, --help               show this and exit
-v, --version            show the version and exit

TAPDECK_NAME in the environment is the container's name on the switch, TAPDECK_HOST the daemon's socket.
`;

/** The program's name and the version whose command line this is come first, where callers look for them. */
export function versionText(): string {
  return `slirp4netns version 1.2.0\ntapdeck: ${packageVersion()}\nSLIRP_CONFIG_VERSION_MAX: 4\n`;
}
