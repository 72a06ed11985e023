import { formatMac } from '../../wire/address.ts';
import { type FlowView, viewFlow } from '../control/flows.ts';
import {
  type FdbView,
  type NeighborView,
  type PortName,
  viewFdb,
  viewLedger,
  viewNeighbors,
} from '../control/views.ts';
import type { RuleCounter } from '../dataplane/commands.ts';
import type { RecordedCommand } from '../recording/plane.ts';
import type { Player } from '../recording/player.ts';
import { frameLine } from '../replay/frame-difference.ts';
import { verdictWords } from '../replay/verdict-words.ts';
import { flowTable } from './conntrack-text.ts';
import { fdbLines, neighborLines } from './lists.ts';
import { stepTime } from './replay-text.ts';
import { formatTable } from './table.ts';

/** A rule as a recording knows it: by what it does, and whose it is. */
export interface RecordedRule extends Omit<RuleCounter, 'network'> {
  network: string;
}

/** Everything that can be shown of a deck at one instant. */
export interface RecordedTables {
  fdb: FdbView[];
  neighbors: NeighborView[];
  conntrack: FlowView[];
  /** Those connections of which an address or port is rewritten. */
  nat: FlowView[];
  rules: RecordedRule[];
  ledger: ReturnType<typeof viewLedger>;
}

export const TABLES = ['fdb', 'neighbors', 'conntrack', 'nat', 'rules', 'ledger'] as const;
export type TableName = (typeof TABLES)[number];

export function recordedTables(player: Player): RecordedTables {
  const { dataplane } = player;
  const now = player.header.began + player.now;
  const snapshot = dataplane.snapshot(now, { fdb: true, neighbors: true, rules: true });
  const networkName = (network: number) => networkOf(player, network);
  const conntrack = dataplane
    .flows({}, now)
    .map((flow) => viewFlow(flow, { networkName, publisher: (publish) => `publish ${publish}` }));
  return {
    fdb: viewFdb(snapshot.fdb, (port, network): PortName => {
      return { network: networkName(network), endpoint: portOf(player, port), ifname: null };
    }),
    neighbors: viewNeighbors(snapshot.neighbors, networkName),
    conntrack,
    nat: conntrack.filter(({ snat, dnat }) => snat || dnat),
    rules: snapshot.rules.map(({ network, ...rule }) => ({
      ...rule,
      network: network < 0 ? '-' : networkName(network),
    })),
    ledger: viewLedger(snapshot.ledger),
  };
}

/** One table for people; empty when there is nothing in it. */
export function tableText(name: TableName, tables: RecordedTables): string {
  switch (name) {
    case 'fdb':
      return fdbLines(tables.fdb);
    case 'neighbors':
      return neighborLines(tables.neighbors);
    case 'conntrack':
      return tables.conntrack.length === 0 ? '' : flowTable(tables.conntrack);
    case 'nat':
      return tables.nat.map(natLine).join('');
    case 'rules':
      return rulesTable(tables.rules);
    case 'ledger':
      return ledgerLine(tables);
  }
}

export function tablesText(tables: RecordedTables): string {
  return TABLES.map(
    (name) => `\n${name}\n${(tableText(name, tables) || 'empty\n').replace(/^(?=.)/gm, '  ')}`,
  ).join('');
}

function natLine({ id, protocol, original, reply }: FlowView): string {
  const end = (address: string, port: number) =>
    `${address.includes(':') && port > 0 ? `[${address}]` : address}${port > 0 ? `:${port}` : ''}`;
  const source = end(original.src, original.srcPort);
  const destination = end(original.dst, original.dstPort);
  const newSource = end(reply.dst, reply.dstPort);
  const newDestination = end(reply.src, reply.srcPort);
  const change = (from: string, to: string) => (from === to ? from : `${from} → ${to}`);
  return `#${id} ${protocol} from ${change(source, newSource)} to ${change(destination, newDestination)}\n`;
}

function rulesTable(rules: readonly RecordedRule[]): string {
  const counted = rules.filter(({ packets, kind }) => packets > 0 || kind === 'USER');
  if (counted.length === 0) return '';
  return formatTable(
    ['RULE', 'NETWORK', 'OF', 'PACKETS', 'BYTES'],
    counted.map(({ kind, network, publish, rule, packets, bytes }) => [
      kind,
      network,
      rule !== undefined ? `rule ${rule}` : publish >= 0 ? `publish ${publish}` : '-',
      packets,
      bytes,
    ]),
  );
}

function ledgerLine({ ledger }: RecordedTables): string {
  const { received, originated, copies, sent, consumed, held, dropped } = ledger;
  return `${received} received + ${originated} originated + ${copies} copies = ${sent} sent + ${consumed} consumed + ${held} held + ${dropped} dropped\n`;
}

/** A frame that came in, in one line. */
export function frameText(player: Player): string {
  const { played, dataplane } = player;
  const port = portOf(player, played.port);
  const verdict = verdictWords(dataplane.lastVerdict, port, (id) => portOf(player, id));
  const frame = frameLine(played.bytes, 0, played.bytes.length);
  return `${stepTime(player.now)}  #${played.packet} ${port}  ${frame}  → ${verdict}\n`;
}

/** A command in one line. */
export function commandText(player: Player, { method, args }: RecordedCommand): string {
  const text = JSON.stringify(args, (key, value: unknown) => {
    if (key === 'mac' && isMac(value)) return formatMac(value.hi, value.lo);
    return value instanceof Uint8Array ? `${value.length} bytes` : value;
  }).slice(1, -1);
  return `${stepTime(player.now)}  ${method} ${text.length > 200 ? `${text.slice(0, 200)}…` : text}\n`;
}

function isMac(value: unknown): value is { hi: number; lo: number } {
  return typeof value === 'object' && value !== null && 'hi' in value && 'lo' in value;
}

export function networkOf({ names }: Player, network: number): string {
  return names.networks[network] ?? `network ${network}`;
}

export function portOf({ names }: Player, port: number): string {
  return names.ports[port] ?? `port ${port}`;
}
