import { createHash } from 'node:crypto';

/** Hexadecimal digits of either half. */
const HALF = 32;

/** The first half of the ids of all attachments that belong together, as those of a network. */
export function attachmentGroup(...words: string[]): string {
  return digest(words);
}

/** The id of an attachment of a group: the same at all times for the same words. */
export function attachmentId(group: string, ...words: string[]): string {
  return group + digest(words);
}

function digest(words: string[]): string {
  // As JSON, in which no two lists of words look alike.
  return createHash('sha256').update(JSON.stringify(words)).digest('hex').slice(0, HALF);
}
