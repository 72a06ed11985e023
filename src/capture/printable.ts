/** Text out of a file that somebody else made, for a terminal: it sets no colours, titles or lines there. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
