// Makes sure that the programs which the tests drive are there. As root on Debian it installs what is
// missing; elsewhere it names it and fails. No test is ever skipped for want of a tool.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Program → Debian package. */
const TOOLS = {
  ip: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  ping: 'iputils-ping',
  arping: 'iputils-arping',
  traceroute: 'traceroute',
  iperf3: 'iperf3',
  tcpdump: 'tcpdump',
  tshark: 'tshark',
  curl: 'curl',
  dig: 'bind9-dnsutils',
  udhcpc: 'udhcpc',
  ethtool: 'ethtool',
  python3: 'python3',
  gcc: 'gcc',
  useradd: 'passwd',
  turnserver: 'coturn',
  turnutils_natdiscovery: 'coturn',
  'systemd-socket-activate': 'systemd',
  'systemd-analyze': 'systemd',
  zsh: 'zsh',
  fish: 'fish',
  man: 'man-db',
  mandoc: 'mandoc',
};

/** What `npm run test:integrations` needs besides. */
const INTEGRATIONS = {
  busybox: 'busybox',
  dockerd: 'docker.io',
  podman: 'podman',
  conmon: 'conmon',
  runc: 'runc',
  crun: 'crun',
  newuidmap: 'uidmap',
  rootlesskit: 'rootlesskit',
  'host-local': 'containernetworking-plugins',
  'docker-compose': 'docker-compose',
};
if (process.argv.includes('integrations')) Object.assign(TOOLS, INTEGRATIONS);

/** Packages that come with servers, of which only the programs are wanted, and their units: they are not to run on this machine. */
const SERVICES = {
  coturn: ['coturn'],
  'docker.io': ['docker.socket', 'docker', 'containerd'],
  podman: ['podman.socket', 'podman', 'podman-auto-update.timer', 'podman-restart'],
};
/** As long as this says so, dpkg starts none (invoke-rc.d(8)). */
const POLICY = '/usr/sbin/policy-rc.d';

const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/lib/cni'];
const has = (tool) =>
  folders.some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
const missing = () => Object.keys(TOOLS).filter((tool) => !has(tool));

const wanted = missing();
if (wanted.length > 0) {
  const packages = [...new Set(wanted.map((tool) => TOOLS[tool]))];
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) {
    console.error(
      `The tests need ${wanted.join(', ')}. On Debian: sudo apt-get install ${packages.join(' ')}`,
    );
    process.exit(1);
  }
  console.log(`Installing what the tests need and this machine lacks: ${packages.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', ...args], { env, encoding: 'utf8' });
  apt('update');
  const quiet = !existsSync(POLICY) && packages.some((name) => name in SERVICES);
  if (quiet) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  let result;
  try {
    result = apt('install', '-y', '--no-install-recommends', ...packages);
  } finally {
    if (quiet) rmSync(POLICY);
  }
  for (const name of packages) if (name in SERVICES) spawnSync('systemctl', ['disable', ...SERVICES[name]]);
  const still = missing();
  if (still.length > 0) {
    console.error(`apt-get could not install ${still.join(', ')}:\n${result.stdout}${result.stderr}`);
    process.exit(1);
  }
}
