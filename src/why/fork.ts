import type { Device } from '../../switch/device.ts';
import type { PortId } from '../../switch/frame.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import { type SavedTables, StateReader } from '../recording/state-carrier.ts';
import { TableCopy } from '../recording/table-copy.ts';

/** All that a data plane is and knows at one instant, and with what options it was made: it can be made again of that. */
export interface SavedDataplane {
  readonly options: Omit<DataplaneOptions, 'onException'>;
  /** Monotonic milliseconds of the instant. */
  readonly now: number;
  readonly tables: SavedTables;
}

/** A data plane as it is between two frames; it is only read. */
export function saveDataplane(dataplane: Dataplane, now: number): SavedDataplane {
  return savedDataplane(dataplane.options, now, new TableCopy(dataplane).finish());
}

/** @param tables of a data plane with such options, at `now` */
export function savedDataplane(options: DataplaneOptions, now: number, tables: SavedTables): SavedDataplane {
  // Who hears of exceptions hears of those of the data plane itself.
  const { onException: _, ...rest } = options;
  return { options: rest, now, tables };
}

/**
 * Another data plane that is and knows the same: what is tried there leaves no trace in the one that was saved. It hears of no
 * connections and asks nobody for names.
 * @param deviceOf what stands behind a port
 */
export function fork({ options, tables }: SavedDataplane, deviceOf: (port: PortId) => Device): Dataplane {
  const dataplane = new Dataplane(options);
  dataplane.carry(new StateReader(tables), deviceOf);
  return dataplane;
}
