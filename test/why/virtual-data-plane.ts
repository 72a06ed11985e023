import type {
  DeniedPrefix,
  NetworkOptions,
  PortSpec,
  PublishOptions,
  Snapshot,
  SnapshotWants,
  UplinkOptions,
  UserRule,
} from '../../src/dataplane/commands.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import type { PastFilter } from '../../src/dataplane/past.ts';
import type { OpenPacketSocket } from '../../src/device/packet-socket.ts';
import type { Segment } from '../../src/uplink/segment.ts';
import { type SavedDataplane, saveDataplane } from '../../src/why/fork.ts';
import { ProbeDevice, type SentFrame } from '../../src/why/probe-device.ts';
import { FakeDataPlane, type FakeTap } from '../control/fake-data-plane.ts';

/** The real data plane, in this thread and behind devices that keep what is sent. */
export class VirtualDataPlane extends FakeDataPlane {
  readonly dataplane = new Dataplane({ conntrack: { capacity: 256 }, arena: { small: 256, big: 16 } });
  readonly sent: SentFrame[] = [];

  override async addNetwork(options: NetworkOptions): Promise<number> {
    return this.dataplane.addNetwork(options);
  }

  override async addUplink(options: UplinkOptions): Promise<number> {
    return this.dataplane.addUplink(options);
  }

  override async deny(uplink: number, denied: readonly DeniedPrefix[]): Promise<void> {
    this.dataplane.deny(uplink, denied);
  }

  override async removeNetwork(network: number): Promise<void> {
    this.dataplane.removeNetwork(network, 0);
  }

  override async removeUplink(uplink: number): Promise<void> {
    this.dataplane.removeUplink(uplink, 0);
  }

  override async addTap(_tap: FakeTap, spec: PortSpec): Promise<number> {
    return this.#addPort(spec);
  }

  override async addPacket(_socket: OpenPacketSocket, spec: PortSpec): Promise<number> {
    return this.#addPort(spec);
  }

  override async addSockets(network: number, segment: Segment, mtu: number): Promise<number> {
    const { mac, ipv4, ipv6 } = segment.device;
    return this.#addPort({ network, mtu, mac, ipv4, ipv6 });
  }

  override async removePort(port: number): Promise<void> {
    this.dataplane.removePort(port, 0);
  }

  override async publish(options: PublishOptions): Promise<number> {
    return this.dataplane.publish(options);
  }

  override async unpublish(publish: number): Promise<void> {
    this.dataplane.unpublish(publish, 0);
  }

  override async setUserRules(rules: readonly UserRule[]): Promise<void> {
    this.dataplane.setUserRules(rules);
  }

  override async setNames(): Promise<void> {}

  override async setSearch(): Promise<void> {}

  override async snapshot(wants: SnapshotWants = {}): Promise<Snapshot> {
    return this.dataplane.snapshot(0, wants);
  }

  override async remember(everything: boolean): Promise<void> {
    this.dataplane.observer.remember(everything);
  }

  override async past(filter: PastFilter, most: number): Promise<Int32Array> {
    return this.dataplane.observer.past.list(filter, most);
  }

  override async save(): Promise<SavedDataplane> {
    return saveDataplane(this.dataplane, 0);
  }

  #addPort(spec: PortSpec): number {
    const port = this.dataplane.ports.next;
    return this.dataplane.addPort(new ProbeDevice(port, this.sent), spec, 0);
  }
}
