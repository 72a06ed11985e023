import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Programs that the bench runs, and the Debian packages that bring them. */
const PACKAGES: Record<string, string> = {
  gcc: 'gcc libc6-dev',
  ip: 'iproute2',
  iperf3: 'iperf3',
  nft: 'nftables',
  nsenter: 'util-linux',
};

/** One line that says what is missing and how to get it; undefined when everything is there. */
export function missingTools(path = process.env['PATH'] ?? ''): string | undefined {
  const missing = Object.keys(PACKAGES).filter((tool) => !isThere(tool, path));
  if (missing.length === 0) return undefined;
  const packages = missing.map((tool) => PACKAGES[tool]).join(' ');
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
