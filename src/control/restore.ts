import type { Deck } from './deck.ts';
import { DeckError, invalid, unavailable } from './error.ts';
import { DEFAULT_NETWORK, HOST_NETWORK } from './name.ts';
import { identifyNamespace, type NamespaceTarget } from './namespace.ts';
import { bootId, isRunning } from './process.ts';
import { endRecorded } from './recorded-sandbox.ts';
import { DEFAULT_GRACE } from './sandbox.ts';
import type { RecordedContainer, SavedDeck, SavedSandbox, SavedState } from './saved-state.ts';

/** How many containers are connected at one time: for ordinary users each takes a process of its own. */
const AT_ONCE = 8;
/** Milliseconds that interfaces of the last daemon may need to vanish: some, and for each what the kernel takes and more. */
const VANISHING = 5000;
const VANISHING_EACH = 40;

export interface RestoreParts {
  deck: Deck;
  log(level: 'info' | 'warn' | 'error', message: string): void;
  identify?: typeof identifyNamespace;
}

export interface Restored {
  /** Those of `tapdeck run` whose containers are connected again, and that wait for it. */
  waiting: SavedSandbox[];
  /** Names of the sandboxes of which something was left, and is ended now. */
  ended: string[];
  /** What can not be made again by this daemon, and may be by a later one. */
  unrestored: SavedDeck;
}

/**
 * Makes the networks of a state again, and connects those of its containers whose namespaces live, with all that they had:
 * addresses, MACs, interface names, routes, aliases, published ports. What fails is logged; but throws a `DeckError` when the
 * rules of the user's own cannot be had.
 */
export async function restoreDeck(
  state: SavedState,
  { deck, log, identify = identifyNamespace }: RestoreParts,
): Promise<Restored> {
  const restored: Restored = {
    waiting: [],
    ended: [],
    unrestored: { networks: [], containers: [] },
  };
  const there = new Set(deck.networks().map(({ name }) => name));
  for (const network of state.networks) {
    const { options, ...was } = network;
    if (there.has(options.name)) continue;
    try {
      await deck.createNetwork(options, was);
    } catch (error) {
      log('error', `cannot make network ${options.name} again: ${(error as Error).message}`);
      restored.unrestored.networks.push(network);
    }
  }
  // Before anybody is connected. A deck without rules that somebody relies on is worse than none.
  try {
    if (state.rules.length > 0) await deck.restoreRules(state.rules);
  } catch (error) {
    throw invalid(
      `cannot put the rules of chain DOCKER-USER in force again: ${(error as Error).message}; mend them in the state file, or move it away`,
    );
  }
  if (state.boot !== bootId()) {
    if (state.containers.length > 0) {
      log('info', `forgot ${state.containers.length} containers of before the machine was started`);
    }
    return restored;
  }
  const missing = new Set(restored.unrestored.networks.map(({ options }) => options.name));
  const attached = new Set<string>();
  const endpoints = state.containers.flatMap((saved) => saved.endpoints).length;
  const deadline = performance.now() + VANISHING + VANISHING_EACH * endpoints;
  const parts = { deck, log, identify, deadline };
  await forEach(state.containers, async (saved) => {
    const done = await restoreContainer(saved, missing, parts, restored.unrestored);
    if (done) attached.add(saved.id);
  });
  deck.arrange(state.containers.map(({ id }) => id));
  const names = state.containers.flatMap(({ id, name }) => (attached.has(id) ? name : []));
  if (names.length > 0) log('info', `connected ${names.join(', ')} again`);
  await forEach(state.sandboxes, async (sandbox) => {
    if (attached.has(sandbox.container)) restored.waiting.push(sandbox);
    else if ((await endRecorded(sandbox, DEFAULT_GRACE)) > 0) restored.ended.push(sandbox.name);
  });
  return restored;
}

async function forEach<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const waiting = [...all];
  const next = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}

/** Answers whether the container is connected again. */
async function restoreContainer(
  saved: RecordedContainer,
  missing: ReadonlySet<string>,
  { deck, log, identify, deadline }: Required<RestoreParts> & { deadline: number },
  unrestored: SavedDeck,
): Promise<boolean> {
  const { name } = saved;
  if (!lives(saved, identify)) {
    log('info', `forgot ${name}: its namespace is gone`);
    return false;
  }
  try {
    const network = saved.endpoints.find((one) => missing.has(one.network))?.network;
    if (network !== undefined) throw unavailable(`network ${network} is not there`);
    await connect(saved, deck, deadline);
  } catch (error) {
    unrestored.containers.push(saved);
    log('error', `cannot connect ${name} again: ${(error as Error).message}`);
    return false;
  }
  await publish(saved, deck, log);
  return true;
}

/** Whether the namespace is the one that was meant: the kernel gives its number to another when it has ended. */
export function lives(
  { netns, pid, startTime, namespace, endpoints }: RecordedContainer,
  identify: typeof identifyNamespace,
) {
  if (pid !== undefined && !(startTime !== undefined && isRunning({ pid, startTime }))) return false;
  const target: NamespaceTarget | null =
    netns !== undefined ? { path: netns } : pid !== undefined ? { pid } : null;
  if (!target) return false;
  try {
    const ofHost = endpoints.some(({ network }) => network === HOST_NETWORK);
    return identify(target, ofHost) === namespace;
  } catch {
    return false;
  }
}

async function connect(
  { id, createdAt, name, netns, pid, hostname, labels, endpoints }: RecordedContainer,
  deck: Deck,
  deadline: number,
): Promise<void> {
  const container = {
    name,
    labels,
    ...(netns !== undefined && { netns }),
    ...(pid !== undefined && { pid }),
    ...(hostname !== undefined && { hostname }),
  };
  const [first, ...others] = endpoints;
  if (!first) {
    deck.restoreAlone(container, { id, createdAt });
    return;
  }
  const { id: endpointId, ...options } = first;
  await whenFree(deadline, () => deck.attach({ ...container, ...options }, { id, createdAt, endpointId }));
  try {
    for (const { id: endpointId, network, ...options } of others) {
      await whenFree(deadline, () => deck.connect(network, id, options, { endpointId }));
    }
  } catch (error) {
    await deck.detach(id);
    throw error;
  }
}

/** The last daemon's interfaces may still be on their way out. */
async function whenFree<T>(deadline: number, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const taken = error instanceof DeckError && /there is one of that name already/.test(error.message);
      if (!taken || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** All ports at once, else as many as can be had. */
async function publish(
  { id, name, publish: specs }: RecordedContainer,
  deck: Deck,
  log: RestoreParts['log'],
) {
  if (specs.length === 0) return;
  try {
    await deck.publish(id, specs);
  } catch {
    for (const spec of specs) {
      await deck.publish(id, [spec]).catch((error: Error) => {
        log('error', `cannot publish ${spec} of ${name} again: ${error.message}`);
      });
    }
  }
}

/** Network `bridge`, which a deck begins with. */
export function savedBridge(state: SavedState | null): SavedState['networks'][number] | undefined {
  return state?.networks.find(({ options }) => options.name === DEFAULT_NETWORK);
}
