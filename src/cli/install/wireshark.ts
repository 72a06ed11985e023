import { execFileSync } from 'node:child_process';
import { launcherOf, type Place, type Plan } from './place.ts';

/** Milliseconds for tshark. */
const PATIENCE = 10_000;

/** The capture interfaces of decks in Wireshark, by a program in its folder for extcap. */
export function wiresharkPlan(place: Place): Plan {
  const folder = place.system ? systemFolder() : `${place.config}/wireshark/extcap`;
  return {
    files: [{ path: `${folder}/tapdeck`, content: launcherOf('tapdeck-extcap'), mode: 0o755 }],
    next: ['with a daemon running: tshark -D'],
  };
}

/** Where Wireshark looks for all users; it is asked, because distributions differ. */
function systemFolder(): string {
  try {
    const folders = execFileSync('tshark', ['-G', 'folders'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PATIENCE,
    });
    const found =
      /^Global Extcap path:\s*(\/.*)$/im.exec(folders) ?? /^Extcap path:\s*(\/.*)$/im.exec(folders);
    if (found) return found[1]!.trim();
  } catch {
    // No tshark: Debian's place for this machine.
  }
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  return `/usr/lib/${machine}-linux-gnu/wireshark/extcap`;
}
