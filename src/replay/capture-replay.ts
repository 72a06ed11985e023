import { statSync } from 'node:fs';
import { formatMac, isGroup, isZeroMac, type Mac, parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_SRC } from '../../wire/ethernet.ts';
import { CaptureError } from '../capture/capture-error.ts';
import { type CaptureRecord, PacketFlags } from '../capture/capture-record.ts';
import type { NetworkOptions } from '../dataplane/commands.ts';
import { CaptureSource, type Unreplayed } from './capture-source.ts';
import { OutputFile } from './output-file.ts';
import type { Tables } from './tables.ts';
import { type VerdictName, verdictName, verdictWords } from './verdict-words.ts';
import { type ReplayException, VirtualDeck } from './virtual-deck.ts';
import type { VirtualPort } from './virtual-port.ts';

/** The network that every capture is replayed into: what a fresh deck has. */
const BRIDGE: NetworkOptions = {
  macHi: 0x0242,
  macLo: parseIpv4('172.17.0.1')!,
  ipv4: { address: parseIpv4('172.17.0.1')!, prefix: 16 },
  ipv6: { address: parseIpv6('fd74:6170:6465::1')!, prefix: 64 },
  mtu: 65520,
};

/** Stations beyond this many share the port `others`: flooding to more ports says nothing more. */
const MOST_STATIONS = 256;
const OTHERS = 'others';

/** One frame of the capture, for whoever wants to see every decision. `bytes` is borrowed. */
export interface ReplayStep {
  /** Position in the file, from 1. */
  number: number;
  /** Virtual milliseconds. */
  now: number;
  port: string;
  bytes: Uint8Array;
  length: number;
  verdict: string;
}

export interface CaptureReplayOptions {
  seed?: number;
  /** Path of a pcapng for everything that the deck sent: an interface per port, the capture's times. */
  output?: string;
  onStep?: (step: ReplayStep) => void;
  /** Hears of everything that is wrong with the file; without it, the first fault is thrown. */
  warn?: (problem: CaptureError) => void;
  /** Called now and then with how much is done, 0 to 1. */
  onProgress?: (done: number) => void;
}

/** What a replay of one capture found. */
export interface CaptureReplayResult {
  file: string;
  /** One port per source MAC, or per interface when the capture has several. */
  portsBy: 'source MAC' | 'interface';
  seed: number;
  /** Frames and bytes that the deck received. */
  frames: number;
  bytes: number;
  /** Virtual milliseconds from the first frame to the last. */
  duration: number;
  /** What became of the frames as they came in; copies and answers are in `tables.ledger`. */
  verdicts: Record<VerdictName, number>;
  /** Records that were not replayed, by why. */
  unreplayed: Record<Unreplayed | 'left the deck', number>;
  tables: Tables;
  /** Of all frames sent and all tables. */
  sha256: string;
  exceptions: ReplayException[];
}

/**
 * Replays a capture through one network of a fresh deck, in virtual time. The file is read twice, first to see
 * who is in it (flooding is only worth seeing when all ports are there), and in constant memory.
 * @throws CaptureError when the file cannot be read or is no capture, or the output cannot be written
 */
export function replayCapture(path: string, options: CaptureReplayOptions = {}): CaptureReplayResult {
  const { seed = 0, output, onStep, warn, onProgress } = options;
  const size = regularFileSize(path);
  const progress = (record: CaptureRecord, from: number): void => {
    if (onProgress && record.number % 1024 === 0) onProgress(from + record.offset / size / 2);
  };

  const plan = survey(path, (record) => progress(record, 0));
  const source = new CaptureSource(path, { ...(warn && { warn }) });
  const first = source.record?.timestamp ?? 0n;
  const file = output === undefined ? undefined : new OutputFile(output, first);
  try {
    const deck = new VirtualDeck({
      seed,
      onOutput: (port, now, bytes, at, length) => file?.write(port.index, now, bytes, at, length),
    });
    deck.addNetwork('bridge', BRIDGE);
    const ports = new Map<string, VirtualPort>();
    for (const [name, mac] of plan.ports) {
      ports.set(name, deck.attach(name, { network: 'bridge' }));
      file?.addPort(name, mac);
    }

    const verdicts = { forwarded: 0, flooded: 0, consumed: 0, held: 0, dropped: 0 };
    let frames = 0;
    let bytes = 0;
    let left = 0;
    for (; source.record; source.next()) {
      const { record, length, due } = source;
      progress(record, 0.5);
      if (plan.leaves(record)) {
        left++;
        continue;
      }
      deck.advance(due);
      const port = ports.get(plan.portOf(record)) ?? ports.get(OTHERS)!;
      deck.receive(port, record.data, 0, length);
      const { lastVerdict } = deck.dataplane;
      verdicts[verdictName(lastVerdict)]++;
      frames++;
      bytes += length;
      onStep?.({
        number: record.number,
        now: deck.now,
        port: port.name,
        bytes: record.data,
        length,
        verdict: verdictWords(lastVerdict, port.name, (id) => deck.nameOfPort(id)),
      });
    }
    const tables = deck.tables();
    return {
      file: path,
      portsBy: plan.by,
      seed,
      frames,
      bytes,
      duration: deck.now,
      verdicts,
      unreplayed: { ...source.unreplayed, 'left the deck': left },
      tables,
      sha256: deck.finish(tables),
      exceptions: deck.exceptions,
    };
  } finally {
    source.close();
    file?.close();
  }
}

