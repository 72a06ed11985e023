import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The project's own recordings. */
const OWN = resolve('fixtures/captures');
/** Real and damaged captures that lie beside the project, which does not contain them. */
const SHARED = resolve(process.env['TAPDECK_PCAPS'] ?? '../shared/pcaps');

/** A capture to replay: where it is, and how many frames it has if somebody has counted them. */
export interface TestCapture {
  name: string;
  path: string;
  frames: number | undefined;
}

/** All captures that are there, the project's own first. */
export function testCaptures(): TestCapture[] {
  const own = listed(OWN).map((name) => ({ name, path: join(OWN, name), frames: undefined }));
  if (!existsSync(SHARED)) {
    console.info(`${SHARED} is not there: only the captures in fixtures are replayed (set TAPDECK_PCAPS)`);
    return own;
  }
  const counted = manifest(join(SHARED, 'MANIFEST.tsv'));
  const shared = listed(SHARED).map((name) => ({
    name,
    path: join(SHARED, name),
    frames: counted.get(name),
  }));
  return [...own, ...shared];
}

function listed(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.pcap(ng)?$/.test(name))
    .sort();
}

/** `source file origin bytes packets ...`, by `source/file`. */
function manifest(path: string): Map<string, number> {
  if (!existsSync(path)) return new Map();
  const rows = readFileSync(path, 'utf8').trim().split('\n').slice(1);
  return new Map(
    rows.map((row) => {
      const [source, file, , , packets] = row.split('\t');
      return [`${source}/${file}`, Number(packets)];
    }),
  );
}
