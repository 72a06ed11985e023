// The frames over which filters are compared with tcpdump: of every capture that is there, and changed ones.
import { writeFileSync } from 'node:fs';
import { LinkType } from '../../src/capture/link-type.ts';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { Random } from '../../wire/random.ts';
import { realCaptures } from './tools.ts';

export interface TestFrame {
  readonly data: Uint8Array;
  readonly wireLength: number;
}

/** Of one capture, so that none outweighs the others. */
const MAX_OF_ONE = 40;
const MAX_LENGTH = 2_000;

/** The first frames of every Ethernet capture; beside them, for some, copies that are tagged or cut. */
export function testFrames(): TestFrame[] {
  const random = new Random(6);
  const frames: TestFrame[] = [];
  for (const path of realCaptures()) {
    let count = 0;
    for (const { data, linkType, originalLength } of readCaptureSync(path, { warn: () => {} })) {
      if (linkType !== LinkType.ETHERNET || data.length > MAX_LENGTH) continue;
      if (++count > MAX_OF_ONE) break;
      const frame = { data: data.slice(), wireLength: Math.max(data.length, originalLength) };
      frames.push(frame);
      if (random.below(8) === 0) frames.push(tagged(frame, random.below(6)));
      if (random.below(8) === 0) frames.push(tagged(tagged(frame, random.below(6)), random.below(6)));
      if (random.below(6) === 0) frames.push(cut(frame, random.below(70)));
    }
  }
  return frames;
}

function tagged({ data, wireLength }: TestFrame, vlan: number): TestFrame {
  if (data.length < 12) return { data, wireLength };
  const tag = [vlan % 3 === 2 ? 0x88 : 0x81, vlan % 3 === 2 ? 0xa8 : 0, 0x20, vlan];
  return {
    data: Uint8Array.of(...data.subarray(0, 12), ...tag, ...data.subarray(12)),
    wireLength: wireLength + 4,
  };
}

function cut({ data, wireLength }: TestFrame, length: number): TestFrame {
  return { data: data.subarray(0, length), wireLength };
}

/** A capture of these frames in which the time of each, in microseconds, is its place. */
export function writeFrames(path: string, frames: readonly TestFrame[]): void {
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((chunk) => void chunks.push(chunk.slice()));
  frames.forEach(({ data, wireLength }, i) => {
    writer.write(BigInt(i) * 1000n, data, 0, data.length, wireLength);
  });
  writeFileSync(path, Buffer.concat(chunks));
}
