import { describe, expect, it } from 'vitest';
import { endpointOptions, wholeNumber } from '../../src/cli/endpoint-options.ts';
import { containerInspection } from '../../src/cli/inspect.ts';
import { containerTable, countersText, dropTable, fdbLines, neighborLines } from '../../src/cli/lists.ts';
import { inspection, networkOptions, networkTable } from '../../src/cli/network.ts';
import { formatDuration, formatTable } from '../../src/cli/table.ts';
import type { Container } from '../../src/control/container.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import { DeckError } from '../../src/control/error.ts';
import { namespacePath } from '../../src/control/namespace.ts';
import type { NetworkInfo } from '../../src/control/network.ts';

const web: Endpoint = {
  id: 'e'.repeat(64),
  name: 'web',
  container: 'web',
  containerId: 'c'.repeat(64),
  network: 'lab',
  ifname: 'eth0',
  mac: '02:42:0a:01:00:02',
  mtu: 1500,
  ipv4: '10.1.0.2',
  ipv6: null,
  ipv6Outside: null,
  port: 3,
  netns: null,
  pid: 42,
  aliases: [],
  links: [],
  gatewayPriority: 0,
  allowSpoof: false,
  ports: [],
  createdAt: '2026-01-01T00:00:00.000Z',
};
const container: Container = {
  id: web.containerId,
  name: 'web',
  netns: null,
  pid: 42,
  endpoints: [web],
  labels: { tier: 'front' },
  hostname: null,
  ports: [],
  createdAt: web.createdAt,
};
const lab: NetworkInfo = {
  internal: false,
  uplink: null,
  npt: null,
  hostLoopback: false,
  id: 'a'.repeat(64),
  name: 'lab',
  driver: 'bridge',
  icc: true,
  masquerade: true,
  hostBinding: null,
  labels: {},
  options: { 'com.docker.network.driver.mtu': '1500' },
  mtu: 1500,
  mac: '02:42:0a:01:00:01',
  ipv4: { subnet: '10.1.0.0/24', gateway: '10.1.0.1', ipRange: null, auxAddresses: {} },
  ipv6: null,
  endpoints: ['web'],
  createdAt: '2026-01-01T00:00:00.000Z',
};

