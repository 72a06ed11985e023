import { linkLocalFromMac } from '../../wire/address.ts';
import { VNET_LEN, VNET_NUM_BUFFERS } from '../../wire/virtio-net.ts';
import { checkIfname } from './attach.ts';
import { AF_INET6, parseInet, parseMac } from './inet.ts';
import { inNamespace, type Namespace, type NetnsTarget, openNamespace } from './netns.ts';
import { Rtnetlink } from './rtnetlink.ts';
import {
  addressOf,
  bind,
  close,
  getsockname,
  ioctl,
  type Memory,
  O_CLOEXEC,
  O_NONBLOCK,
  setsockopt,
  socket,
} from './syscall.ts';
import { checked, EACCES, EPERM, type Explanation } from './syscall-error.ts';

// packet(7), linux/if_packet.h, linux/if_arp.h, asm-generic/socket.h.
const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL = 0x0003;
const ARPHRD_ETHER = 1;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_VNET_HDR_SZ = 24;
const PACKET_MR_MULTICAST = 0;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_UNICAST = 3;
const PACKET_OUTGOING = 4;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;

/** sockaddr_ll: family, protocol (network order), ifindex, hatype, pkttype, halen, address. */
// netdevice(7): struct ifreq, and requests about an interface.
const IFREQ = 40;
const IFREQ_UNION = 16;
const SIOCGIFNAME = 0x8910;
const SIOCGIFFLAGS = 0x8913;
const IFF_UP = 1;
const SOCKADDR_LL = 20;
const SLL_IFINDEX = 4;
const SLL_HATYPE = 8;

/** The header that every kernel knows: without `num_buffers`. */
export const SHORT_VNET_LEN = VNET_NUM_BUFFERS;

/**
 * What may wait for us: 4,096 frames of 1,500 bytes as the kernel counts them (2,304 bytes and a socket buffer each), as
 * many as a TAP's queue holds.
 */
const RECEIVE_BUFFER = 16 * 1024 * 1024;
/** What may wait for the interface: 64 frames of 64 KiB. */
const SEND_BUFFER = 4 * 1024 * 1024;

/** The interface that a packet socket is to be opened on. */
export interface PacketTarget {
  ifname: string;
  /** The namespace that has the interface; the calling thread's own when absent. */
  netns?: NetnsTarget;
  /** Our address on the segment, `02:42:c0:00:02:07`: not the interface's own, which stays the host's. */
  mac: string;
  /** Our addresses on the segment: `192.0.2.7/24`, `2001:db8::7/64`. Nobody else in the namespace may have one of them. */
  addresses?: readonly string[];
}

/** An open packet socket as `openPacket` hands it over. */
export interface OpenPacketSocket {
  /** Descriptor: non-blocking, with a virtio-net header before every frame. */
  fd: number;
  ifname: string;
  /** The interface's own address. */
  mac: string;
  /** The interface's MTU. */
  mtu: number;
  /** Bytes of the virtio-net header that the kernel reads and writes: 12, or 10 before Linux 6.4. */
  headerLength: number;
}

/**
 * Opens a packet socket on an existing Ethernet interface, beside whatever the host does with it: it hears group frames
 * and those to `target.mac`, and nothing of what the host itself sends. The host and we do not reach one another over
 * the interface, as with macvlan.
 *
 * Works on the calling thread, which enters the namespace for a moment. It takes CAP_NET_RAW over the namespace. The
 * descriptor keeps the namespace alive until it is closed.
 *
 * Throws a one-line error (Error for what was asked wrongly, SyscallError for what the system refuses).
 * @param headerLength of the virtio-net header, for tests; the longest that the kernel knows when left out
 */
export function openPacket(target: PacketTarget, headerLength: number = VNET_LEN): OpenPacketSocket {
  checkIfname(target.ifname);
  const mac = parseMac(target.mac);
  if (target.netns === undefined) return open(target, mac, headerLength, 'this host');
  const namespace: Namespace = openNamespace(target.netns);
  try {
    return inNamespace(namespace, () =>
      open(target, mac, headerLength, `the network namespace of ${namespace.label}`),
    );
  } finally {
    namespace.close();
  }
}

