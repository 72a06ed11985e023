import { closeSync, fstatSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';

const RESOLV_CONF = '/etc/resolv.conf';

/**
 * Writes a sandbox's own /etc/resolv.conf anew, in place, so that programs that have it mounted or open see it; false when it has
 * none: then that file would be the host's, and nothing is written. False also where the sandbox has put something else that
 * takes nothing.
 * @param pid a process in the sandbox
 */
export function rewriteResolvConf(pid: number, text: string): boolean {
  let fd: number;
  try {
    fd = openSync(`/proc/${pid}/root${RESOLV_CONF}`, 'r+');
  } catch {
    return false;
  }
  try {
    if (isHosts(fd)) return false;
    ftruncateSync(fd);
    writeSync(fd, text, 0);
    return true;
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}

function isHosts(fd: number): boolean {
  const { dev, ino } = fstatSync(fd);
  try {
    const host = statSync(RESOLV_CONF);
    return host.dev === dev && host.ino === ino;
  } catch {
    return false;
  }
}
