/** JSON with what commands have beside it: bytes, and the numbers that JSON has no form for. */

const BYTES = '$bytes';
const NUMBER = '$number';

export function encodeValue(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'number' && !Number.isFinite(part)) return { [NUMBER]: String(part) };
    if (part instanceof Uint8Array) return { [BYTES]: Buffer.from(part).toString('base64') };
    // A buffer says by itself what it is in JSON, before anybody is asked.
    if (isBufferJson(part)) return { [BYTES]: Buffer.from(part.data).toString('base64') };
    return part;
  });
}

/** Throws SyntaxError. */
export function decodeValue(text: string): unknown {
  return JSON.parse(text, (_, part: unknown) => {
    if (typeof part !== 'object' || part === null) return part;
    if (NUMBER in part) return Number(part[NUMBER]);
    if (BYTES in part) return new Uint8Array(Buffer.from(String(part[BYTES]), 'base64'));
    return part;
  });
}

function isBufferJson(part: unknown): part is { data: number[] } {
  return (
    typeof part === 'object' &&
    part !== null &&
    (part as { type?: unknown }).type === 'Buffer' &&
    Array.isArray((part as { data?: unknown }).data)
  );
}
