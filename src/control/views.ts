import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import type { FdbEntry } from '../../switch/fdb.ts';
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import type { LedgerSnapshot, NeighborEntry, PortCounters } from '../dataplane/commands.ts';

/** Who is behind a port, as people call it. */
export interface PortName {
  /** Of the network, or of the uplink. */
  network: string;
  /** The endpoint's name; `gateway` for the network's own port, `uplink` for that by which an uplink leaves. */
  endpoint: string;
  ifname: string | null;
}

/** One address of the filtering database: which port it is behind. */
export interface FdbView {
  mac: string;
  network: string;
  endpoint: string;
  ifname: string | null;
  port: number;
  state: 'static' | 'learned';
  /** Seconds since the address was last seen as a source; null for static entries. */
  age: number | null;
}

/** One neighbor of a gateway. */
export interface NeighborView {
  address: string;
  network: string;
  /** null while unresolved. */
  mac: string | null;
  /** Linux's NUD state. */
  state: string;
  /** Seconds since it was last confirmed; null for permanent ones. */
  age: number | null;
}

export interface DropView {
  reason: DropReasonName;
  count: number;
  /** One sentence for people. */
  text: string;
}

/** Where every frame went: `received + originated + copies = sent + consumed + held + dropped`. */
export interface LedgerView {
  received: number;
  originated: number;
  copies: number;
  sent: number;
  consumed: number;
  held: number;
  dropped: number;
  /** Whether the equation holds; anything else is a defect. */
  balanced: boolean;
}

export interface CountersView {
  ledger: LedgerView;
  ports: (Omit<PortCounters, 'network'> & PortName)[];
}

export function viewFdb(
  entries: readonly FdbEntry[],
  nameOf: (port: number, network: number) => PortName,
): FdbView[] {
  return entries.map((entry) => {
    const { network, endpoint, ifname } = nameOf(entry.port, entry.network);
    return {
      mac: formatMac(entry.macHi, entry.macLo),
      network,
      endpoint,
      ifname,
      port: entry.port,
      state: entry.static ? 'static' : 'learned',
      age: entry.static ? null : seconds(entry.age),
    };
  });
}

export function viewNeighbors(
  entries: readonly NeighborEntry[],
  networkName: (network: number) => string,
): NeighborView[] {
  return entries.map(({ family, address, network, mac, state, age }) => ({
    address:
      family === 4 ? formatIpv4(address[0]!) : formatIpv6(address[0]!, address[1]!, address[2]!, address[3]!),
    network: networkName(network),
    mac: mac && formatMac(mac.hi, mac.lo),
    state,
    age: state === 'PERMANENT' ? null : seconds(age),
  }));
}

/** All reasons with their counts, the most frequent first; those that never occurred too. */
export function viewDrops(counts: readonly number[]): DropView[] {
  const rows: DropView[] = [];
  for (const [reason, name] of DROP_REASON_NAMES.entries()) {
    if (name === undefined) continue;
    const known = name as DropReasonName;
    rows.push({ reason: known, count: counts[reason] ?? 0, text: DROP_TEXT[known] });
  }
  return rows.sort((one, other) => other.count - one.count);
}

export function viewLedger(ledger: LedgerSnapshot): LedgerView {
  const { ports: received, originated, copies, sent, consumed, held } = ledger;
  const dropped = ledger.drops.reduce((sum, count) => sum + count, 0);
  return {
    received,
    originated,
    copies,
    sent,
    consumed,
    held,
    dropped,
    balanced: received + originated + copies === sent + consumed + held + dropped,
  };
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10;
}
