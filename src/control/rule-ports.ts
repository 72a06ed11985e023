/** Ports and addresses of published ports as rules have them, and as their words do. */
import { formatPorts } from './publish-spec.ts';
import type { PublishedPort } from './published.ts';

/** First and last port. */
export interface PortRange {
  from: number;
  to: number;
}

export function hostPorts({ hostPort, hostPortEnd }: PublishedPort): PortRange {
  return { from: hostPort, to: hostPortEnd };
}

export function ports({ port, portEnd }: PublishedPort): PortRange {
  return { from: port, to: portEnd };
}

/** Of a text that the data plane has taken already. */
export function portRange(text: string): PortRange {
  const [from, to = from] = text.split(/[:-]/).map(Number);
  return { from: from!, to: to! };
}

export function shownPorts({ from, to }: PortRange): string {
  return from === to ? `port ${from}` : `ports ${from} to ${to}`;
}

/** All addresses of one IP version, as they are written in rules. */
export const WILDCARDS = new Map([
  ['0.0.0.0', '0.0.0.0/0'],
  ['::', '::/0'],
]);

/** What tells two publishes of one port of an endpoint apart: `web 8080`, `web 192.0.2.2:8000-8010`. */
export function nameOf(published: PublishedPort): string {
  const { host, ifname } = hostOf(published);
  const ports = formatPorts({ first: published.hostPort, last: published.hostPortEnd });
  const at = WILDCARDS.has(host) ? ports : withPort(host, ports);
  return `${published.endpoint} ${at}${ifname === undefined ? '' : ` by ${ifname}`}`;
}

/** The parts of `0.0.0.0%eth1`. */
export function hostOf(published: PublishedPort): { host: string; ifname?: string } {
  const [host, ifname] = published.host.split('%') as [string, string?];
  return { host, ...(ifname !== undefined && { ifname }) };
}

/** `tcp dpt:80`, `udp dpts:8000:8010`. */
export function matchPorts(protocol: string, ports: PortRange): string {
  return `${protocol} ${portsWord('d', ports)}`;
}

/** `dpt:80`, `spts:8000:8010`. */
export function portsWord(side: 's' | 'd', { from, to }: PortRange): string {
  return from === to ? `${side}pt:${from}` : `${side}pts:${from}:${to}`;
}

export function withPort(address: string, port: string): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