/** Which port each frame of a capture comes in by. */
interface Plan {
  by: CaptureReplayResult['portsBy'];
  /** Names of all ports, and the station behind each where there is exactly one. */
  ports: Map<string, Mac | undefined>;
  portOf(record: CaptureRecord): string;
  /** Whether the record shows a frame that the switch sent: it is a result, not an input. */
  leaves(record: CaptureRecord): boolean;
}

function survey(path: string, look: (record: CaptureRecord) => void): Plan {
  // Faults are told by the replay itself.
  const source = new CaptureSource(path, { warn: () => {} });
  const stations = new Map<string, Mac | undefined>();
  const interfaces = new Map<number, string>();
  let others = false;
  const leaves = (record: CaptureRecord): boolean =>
    record.flags !== undefined && (record.flags & PacketFlags.DIRECTION) === PacketFlags.OUTBOUND;
  for (; source.record; source.next()) {
    const { record } = source;
    look(record);
    nameInterface(interfaces, record);
    const mac = stationOf(record);
    if (mac && isGateway(mac)) continue;
    const name = mac && formatMac(mac.hi, mac.lo);
    if (name !== undefined && (stations.has(name) || stations.size < MOST_STATIONS)) stations.set(name, mac);
    else others = true;
  }
  // With one interface everything was seen at one place, and direction says nothing about a switch.
  if (interfaces.size > 1) {
    return {
      by: 'interface',
      ports: new Map([...interfaces.values()].map((name) => [name, undefined])),
      portOf: ({ interfaceId }) => interfaces.get(interfaceId)!,
      leaves,
    };
  }
  if (others) stations.set(OTHERS, undefined);
  const portOf = (record: CaptureRecord): string => {
    const mac = stationOf(record);
    return mac ? formatMac(mac.hi, mac.lo) : OTHERS;
  };
  // Recorded on a deck: what its gateway said then, the gateway of the replay says by itself.
  const fromGateway = (record: CaptureRecord): boolean => {
    const mac = stationOf(record);
    return mac !== undefined && isGateway(mac);
  };
  return { by: 'source MAC', ports: stations, portOf, leaves: fromGateway };
}

function isGateway({ hi, lo }: Mac): boolean {
  return hi === BRIDGE.macHi && lo === BRIDGE.macLo;
}

/** The station that sent the frame; undefined when no station can have: no address, a group address, or zero. */
function stationOf({ data }: CaptureRecord): Mac | undefined {
  if (data.length < ETH_SRC + 6) return undefined;
  const hi = get16(data, ETH_SRC);
  const lo = get32(data, ETH_SRC + 2);
  return isGroup(hi) || isZeroMac(hi, lo) ? undefined : { hi, lo };
}

/** Interfaces are called what the file calls them, with their number where two are called the same. */
function nameInterface(names: Map<number, string>, { interfaceId, interfaceName }: CaptureRecord): void {
  if (names.has(interfaceId)) return;
  const name = interfaceName ?? `interface ${interfaceId}`;
  const taken = [...names.values()].includes(name);
  names.set(interfaceId, taken ? `${name} (${interfaceId})` : name);
}

function regularFileSize(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  // What is not there, or is a folder, is told by the reader.
  if (found === undefined || found.isFile() || found.isDirectory()) return Math.max(1, found?.size ?? 1);
  throw new CaptureError(path, -1, 'is not a file', 'a replay reads it twice', 'save it to a file first');
}
