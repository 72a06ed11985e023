import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { inspection, networkOptions } from '../../src/cli/network.ts';
import { main } from '../../src/cli/program.ts';
import { type UplinkFlags, uplinkOptions } from '../../src/cli/uplink-options.ts';
import { uplinkTable } from '../../src/cli/uplinks.ts';
import { Daemon } from '../../src/control/daemon.ts';
import { DeckError } from '../../src/control/error.ts';
import type { NetworkInfo } from '../../src/control/network.ts';
import { runtimePaths } from '../../src/control/paths.ts';
import type { UplinkInfo } from '../../src/control/uplink.ts';
import { formatUplinkSpec, parseUplinkSpec } from '../../src/control/uplink-spec.ts';
import { fakeDeck } from '../control/fake-deck.ts';

let folder: string;
let out: string;
let err: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  vi.stubEnv('TAPDECK_HOST', `unix://${folder}/tapdeck.sock`);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
});

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

async function tapdeck(...argv: string[]) {
  out = '';
  err = '';
  const code = await main(argv);
  return { code, out, err };
}

describe('usage of uplinks', () => {
  it.each([
    [['daemon', '--uplink', 'td0'], /uplink "td0": it does not say of what kind it is/],
    [
      ['daemon', '--uplink', 'tap:a,addr=192.0.2.2/24', '--uplink', 'tap:b'],
      /uplink "tap:b": it has no address/,
    ],
    [['daemon', '--uplink', 'tap:td0,mtu=x'], /uplink "tap:td0,mtu=x": it has no address/],
    [
      ['network', 'create', '-o', 'tapdeck.uplnk=a', 'lab'],
      /option "tapdeck\.uplnk": there is no such option of a network/,
    ],
    [
      ['network', 'create', '-o', 'tapdeck.uplink', 'lab'],
      /-o "tapdeck\.uplink" makes no sense; write it as KEY=VALUE/,
    ],
    [
      ['network', 'create', '-o', 'tapdeck.npt=', 'lab'],
      /option tapdeck\.npt has no value; write it as tapdeck\.npt=VALUE/,
    ],
    [['daemon', '--uplink', 'none', '--uplink', 'socket'], /--uplink none is no uplink at all/],
    [['daemon', '--uplink', 'none', '--no-host-access'], /--no-host-access is about uplink socket/],
    [
      ['daemon', '--uplink', 'tap:a,addr=192.0.2.2/24', '--deny', 'metadata'],
      /--deny is about uplink socket/,
    ],
    [['daemon', '--deny', 'clouds'], /deny="clouds": /],
    [
      ['network', 'create', '-o', 'tapdeck.host_loopback=perhaps', 'lab'],
      /"perhaps" is neither true nor false/,
    ],
    [['uplinks', 'surplus'], /too many arguments/],
  ])('%j is refused in one line, with exit code 2', async (argv, message) => {
    const { code, out, err } = await tapdeck(...argv);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    expect(err).toMatch(message);
  });

  it('without a daemon says how to start one', async () => {
    const { code, err } = await tapdeck('uplinks');
    expect(code).toBe(1);
    expect(err).toMatch(/^tapdeck: error: no daemon is running at [^\n]+\n$/);
  });
});

describe('the ways out that options ask for', () => {
  const asked = (flags: UplinkFlags) => uplinkOptions(flags)?.map(formatUplinkSpec);

  it('are nothing special when nothing is said', () => {
    expect(asked({})).toBeUndefined();
    expect(asked({ hostAccess: true, hostLoopback: true })).toBeUndefined();
    expect(asked({ uplink: ['none'] })).toEqual([]);
    expect(asked({ uplink: ['socket'] })).toEqual(['socket,filtering=address-dependent']);
  });

  it('are narrowed, whether uplink socket is named or not', () => {
    expect(asked({ hostAccess: false })).toEqual(['socket,filtering=address-dependent,host-access=no']);
    expect(asked({ deny: ['metadata', '10.0.0.0/8'], uplink: ['socket,deny=metadata'] })).toEqual([
      'socket,filtering=address-dependent,deny=metadata,deny=10.0.0.0/8',
    ]);
  });
});

