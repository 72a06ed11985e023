import type { Device } from '../../switch/device.ts';
import type { Arena, PortId } from '../../switch/frame.ts';
import type { PortSpec } from '../dataplane/commands.ts';
import type { ReplayDevice } from './replay-device.ts';
import type { PortTable } from './tables.ts';

/** How a port is made, by the names that its scenario, capture or test gives it. */
export interface VirtualPortSpec extends Omit<PortSpec, 'network'> {
  network: string;
  /** Puts something between the deck and the port's device, such as faults. */
  wrap?: (device: Device, arena: Arena) => Device;
}

const NOTHING: PortTable = { rxFrames: 0, rxBytes: 0, rxDropped: 0, txFrames: 0, txBytes: 0, txDropped: 0 };

/** A port of a deck in virtual time. */
export class VirtualPort {
  readonly name: string;
  readonly spec: VirtualPortSpec;
  /** Counted from 0 in the order in which ports were first attached. */
  readonly index: number;
  /** The data plane's number for it; -1 while it is detached. */
  id: PortId = -1;
  /** What the deck sees. */
  device: Device;
  /** The end that frames are offered to. */
  readonly end: ReplayDevice;
  /** What it counted in earlier lives, before it was detached. */
  past: PortTable = { ...NOTHING };

  constructor(name: string, spec: VirtualPortSpec, index: number, end: ReplayDevice, arena: Arena) {
    this.name = name;
    this.spec = spec;
    this.index = index;
    this.end = end;
    this.device = spec.wrap ? spec.wrap(end, arena) : end;
  }
}
