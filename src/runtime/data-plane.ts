import type { PortId } from '../../switch/frame.ts';
import type { NetworkOptions, PortSpec, Snapshot, SnapshotWants } from '../dataplane/commands.ts';
import type { OpenTap } from '../device/tap.ts';

/**
 * The data plane as the control plane sees it. Commands are applied between two batches of frames, in the
 * order in which they were given. A rejected promise means that nothing was changed.
 */
export interface DataPlane {
  /** Makes a network and its gateway; answers the network's number. */
  addNetwork(options: NetworkOptions): Promise<number>;
  /** Removes a network that has no ports any more. */
  removeNetwork(network: number): Promise<void>;
  /**
   * Connects an open TAP. The descriptor belongs to the data plane from the call on: it is closed with the
   * port, and also when the port cannot be made.
   * @param faults what is to go wrong on purpose, as `src/device/faults.ts` reads it
   */
  addTap(tap: OpenTap, spec: PortSpec, faults?: string): Promise<PortId>;
  /** Removes a port and closes its device; a port that has vanished already is no error. */
  removePort(port: PortId): Promise<void>;
  snapshot(wants: SnapshotWants): Promise<Snapshot>;
  /** `listener` is told about ports whose device has vanished; they are removed already. */
  onPortGone(listener: (port: PortId) => void): void;
  /**
   * `listener` is told, once, when the data plane has ended without `close`: a defect. Its ports are closed then, and every
   * further call is rejected.
   */
  onEnd(listener: (error: Error) => void): void;
  onLog(listener: (level: 'warn' | 'error', message: string) => void): void;
  /** Removes all ports and ends. */
  close(): Promise<void>;
}
