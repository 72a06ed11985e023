import { EventEmitter } from 'node:events';
import type { Container } from './container.ts';
import type { Endpoint } from './endpoint.ts';
import type { NetworkInfo } from './network.ts';
import type { PublishedPort } from './published.ts';
import type { SavedRule } from './user-rules.ts';

/**
 * What happened in a deck; whoever follows its state listens here.
 *
 * Endpoints come by `attach`, with their container or when it is connected to a further network. They go by `detach` when
 * somebody asked for it or the deck closes, and by `gone` when their interface or namespace vanished. A container is
 * created before its first endpoint comes and removed after its last one has gone. `end`: the data plane has failed, after
 * all containers are gone; there is nothing left to do but close the deck.
 */
export interface DeckEventMap {
  attach: [Endpoint];
  detach: [Endpoint];
  gone: [Endpoint];
  container: [ContainerEvent];
  network: [NetworkEvent];
  publish: [PublishEvent];
  rules: [RuleEvent];
  end: [Error];
}

export interface ContainerEvent {
  /** `settle`: something has become known of interfaces that were handed over. */
  readonly action: 'create' | 'remove' | 'rename' | 'settle';
  readonly container: Container;
  /** The name that it had before a `rename`. */
  readonly before?: string;
}

export interface NetworkEvent {
  readonly action: 'create' | 'remove';
  readonly network: NetworkInfo;
}

/** Ports of a container were published or withdrawn, or are now those of another endpoint; `ports` is what there is now. */
export interface PublishEvent {
  readonly action: 'change';
  readonly container: string;
  readonly ports: readonly PublishedPort[];
}

/** A rule of the user's was added or removed. */
export interface RuleEvent {
  readonly action: 'add' | 'remove';
  readonly rule: SavedRule;
}

export class DeckEvents extends EventEmitter<DeckEventMap> {}
