/**
 * `tapdeck/testing`: the switch in tests, without privileges and in virtual time. Frames from one call each, a
 * deck in memory, scenarios as folders, and differences in words.
 */
export { frameDifference } from '../replay/frame-difference.ts';
export type { ScenarioResult } from '../replay/scenario-run.ts';
export type { FdbTable, NeighborTable, PortTable, Tables } from '../replay/tables.ts';
export { type Changes, Dissection, dissect } from './dissection.ts';
export { encode as build } from './encode.ts';
export type { Fate } from './fate.ts';
export {
  type ArpGiven,
  type EthGiven,
  eth,
  type Ip6Frame,
  type Ip6Given,
  type IpFrame,
  type IpGiven,
  type LinkFrame,
  type PacketFrame,
  type PayloadFrame,
  type Route,
  type TestFrame,
} from './frame-builder.ts';
export { frameLine } from './frame-line.ts';
export * from './frames.ts';
export type { Layer, LayerName, Layers, PartialLayer, TcpOptions } from './layer.ts';
export { type MatchResult, matchers } from './matchers.ts';
export {
  MemoryDeck,
  type MemoryDeckOptions,
  type MemoryNetwork,
  type MemoryPort,
  memoryDeck,
  type TakenFrame,
} from './memory-deck.ts';
export {
  type ScenarioAttachment,
  type ScenarioNetwork,
  type ScenarioRule,
  type ScenarioSpec,
  type ScenarioUplink,
  scenario,
} from './scenario.ts';
