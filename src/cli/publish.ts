import type { DaemonClient } from '../control/client.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { invalid, notFound } from '../control/error.ts';
import { quote } from '../control/name.ts';
import { formatPorts, parsePublishSpec, parseUnpublishSpec, size } from '../control/publish-spec.ts';
import type { PublishedPort } from '../control/published.ts';
import { EXIT_DONE, type Format, print, say } from './output.ts';

export async function publish(
  client: DaemonClient,
  format: Format,
  name: string,
  specs: readonly string[],
): Promise<number> {
  for (const spec of specs) parsePublishSpec(spec);
  const published = await client.post<PublishedPort[]>(portsPath(name), { publish: specs });
  print(format, published, () => portLines(published));
  if (published.some(({ gateway }) => gateway !== undefined)) {
    const { network } = await client.get<Endpoint>(`/v1/endpoints/${encodeURIComponent(name)}`);
    noteGateways(network, published);
  }
  return EXIT_DONE;
}

/** Says what nobody outside will reach, though it is published. */
function noteGateways(network: string, published: readonly PublishedPort[]): void {
  const inside = published.filter(({ gateway }) => gateway !== undefined);
  if (inside.length === 0) return;
  const ports = unique(inside.map((one) => `${formatPorts(hostPorts(one))}/${one.protocol}`));
  const gateways = unique(inside.map(({ gateway }) => gateway!));
  say(
    `note: network ${network} has no uplink; ${ports.join(', ')} ${ports.length > 1 ? 'are' : 'is'} reachable only at its gateways (${gateways.join(', ')})`,
  );
}

/** What whoever made an endpoint with `-p` cannot know: the ports that were chosen, and that some lead nowhere. */
export function notePorts({ network, ports }: Endpoint, specs: readonly string[] = []): void {
  const open = specs
    .map(parsePublishSpec)
    .filter((spec) => spec.hostPorts === null || size(spec.hostPorts) !== size(spec.ports));
  const chosen = ports.filter((one) =>
    open.some((spec) => spec.protocol === one.protocol && spec.ports.first === one.port),
  );
  for (const line of portLines(chosen).split('\n')) if (line !== '') say(line);
  noteGateways(network, ports);
}

function unique(texts: readonly string[]): string[] {
  return Array.from(new Set(texts));
}

export async function unpublish(
  client: DaemonClient,
  format: Format,
  name: string,
  specs: readonly string[],
): Promise<number> {
  for (const spec of specs) parseUnpublishSpec(spec);
  const search = new URLSearchParams(specs.map((spec): [string, string] => ['spec', spec]));
  const path = `${portsPath(name)}?${search}`;
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
    throw notFound(`container ${name} publishes no port ${number}/${protocol}; see "tapdeck port ${name}"`);
  }
  print(format, found, () =>
    found.map((one) => `${at(shownHost(one), String(one.hostPort + number - one.port))}\n`).join(''),
  );
  return EXIT_DONE;
}

function parsePort(text: string): { number: number; protocol: string } {
  const [, digits = '', protocol = 'tcp'] = /^(\d+)(?:\/(tcp|udp))?$/i.exec(text) ?? [];
  const number = Number(digits);
  if (digits === '' || number < 1 || number > 65535) {
    throw invalid(`${quote(text)} is not a port of an endpoint; write it as in 80 or 53/udp`);
  }
  return { number, protocol: protocol.toLowerCase() };
}

function portsPath(name: string): string {
  return `/v1/endpoints/${encodeURIComponent(name)}/ports`;
}

/** `80/tcp -> 0.0.0.0:8080`, as `docker port` prints them; a range is one line. */
export function portLines(published: readonly PublishedPort[]): string {
  return published
    .map((one) => `${endpointPorts(one)} -> ${at(shownHost(one), formatPorts(hostPorts(one)))}\n`)
    .join('');
}

/** `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`, as `docker ps` has it in its column. */
export function portsCell(published: readonly PublishedPort[]): string {
  return published
    .map((one) => `${at(shownHost(one), formatPorts(hostPorts(one)))}->${endpointPorts(one)}`)
    .join(', ');
}

/** All addresses are only one where no uplink is. */
function shownHost({ host, gateway }: PublishedPort): string {
  return gateway ?? host;
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
