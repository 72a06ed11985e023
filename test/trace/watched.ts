import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import type { Names } from '../../src/trace/names.ts';
import { inWords, readStory } from '../../src/trace/story.ts';
import { rowPlaces, StoryCollector } from '../../src/trace/story-collector.ts';
import { natBed } from '../dataplane/nat-bed.ts';

/** A bed whose packets are told of; `steps` and `told` give the stories since the last time. */
export function watched(deck: MemoryDeck = natBed()) {
  const collector = new StoryCollector();
  const { observer, ports } = deck.virtual.dataplane;
  observer.subscribe(collector);
  const networks = new Map(['a', 'b'].map((name) => [deck.networkId(name), name]));
  const names: Names = {
    port: (port) => `${networks.get(ports.network[port]!) ?? 'up'}:${port}`,
    network: (network) => networks.get(network) ?? 'up',
    publish: () => '8080/tcp',
    rule: (kind) => (kind === 'ISOLATED' ? 'rule 3' : undefined),
  };
  const steps = () =>
    collector.stories
      .splice(0)
      .map(({ rows }) => readStory(rows, rowPlaces(rows), rowPlaces(rows).length, names));
  return { deck, collector, steps, told: () => steps().map((story) => inWords(story)) };
}
