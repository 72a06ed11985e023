import { statSync } from 'node:fs';
import { formatMac, isGroup, isZeroMac } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_LEN, ETH_SRC, ETH_TYPE, ETHERTYPE_ARP, ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { CaptureError } from '../capture/capture-error.ts';
import { PacketFlags, type RecordView } from '../capture/capture-record.ts';
import { printable } from '../capture/printable.ts';
import { CaptureSource } from './capture-source.ts';

/** Stations beyond this many share the port `others`: flooding to more ports says nothing more. */
export const MOST_STATIONS = 256;

/** Whoever a capture shows to be at one place: what is known of it is of its first frame that says so. */
export interface Seen {
  /** Halves of the source MAC; -1 while none was seen. */
  macHi: number;
  macLo: number;
  /** The source of an IPv4 packet or ARP; null while none was seen. */
  ipv4: number | null;
  /** The sender's address of ARP: who routes for others says his own by that alone. */
  arp: number | null;
}

/** An interface of a capture, and who speaks there. */
export interface SeenInterface extends Seen {
  name: string;
}

/** Who is in a capture. */
export interface CaptureSurvey {
  path: string;
  /** By the file's number of the interface. */
  interfaces: ReadonlyMap<number, SeenInterface>;
  /** By source MAC; `stations.find` says where. */
  stations: StationTable;
  /** Whether there are frames of no station, or of more stations than are told apart. */
  others: boolean;
  /** Replayable frames. */
  frames: number;
}

/** Stations by MAC, looked up for every frame: a fixed table of small integers. */
export class StationTable {
  readonly list: Seen[] = [];
  /** Three words a slot: both halves of the MAC, and the number of the station plus one. */
  readonly #slots = new Int32Array(3 * SLOTS);

  /** The station's number, or -1. */
  find(macHi: number, macLo: number): number {
    return this.#slots[this.#slot(macHi, macLo) + 2]! - 1;
  }

  /** The station's number, new or not; -1 when there is no room for another. */
  add(macHi: number, macLo: number): number {
    const slot = this.#slot(macHi, macLo);
    if (this.#slots[slot + 2] !== 0) return this.#slots[slot + 2]! - 1;
    if (this.list.length === MOST_STATIONS) return -1;
    this.#slots[slot] = macHi;
    this.#slots[slot + 1] = macLo;
    this.#slots[slot + 2] = this.list.push({ macHi, macLo, ipv4: null, arp: null });
    return this.list.length - 1;
  }

  /** Where the MAC is, or the free slot where it would be: there always is one. */
  #slot(macHi: number, macLo: number): number {
    const slots = this.#slots;
    let slot = Math.imul(macLo ^ (macHi << 8), 0x9e37_79b1) >>> (32 - SLOT_BITS);
    while (slots[3 * slot + 2] !== 0 && (slots[3 * slot] !== macHi || slots[3 * slot + 1] !== (macLo | 0))) {
      slot = (slot + 1) % SLOTS;
    }
    return 3 * slot;
  }
}

const SLOT_BITS = 11;
const SLOTS = 1 << SLOT_BITS;

/**
 * Reads a capture to see who is in it: flooding is only worth seeing when all ports are there. In constant memory.
 * @param look hears of every record
 * @throws CaptureError when the file cannot be read or is no capture
 */
export function surveyCapture(path: string, look: (record: RecordView) => void = () => {}): CaptureSurvey {
  // Faults are told by the replay itself.
  const source = new CaptureSource(path, { warn: () => {} });
  const interfaces = new Map<number, SeenInterface>();
  const stations = new StationTable();
  let others = false;
  let frames = 0;
  // Most frames come by the interface of the one before them.
  let id = -1;
  let current: SeenInterface | undefined;
  try {
    for (; source.more; source.next()) {
      const { view } = source;
      look(view);
      frames++;
      if (view.from.id !== id || current === undefined) {
        id = view.from.id;
        current = interfaces.get(id);
        if (current === undefined) {
          current = { name: nameOf(interfaces, view), macHi: -1, macLo: -1, ipv4: null, arp: null };
          interfaces.set(id, current);
        }
      }
      if (!isStation(view)) {
        others = true;
        continue;
      }
      const { bytes, at } = view;
      const macHi = get16(bytes, at + ETH_SRC);
      const macLo = get32(bytes, at + ETH_SRC + 2);
      const number = stations.add(macHi, macLo);
      if (number < 0) others = true;
      else noteAddress(stations.list[number]!, view);
      if (isOutbound(view)) continue;
      if (current.macHi < 0) {
        current.macHi = macHi;
        current.macLo = macLo;
      }
      if (current.macHi === macHi && current.macLo === macLo) noteAddress(current, view);
    }
  } finally {
    source.close();
  }
  return { path, interfaces, stations, others, frames };
}

/** Whether the record shows a frame that the switch sent: it is a result, not an input. */
export function isOutbound(view: RecordView): boolean {
  return view.hasFlags && (view.flags & PacketFlags.DIRECTION) === PacketFlags.OUTBOUND;
}

/** Whether a station can have sent the frame: it has a source address, which is no group's and not zero. */
export function isStation({ bytes, at, capturedLength }: RecordView): boolean {
  if (capturedLength < ETH_SRC + 6) return false;
  const hi = get16(bytes, at + ETH_SRC);
  return !isGroup(hi) && !isZeroMac(hi, get32(bytes, at + ETH_SRC + 2));
}

/** A station as one calls it. */
export function stationName({ macHi, macLo }: Seen): string {
  return formatMac(macHi, macLo);
}

/** Size of a capture's file, for saying how much is done. @throws CaptureError when it is none that can be read twice */
export function captureSize(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  // What is not there, or is a folder, is told by the reader.
  if (found === undefined || found.isFile() || found.isDirectory()) return Math.max(1, found?.size ?? 1);
  throw new CaptureError(path, -1, 'is not a file', 'a replay reads it twice', 'save it to a file first');
}

const IPV4_SOURCE = ETH_LEN + 12;
const ARP_SPA = ETH_LEN + 14;

function noteAddress(seen: Seen, { bytes, at, capturedLength }: RecordView): void {
  if ((seen.ipv4 !== null && seen.arp !== null) || capturedLength < ARP_SPA + 4) return;
  const type = get16(bytes, at + ETH_TYPE);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_ARP) return;
  const address = get32(bytes, at + (type === ETHERTYPE_ARP ? ARP_SPA : IPV4_SOURCE)) | 0;
  // ARP probes and DHCP come from whoever has no address yet.
  if (address === 0) return;
  seen.ipv4 ??= address;
  if (type === ETHERTYPE_ARP) seen.arp ??= address;
}

/** Interfaces are called what the file calls them, with their number where two are called the same. */
function nameOf(known: ReadonlyMap<number, SeenInterface>, { from }: RecordView): string {
  const name = from.name === undefined ? `interface ${from.id}` : printable(from.name);
  const taken = [...known.values()].some((each) => each.name === name);
  return taken ? `${name} (${from.id})` : name;
}
