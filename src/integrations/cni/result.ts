import type { Attachment } from '../../control/attachments.ts';
import { type Fields, object, objects, text, texts } from '../fields.ts';
import { type CniRequest, isAtLeast } from './request.ts';

/** The addresses of an attachment with the prefix lengths of their subnets, and the gateways that lead out. */
export function addressesOf({ endpoint, network }: Attachment) {
  const { ipv4, ipv6 } = endpoint;
  return (
    [
      [4, ipv4, network.ipv4],
      [6, ipv6, network.ipv6],
    ] as const
  ).flatMap(([family, address, pool]) =>
    address === null || !pool
      ? []
      : {
          family,
          address: `${address}${pool.subnet.slice(pool.subnet.indexOf('/'))}`,
          gateway: pool.gateway,
        },
  );
}

/** What ADD answers, in the version of the network configuration; what plugins before us have made comes first. */
export function resultOf(attachment: Attachment, { version, netns, configuration }: CniRequest): object {
  const { endpoint, network, leadsOut } = attachment;
  const before = object(configuration, 'prevResult');
  const interfaces = objects(before, 'interfaces');
  const addresses = addressesOf(attachment);
  const made = {
    name: endpoint.ifname,
    mac: endpoint.mac,
    ...(isAtLeast(version, '1.1.0') && { mtu: endpoint.mtu }),
    sandbox: netns,
  };
  return {
    ...before,
    cniVersion: version,
    interfaces: [...interfaces, made],
    ips: [
      ...objects(before, 'ips'),
      ...addresses.map(({ family, address, gateway }) => ({
        ...(!isAtLeast(version, '1.0.0') && { version: String(family) }),
        interface: interfaces.length,
        address,
        // "Default gateway for this subnet, if one exists": that of an internal network leads nowhere.
        ...(!network.internal && { gateway }),
      })),
    ],
    routes: [
      ...objects(before, 'routes'),
      ...(leadsOut
        ? addresses.map(({ family, gateway }) => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0', gw: gateway }))
        : []),
    ],
    dns: dnsOf(configuration, attachment),
  };
}

/** As the runtime wishes, else as the network configuration says, else the gateways, which know the names of the network. */
function dnsOf(configuration: Fields, { network }: Attachment): object {
  const wished = object(object(configuration, 'runtimeConfig'), 'dns');
  const servers = texts(wished, 'servers');
  const searches = texts(wished, 'searches');
  const options = texts(wished, 'options');
  if (servers.length + searches.length + options.length > 0) {
    return { nameservers: servers, search: searches, options };
  }
  const said = object(configuration, 'dns');
  const domain = text(said, 'domain');
  const nameservers = texts(said, 'nameservers');
  const gateways = [network.ipv4, network.ipv6].flatMap((pool) => pool?.gateway ?? []);
  return {
    nameservers: nameservers.length > 0 ? nameservers : gateways,
    ...(domain !== undefined && { domain }),
    search: texts(said, 'search'),
    options: texts(said, 'options'),
  };
}

/** What CHECK finds to be otherwise than the result of ADD had it, a sentence for each. */
export function differences(attachment: Attachment, { ifname, netns, configuration }: CniRequest): string[] {
  const found = [...attachment.faults];
  const { netns: place } = attachment.endpoint;
  if (place !== netns) found.push(`interface ${ifname} is in ${place}`);
  const result = object(configuration, 'prevResult');
  const interfaces = objects(result, 'interfaces');
  const index = interfaces.findIndex((one) => text(one, 'name') === ifname && text(one, 'sandbox') === netns);
  if (index < 0) return [...found, `prevResult has no interface ${ifname} in ${netns}`];
  const mac = text(interfaces[index]!, 'mac')?.toLowerCase();
  if (mac !== attachment.endpoint.mac) {
    found.push(`interface ${ifname} has MAC ${attachment.endpoint.mac}, and ${mac} in prevResult`);
  }
  const addresses = addressesOf(attachment).map(({ address }) => address);
  for (const one of objects(result, 'ips')) {
    const address = text(one, 'address');
    if (one['interface'] === index && !addresses.includes(address ?? '')) {
      found.push(`interface ${ifname} has not address ${address} of prevResult`);
    }
  }
  return found;
}
