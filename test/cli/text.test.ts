import { describe, expect, it } from 'vitest';
import { endpointOptions, wholeNumber } from '../../src/cli/endpoint-options.ts';
import { countersText, dropTable, endpointTable, fdbLines, neighborLines } from '../../src/cli/lists.ts';
import { inspection, networkOptions, networkTable } from '../../src/cli/network.ts';
import { formatDuration, formatTable } from '../../src/cli/table.ts';
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
const lab: NetworkInfo = {
  internal: false,
  uplink: null,
  npt: null,
  hostLoopback: false,
  id: 'a'.repeat(64),
  name: 'lab',
  driver: 'tapdeck',
  mtu: 1500,
  mac: '02:42:0a:01:00:01',
  ipv4: { subnet: '10.1.0.0/24', gateway: '10.1.0.1' },
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

  it('list endpoints', () => {
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
    expect(
      endpointTable([{ ...web, ports }, web], Date.parse('2026-01-01T00:05:00Z')).replaceAll(/ {3,}/g, '  '),
    ).toBe(
      'NAME  NETWORK  IPV4  IPV6  MAC  IFNAME  PID  STATUS  PORTS\n' +
        'web  lab  10.1.0.2  -  02:42:0a:01:00:02  eth0  42  Up 5 minutes  0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n' +
        'web  lab  10.1.0.2  -  02:42:0a:01:00:02  eth0  42  Up 5 minutes\n',
    );
  });

  it('list networks', () => {
    expect(networkTable([lab])).toBe(
      'NETWORK ID     NAME   DRIVER    SCOPE   SUBNETS        MTU   UPLINK\n' +
        'aaaaaaaaaaaa   lab    tapdeck   local   10.1.0.0/24   1500   -\n',
    );
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
    expect(inspection(lab, [web, { ...web, network: 'other' }])).toMatchObject({
      Name: 'lab',
      Driver: 'tapdeck',
      EnableIPv6: false,
      IPAM: { Config: [{ Subnet: '10.1.0.0/24', Gateway: '10.1.0.1' }] },
      Containers: { [web.id]: { Name: 'web', IPv4Address: '10.1.0.2/24', IPv6Address: '' } },
      Options: { 'com.docker.network.driver.mtu': '1500' },
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
    for (const flags of [
      { name: '/' },
      { network: '' },
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