describe('a daemon with uplinks', () => {
  let daemon: Daemon;

  beforeEach(async () => {
    daemon = await Daemon.start({
      paths: runtimePaths(undefined),
      log: pino({ enabled: false }),
      uplinks: [
        parseUplinkSpec('tap:td0,addr=192.0.2.2/24,addr=2001:db8::2/64'),
        parseUplinkSpec('packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1'),
      ],
      openDeck: (options) => fakeDeck(undefined, undefined, options),
    });
  });

  afterEach(() => daemon.stop('the test is over'));

  it('lists them for people and for programs', async () => {
    expect(await tapdeck('uplinks')).toEqual({
      code: 0,
      out:
        'NAME   KIND     ADDRESSES                GATEWAYS                  MTU   FILTERING           STATE\n' +
        'td0    tap      192.0.2.2, 2001:db8::2   192.0.2.1, 2001:db8::1   1500   address-dependent   up, default\n' +
        'eth1   packet   198.51.100.7             198.51.100.1             1500   address-dependent   up\n',
      err: '',
    });
    expect(JSON.parse((await tapdeck('uplinks', '--format', 'json')).out)).toMatchObject([
      { name: 'td0', kind: 'tap', default: true },
      { name: 'eth1', kind: 'packet', default: false },
    ]);
  });

  it('makes networks that leave by the first, by another, or by none', async () => {
    const npt = ['--ipv6', '-o', 'tapdeck.npt=2001:db8:1::/64'];
    expect((await tapdeck('network', 'create', ...npt, 'first')).code).toBe(0);
    expect((await tapdeck('network', 'create', '--opt', 'tapdeck.uplink=eth1', 'second')).code).toBe(0);
    expect((await tapdeck('network', 'create', '--internal', 'inner')).code).toBe(0);
    const networks = JSON.parse(
      (await tapdeck('network', 'ls', '-f', 'driver=bridge', '--format', 'json')).out,
    );
    expect(networks.map(({ name, uplink, internal }: NetworkInfo) => [name, uplink, internal])).toEqual([
      ['bridge', 'td0', false],
      ['first', 'td0', false],
      ['second', 'eth1', false],
      ['inner', null, true],
    ]);
    const inspected = JSON.parse((await tapdeck('network', 'inspect', 'first', 'inner')).out);
    expect(inspected).toMatchObject([
      {
        Internal: false,
        Options: { 'tapdeck.uplink': 'td0', 'tapdeck.npt': expect.stringMatching(/^2001:db8:1::\/64$/) },
      },
      { Internal: true, Options: { 'com.docker.network.driver.mtu': '65520' } },
    ]);
    expect(Object.keys(inspected[1].Options)).toEqual(['com.docker.network.driver.mtu']);
    expect(await tapdeck('network', 'create', '-o', 'tapdeck.uplink=td9', 'other')).toEqual({
      code: 1,
      out: '',
      err: 'tapdeck: error: there is no uplink "td9"; there are td0, eth1\n',
    });
  });

  it('says which it has to whoever wants to run something by one', () => {
    expect(daemon.version().uplinks).toEqual([
      'tap:td0,addr=192.0.2.2/24,gw=192.0.2.1,addr=2001:db8::2/64,gw=2001:db8::1,mtu=1500,filtering=address-dependent',
      'packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1,filtering=address-dependent',
    ]);
  });
});

describe('text', () => {
  it('of an uplink that is gone says so', () => {
    const info: UplinkInfo = {
      name: 'td0',
      kind: 'tap',
      ifname: 'td0',
      netns: null,
      mac: '02:42:c0:00:02:02',
      mtu: 1500,
      ipv4: null,
      ipv6: { subnet: 'fd00::/64', addresses: ['fd00::2', 'fd00::3'], gateway: 'fd00::1' },
      filtering: 'endpoint-independent',
      state: 'gone',
      default: true,
      spec: '',
    };
    expect(uplinkTable([info]).split('\n')[1]).toBe(
      'td0    tap    fd00::2, fd00::3   fd00::1    1500   endpoint-independent   gone, default',
    );
    expect(uplinkTable([])).toBe('NAME   KIND   ADDRESSES   GATEWAYS   MTU   FILTERING   STATE\n');
  });

  it("of a driver's options is Docker's", () => {
    const mtu = 'com.docker.network.driver.mtu';
    expect(networkOptions('lab', { opt: [`${mtu}=1400`, 'tapdeck.uplink=a=b'], internal: true })).toEqual({
      name: 'lab',
      options: { [mtu]: '1400', 'tapdeck.uplink': 'a=b' },
      internal: true,
    });
    for (const [flags, message] of [
      [{ opt: [`${mtu}=1400`], mtu: '1400' }, /say the same; leave one of both out/],
      [
        { opt: [`${mtu}=14OO`] },
        /option com\.docker\.network\.driver\.mtu=14OO: "14OO" is not a whole number/,
      ],
      [{ opt: ['tapdeck.npt=a', 'tapdeck.npt=b'] }, /-o "tapdeck\.npt" is given twice/],
      [{ opt: [''] }, /-o "" makes no sense; write it as KEY=VALUE/],
      [{ opt: ['tapdeck.npt='] }, /option tapdeck.npt has no value/],
      [{ opt: ['__proto__=1'] }, /option "__proto__": there is no such option/],
      [{ opt: ['constructor=1'] }, /option "constructor": there is no such option/],
      [{ opt: ['com.docker.network.bridge.enable_icc=maybe'] }, /"maybe" is neither true nor false/],
      [{ opt: ['com.docker.network.bridge.host_binding_ipv4=::1'] }, /"::1" is not an IPv4 address/],
    ] as const) {
      expect(() => networkOptions('lab', { ...flags, opt: [...flags.opt] })).toThrow(DeckError);
      expect(() => networkOptions('lab', { ...flags, opt: [...flags.opt] })).toThrow(message);
    }
  });

  it('of a network without a way out has no word of one', () => {
    const network: NetworkInfo = {
      id: 'a'.repeat(64),
      name: 'lab',
      driver: 'bridge',
      icc: true,
      masquerade: true,
      hostBinding: null,
      labels: {},
      options: {},
      mtu: 1500,
      mac: '02:42:0a:01:00:01',
      ipv4: null,
      ipv6: null,
      internal: false,
      uplink: null,
      npt: null,
      hostLoopback: false,
      endpoints: [],
      createdAt: '2026-01-01T00:00:00.000Z',
    };
    expect(inspection(network, [])).toMatchObject({ Internal: false });
    expect(JSON.stringify(inspection(network, []))).not.toContain('tapdeck.');
  });
});