function open(target: PacketTarget, mac: Uint8Array, wanted: number, where: string): OpenPacketSocket {
  const { ifname, addresses = [] } = target;
  const link = findLink(target, where);
  // Protocol 0: nothing is received before all is set and the socket is bound.
  const fd = checked(
    socket(AF_PACKET, SOCK_RAW | O_NONBLOCK | O_CLOEXEC, 0),
    `cannot open a packet socket on ${ifname}`,
    explain,
  );
  try {
    const headerLength = setHeader(fd, ifname, wanted);
    // Since Linux 4.20; where it is not known, the filter does the same, later.
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, word(1), 4);
    attachFilter(fd, ifname, mac);
    setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_BUFFER);
    setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
    const address = new Uint8Array(SOCKADDR_LL);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL);
    view.setInt32(SLL_IFINDEX, link.index, true);
    checked(bind(fd, address, SOCKADDR_LL), `cannot bind a packet socket to ${ifname}`);
    if (boundTo(fd).type !== ARPHRD_ETHER) {
      throw new Error(
        `interface ${ifname} of ${where} is no Ethernet interface; frames cannot be sent by it, choose another`,
      );
    }
    join(fd, link.index, ifname, mac, addresses);
    return { fd, ifname, mac: link.mac, mtu: link.mtu, headerLength };
  } catch (error) {
    close(fd);
    throw error;
  }
}

function findLink({ ifname, addresses = [] }: PacketTarget, where: string) {
  const rtnetlink = new Rtnetlink();
  try {
    const link = rtnetlink.link(ifname);
    if (link === undefined) {
      throw Object.assign(new Error(`there is no interface ${ifname} in ${where}; see \`ip link\` there`), {
        code: 'ENODEV',
      });
    }
    if (!link.up) {
      throw new Error(`interface ${ifname} of ${where} is down; bring it up: ip link set ${ifname} up`);
    }
    const wanted = new Set(addresses.map((address) => address.split('/')[0]));
    for (const { address } of rtnetlink.addresses()) {
      if (!wanted.has(address.split('/')[0])) continue;
      throw new Error(`address ${address} is in use in ${where} itself; choose one that nobody has`);
    }
    return link;
  } finally {
    rtnetlink.close();
  }
}

/** A virtio-net header before every frame, of 12 bytes where the kernel can (Linux 6.4), else of 10. */
function setHeader(fd: number, ifname: string, wanted: number): number {
  if (wanted === VNET_LEN && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, word(VNET_LEN), 4) === 0)
    return VNET_LEN;
  checked(
    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, word(1), 4),
    `cannot switch on the virtio-net header of a packet socket on ${ifname}`,
  );
  return SHORT_VNET_LEN;
}

/** As large as we like with CAP_NET_ADMIN, else as the sysctls net.core.rmem_max and wmem_max allow. */
function setBuffer(fd: number, force: number, option: number, bytes: number): void {
  if (setsockopt(fd, SOL_SOCKET, force, word(bytes), 4) < 0)
    setsockopt(fd, SOL_SOCKET, option, word(bytes), 4);
}

// Classic BPF, linux/filter.h: code, jumps if true and false, operand.
const LD_WORD = 0x20;
const LD_HALF = 0x28;
const LD_BYTE = 0x30;
const AND = 0x54;
const JEQ = 0x15;
const JSET = 0x45;
const RET = 0x06;
/** Where the kernel's own knowledge of a packet begins (SKF_AD_OFF). */
const AD_PKTTYPE = 0xfffff000 + 4;
const AD_VLAN_TAG = 0xfffff000 + 44;

/**
 * What the socket hears is decided in the kernel: the host's own traffic on the interface costs us nothing. The kernel
 * takes a VLAN tag off before the socket sees the frame, so frames of VLANs would pass for ordinary ones; priority tags
 * (VLAN 0) do no harm.
 */
