/**
 * `tapdeck/testing`: the switch in tests, without privileges and in virtual time. Frames from one call each, a
 * deck in memory, scenarios as folders, and differences in words.
 */
export { frameDifference } from '../replay/frame-difference.ts';
export type { ScenarioResult } from '../replay/scenario-run.ts';
export type { FdbTable, NeighborTable, PortTable, Tables } from '../replay/tables.ts';
export { frameLine } from './frame-line.ts';
export * from './frames.ts';
export {
  MemoryDeck,
  type MemoryDeckOptions,
  type MemoryNetwork,
  type MemoryPort,
  memoryDeck,
  type TakenFrame,
} from './memory-deck.ts';
export { scenario } from './scenario.ts';
