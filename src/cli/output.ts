import { styleText } from 'node:util';
import { asShortage, DeckError } from '../control/error.ts';

/** Exit codes of every command but `run`, which passes its command's own through. */
export const EXIT_DONE = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** The deck failed, so that `run` never came to its command. */
export const EXIT_DECK_FAILED = 125;
/** As a shell's, of `run`. */
export const EXIT_NOT_EXECUTABLE = 126;
export const EXIT_NO_COMMAND = 127;

export type Format = 'table' | 'json';

/** Prints data: as JSON, or as whatever `table` makes of it for people. */
export function print(format: Format, data: unknown, table: () => string): void {
  process.stdout.write(format === 'json' ? `${JSON.stringify(data, null, 2)}\n` : table());
}

/** A line for people, on stderr. */
export function say(message: string): void {
  process.stderr.write(`tapdeck: ${message}\n`);
}

/** Says in one line why something failed, and below it what explains it; answers the exit code that belongs to it. */
export function report(failure: unknown): number {
  const error = failure instanceof DeckError ? failure : (asShortage(failure) ?? failure);
  if (error instanceof DeckError) {
    say(`${style('red', 'error', process.stderr)}: ${error.message}`);
    for (const line of error.detail) process.stderr.write(`  ${line}\n`);
    return error.code === 'invalid' ? EXIT_USAGE : EXIT_FAILED;
  }
  const defect = error instanceof Error ? error : new Error(String(error));
  const detail = process.env['TAPDECK_DEBUG'] ? `\n${defect.stack}` : '; TAPDECK_DEBUG=1 shows where';
  say(`${style('red', 'error', process.stderr)}: defect in tapdeck: ${defect.message}${detail}`);
  return EXIT_FAILED;
}

/** Colour where somebody sees it: on a terminal, and not when NO_COLOR is set (no-color.org). */
export function style(
  format: Parameters<typeof styleText>[0],
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return stream.isTTY && !process.env['NO_COLOR'] ? styleText(format, text) : text;
}
