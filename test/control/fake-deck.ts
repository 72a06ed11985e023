import type { FeedThread } from '../../src/control/captures.ts';
import { Deck, type DeckOptions } from '../../src/control/deck.ts';
import type { TapTarget } from '../../src/device/attach.ts';
import type { HandoverTarget } from '../../src/device/handover.ts';
import type { OpenPacketSocket, PacketTarget } from '../../src/device/packet-socket.ts';
import type { FeedOptions } from '../../src/runtime/capture-messages.ts';
import type { FeedListener } from '../../src/runtime/capture-thread.ts';
import { FakeDataPlane } from './fake-data-plane.ts';

/** A packet socket that is none, on an interface of MTU 1,500. */
export function fakePacket({ ifname }: PacketTarget): OpenPacketSocket {
  return { fd: -1, ifname, mac: '02:00:00:00:00:01', mtu: 1500, headerLength: 12 };
}

/** Interfaces that are handed over, of which none ever is. */
export const fakeHandover = {
  openHandover: ({ ifname, mac, mtu }: HandoverTarget) => ({ fd: -1, ifname, mac, mtu }),
  nameOfInterface: (_netns: string, _mac: string): string | undefined => 'eth0',
};

/** Makes nothing of what is captured, which is nothing, and ends when it is told to. */
export class FakeFeeds implements FeedThread {
  readonly #listeners = new Map<number, FeedListener>();
  /** What feeds were opened with. */
  readonly opened: FeedOptions[] = [];

  open(feed: number, options: FeedOptions, _offset: number, listener: FeedListener): void {
    this.#listeners.set(feed, listener);
    this.opened.push(options);
  }

  rename(): void {}

  finish(feed: number): void {
    const listener = this.#listeners.get(feed);
    this.close(feed);
    listener?.end();
  }

  close(feed: number): void {
    this.#listeners.delete(feed);
  }

  async end(): Promise<void> {}
}

/** A deck on a fake data plane, with TAPs that are none. */
export async function fakeDeck(
  plane = new FakeDataPlane(),
  identify?: (target: { path: string } | { pid: number }) => string,
  options?: DeckOptions,
): Promise<Deck> {
  const parts = {
    dataPlane: plane,
    openTap: async ({ ifname, mac, mtu }: TapTarget) => ({ fd: -1, ifname, mac: mac!, mtu: mtu! }),
    ...fakeHandover,
    setRoutes: async () => {},
    openPacket: fakePacket,
    hostAddresses: () => ['127.0.0.1', '192.0.2.77', '::1', 'fe80::77'],
    hostRoutes: () => [],
    now: () => 0,
    feeds: new FakeFeeds(),
    identify: identify ?? ((target) => ('path' in target ? target.path : `pid ${target.pid}`)),
  };
  return Deck.assemble(parts, options);
}