describe('tables', () => {
  it('have headings, three spaces between columns, numbers to the right and nothing behind', () => {
    expect(
      formatTable(
        ['NAME', 'COUNT', 'X'],
        [
          ['a', 5, ''],
          ['longer', 12345, ''],
        ],
      ),
    ).toBe('NAME     COUNT   X\na            5\nlonger   12345\n');
    expect(formatTable(['NAME', 'COUNT'], [])).toBe('NAME   COUNT\n');
  });

  it.each([
    [0, 'Less than a second'],
    [1000, '1 second'],
    [59_000, '59 seconds'],
    [60_000, 'About a minute'],
    [3_000_000, '50 minutes'],
    [3_600_000, 'About an hour'],
    [7_200_000, '2 hours'],
    [200_000_000, '2 days'],
  ])('say how long %d ms are', (milliseconds, words) => {
    expect(formatDuration(milliseconds)).toBe(words);
  });

  it('list containers', () => {
    const port = {
      endpoint: 'web',
      protocol: 'tcp',
      hostPort: 8080,
      hostPortEnd: 8080,
      port: 80,
      portEnd: 80,
    } as const;
    const ports = [
      { ...port, host: '0.0.0.0' },
      { ...port, host: '::' },
    ];
    const two = [web, { ...web, network: 'back', ipv4: null, ipv6: 'fd00::2', ipv6Outside: '2001:db8::2' }];
    const containers = [
      { ...container, ports, endpoints: two },
      { ...container, pid: null, endpoints: [] },
    ];
    expect(containerTable(containers, Date.parse('2026-01-01T00:05:00Z')).replaceAll(/ {3,}/g, '  ')).toBe(
      'CONTAINER ID  NAME  NETWORKS  ADDRESSES  PID  STATUS  PORTS\n' +
        'cccccccccccc  web  lab, back  10.1.0.2, fd00::2 (outside 2001:db8::2)  42  Up 5 minutes  0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n' +
        'cccccccccccc  web  -  -  -  Up 5 minutes\n',
    );
  });

  it('list networks', () => {
    expect(networkTable([lab])).toBe(
      'NETWORK ID     NAME   DRIVER   SCOPE\n' + 'aaaaaaaaaaaa   lab    bridge   local\n',
    );
    expect(networkTable([lab], false)).toContain(`\n${lab.id}   lab `);
  });

  it('list the fdb as `bridge fdb show` does', () => {
    const entry = { mac: '02:42:0a:01:00:02', network: 'lab', port: 3 };
    expect(
      fdbLines([
        { ...entry, endpoint: 'web', ifname: 'eth0', state: 'static', age: null },
        { ...entry, endpoint: 'web', ifname: 'eth0', state: 'learned', age: 12.4 },
        { ...entry, endpoint: 'gateway', ifname: null, state: 'static', age: null },
      ]),
    ).toBe(
      '02:42:0a:01:00:02 dev web.eth0 master lab static\n' +
        '02:42:0a:01:00:02 dev web.eth0 master lab used 12\n' +
        '02:42:0a:01:00:02 dev gateway master lab permanent\n',
    );
  });

  it('list neighbors as `ip neigh` does', () => {
    expect(
      neighborLines([
        { address: '10.1.0.2', network: 'lab', mac: '02:42:0a:01:00:02', state: 'REACHABLE', age: 1 },
        { address: 'fd00::2', network: 'lab', mac: null, state: 'INCOMPLETE', age: 0 },
      ]),
    ).toBe('10.1.0.2 dev lab lladdr 02:42:0a:01:00:02 REACHABLE\nfd00::2 dev lab INCOMPLETE\n');
  });

  it('list drops in plain words', () => {
    expect(dropTable([{ reason: 'IP_CSUM', count: 7, text: 'Wrong.' }])).toBe(
      'REASON    COUNT   MEANING\nIP_CSUM       7   Wrong.\n',
    );
  });

  it('show the account, and say when it does not balance', () => {
    const ledger = {
      received: 5,
      originated: 2,
      copies: 1,
      sent: 4,
      consumed: 2,
      held: 1,
      dropped: 1,
      balanced: true,
    };
    expect(countersText({ ledger, ports: [] })).toMatch(
      /^received 5 \+ originated 2 \+ copies 1 = sent 4 \+ consumed 2 \+ held 1 \+ dropped 1\n\nENDPOINT/,
    );
    expect(countersText({ ledger: { ...ledger, balanced: false }, ports: [] })).toContain('≠ (a defect');
  });

  it("show a network in the shape of Docker's", () => {
    expect(inspection(lab, [web, { ...web, network: 'other' }])).toEqual({
      Name: 'lab',
      Id: lab.id,
      Created: lab.createdAt,
      Scope: 'local',
      Driver: 'bridge',
      EnableIPv4: true,
      EnableIPv6: false,
      IPAM: { Driver: 'default', Options: {}, Config: [{ Subnet: '10.1.0.0/24', Gateway: '10.1.0.1' }] },
      Internal: false,
      Attachable: false,
      Ingress: false,
      ConfigFrom: { Network: '' },
      ConfigOnly: false,
      Containers: {
        [web.containerId]: {
          Name: 'web',
          EndpointID: web.id,
          MacAddress: web.mac,
          IPv4Address: '10.1.0.2/24',
          IPv6Address: '',
        },
      },
      Options: { 'com.docker.network.driver.mtu': '1500' },
      Labels: {},
    });
    const ranged = {
      ...lab,
      ipv4: { ...lab.ipv4!, ipRange: '10.1.0.128/25', auxAddresses: { nas: '10.1.0.9' } },
    };
    expect(inspection(ranged, [])).toMatchObject({
      IPAM: { Config: [{ IPRange: '10.1.0.128/25', AuxiliaryAddresses: { nas: '10.1.0.9' } }] },
      Containers: {},
    });
  });

  it("show a container in the shape of Docker's", () => {
    const port = { endpoint: 'web', protocol: 'tcp', host: '0.0.0.0', port: 80, portEnd: 81 } as const;
    const ports = [
      { ...port, hostPort: 8080, hostPortEnd: 8081 },
      { ...port, host: '::', hostPort: 8080, hostPortEnd: 8081 },
    ];
    expect(containerInspection({ ...container, ports }, [lab])).toMatchObject({
      Id: container.id,
      Name: '/web',
      State: { Running: true, Pid: 42 },
      Config: { Hostname: 'web', Labels: { tier: 'front' } },
      NetworkSettings: {
        SandboxKey: '/proc/42/ns/net',
        Ports: {
          '80/tcp': [
            { HostIp: '0.0.0.0', HostPort: '8080' },
            { HostIp: '::', HostPort: '8080' },
          ],
          '81/tcp': [
            { HostIp: '0.0.0.0', HostPort: '8081' },
            { HostIp: '::', HostPort: '8081' },
          ],
        },
        Networks: {
          lab: {
            Aliases: null,
            NetworkID: lab.id,
            EndpointID: web.id,
            Gateway: '10.1.0.1',
            IPAddress: '10.1.0.2',
            IPPrefixLen: 24,
            IPv6Gateway: '',
            GlobalIPv6PrefixLen: 0,
            MacAddress: web.mac,
            GwPriority: 0,
          },
        },
      },
    });
  });
});

