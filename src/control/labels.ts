import { invalid } from './error.ts';
import { quote } from './name.ts';

const LONGEST_LABEL = 4096;

/** A copy of somebody's labels. Throws a `DeckError` for keys that cannot be one. */
export function checkLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const checked: [string, string][] = [];
  for (const [key, value] of Object.entries(labels)) {
    if (key === '' || /[\s=]/.test(key)) {
      throw invalid(`label ${quote(key)} has no name or one with spaces or '='; write it as key=value`);
    }
    // Such a key would not come through JSON.
    if (key === '__proto__') throw invalid(`label ${quote(key)} cannot be; choose another name`);
    if (key.length + value.length > LONGEST_LABEL) {
      throw invalid(`label ${quote(key)} is too long: at most ${LONGEST_LABEL} characters with its value`);
    }
    checked.push([key, value]);
  }
  return Object.fromEntries(checked);
}

/** `key=value`, or `key` alone for an empty value, as Docker takes them; the last of a key counts. */
export function parseLabels(texts: readonly string[] = []): Record<string, string> {
  return checkLabels(
    // Not an object literal: a key may be any word.
    Object.fromEntries(
      texts.map((text) => {
        const equals = text.indexOf('=');
        return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
      }),
    ),
  );
}
