import type { Device } from '../../switch/device.ts';
import type { PortId } from '../../switch/frame.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import { StateReader, StateWriter } from '../recording/state-carrier.ts';

/** All that a data plane is and knows at one instant, and with what options it was made: it can be made again of that. */
export interface SavedDataplane {
  readonly options: Omit<DataplaneOptions, 'onException'>;
  /** Monotonic milliseconds of the instant. */
  readonly now: number;
  readonly state: Uint8Array;
}

/** A data plane as it is between two frames; it is only read. */
export function saveDataplane(dataplane: Dataplane, now: number): SavedDataplane {
  const writer = new StateWriter();
  dataplane.carry(writer, () => {
    throw new Error('a data plane that is saved keeps its devices');
  });
  // Who hears of exceptions hears of those of the data plane itself.
  const { onException: _, ...options } = dataplane.options;
  // A copy: of a part of a buffer, all of it would go to another thread.
  return { options, now, state: writer.finish().slice() };
}

/**
 * Another data plane that is and knows the same: what is tried there leaves no trace in the one that was saved. It hears of no
 * connections and asks nobody for names.
 * @param deviceOf what stands behind a port
 */
export function fork({ options, state }: SavedDataplane, deviceOf: (port: PortId) => Device): Dataplane {
  const dataplane = new Dataplane(options);
  dataplane.carry(new StateReader(state), deviceOf);
  return dataplane;
}
