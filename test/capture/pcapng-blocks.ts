// pcapng blocks put together by hand, in either byte order: what our writer never writes.

export type Option = readonly [code: number, value: Uint8Array];

export class Blocks {
  readonly #littleEndian: boolean;

  constructor(littleEndian: boolean) {
    this.#littleEndian = littleEndian;
  }

  u16(value: number): Uint8Array {
    const bytes = new Uint8Array(2);
    new DataView(bytes.buffer).setUint16(0, value, this.#littleEndian);
    return bytes;
  }

  u32(value: number): Uint8Array {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, this.#littleEndian);
    return bytes;
  }

  u64(value: bigint): Uint8Array {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigInt64(0, value, this.#littleEndian);
    return bytes;
  }

  /** A 64-bit time, high half first. */
  time(value: bigint): Uint8Array {
    return join(this.u32(Number(value >> 32n)), this.u32(Number(value & 0xffff_ffffn)));
  }

  block(type: number, ...body: Uint8Array[]): Uint8Array {
    const content = join(...body);
    const length = this.u32(content.length + 12);
    return join(this.u32(type), length, content, length);
  }

  options(options: readonly Option[], ended = true): Uint8Array {
    const parts = options.flatMap(([code, value]) => [this.u16(code), this.u16(value.length), pad(value)]);
    return ended && parts.length > 0 ? join(...parts, this.u32(0)) : join(...parts);
  }

  section(options: readonly Option[] = [], version: readonly [number, number] = [1, 0]): Uint8Array {
    const head = [this.u32(0x1a2b3c4d), this.u16(version[0]), this.u16(version[1]), this.u64(-1n)];
    return this.block(0x0a0d0d0a, ...head, this.options(options));
  }

  interface(
    options: readonly Option[] = [],
    { linkType = 1, snapLength = 0, ended = true } = {},
  ): Uint8Array {
    return this.block(1, this.u16(linkType), this.u16(0), this.u32(snapLength), this.options(options, ended));
  }

  packet(number: number, ticks: bigint, data: Uint8Array, options: readonly Option[] = []): Uint8Array {
    const lengths = join(this.u32(data.length), this.u32(data.length));
    return this.block(6, this.u32(number), this.time(ticks), lengths, pad(data), this.options(options));
  }

  simplePacket(originalLength: number, data: Uint8Array): Uint8Array {
    return this.block(3, this.u32(originalLength), pad(data));
  }
}

export function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

export function pad(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  return padded;
}

export function utf8(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text));
}