function attachFilter(fd: number, ifname: string, mac: Uint8Array): void {
  const view = new DataView(mac.buffer, mac.byteOffset, 6);
  const program: [code: number, jt: number, jf: number, k: number][] = [
    [LD_WORD, 0, 0, AD_PKTTYPE],
    [JEQ, 10, 0, PACKET_OUTGOING],
    [LD_WORD, 0, 0, AD_VLAN_TAG],
    [AND, 0, 0, 0x0fff],
    [JEQ, 0, 7, 0],
    // A group address?
    [LD_BYTE, 0, 0, 0],
    [JSET, 4, 0, 1],
    [LD_WORD, 0, 0, 0],
    [JEQ, 0, 3, view.getUint32(0)],
    [LD_HALF, 0, 0, 4],
    [JEQ, 0, 1, view.getUint16(4)],
    [RET, 0, 0, 0xffffffff],
    [RET, 0, 0, 0],
  ];
  const bytes = new Uint8Array(program.length * 8);
  const code = new DataView(bytes.buffer);
  for (const [i, [operation, jt, jf, k]] of program.entries()) {
    code.setUint16(i * 8, operation, true);
    code.setUint8(i * 8 + 2, jt);
    code.setUint8(i * 8 + 3, jf);
    code.setUint32(i * 8 + 4, k, true);
  }
  // sock_fprog { u16 length; filter *program }.
  const header = BigUint64Array.of(BigInt(program.length), addressOf(bytes));
  checked(
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, header, 16),
    `cannot attach a filter to a packet socket on ${ifname}`,
  );
  // Used after the call, so that the collector leaves it until then.
  if (bytes.length === 0) throw new Error('an empty filter');
}

/**
 * Lets frames to us through the interface's own filter: our address, and the groups to which neighbor solicitations
 * for our addresses go (RFC 4291 §2.7.1). An interface that cannot have a second address hears everything.
 */
function join(
  fd: number,
  index: number,
  ifname: string,
  mac: Uint8Array,
  addresses: readonly string[],
): void {
  const add = (type: number, address: Uint8Array) =>
    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership(index, type, address), 16);
  if (add(PACKET_MR_UNICAST, mac) < 0) {
    checked(add(PACKET_MR_PROMISC, mac), `cannot receive frames for another address on ${ifname}`);
  }
  const ipv6 = addresses.map((address) => parseInet(address)).filter(({ family }) => family === AF_INET6);
  if (ipv6.length === 0) return;
  const groups = [Uint8Array.of(0x33, 0x33, 0, 0, 0, 1), solicitedNode(linkLocal(mac))];
  for (const { bytes } of ipv6) groups.push(solicitedNode(bytes));
  for (const group of groups) {
    checked(add(PACKET_MR_MULTICAST, group), `cannot receive neighbor solicitations on ${ifname}`);
  }
}

/** packet_mreq: ifindex, type, length of the address, address. */
function membership(index: number, type: number, address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, index, true);
  view.setUint16(4, type, true);
  view.setUint16(6, address.length, true);
  bytes.set(address, 8);
  return bytes;
}

/** The group's MAC: 33:33, and the last four bytes of ff02::1:ffXX:XXXX (RFC 2464 §7). */
function solicitedNode(address: Uint8Array): Uint8Array {
  return Uint8Array.of(0x33, 0x33, 0xff, ...address.subarray(13));
}

function linkLocal(mac: Uint8Array): Uint8Array {
  const view = new DataView(mac.buffer, mac.byteOffset, 6);
  const bytes = new Uint8Array(16);
  const words = new DataView(bytes.buffer);
  linkLocalFromMac({ hi: view.getUint16(0), lo: view.getInt32(2) }).forEach((value, i) => {
    words.setInt32(4 * i, value);
  });
  return bytes;
}

/** What a packet socket is bound to: an interface's index, -1 when the interface is no more, and its type (ARPHRD_*). */
export function boundTo(fd: number): { index: number; type: number } {
  const address = new Uint8Array(SOCKADDR_LL);
  checked(getsockname(fd, address, word(SOCKADDR_LL)), 'cannot look up what a packet socket is bound to');
  const view = new DataView(address.buffer);
  return { index: view.getInt32(SLL_IFINDEX, true), type: view.getUint16(SLL_HATYPE, true) };
}

/** Whether the interface of this index, in the socket's network namespace, is up; an interface may have another name by now. */
export function isUp(fd: number, index: number): boolean {
  const request = new Uint8Array(IFREQ);
  const view = new DataView(request.buffer);
  view.setInt32(IFREQ_UNION, index, true);
  if (ioctl(fd, SIOCGIFNAME, request) < 0 || ioctl(fd, SIOCGIFFLAGS, request) < 0) return false;
  return (view.getInt16(IFREQ_UNION, true) & IFF_UP) !== 0;
}

function word(value: number): Memory {
  return Int32Array.of(value);
}

function explain(number: number): Explanation {
  if (number !== EPERM && number !== EACCES) return {};
  return {
    why: 'not permitted',
    remedy: 'it takes CAP_NET_RAW in the user namespace that owns the network namespace: run tapdeck as root',
  };
}