describe('options', () => {
  it('of networks are sorted by family', () => {
    expect(
      networkOptions('lab', {
        subnet: ['fd00::/64', '10.1.0.0/24'],
        gateway: ['10.1.0.9', 'fd00::9'],
        mtu: '1500',
      }),
    ).toEqual({
      name: 'lab',
      subnet: '10.1.0.0/24',
      gateway: '10.1.0.9',
      ipv6Subnet: 'fd00::/64',
      ipv6Gateway: 'fd00::9',
      mtu: 1500,
    });
    expect(() => networkOptions('lab', { subnet: ['10.1.0.0/24', '10.2.0.0/24'] })).toThrow(
      'one IPv4 subnet',
    );
    expect(() => networkOptions('-', {})).toThrow(DeckError);
  });

  it('of endpoints are checked before anything is made', () => {
    expect(endpointOptions({ name: 'a', ip: '10.0.0.1', mtu: '1400' })).toEqual({
      name: 'a',
      ip: '10.0.0.1',
      mtu: 1400,
    });
    expect(
      endpointOptions({
        network: [
          'front',
          'name=back,ip=10.0.0.9,mac-address=06:00:00:00:00:01,alias=db,alias=sql,gw-priority=-1',
        ],
        networkAlias: ['www'],
        link: ['cache:redis'],
        label: ['tier=front', 'bare'],
        allowSpoof: true,
      }),
    ).toEqual({
      network: 'front',
      aliases: ['www'],
      links: ['cache:redis'],
      allowSpoof: true,
      labels: { tier: 'front', bare: '' },
      networks: [
        {
          network: 'back',
          ip: '10.0.0.9',
          mac: '06:00:00:00:00:01',
          aliases: ['db', 'sql'],
          gatewayPriority: -1,
        },
      ],
    });
    for (const flags of [
      { name: '/' },
      { network: [''] },
      { network: ['name=a,name=b'] },
      { network: ['ip=10.0.0.1'] },
      { network: ['name=a,ip=10.0.0.1'], ip: '10.0.0.2' },
      { network: ['name=a,ip=x'] },
      { network: ['name=a,gw-priority=high'] },
      { network: ['name=a,__proto__=1'] },
      { networkAlias: ['a b'] },
      { link: ['a:b:c'] },
      { gwPriority: '1.5' },
      { gwPriority: '9999999999' },
      { label: ['=x'] },
      { label: ['__proto__=x'] },
      { hostname: 'a b' },
      { ip: 'fd00::1' },
      { ip6: '10.0.0.1' },
      { mac: 'x' },
      { ifname: 'a b' },
      { mtu: '1e3' },
    ]) {
      expect(() => endpointOptions(flags), JSON.stringify(flags)).toThrow(DeckError);
    }
  });

  it.each(['0', '-1', '1.5', '', ' 1', '0x10', '9999999999', 'NaN'])(
    'do not take %j for a whole number',
    (text) => {
      expect(() => wholeNumber('--mtu', text)).toThrow(DeckError);
    },
  );

  it('give a namespace by path, relative to here, or by the name that ip has for it', () => {
    expect(namespacePath('blue')).toBe('/run/netns/blue');
    expect(namespacePath('/proc/1/ns/net')).toBe('/proc/1/ns/net');
    expect(namespacePath('./blue')).toBe(`${process.cwd()}/blue`);
  });
});
