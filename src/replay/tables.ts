import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import type { PortCounters, Snapshot } from '../dataplane/commands.ts';

/** Frames and bytes of one port. */
export type PortTable = Omit<PortCounters, 'port' | 'network'>;

/** One address of the filtering database, by names. */
export interface FdbTable {
  network: string;
  mac: string;
  port: string;
  static: boolean;
  /** Milliseconds since the address was last seen; 0 for static entries. */
  age: number;
}

/** One neighbor of a gateway, by names. */
export interface NeighborTable {
  network: string;
  address: string;
  mac: string | null;
  state: string;
}

/** All tables of a deck at one instant of virtual time, in an order that depends on nothing but their contents. */
export interface Tables {
  /** `received + originated + copies = sent + consumed + held + dropped`. */
  ledger: {
    received: number;
    originated: number;
    copies: number;
    sent: number;
    consumed: number;
    held: number;
    dropped: number;
  };
  /** Reasons that occurred, in the order of their numbers. */
  drops: Record<string, number>;
  ports: Record<string, PortTable>;
  fdb: FdbTable[];
  neighbors: NeighborTable[];
}

/** What came in less what became of it: 0, or tapdeck has a defect. */
export function imbalance(ledger: Tables['ledger']): number {
  const { received, originated, copies, sent, consumed, held, dropped } = ledger;
  return received + originated + copies - sent - consumed - held - dropped;
}

/** A snapshot with names for numbers. */
export function tablesOf(
  snapshot: Snapshot,
  ports: Record<string, PortTable>,
  networkName: (id: number) => string,
  portName: (id: number) => string,
): Tables {
  const { ledger } = snapshot;
  const drops: Record<string, number> = {};
  let dropped = 0;
  for (const [reason, count] of ledger.drops.entries()) {
    if (count === 0) continue;
    drops[DROP_REASON_NAMES[reason] ?? `REASON_${reason}`] = count;
    dropped += count;
  }
  const { originated, copies, sent, consumed, held } = ledger;
  return {
    ledger: { received: ledger.ports, originated, copies, sent, consumed, held, dropped },
    drops,
    ports,
    fdb: snapshot.fdb
      .map((entry) => ({
        network: networkName(entry.network),
        mac: formatMac(entry.macHi, entry.macLo),
        port: portName(entry.port),
        static: entry.static,
        age: entry.static ? 0 : microseconds(entry.age),
      }))
      .sort((a, b) => byText(a.network, b.network) || byText(a.mac, b.mac)),
    neighbors: snapshot.neighbors
      .map(({ network, family, address, mac, state }) => ({
        network: networkName(network),
        address:
          family === 4
            ? formatIpv4(address[0]!)
            : formatIpv6(address[0]!, address[1]!, address[2]!, address[3]!),
        mac: mac && formatMac(mac.hi, mac.lo),
        state,
      }))
      .sort((a, b) => byText(a.network, b.network) || byText(a.address, b.address)),
  };
}

/** Milliseconds without the digits that only floating point put there. */
function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
