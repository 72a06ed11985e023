import { shellWord } from './shell-word.ts';

/** What a sandbox sees in place of the host's files and names. Paths are absolute. */
export interface MountOptions {
  /** Its host name, and what is in its /etc/hostname; the host's when left out. */
  hostname?: string;
  /** Whether it may write nowhere but in /proc, to terminals, and in what `tmpfs` and `writable` name. */
  readOnly?: boolean;
  /** Folders that are empty and its own; those that the host does not have are left out. */
  tmpfs?: readonly string[];
  /** Folders of the host that it may write to all the same. */
  writable?: readonly string[];
  /** Where its command begins. It and what is in it are there also if they are in one of `tmpfs`. */
  cwd?: string;
}

/** What the file systems that a sandbox has of its own are called in /proc/mounts. */
export const MOUNT_SOURCE = 'tapdeck';

/** A folder that every Linux has, and through which nobody's path leads. */
const STAGE = '/sys/kernel';

/**
 * A shell's text that sets up the mount namespace it runs in, as root of the user namespace that owns it. What it
 * cannot do it says on stderr, and ends. Descriptors 5 and 6 are then open for what is to be in /etc/hosts and
 * /etc/resolv.conf.
 *
 * The files are on a file system that is in no folder: when the last process of the namespace ends, however it does, the
 * kernel forgets both. They are written by descriptor, because a host without an /etc/resolv.conf must not get one.
 *
 * All is done in few calls, because a `mount` takes a millisecond; with -n, because nothing of it is to be noted in
 * /run/mount, which is the host's.
 */
export function mountScript({ hostname, readOnly, tmpfs = [], writable = [], cwd }: MountOptions): string {
  const hidden = outermost(cwd === undefined ? writable : [...writable, cwd]).filter((path) =>
    tmpfs.some((folder) => isWithin(path, folder)),
  );
  const covers = outermost(tmpfs);
  return [
    'set -e; umask 022',
    readOnly ? READ_ONLY : '',
    ...writable.map((folder) => `folder=${shellWord(folder)}; ${MAKE_WRITABLE}`),
    `mount -n -t tmpfs -o mode=755,size=1m ${MOUNT_SOURCE} ${STAGE}`,
    `exec 5>${STAGE}/hosts 6>${STAGE}/resolv.conf 7>${STAGE}/own 8>${STAGE}/sys`,
    ...['hosts', 'resolv.conf'].map(ownFile),
    hostname === undefined ? '' : setHostname(shellWord(hostname)),
    ...hidden.map((path, i) => entry(`${field(path)} ${STAGE}/${i} none x-mount.mkdir,rbind`)),
    ...covers.map(cover),
    ...hidden.map((path, i) => entry(`${STAGE}/${i} ${field(path)} none x-mount.mkdir,rbind`)),
    // What is in a folder that has been covered is there no more, unless it has come back.
    ...tmpfs
      .filter((folder) => !covers.includes(folder) && hidden.some((path) => isWithin(folder, path)))
      .map(cover),
    `echo ${shellWord(sysEntries(readOnly ? 'ro' : 'rw'))} >&8; exec 7>&- 8>&-`,
    `mount -n -a -T ${STAGE}/own`,
    `(cd ${STAGE}; mount -n -c -a -T sys 2>/dev/null) || :`,
    `[ ! -e ${STAGE}/own ] || umount -n -l ${STAGE}`,
    cwd === undefined ? '' : `cd ${shellWord(cwd)}`,
    'set +e',
  ]
    .filter((line) => line !== '')
    .join('\n');
}

/**
 * `mount` goes through all mounts in one call and keeps their other flags, which are locked where they come from another
 * user namespace (mount_namespaces(7)). What it could not reach may not matter; what can be written to afterwards does.
 */
const READ_ONLY = `mount -n -a -t noproc,devpts -o remount,bind,ro || :
while read -r _ _ _ _ path _ rest; do
  case "$rest" in *'- proc '* | *'- devpts '*) continue ;; esac
  path=$(printf %b "$path"); [ ! -w "$path" ] || { echo "mount: $path stays writable" >&2; exit 1; }
done </proc/self/mountinfo`;

/** A mount that is made of a folder has the flags of where that is, and is the last one; but for one they are to stay. */
const MAKE_WRITABLE = `mount -n --bind "$folder" "$folder"
while read -r _ _ _ _ _ flags _; do :; done </proc/self/mountinfo; mount -n -o "remount,bind,$flags,rw" "$folder"`;

/**
 * As root of a user namespace one may call sethostname(2), but not write to /proc/sys. Where there is no program that
 * calls it, the host's name stays: it is for people.
 */
function setHostname(name: string): string {
  return `hostname ${name} 2>/dev/null || echo ${name} 2>/dev/null >/proc/sys/kernel/hostname || :
echo ${name} >${STAGE}/hostname; ${ownFile('hostname')}`;
}

/** Puts an empty folder in the place of the host's, if the host has it. */
function cover(folder: string): string {
  const line = `${MOUNT_SOURCE} ${field(folder)} tmpfs nosuid,nodev,mode=1777`;
  return `[ ! -d ${shellWord(folder)} ] || ${entry(line)}`;
}

/** Puts a file of the stage in the place of the host's, if the host has it. */
function ownFile(name: string): string {
  return `[ ! -e /etc/${name} ] || ${entry(`${STAGE}/${name} /etc/${name} none bind`)}`;
}

/**
 * /sys of this network namespace, so that /sys/class/net shows its interfaces; the control groups stay where they are. Inside
 * of containers it may not be mounted: the kernel lets nobody see more of it than before. The stage is below it then, and
 * within reach only from where `mount` stands.
 */
function sysEntries(flag: 'ro' | 'rw'): string {
  return `/sys/fs/cgroup ${STAGE}/cgroup none x-mount.mkdir,rbind
${MOUNT_SOURCE} /sys sysfs nosuid,nodev,noexec,${flag}
./cgroup /sys/fs/cgroup none rbind`;
}

/** One line more for `mount -a`. */
function entry(line: string): string {
  return `printf '%s\\n' ${shellWord(line)} >&7`;
}

/** Paths that are in none of the others. */
function outermost(paths: readonly string[]): string[] {
  const all = Array.from(new Set(paths));
  return all.filter((path) => !all.some((other) => other !== path && isWithin(path, other)));
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** A path as fstab(5) has it. */
function field(path: string): string {
  return path.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
