import type { DaemonClient } from '../control/client.ts';
import type { UplinkInfo } from '../control/uplink.ts';
import { EXIT_DONE, type Format, print } from './output.ts';
import { formatTable } from './table.ts';

/** `tapdeck uplinks`: by what ways packets leave the deck. */
export async function uplinks(client: DaemonClient, format: Format): Promise<number> {
  const list = await client.get<UplinkInfo[]>('/v1/uplinks');
  print(format, list, () => uplinkTable(list));
  return EXIT_DONE;
}

export function uplinkTable(list: readonly UplinkInfo[]): string {
  return formatTable(
    ['NAME', 'KIND', 'ADDRESSES', 'GATEWAYS', 'MTU', 'FILTERING', 'STATE'],
    list.map(({ name, kind, ipv4, ipv6, mtu, filtering, state, default: isDefault }) => [
      name,
      kind,
      [ipv4, ipv6].flatMap((pool) => (pool ? pool.addresses : [])).join(', '),
      [ipv4?.gateway, ipv6?.gateway].filter(Boolean).join(', '),
      mtu,
      filtering,
      isDefault ? `${state}, default` : state,
    ]),
  );
}
