import type { DaemonClient } from '../control/client.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { invalid, notFound } from '../control/error.ts';
import { quote } from '../control/name.ts';
import { formatPorts, parsePublishSpec } from '../control/publish-spec.ts';
import type { PublishedPort } from '../control/published.ts';
import { EXIT_DONE, type Format, print } from './output.ts';

export async function publish(
  client: DaemonClient,
  format: Format,
  name: string,
  specs: readonly string[],
): Promise<number> {
  for (const spec of specs) parsePublishSpec(spec);
  const published = await client.post<PublishedPort[]>(portsPath(name), { publish: specs });
  print(format, published, () => portLines(published));
  return EXIT_DONE;
}

export async function unpublish(
  client: DaemonClient,
  format: Format,
  name: string,
  spec: string,
): Promise<number> {
  parsePublishSpec(spec);
  const path = `${portsPath(name)}?spec=${encodeURIComponent(spec)}`;
  const withdrawn = await client.delete<PublishedPort[]>(path);
  print(format, withdrawn, () => portLines(withdrawn));
  return EXIT_DONE;
}

/** `tapdeck port [NAME [PORT[/proto]]]`, as `docker port` answers. */
export async function port(
  client: DaemonClient,
  format: Format,
  name: string | undefined,
  wanted: string | undefined,
): Promise<number> {
  const chosen = wanted === undefined ? null : parsePort(wanted);
  if (name === undefined) {
    const published = (await client.get<Endpoint[]>('/v1/endpoints')).flatMap(({ ports }) => ports);
    print(format, published, () => published.map((one) => `${one.endpoint} ${portLines([one])}`).join(''));
    return EXIT_DONE;
  }
  const published = await client.get<PublishedPort[]>(portsPath(name));
  if (!chosen) {
    print(format, published, () => portLines(published));
    return EXIT_DONE;
  }
  const { number, protocol } = chosen;
  const found = published.filter(
    (one) => one.protocol === protocol && one.port <= number && number <= one.portEnd,
  );
  if (found.length === 0) {
    throw notFound(`endpoint ${name} publishes no port ${number}/${protocol}; see "tapdeck port ${name}"`);
  }
  print(format, found, () =>
    found.map((one) => `${at(one.host, String(one.hostPort + number - one.port))}\n`).join(''),
  );
  return EXIT_DONE;
}

function parsePort(text: string): { number: number; protocol: string } {
  const { host, ifname, family, hostPorts, ports, protocol } = parsePublishSpec(text);
  if (host !== null || ifname !== null || family !== null || hostPorts || ports.first !== ports.last) {
    throw invalid(`${quote(text)} is not a port of an endpoint; write it as in 80 or 53/udp`);
  }
  return { number: ports.first, protocol };
}

function portsPath(name: string): string {
  return `/v1/endpoints/${encodeURIComponent(name)}/ports`;
}

/** `80/tcp -> 0.0.0.0:8080`, as `docker port` prints them; a range is one line. */
export function portLines(published: readonly PublishedPort[]): string {
  return published
    .map((one) => `${endpointPorts(one)} -> ${at(one.host, formatPorts(hostPorts(one)))}\n`)
    .join('');
}

/** `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`, as `docker ps` has it in its column. */
export function portsCell(published: readonly PublishedPort[]): string {
  return published
    .map((one) => `${at(one.host, formatPorts(hostPorts(one)))}->${endpointPorts(one)}`)
    .join(', ');
}

function endpointPorts({ port, portEnd, protocol }: PublishedPort): string {
  return `${formatPorts({ first: port, last: portEnd })}/${protocol}`;
}

function hostPorts({ hostPort, hostPortEnd }: PublishedPort) {
  return { first: hostPort, last: hostPortEnd };
}

function at(host: string, port: string): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
