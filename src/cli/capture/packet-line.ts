import { describe } from '../../../wire/describe.ts';
import { Packet } from '../../../wire/packet.ts';
import { VNET_LEN } from '../../../wire/virtio-net.ts';
import { type CaptureRecord, PacketFlags } from '../../capture/capture-record.ts';
import { style } from '../output.ts';

/** How packets are printed, as tcpdump's options say it. */
export interface LineOptions {
  /** MAC addresses, too. */
  ethernet?: boolean;
  /** All that was decided, a line each, and not only what became of the packet. */
  verbose?: boolean;
  /** The form of the time. */
  time?: TimeFormat;
}

/** -t, no option, -tt, -ttt, -tttt, -ttttt: none, of day, seconds since 1970, since the last packet, with date, since the first. */
export type TimeFormat = 'none' | 'day' | 'epoch' | 'delta' | 'date' | 'relative';

const BILLION = 1_000_000_000n;

/** Prints captured packets in the manner of tcpdump, with what the deck has made of each. */
export class PacketLines {
  readonly #options: LineOptions;
  #packet = new Packet(new Uint8Array(VNET_LEN + 65_536));
  #first: bigint | undefined;
  #last: bigint | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  /** One line, or with `verbose` several, each ended. */
  format(record: CaptureRecord): string {
    const { interfaceName = '?', comments, flags = 0, capturedLength, originalLength } = record;
    const direction = (flags & PacketFlags.DIRECTION) === PacketFlags.OUTBOUND ? 'Out' : 'In ';
    const cut = capturedLength < originalLength ? `, ${capturedLength} of ${originalLength} bytes kept` : '';
    const line = `${this.#time(record.timestamp)}${style('bold', interfaceName)} ${direction} ${this.#describe(record)}${cut}`;
    if (this.#options.verbose)
      return `${[line, ...comments.slice(comments.length > 1 ? 1 : 0).map((text) => `    ${colour(text)}`)].join('\n')}\n`;
    // The first says what became of it.
    const decided = comments[0];
    return decided === undefined ? `${line}\n` : `${line} [${colour(decided)}]\n`;
  }

  #describe({ data }: CaptureRecord): string {
    if (this.#packet.bytes.length < VNET_LEN + data.length)
      this.#packet = new Packet(new Uint8Array(VNET_LEN + data.length));
    const packet = this.#packet;
    packet.bytes.set(data, VNET_LEN);
    packet.at = VNET_LEN;
    packet.length = data.length;
    const text = describe(packet);
    return this.#options.ethernet ? text : text.replace(/^[\da-f:]{17} > [\da-f:]{17}, /, '');
  }

  #time(timestamp: bigint): string {
    const since = timestamp - (this.#last ?? timestamp);
    this.#first ??= timestamp;
    this.#last = timestamp;
    switch (this.#options.time ?? 'day') {
      case 'none':
        return '';
      case 'epoch':
        return `${seconds(timestamp)} `;
      case 'delta':
        return `${clock(since)} `;
      case 'relative':
        return `${clock(timestamp - this.#first)} `;
      case 'date':
        return `${date(timestamp)} ${timeOfDay(timestamp)} `;
      default:
        return `${timeOfDay(timestamp)} `;
    }
  }
}

/** What drops a packet is what one looks for. */
function colour(text: string): string {
  return / (?:drops|rejects)\b/.test(text) ? style('red', text) : style('dim', text);
}

function seconds(timestamp: bigint): string {
  return `${timestamp / BILLION}.${micros(timestamp)}`;
}

function micros(timestamp: bigint): string {
  return String((timestamp % BILLION) / 1000n).padStart(6, '0');
}

/** Two times that are not in order: the clock was set back, or two ports were read by turns. */
function clock(span: bigint): string {
  const sign = span < 0n ? '-' : '';
  const time = span < 0n ? -span : span;
  const total = Number(time / BILLION);
  const parts = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  return `${sign}${parts.map((part) => String(part).padStart(2, '0')).join(':')}.${micros(time)}`;
}

function timeOfDay(timestamp: bigint): string {
  const time = new Date(Number(timestamp / 1_000_000n));
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()];
  return `${parts.map((part) => String(part).padStart(2, '0')).join(':')}.${micros(timestamp)}`;
}

function date(timestamp: bigint): string {
  const time = new Date(Number(timestamp / 1_000_000n));
  return [time.getFullYear(), time.getMonth() + 1, time.getDate()]
    .map((part) => String(part).padStart(2, '0'))
    .join('-');
}
