import { CaptureError } from '../capture/capture-error.ts';
import { type CaptureRecord, PacketFlags } from '../capture/capture-record.ts';
import { printable } from '../capture/printable.ts';
import { readCapture } from '../capture/read-capture.ts';
import type { DaemonClient } from '../control/client.ts';
import { DeckError, invalid, notFound } from '../control/error.ts';
import { quote } from '../control/name.ts';
import type { WhyFrameView } from '../control/why/frame.ts';
import { ChecksumFinisher } from '../replay/capture-source.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, print } from './output.ts';
import { answerLines } from './why.ts';

/** A frame of a capture as it is told of. */
export interface CapturedFrame {
  number: number;
  interface: string | null;
  direction: 'in' | 'out' | null;
  length: number;
  /** The same on all copies of a packet; null when the capture says nothing about it. */
  packet: string | null;
  comments: string[];
}

/** What a capture says of one of its frames, and what would become of it now. */
export interface WhyCaptureView {
  frame: CapturedFrame;
  /** The other frames of the same packet. */
  copies: CapturedFrame[];
  /** null for a frame that has left the deck. */
  now: WhyFrameView | null;
  /** Why it is not known what would become of it now; null when it is. */
  unknown: string | null;
}

/** @param place `FILE:N`: N is the frame's number as Wireshark shows it */
export async function whyCapture(client: DaemonClient, format: Format, place: string): Promise<number> {
  const [, file, digits] = /^(.+):(\d{1,10})$/.exec(place) ?? [];
  if (file === undefined) {
    throw invalid(`${quote(place)} names no frame; write FILE:N, N as Wireshark numbers frames`);
  }
  const { frame, copies, bytes } = await find(file, Number(digits)).catch((error: unknown) => {
    throw error instanceof CaptureError ? invalid(error.message) : error;
  });
  const view: WhyCaptureView = { frame, copies, now: null, unknown: null };
  if (frame.direction === 'out') view.unknown = leftWords(copies);
  else if (frame.interface === null) view.unknown = 'the capture does not say by which port it came';
  else {
    try {
      const body = { port: frame.interface, frame: Buffer.from(bytes).toString('base64') };
      view.now = await client.post<WhyFrameView>('/v1/why/frame', body);
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      view.unknown = error.message;
    }
  }
  print(format, view, () => captureText(view));
  return view.now?.answer === 'yes' ? EXIT_DONE : EXIT_FAILED;
}

/** The frame, and all that carry the same packet's id: two passes, for copies may come before it. */
async function find(
  file: string,
  number: number,
): Promise<{ frame: CapturedFrame; copies: CapturedFrame[]; bytes: Uint8Array }> {
  let found: { frame: CapturedFrame; bytes: Uint8Array } | undefined;
  let last = 0;
  for await (const record of readCapture(file)) {
    last = record.number;
    if (record.number !== number) continue;
    if (record.capturedLength < record.originalLength) {
      throw invalid(
        `frame ${number} of ${file} is cut: ${record.capturedLength} of ${record.originalLength} bytes`,
      );
    }
    found = {
      frame: describe(record),
      bytes: record.data.slice(0, record.capturedLength - record.fcsLength),
    };
    break;
  }
  if (found === undefined) throw notFound(`there is no frame ${number} in ${file}; the last is ${last}`);
  new ChecksumFinisher().finish(found.bytes, 0, found.bytes.length);
  const { packet } = found.frame;
  const copies: CapturedFrame[] = [];
  if (packet !== null) {
    for await (const record of readCapture(file)) {
      if (record.number !== number && `${record.packetId}` === packet) copies.push(describe(record));
    }
  }
  return { ...found, copies };
}

function leftWords(copies: readonly CapturedFrame[]): string {
  const cameIn = copies.find(({ direction }) => direction === 'in');
  return `it has left the deck; ask for ${cameIn ? `frame ${cameIn.number}, which` : 'the frame that'} came in`;
}

function describe(record: CaptureRecord): CapturedFrame {
  const { number, interfaceName, flags, packetId, comments, originalLength } = record;
  const direction = flags === undefined ? 0 : flags & PacketFlags.DIRECTION;
  return {
    number,
    interface: interfaceName ?? null,
    direction: direction === PacketFlags.INBOUND ? 'in' : direction === PacketFlags.OUTBOUND ? 'out' : null,
    length: originalLength,
    packet: packetId === undefined ? null : `${packetId}`,
    comments: [...comments],
  };
}

export function captureText({ frame, copies, now, unknown }: WhyCaptureView): string {
  const lines = [
    titleOf(frame),
    ...frame.comments.flatMap((comment) => comment.split('\n')).map((line) => `  ${printable(line)}`),
    ...copies.map((copy) => `the same packet: ${titleOf(copy)}`),
  ];
  if (now === null) lines.push(`now: ${unknown}`);
  else lines.push('now:', ...now.way.map((line) => `  ${line}`), ...answerLines(now));
  return lines.map((line) => `${line}\n`).join('');
}

function titleOf({ number, interface: name, direction, length, packet }: CapturedFrame): string {
  const way = direction === null ? '' : `, ${direction}`;
  return `frame ${number}${name === null ? '' : `, ${printable(name)}`}${way}, ${length} bytes${packet === null ? '' : `, packet ${packet}`}`;
}
