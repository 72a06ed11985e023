/** What every /etc/hosts of a container begins with, in Docker's order. */
const LOCAL = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** One line of /etc/hosts. */
export interface HostsEntry {
  address: string;
  names: readonly string[];
}

/** The text of an /etc/hosts: loopback, and these. */
export function hostsText(entries: readonly HostsEntry[]): string {
  return LOCAL + entries.map(({ address, names }) => `${address}\t${names.join(' ')}\n`).join('');
}

/** The lines by which a container finds itself, one for each of its addresses. */
export function ownEntries(
  endpoints: readonly { ipv4: string | null; ipv6: string | null }[],
  names: readonly string[],
): HostsEntry[] {
  return endpoints
    .flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
    .flatMap((address) => (address === null ? [] : [{ address, names }]));
}
