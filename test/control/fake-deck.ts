import { Deck } from '../../src/control/deck.ts';
import { FakeDataPlane } from './fake-data-plane.ts';

/** A deck on a fake data plane, with TAPs that are none. */
export async function fakeDeck(
  plane = new FakeDataPlane(),
  identify?: (target: { path: string } | { pid: number }) => string,
): Promise<Deck> {
  return Deck.assemble({
    dataPlane: plane,
    openTap: async ({ ifname, mac, mtu }) => ({ fd: -1, ifname, mac: mac!, mtu: mtu! }),
    identify: identify ?? ((target) => ('path' in target ? target.path : `pid ${target.pid}`)),
  });
}
