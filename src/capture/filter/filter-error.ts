/** Columns of the filter that are shown on either side of a mistake in a long one. */
const SHOWN = 60;

/**
 * A mistake in a filter. The message is one line that says what is wrong and what was expected, then the filter with a
 * caret under the place:
 *
 *     expected an address behind 'host', not 'and'
 *       tcp and host and port 80
 *                    ^^^
 */
export class FilterError extends Error {
  override readonly name = 'FilterError';
  /** The filter as the user wrote it. */
  readonly text: string;
  /** Where in `text` the mistake is, in UTF-16 units from 0; the end of the text when something is missing there. */
  readonly at: number;
  /** How many units are at fault, at least 1. */
  readonly length: number;
  /** The first line of the message. */
  readonly what: string;

  constructor(text: string, at: number, length: number, what: string) {
    super(`${what}\n${marked(text, at, Math.max(1, length))}`);
    this.text = text;
    this.at = at;
    this.length = Math.max(1, length);
    this.what = what;
  }
}

/** The filter on one line with the place marked under it. */
function marked(text: string, at: number, length: number): string {
  const from = Math.max(0, at - SHOWN);
  const to = Math.min(text.length, at + length + SHOWN);
  const before = from > 0 ? '...' : '';
  const after = to < text.length ? '...' : '';
  // Whatever would break the line or move the caret (C0, DEL, C1) is shown as one space.
  const shown = text.slice(from, to).replace(/\p{Cc}/gu, ' ');
  const caret = '^'.repeat(Math.min(length, SHOWN));
  return `  ${before}${shown}${after}\n  ${' '.repeat(before.length + at - from)}${caret}`;
}
