// The package brings no types; this is the part of it that `pcap-decoder.ts` uses.
declare module 'pcap-parser' {
  interface PacketHeader {
    timestampSeconds: number;
    timestampMicroseconds: number;
    capturedLength: number;
    originalLength: number;
  }

  interface Packet {
    header: PacketHeader;
    data: Buffer;
  }

  interface Parser {
    on(event: 'packet', listener: (packet: Packet) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
  }

  /** The part of a readable stream that the parser touches. */
  interface Source {
    pause(): unknown;
    resume(): unknown;
    on(event: string, listener: (chunk: Buffer) => void): unknown;
  }

  export function parse(input: string | Source): Parser;
}
