import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import type { CaptureReplayResult } from '../replay/capture-replay.ts';
import { imbalance, type Tables } from '../replay/tables.ts';
import { count } from '../trace/count.ts';
import { formatTable } from './table.ts';

/** A replayed capture for people: what became of its frames, why, and the tables at the end. */
export function captureText(result: CaptureReplayResult): string {
  const { file, frames, bytes, duration, seed, tables, verdicts, portsBy, policy, unreplayed } = result;
  const portCount = Object.keys(tables.ports).length;
  const span = `${stepTime(duration).trim()} s`;
  const sections = [
    `${file}: ${countGrouped(frames, 'frame')}, ${countGrouped(bytes, 'byte')}, ${span}; ${countGrouped(portCount, 'port')}, ${policy === null ? `one for each ${portsBy}` : `as ${policy} says and one for each other ${portsBy}`}; seed ${seed}\n`,
    formatTable(
      ['FRAMES', 'CAME IN AND WERE'],
      (Object.keys(VERDICT_TEXT) as (keyof typeof VERDICT_TEXT)[]).map((name) => [
        verdicts[name],
        VERDICT_TEXT[name],
      ]),
    ),
  ];
  const left = Object.entries(unreplayed).filter(([, frames]) => frames > 0);
  if (left.length > 0) {
    sections.push(
      formatTable(
        ['FRAMES', 'NOT REPLAYED'],
        left.map(([why, frames]) => [frames, why]),
      ),
    );
  }
  const drops = Object.entries(tables.drops);
  if (drops.length > 0) {
    sections.push(
      formatTable(
        ['DROPPED', 'REASON', 'MEANING'],
        drops.map(([reason, frames]) => [frames, reason, DROP_TEXT[reason as DropReasonName]]),
      ),
    );
  }
  sections.push(portTable(tables), fdbTable(tables));
  if (tables.neighbors.length > 0) sections.push(neighborTable(tables));
  sections.push(`${ledgerLine(tables)}\nsha256 ${result.sha256}\n`);
  return sections.join('\n');
}

const VERDICT_TEXT = {
  forwarded: 'forwarded to one port',
  flooded: 'flooded to all other ports',
  consumed: 'for the gateway, which read them',
  held: 'held, waiting for a next hop or for other fragments',
  dropped: 'dropped',
} as const;

function portTable({ ports }: Tables): string {
  return formatTable(
    ['PORT', 'RX FRAMES', 'RX BYTES', 'RX DROPPED', 'TX FRAMES', 'TX BYTES', 'TX DROPPED'],
    Object.entries(ports).map(([name, port]) => [
      name,
      port.rxFrames,
      port.rxBytes,
      port.rxDropped,
      port.txFrames,
      port.txBytes,
      port.txDropped,
    ]),
  );
}

function fdbTable({ fdb }: Tables): string {
  return formatTable(
    ['MAC', 'NETWORK', 'PORT', 'SEEN'],
    fdb.map(({ mac, network, port, static: fixed, age }) => [
      mac,
      network,
      port,
      fixed ? 'static' : `${stepTime(age).trim()} s ago`,
    ]),
  );
}

function neighborTable({ neighbors }: Tables): string {
  return formatTable(
    ['ADDRESS', 'NETWORK', 'MAC', 'STATE'],
    neighbors.map(({ address, network, mac, state }) => [address, network, mac ?? '-', state]),
  );
}

function ledgerLine({ ledger }: Tables): string {
  const { received, originated, copies, sent, consumed, held, dropped } = ledger;
  const sign = imbalance(ledger) === 0 ? '=' : '≠ (a defect: please report it)';
  return `received ${received} + originated ${originated} + copies ${copies} ${sign} sent ${sent} + consumed ${consumed} + held ${held} + dropped ${dropped}`;
}

/** Virtual time in seconds, to the microsecond: `     3.256749`. */
export function stepTime(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(6).padStart(13);
}

/** `1 frame`, `1,234 frames`. */
export function countGrouped(number: number, noun: string): string {
  return count(number, noun, number.toLocaleString('en-US'));
}
