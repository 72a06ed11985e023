import { getsockname, ioctlValue } from '../device/syscall.ts';
import { checked } from '../device/syscall-error.ts';

/** The first descriptor that a service manager passes on (sd_listen_fds(3)). */
const FIRST = 3;
const AF_UNIX = 1;
/** asm-generic/ioctls.h: close on exec. */
const FIOCLEX = 0x5451;
/** sockaddr_un: the family, then the path. */
const PATH_OFFSET = 2;
const ADDRESS_LENGTH = 110;

/** A descriptor that was ours before we were started. */
export interface PassedDescriptor {
  fd: number;
  /** `FileDescriptorName=` of its unit, that of the unit itself by default; or the name under which it was stored. */
  name: string;
}

/** A unix socket that somebody listens at for us. */
export interface PassedSocket extends PassedDescriptor {
  path: string;
}

/**
 * What systemd has started us with (sd_listen_fds(3)): sockets, which are not to be made, and not to be removed, and other things,
 * which an earlier daemon has given it to keep. Takes them out of the environment, and keeps them from the programs that we start.
 */
export function takePassedDescriptors(
  env: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
): { sockets: PassedSocket[]; others: PassedDescriptor[] } {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) delete env[name];
  const sockets: PassedSocket[] = [];
  const others: PassedDescriptor[] = [];
  // Meant for a process that has started us.
  if (LISTEN_PID !== `${pid}`) return { sockets, others };
  const names = LISTEN_FDNAMES?.split(':') ?? [];
  // The first that is not there ends it, whatever number we are told.
  for (let fd = FIRST; fd < FIRST + (Number(LISTEN_FDS) || 0); fd++) {
    checked(ioctlValue(fd, FIOCLEX, 0), `cannot use descriptor ${fd}, which LISTEN_FDS names`);
    const name = names[fd - FIRST] ?? '';
    const path = unixPath(fd);
    if (path === undefined) others.push({ fd, name });
    else sockets.push({ fd, name, path });
  }
  return { sockets, others };
}

/** Where a unix socket is bound; undefined for others, and for one that has no file. */
function unixPath(fd: number): string | undefined {
  const address = new Uint8Array(ADDRESS_LENGTH);
  if (getsockname(fd, address, Uint32Array.of(ADDRESS_LENGTH)) < 0) return undefined;
  if (new Uint16Array(address.buffer, 0, 1)[0] !== AF_UNIX || address[PATH_OFFSET] === 0) return undefined;
  return Buffer.from(address.subarray(PATH_OFFSET, address.indexOf(0, PATH_OFFSET))).toString();
}
