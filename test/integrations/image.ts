import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What an image is made of: programs that are on this machine, and the libraries that they need. */
const PROGRAMS = ['busybox', 'iperf3'];
const APPLETS = [
  'sh',
  'ping',
  'ip',
  'wget',
  'httpd',
  'nc',
  'nslookup',
  'sleep',
  'cat',
  'echo',
  'mkdir',
  'true',
];

/** Makes the root of an image in a folder. Nothing is downloaded. */
export function makeImageRoot(root: string): void {
  for (const name of ['bin', 'dev', 'etc', 'lib64', 'proc', 'sys', 'tmp', 'www']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  const copy = (path: string) => {
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    if (!existsSync(target)) execFileSync('cp', ['-L', path, target]);
  };
  for (const program of PROGRAMS) {
    const path = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim();
    execFileSync('cp', ['-L', path, join(root, 'bin', program)]);
    for (const library of librariesOf(path)) copy(library);
  }
  for (const applet of APPLETS) execFileSync('ln', ['-sf', 'busybox', join(root, 'bin', applet)]);
}

/** Makes an archive of an image, as engines import it, in a folder; answers its path. */
export function makeImage(folder: string): string {
  const root = join(folder, 'root');
  makeImageRoot(root);
  const archive = join(folder, 'image.tar');
  execFileSync('tar', ['-C', root, '-cf', archive, '.']);
  return archive;
}

/** What a program is linked with. */
function librariesOf(path: string): string[] {
  try {
    const said = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return Array.from(said.matchAll(/(\/\S+) \(0x/g), ([, library]) => library!);
  } catch {
    // A static one has none.
    return [];
  }
}
