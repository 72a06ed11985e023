import { setTimeout as sleep } from 'node:timers/promises';
import { DeckError } from '../control/error.ts';
import type { CreateNetworkOptions, NetworkInfo } from '../control/network.ts';
import type { Daemon } from './daemon.ts';

/** How often, and after how many milliseconds, a network is looked for that somebody else is just making. */
const LOOKS = 50;
const LOOK = 20;

/** The network of a name, and whether it was made for this. Containers that start at once want the same. Throws a `DeckError`. */
export async function ensureNetwork(
  daemon: Pick<Daemon, 'get' | 'post'>,
  wanted: CreateNetworkOptions,
): Promise<{ network: NetworkInfo; isNew: boolean }> {
  const path = `/v1/networks/${encodeURIComponent(wanted.name)}`;
  for (let look = 1; ; look++) {
    try {
      return { network: await daemon.get<NetworkInfo>(path), isNew: false };
    } catch (error) {
      if (!(error instanceof DeckError && error.code === 'not-found')) throw error;
    }
    try {
      return { network: await daemon.post<NetworkInfo>('/v1/networks', wanted), isNew: true };
    } catch (error) {
      // Its name is taken from the moment on that it is being made; or the subnet is another network's.
      if (!(error instanceof DeckError && error.code === 'conflict') || look === LOOKS) throw error;
    }
    await sleep(LOOK);
  }
}
