import type { PortId } from '../../switch/frame.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import type { Dataplane } from '../dataplane/dataplane.ts';
import type { Egress } from '../dataplane/egress.ts';
import type { SharedRing } from './ring.ts';
import type { SavedTables } from './state-carrier.ts';

/** What can be told to a data plane beside frames, time and ports; the names are those of its methods. */
export const COMMANDS = [
  'addNetwork',
  'removeNetwork',
  'addUplink',
  'removeUplink',
  'deny',
  'removePort',
  'publish',
  'unpublish',
  'setUserRules',
  'setNames',
  'setSearch',
  'answerQuery',
  'closeFlows',
  'discarded',
] as const;
export type Command = (typeof COMMANDS)[number];

/** Everything by which something enters a data plane. */
export interface Plane
  extends Pick<Dataplane, Command | 'addPort' | 'poll' | 'receive' | 'expire' | 'deadline' | 'ports'> {
  readonly egress: Pick<Egress, 'blocked' | 'device' | 'flush' | 'sendBatches'>;
}

/** A command as it is written down; of `addPort`, the first argument is what is known of the device. */
export interface RecordedCommand {
  method: Command | 'addPort';
  args: unknown[];
}

/** What a data plane sees of a port's device. */
export interface DevicePort {
  port: PortId;
  offload: boolean;
  /** Whether frames are gathered for it. */
  batches: boolean;
}

/** A recording that has begun, as the data plane's thread tells of it. */
export interface StartedRecording extends Pick<RecordingHeader, 'began' | 'options' | 'ports'> {
  ring: SharedRing;
  /** When it began. */
  tables: SavedTables;
}

/** The first record. */
export interface RecordingHeader {
  /** Who wrote it. */
  tapdeck: string;
  node: string;
  /** When, ISO 8601. */
  date: string;
  /** Monotonic milliseconds at which it began. */
  began: number;
  /** What the data plane was made with, its secrets included. */
  options: Pick<DataplaneOptions, 'seed' | 'key' | 'arena' | 'ports' | 'ageing' | 'conntrack'>;
  /** Whether questions about names outside were passed on. */
  answersQueries: boolean;
  ports: DevicePort[];
}

/** Who is who. */
export interface RecordedNames {
  /** By number. */
  networks: Record<string, string>;
  ports: Record<string, string>;
}

/** The last record. */
export interface RecordingEnd {
  /** Why it ended; null when it was stopped. */
  problem: string | null;
  /** Frames received and sent. */
  received: number;
  sent: number;
  /** sha256 of all frames sent, and of the tables at the end; the latter null with a problem. */
  frames: string;
  tables: string | null;
  /** Everybody who was there. */
  names?: RecordedNames;
}
