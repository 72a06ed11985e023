import type { DaemonClient } from '../control/client.ts';
import type { Container } from '../control/container.ts';
import type { Endpoint } from '../control/endpoint.ts';
import { invalid } from '../control/error.ts';
import { namespacePath } from '../control/namespace.ts';
import { type EndpointFlags, endpointOptions, wholeNumber } from './endpoint-options.ts';
import { eachOf } from './network.ts';
import { EXIT_DONE, type Format, print } from './output.ts';
import { notePorts } from './publish.ts';

export interface AttachFlags extends EndpointFlags {
  netns?: string;
  pid?: string;
}

export async function attach(client: DaemonClient, format: Format, flags: AttachFlags): Promise<number> {
  const { netns, pid } = flags;
  if ((netns === undefined) === (pid === undefined)) {
    throw invalid('give either --netns PATH or --pid PID: which network namespace is to be attached');
  }
  const target = netns === undefined ? { pid: wholeNumber('--pid', pid!) } : { netns: namespacePath(netns) };
  const endpoint = await client.post<Endpoint>('/v1/endpoints', { ...target, ...endpointOptions(flags) });
  const addresses = async () =>
    (await client.get<Container>(`/v1/containers/${endpoint.containerId}`)).endpoints.flatMap(
      ({ ipv4, ipv6 }) => [ipv4, ipv6].filter((address) => address !== null),
    );
  const line = format === 'json' ? [] : [endpoint.name, ...(await addresses())];
  print(format, endpoint, () => `${line.join(' ')}\n`);
  notePorts(endpoint, flags.publish);
  return EXIT_DONE;
}

export async function detach(client: DaemonClient, names: readonly string[]): Promise<number> {
  return eachOf(names, async (name) => {
    await client.delete(`/v1/endpoints/${encodeURIComponent(name)}`);
  });
}
