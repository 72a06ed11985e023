import type { DaemonClient } from '../control/client.ts';
import type { Container } from '../control/container.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { checkName } from '../control/name.ts';
import type { NetworkInfo } from '../control/network.ts';
import type { ChainView } from '../control/rule-view.ts';
import type { CountersView, DropView, FdbView, NeighborView } from '../control/views.ts';
import { EXIT_DONE, type Format, print } from './output.ts';
import { portsCell } from './publish.ts';
import { type RulesTextOptions, rulesText } from './rules-text.ts';
import { formatDuration, formatTable } from './table.ts';

/** The commands that only show what there is. */

export async function ps(
  client: DaemonClient,
  format: Format,
  { quiet, trunc }: { quiet?: boolean; trunc: boolean },
): Promise<number> {
  const containers = await client.get<Container[]>('/v1/containers');
  if (quiet) {
    const ids = containers.map(({ id }) => (trunc ? id.slice(0, 12) : id));
    print(format, ids, () => ids.map((id) => `${id}\n`).join(''));
  } else print(format, containers, () => containerTable(containers, Date.now(), trunc));
  return EXIT_DONE;
}

/**
 * @param now milliseconds since 1970
 * @param trunc ids of twelve digits, as Docker shortens them
 */
export function containerTable(containers: readonly Container[], now: number, trunc = true): string {
  return formatTable(
    ['CONTAINER ID', 'NAME', 'NETWORKS', 'ADDRESSES', 'PID', 'STATUS', 'PORTS'],
    containers.map(({ id, name, endpoints, pid, ports, createdAt }) => [
      trunc ? id.slice(0, 12) : id,
      name,
      endpoints.map(({ network }) => network).join(', ') || '-',
      endpoints.flatMap(addresses).join(', ') || '-',
      String(pid ?? '-'),
      `Up ${formatDuration(now - Date.parse(createdAt))}`,
      portsCell(ports),
    ]),
  );
}

function addresses({ ipv4, ipv6, ipv6Outside }: Endpoint): string[] {
  const second = ipv6Outside === null ? ipv6 : `${ipv6} (outside ${ipv6Outside})`;
  return [ipv4, second].filter((address) => address !== null);
}

export async function fdb(
  client: DaemonClient,
  format: Format,
  { network }: { network?: string },
): Promise<number> {
  const only = await chosenNetwork(client, network);
  const all = await client.get<FdbView[]>('/v1/fdb');
  const entries = all.filter((entry) => only === undefined || entry.network === only);
  print(format, entries, () => fdbLines(entries));
  return EXIT_DONE;
}

/** The name of the network that `--network` gives by name or id; throws when there is none. */
async function chosenNetwork(
  client: DaemonClient,
  nameOrId: string | undefined,
): Promise<string | undefined> {
  if (nameOrId === undefined) return undefined;
  checkName('network', nameOrId);
  return (await client.get<NetworkInfo>(`/v1/networks/${nameOrId}`)).name;
}

/** As `bridge fdb show` prints them; the device is the endpoint's interface. */
export function fdbLines(entries: readonly FdbView[]): string {
  return entries
    .map(({ mac, network, endpoint, ifname, state, age }) => {
      const device = ifname === null ? endpoint : `${endpoint}.${ifname}`;
      const permanent = endpoint === 'gateway' && ifname === null;
      const tail = state === 'learned' ? `used ${Math.round(age ?? 0)}` : permanent ? 'permanent' : 'static';
      return `${mac} dev ${device} master ${network} ${tail}\n`;
    })
    .join('');
}

export async function neigh(
  client: DaemonClient,
  format: Format,
  { network }: { network?: string },
): Promise<number> {
  const only = await chosenNetwork(client, network);
  const all = await client.get<NeighborView[]>('/v1/neighbors');
  const entries = all.filter((entry) => only === undefined || entry.network === only);
  print(format, entries, () => neighborLines(entries));
  return EXIT_DONE;
}

/** As `ip neigh` prints them; the device is the network. */
export function neighborLines(entries: readonly NeighborView[]): string {
  return entries
    .map(
      ({ address, network, mac, state }) =>
        `${address} dev ${network} ${mac ? `lladdr ${mac} ` : ''}${state}\n`,
    )
    .join('');
}

export async function drops(
  client: DaemonClient,
  format: Format,
  { all }: { all?: boolean },
): Promise<number> {
  const rows = (await client.get<DropView[]>('/v1/drops')).filter(({ count }) => all || count > 0);
  print(format, rows, () => dropTable(rows));
  return EXIT_DONE;
}

export function dropTable(rows: readonly DropView[]): string {
  return formatTable(
    ['REASON', 'COUNT', 'MEANING'],
    rows.map(({ reason, count, text }) => [reason, count, text]),
  );
}

export async function rules(
  client: DaemonClient,
  format: Format,
  options: RulesTextOptions,
): Promise<number> {
  const chains = await client.get<ChainView[]>('/v1/rules');
  print(format, chains, () => rulesText(chains, options));
  return EXIT_DONE;
}

export async function counters(client: DaemonClient, format: Format): Promise<number> {
  const view = await client.get<CountersView>('/v1/counters');
  print(format, view, () => countersText(view));
  return EXIT_DONE;
}

export function countersText({ ledger, ports }: CountersView): string {
  const { received, originated, copies, sent, consumed, held, dropped, balanced } = ledger;
  const sides = [
    `received ${received} + originated ${originated} + copies ${copies}`,
    `sent ${sent} + consumed ${consumed} + held ${held} + dropped ${dropped}`,
  ];
  const verdict = balanced ? '=' : '≠ (a defect: please report it)';
  const table = formatTable(
    [
      'ENDPOINT',
      'NETWORK',
      'IFNAME',
      'RX FRAMES',
      'RX BYTES',
      'RX DROPPED',
      'TX FRAMES',
      'TX BYTES',
      'TX DROPPED',
    ],
    ports.map((port) => [
      port.endpoint,
      port.network,
      port.ifname ?? '-',
      port.rxFrames,
      port.rxBytes,
      port.rxDropped,
      port.txFrames,
      port.txBytes,
      port.txDropped,
    ]),
  );
  return `${sides[0]} ${verdict} ${sides[1]}\n\n${table}`;
}
