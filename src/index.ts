/**
 * tapdeck as a library: a deck that a program opens, attaches network namespaces to, and closes.
 *
 * ```ts
 * import { Deck, Sandbox } from 'tapdeck';
 *
 * const deck = await Deck.open();
 * const sandbox = await Sandbox.start({ command: ['ping', '-c', '1', '172.17.0.1'] });
 * await deck.attach({ pid: sandbox.pid, name: 'pinger' });
 * sandbox.go();
 * console.log(await sandbox.ended);
 * await sandbox.close();
 * await deck.close();
 * ```
 */

export { DROP_TEXT, type DropReasonName } from '../switch/drop-text.ts';
export type { Container } from './control/container.ts';
export { Deck, type DeckOptions } from './control/deck.ts';
export type { ContainerEvent, DeckEventMap, NetworkEvent, PublishEvent } from './control/deck-events.ts';
export type { AttachOptions, ConnectOptions, Endpoint } from './control/endpoint.ts';
export { DeckError, type DeckErrorCode } from './control/error.ts';
export type { FlowQuery } from './control/flow-filter.ts';
export type { FlowDirectionView, FlowEventView, FlowPageView, FlowView } from './control/flows.ts';
export { DEFAULT_NETWORK } from './control/name.ts';
export type { CreateNetworkOptions, NetworkInfo } from './control/network.ts';
export type { PublishedPort } from './control/published.ts';
export type { ChainView, RuleView } from './control/rule-view.ts';
export { Sandbox, type SandboxEnd, type SandboxFiles, type SandboxOptions } from './control/sandbox.ts';
export type { UplinkAddressesInfo, UplinkInfo } from './control/uplink.ts';
export { parseUplinkSpec, type UplinkAddresses, type UplinkSpec } from './control/uplink-spec.ts';
export type { AddRuleOptions, SavedRule, UserRuleInfo } from './control/user-rules.ts';
export { packageVersion } from './control/version.ts';
export type { CountersView, DropView, FdbView, LedgerView, NeighborView, PortName } from './control/views.ts';
export type { WhyEnd, WhyRule, WhyStep, WhyView } from './control/why/explain.ts';
export type { WhyFrameView } from './control/why/frame.ts';
export type { PastPacket, WhyPastView } from './control/why/past.ts';
export type { Remedy } from './control/why/remedy.ts';
