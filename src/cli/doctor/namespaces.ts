import { spawnSync } from 'node:child_process';
import { findExecutable } from '../executable.ts';
import { type Finding, type Host, ok } from './finding.ts';

/** Programs by which namespaces are made and entered, and whose they are. */
const PROGRAMS: readonly (readonly [program: string, source: string, need: string])[] = [
  ['unshare', 'util-linux', '`tapdeck run` and labs make no sandbox'],
  ['setpriv', 'util-linux', '`tapdeck run` and labs make no sandbox'],
  ['mount', 'mount', '`tapdeck run` and labs make no sandbox'],
  [
    'nsenter',
    'util-linux',
    "no interface gets into an ordinary user's container, and `tapdeck exec` does nothing",
  ],
];

export function checkPrograms({ env }: Host): Finding[] {
  const missing = PROGRAMS.filter(([program]) => findExecutable(program, '/', env['PATH']) !== 'found');
  if (missing.length === 0) return [ok('programs', PROGRAMS.map(([program]) => program).join(', '))];
  return missing.map(([program, source, need]) => ({
    check: 'programs',
    level: 'problem',
    found: `there is no ${program}`,
    means: need,
    todo: `install ${source}`,
  }));
}

/** Milliseconds for `unshare`, which takes some. */
const PATIENCE = 10_000;

/** Settings that keep users from namespaces: the value that does, and what to set. */
const SETTINGS = [
  {
    path: '/proc/sys/user/max_user_namespaces',
    name: 'user.max_user_namespaces',
    refuses: (value: number) => value === 0,
    good: '=15000',
    userAlone: true,
  },
  {
    path: '/proc/sys/kernel/unprivileged_userns_clone',
    name: 'kernel.unprivileged_userns_clone',
    refuses: (value: number) => value === 0,
    good: '=1',
    userAlone: true,
  },
  {
    path: '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
    name: 'kernel.apparmor_restrict_unprivileged_userns',
    refuses: (value: number) => value > 0,
    good: '=0, or give this program an AppArmor profile with userns',
    userAlone: true,
  },
  {
    path: '/proc/sys/user/max_net_namespaces',
    name: 'user.max_net_namespaces',
    refuses: (value: number) => value === 0,
    good: '=15000',
    userAlone: false,
  },
  {
    path: '/proc/sys/user/max_mnt_namespaces',
    name: 'user.max_mnt_namespaces',
    refuses: (value: number) => value === 0,
    good: '=15000',
    userAlone: false,
  },
] as const;

/** Makes the namespaces of a sandbox, and when that fails, says what keeps us from it. */
export function checkNamespaces({ root, read, env }: Host): Finding[] {
  const check = 'namespaces';
  if (findExecutable('unshare', '/', env['PATH']) !== 'found') return [];
  const kinds = ['--net', '--mount', ...(root ? [] : ['--user', '--map-root-user'])];
  const { status, stderr } = spawnSync(
    'unshare',
    [...kinds, '--propagation', 'slave', '--', '/bin/sh', '-c', ':'],
    {
      encoding: 'utf8',
      timeout: PATIENCE,
      env,
    },
  );
  if (status === 0) {
    return [
      ok(check, root ? 'namespaces can be made' : 'namespaces can be made, and a user is root in their own'),
    ];
  }
  const means = root
    ? '`tapdeck run` and labs make no sandbox, and no interface is made'
    : '`tapdeck run` and labs make no sandbox; rootless Podman and Docker do not work either';
  const culprits = SETTINGS.filter(({ path, refuses, userAlone }) => {
    const value = read(path);
    return !(root && userAlone) && value !== undefined && refuses(Number(value));
  });
  if (culprits.length > 0) {
    return culprits.map(({ path, name, good }) => ({
      check,
      level: 'problem',
      found: `${name} is ${read(path)}`,
      means,
      todo: `sysctl -w ${name}${good}, and the same in /etc/sysctl.d to keep it`,
    }));
  }
  const why = stderr.trim().replace(/\s*\n\s*/g, ' | ') || 'no reason given';
  return [
    {
      check,
      level: 'problem',
      found: `namespaces are refused: ${why}`,
      means,
      todo: root
        ? 'it takes CAP_SYS_ADMIN: run tapdeck outside of any container, or in one with --privileged'
        : 'run tapdeck outside of any container, or in one whose seccomp profile and AppArmor permit unshare(2)',
    },
  ];
}

/** What Podman and Docker need of an ordinary user; tapdeck itself does without. */
export function checkUidmap({ root, env }: Host): Finding[] {
  const has = (program: string) => findExecutable(program, '/', env['PATH']) === 'found';
  if (root || !['podman', 'rootlesskit', 'buildah'].some(has)) return [];
  const missing = ['newuidmap', 'newgidmap'].filter((program) => !has(program));
  if (missing.length === 0) return [ok('uidmap', 'newuidmap, newgidmap')];
  return [
    {
      check: 'uidmap',
      level: 'note',
      found: `there is no ${missing.join(' and no ')}`,
      means: 'rootless Podman and Docker have one user in their containers; tapdeck does without',
      todo: 'install uidmap (shadow-utils)',
    },
  ];
}
