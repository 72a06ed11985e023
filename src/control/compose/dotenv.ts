import { interpolate } from './interpolation.ts';

/**
 * The variables of an .env file, as Compose reads them: `NAME=value` or `export NAME=value`, comments from `#` on; values in
 * single quotes as they are, in double quotes with `\n`, `\t`, `\"`, `\\` and variables, without quotes with variables.
 * @param outer variables that are set already, and count more than those of the file in what is put in place of variables
 * @throws Error with the number of the line
 */
export function parseDotenv(
  text: string,
  outer: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const found = new Map<string, string>();
  const variables = { get: (name: string) => outer[name] ?? found.get(name), missing: () => {} };
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!.trim();
    if (line === '' || line.startsWith('#')) continue;
    const [, name, raw] = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=\s*(.*))?$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`line ${i + 1}: is no NAME=value`);
    // A name alone passes on what is set already.
    if (raw === undefined) {
      if (outer[name] !== undefined) found.set(name, outer[name]);
      continue;
    }
    try {
      found.set(
        name,
        readValue(raw, (value) => interpolate(value, variables)),
      );
    } catch (error) {
      throw new Error(`line ${i + 1}: ${(error as Error).message}`);
    }
  }
  return Object.fromEntries(found);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\' };

function readValue(raw: string, expand: (text: string) => string): string {
  const single = /^'([^']*)'\s*(?:#.*)?$/.exec(raw);
  if (single) return single[1]!;
  const double = /^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$/.exec(raw);
  if (double) {
    return expand(double[1]!.replace(/\\(["\\nrt])/g, (_, escaped: string) => ESCAPES[escaped]!));
  }
  if (/^['"]/.test(raw)) throw new Error('a quote is not closed, or something follows it');
  return expand(raw.replace(/(^|\s)#.*$/, '').trimEnd());
}
