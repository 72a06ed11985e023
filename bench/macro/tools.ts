import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Measurement } from './options.ts';

/** Programs that the bench runs, and the Debian packages that bring them. */
const PACKAGES: Readonly<Record<string, string>> = {
  gcc: 'gcc libc6-dev',
  ip: 'iproute2',
  iperf3: 'iperf3',
  nft: 'nftables',
  nsenter: 'util-linux',
};

/** And those that it runs to measure sockets of the host. */
const SOCKETS_PACKAGES: Readonly<Record<string, string>> = {
  pasta: 'passt',
  setpriv: 'util-linux',
  slirp4netns: 'slirp4netns',
  wrk: 'wrk',
};

/** And those that it runs to measure networks of Docker. */
const DOCKER_PACKAGES: Readonly<Record<string, string>> = {
  busybox: 'busybox',
  dockerd: 'docker.io',
};

/** One line that says what is missing and how to get it; undefined when everything is there. */
export function missingTools(
  measurements: readonly Measurement[],
  path = process.env['PATH'] ?? '',
): string | undefined {
  const sockets = measurements.some((measurement) => measurement.startsWith('sockets-'));
  const docker = measurements.includes('docker-tcp');
  const wanted = { ...PACKAGES, ...(sockets && SOCKETS_PACKAGES), ...(docker && DOCKER_PACKAGES) };
  const missing = Object.keys(wanted).filter((tool) => !isThere(tool, path));
  if (missing.length === 0) return undefined;
  const packages = missing.map((tool) => wanted[tool]).join(' ');
  return `${missing.join(', ')} not found; install with apt-get install -y ${packages}`;
}

function isThere(tool: string, path: string): boolean {
  return path.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
