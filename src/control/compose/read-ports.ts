import type { YamlValue } from '../../replay/yaml-value.ts';
import { formatPorts, overlapping, type PublishSpec, parsePublishSpec, size } from '../publish-spec.ts';
import { checked } from './fields.ts';

const KEYS = ['name', 'target', 'published', 'host_ip', 'protocol', 'app_protocol', 'mode'] as const;

/** Reads `ports`, in the short form or the long one, as Docker writes them. */
export function readPorts(value: YamlValue | undefined): string[] {
  return (value?.list() ?? []).map((entry) => {
    const text = entry.isMap ? longForm(entry) : entry.text();
    checked(entry, () => parsePublishSpec(text));
    return text;
  });
}

function longForm(entry: YamlValue): string {
  const { target, published, host_ip, protocol, mode } = entry.fields(KEYS);
  if (!target) return entry.fail('needs a target, the port of the service');
  mode?.word(['host', 'ingress']);
  const host = host_ip?.text() ?? '';
  const address = host.includes(':') ? `[${host}]` : host;
  const hostPort = published?.text() ?? '';
  const place = address === '' ? hostPort : `${address}:${hostPort}`;
  return `${place === '' ? '' : `${place}:`}${target.text()}/${protocol?.text() ?? 'tcp'}`;
}

/** Refuses what asks for a port of the host that something before it in the file has. */
export function checkHostPorts(
  ports: Iterable<readonly [value: YamlValue | undefined, publish: readonly string[]]>,
): void {
  const taken: { spec: PublishSpec; value: YamlValue }[] = [];
  for (const [value, publish] of ports) {
    for (const [i, entry] of (value?.list() ?? []).entries()) {
      const spec = parsePublishSpec(publish[i]!);
      const other = taken.find((one) => isSamePlace(one.spec, spec));
      if (other) {
        const port = `host port ${formatPorts(spec.hostPorts!)}/${spec.protocol}`;
        entry.fail(
          `asks for ${port}, which ${other.value.path} has (${other.value.place}); give one of them another`,
        );
      }
      taken.push({ spec, value: entry });
    }
  }
}

/** Whether two of them cannot be published together. */
function isSamePlace(one: PublishSpec, other: PublishSpec): boolean {
  if (one.protocol !== other.protocol || !isCertain(one) || !isCertain(other)) return false;
  if (!overlapping(one.hostPorts, other.hostPorts)) return false;
  const areApart = <T>(a: T | null, b: T | null) => a !== null && b !== null && a !== b;
  return !(
    areApart(one.family, other.family) ||
    areApart(one.host, other.host) ||
    areApart(one.ifname, other.ifname)
  );
}

/** Several ports of the host for one of the service are a choice: whichever is free is taken. */
function isCertain(
  spec: PublishSpec,
): spec is PublishSpec & { hostPorts: NonNullable<PublishSpec['hostPorts']> } {
  const { hostPorts, ports } = spec;
  return hostPorts !== null && size(hostPorts) === size(ports);
}

/** Checks `expose`, which says what a service offers; nothing is closed here that it would open. */
export function checkExpose(value: YamlValue | undefined): void {
  for (const entry of value?.list() ?? []) {
    const text = entry.text();
    const [, first, last] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(?:tcp|udp))?$/.exec(text) ?? [];
    const isPort = (port: string) => Number(port) >= 1 && Number(port) <= 65535;
    if (first === undefined || !isPort(first) || (last !== undefined && !(isPort(last) && +last >= +first))) {
      entry.fail(`must be a port or a range of them, such as 8080, 8080-8085 or 53/udp, not '${text}'`);
    }
  }
}
