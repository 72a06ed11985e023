import type { FdbEntry } from '../../switch/fdb.ts';
import type { PortId } from '../../switch/frame.ts';
import type { NeighborEntry } from '../../switch/neighbors.ts';
import type { NetworkOptions } from '../../switch/network.ts';
import type { PortOptions } from '../../switch/ports.ts';

/** A port to add: where it belongs and which addresses are known to be behind it. */
export interface PortSpec extends PortOptions {
  network: number;
  /** The endpoint's MAC, entered statically into the fdb; left out for ports whose stations are to be learned. */
  mac?: { hi: number; lo: number };
  /** The endpoint's addresses, entered as permanent neighbors so that the gateway need not ask for them. */
  ipv4?: number;
  ipv6?: readonly number[];
}

/** A port's counters since it was added. */
export interface PortCounters {
  port: PortId;
  network: number;
  rxFrames: number;
  rxBytes: number;
  rxDropped: number;
  txFrames: number;
  txBytes: number;
  txDropped: number;
}

/**
 * Where every frame went. `ports + originated + copies = sent + consumed + held + Σ drops`, exactly, at any
 * time between two frames.
 */
export interface LedgerSnapshot {
  /** Frames received from devices. */
  ports: number;
  /** Frames that the deck itself made (ARP, ND, ICMP). */
  originated: number;
  /** Copies beyond the first, made by flooding, segmentation and fragmentation. */
  copies: number;
  sent: number;
  consumed: number;
  /** Frames that wait inside the deck now: for a neighbor, for other fragments, for a full device. */
  held: number;
  /** By drop reason number (`switch/drop-reason.ts`). */
  drops: number[];
}

/** What the data plane knows, at one instant between two batches. */
export interface Snapshot {
  /** Monotonic milliseconds. */
  now: number;
  ledger: LedgerSnapshot;
  ports: PortCounters[];
  fdb: FdbEntry[];
  neighbors: NeighborEntry[];
}

/** What a snapshot is to contain beside the ledger; tables can be long. */
export interface SnapshotWants {
  ports?: boolean;
  fdb?: boolean;
  neighbors?: boolean;
}

export type { NeighborEntry, NetworkOptions };
