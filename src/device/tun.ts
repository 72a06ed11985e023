import { VNET_LEN } from '../../wire/virtio-net.ts';
import { close, errno, ioctl, ioctlValue, O_CLOEXEC, O_NONBLOCK, O_RDWR, open } from './syscall.ts';
import {
  checked,
  EACCES,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  ENXIO,
  EPERM,
  type Explanation,
  SyscallError,
} from './syscall-error.ts';

// linux/if_tun.h.
const TUNSETIFF = 0x400454ca;
const TUNGETIFF = 0x800454d2;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;

const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** Fail when the name exists, instead of attaching to what is there. */
const IFF_TUN_EXCL = 0x8000;

const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const SEGMENTS_TCP = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

const IFREQ = 40;
const IFREQ_FLAGS = 16;

const DEVICE = '/dev/net/tun';

/**
 * Makes a TAP called `ifname` in the calling thread's network namespace and gives its descriptor:
 * non-blocking, without packet information, with a virtio-net header of 12 bytes before every frame. The
 * interface lives as long as the descriptor. The descriptor keeps the namespace in which this is called
 * alive, even when the interface is moved out of it.
 */
export function openTun(ifname: string): number {
  const fd = checked(open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0), `cannot open ${DEVICE}`, explainOpen);
  try {
    const request = new Uint8Array(IFREQ);
    new TextEncoder().encodeInto(ifname, request);
    new DataView(request.buffer).setUint16(
      IFREQ_FLAGS,
      IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL,
      true,
    );
    checked(ioctl(fd, TUNSETIFF, request), `cannot make the TAP ${ifname}`, explainSetIff);
    setUp(fd, ifname);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * Takes over the descriptor of a TAP that `openTun` has made in another process. Answers what the interface is called now; throws a
 * SyscallError when it is no more, or never was one.
 */
export function adoptTun(fd: number): string {
  const request = new Uint8Array(IFREQ);
  checked(ioctl(fd, TUNGETIFF, request), 'cannot take over a TAP');
  const ifname = new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
  setUp(fd, ifname);
  return ifname;
}

function setUp(fd: number, ifname: string): void {
  checked(ioctl(fd, TUNSETVNETHDRSZ, new Int32Array([VNET_LEN])), `cannot set up the TAP ${ifname}`);
  setOffload(fd, ifname);
}

/**
 * Lets the interface hand over TCP and UDP segments of up to 64 KiB with partial checksums. UDP segmentation
 * came with Linux 6.2; without it the kernel cuts UDP itself.
 */
function setOffload(fd: number, ifname: string): void {
  if (ioctlValue(fd, TUNSETOFFLOAD, SEGMENTS_TCP | TUN_F_USO4 | TUN_F_USO6) >= 0) return;
  if (errno() === EINVAL && ioctlValue(fd, TUNSETOFFLOAD, SEGMENTS_TCP) >= 0) return;
  throw new SyscallError(`cannot switch on the offloads of the TAP ${ifname}`, errno());
}

function explainOpen(number: number): Explanation {
  switch (number) {
    case ENOENT:
      return {
        why: 'there is no such device',
        remedy: `load the module (modprobe tun) and make the device (mkdir -p /dev/net; mknod -m 0666 ${DEVICE} c 10 200); in a container add --device ${DEVICE}`,
      };
    case EACCES:
    case EPERM:
      return { why: 'permission denied', remedy: `allow it as udev does: chmod 0666 ${DEVICE}` };
    case ENODEV:
    case ENXIO:
      return { why: 'the kernel has no TUN/TAP driver', remedy: 'load it: modprobe tun' };
    default:
      return {};
  }
}

function explainSetIff(number: number): Explanation {
  switch (number) {
    case EPERM:
      return {
        why: 'not permitted',
        remedy:
          'it takes CAP_NET_ADMIN in the user namespace that owns the network namespace: be root there (unshare --map-root-user)',
      };
    case EBUSY:
    case EINVAL:
      return { why: 'there is an interface of that name', remedy: 'choose another name' };
    default:
      return {};
  }
}
