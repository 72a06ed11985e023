import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unavailable } from '../../src/control/error.ts';
import { cniConflist } from '../../src/integrations/cni/files.ts';
import { answerCni } from '../../src/integrations/cni/plugin.ts';
import { CNI_VERSIONS } from '../../src/integrations/cni/request.ts';
import { Bed, GONE } from './bed.ts';

// The CNI plugin, call by call, against the daemon's API on a deck without a kernel.

let bed: Bed;

beforeEach(async () => {
  bed = await Bed.make();
});
afterEach(async () => {
  GONE.clear();
  await bed.close();
});

const NETNS = '/run/netns/web';
const WEB = { CNI_CONTAINERID: 'web1', CNI_NETNS: NETNS, CNI_IFNAME: 'eth0' };
const CONF = { cniVersion: '1.0.0', name: 'front', type: 'tapdeck' };

interface Said {
  code: number;
  // biome-ignore lint/suspicious/noExplicitAny: JSON, read field by field
  out: any;
}

async function call(command: string, conf: object | string = CONF, env: object = WEB): Promise<Said> {
  const { code, out } = await answerCni({
    env: { ...(command !== '' && { CNI_COMMAND: command }), ...env },
    input: async () => (typeof conf === 'string' ? conf : JSON.stringify(conf)),
    reach: bed.reach,
    exists: (path) => !GONE.has(path),
  });
  return { code, out: out === undefined ? undefined : JSON.parse(out) };
}

/** ADD that must succeed. */
async function add(conf: object = CONF, env: object = WEB) {
  const { code, out } = await call('ADD', conf, env);
  expect(code, JSON.stringify(out)).toBe(0);
  return out;
}

describe('ADD', () => {
  it('answers what 1.0.0 says, and nothing else', async () => {
    expect(await add()).toEqual({
      cniVersion: '1.0.0',
      interfaces: [{ name: 'eth0', mac: '02:42:0a:01:00:02', sandbox: NETNS }],
      ips: [{ interface: 0, address: '10.1.0.2/24', gateway: '10.1.0.1' }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
      dns: { nameservers: ['10.1.0.1'], search: [], options: [] },
    });
    expect(bed.containers).toEqual(['web1 front/eth0=10.1.0.2']);
  });

  it.each(['0.3.0', '0.3.1', '0.4.0'])('of %s has the IP version with each address', async (cniVersion) => {
    const {
      ips,
      interfaces,
      cniVersion: said,
    } = await add({ ...CONF, cniVersion, network: 'both', name: 'n' });
    expect(said).toBe(cniVersion);
    expect(ips).toEqual([
      { version: '4', interface: 0, address: '10.3.0.2/24', gateway: '10.3.0.1' },
      { version: '6', interface: 0, address: 'fd03::2/64', gateway: 'fd03::1' },
    ]);
    expect(Object.keys(interfaces[0])).toEqual(['name', 'mac', 'sandbox']);
  });

  it('of 1.1.0 has the MTU', async () => {
    const { interfaces, routes } = await add({ ...CONF, cniVersion: '1.1.0', network: 'both', mtu: 1400 });
    expect(interfaces).toEqual([{ name: 'eth0', mac: '02:42:0a:03:00:02', mtu: 1400, sandbox: NETNS }]);
    expect(routes).toEqual([
      { dst: '0.0.0.0/0', gw: '10.3.0.1' },
      { dst: '::/0', gw: 'fd03::1' },
    ]);
  });

  it('behind other plugins puts its own behind theirs', async () => {
    const prevResult = {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'other', sandbox: NETNS }],
      ips: [{ interface: 0, address: '192.0.2.1/24' }],
      routes: [{ dst: '198.51.100.0/24' }],
      dns: { nameservers: ['192.0.2.53'] },
    };
    const result = await add({ ...CONF, prevResult });
    expect(result.interfaces.map(({ name }: { name: string }) => name)).toEqual(['other', 'eth0']);
    expect(result.ips).toEqual([
      { interface: 0, address: '192.0.2.1/24' },
      { interface: 1, address: '10.1.0.2/24', gateway: '10.1.0.1' },
    ]);
    expect(result.routes).toEqual([{ dst: '198.51.100.0/24' }, { dst: '0.0.0.0/0', gw: '10.1.0.1' }]);
  });

  it('gives the addresses, the MAC, the aliases and the ports that the capabilities ask for', async () => {
    const runtimeConfig = {
      ips: ['10.3.0.7/24', 'fd03::7'],
      mac: '02:00:00:00:00:07',
      aliases: { both: ['zwei', 'not a name'], other: ['drei'] },
      portMappings: [
        { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' },
        { hostPort: 5353, containerPort: 53, protocol: 'UDP', hostIP: '127.0.0.1' },
        { hostPort: 0, containerPort: 81 },
      ],
      bandwidth: { ingressRate: 0, egressRate: 0 },
    };
    const { ips, interfaces } = await add({ ...CONF, name: 'both', runtimeConfig });
    expect(ips.map(({ address }: { address: string }) => address)).toEqual(['10.3.0.7/24', 'fd03::7/64']);
    expect(interfaces[0].mac).toBe('02:00:00:00:00:07');
    const [container] = bed.deck.containers();
    expect(container!.endpoints[0]!.aliases).toEqual(['zwei']);
    expect(
      container!.ports.map(({ protocol, hostPort, port }) => `${hostPort}:${port}/${protocol}`).sort(),
    ).toEqual(['5353:53/udp', '8080:80/tcp', '8080:80/tcp']);
  });

  it('takes IP and MAC of CNI_ARGS, and the name of a pod', async () => {
    const env = {
      ...WEB,
      CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.1.0.9/24;MAC=02:00:00:00:00:09;X=Y',
    };
    expect((await add(CONF, env)).interfaces[0].mac).toBe('02:00:00:00:00:09');
    expect(bed.containers).toEqual(['web front/eth0=10.1.0.9']);
  });

  it('gives a name that somebody has a part of the id', async () => {
    await bed.deck.attach({ netns: '/run/netns/other', name: 'web1', network: 'front' });
    await add();
    expect(bed.containers[1]).toMatch(/^web1-[0-9a-f]{8} front\/eth0/);
  });

  it('says in dns what the network configuration or the runtime says', async () => {
    const dns = {
      nameservers: ['192.0.2.53'],
      domain: 'example.com',
      search: ['a.example'],
      options: ['ndots:2'],
    };
    expect((await add({ ...CONF, dns })).dns).toEqual(dns);
    const wished = { servers: ['192.0.2.54'], searches: ['b.example'], options: [] };
    const second = await add(
      { ...CONF, name: 'both', dns, runtimeConfig: { dns: wished } },
      { ...WEB, CNI_IFNAME: 'b' },
    );
    expect(second.dns).toEqual({ nameservers: ['192.0.2.54'], search: ['b.example'], options: [] });
  });

  it('to several networks makes one container; its ports are published once, where it leads out', async () => {
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80 }] };
    const back = await add({ ...CONF, name: 'back', runtimeConfig });
    expect(back.routes).toEqual([]);
    expect(back.ips).toEqual([{ interface: 0, address: '10.2.0.2/24' }]);
    await add({ ...CONF, runtimeConfig }, { ...WEB, CNI_IFNAME: 'eth1' });
    await add({ ...CONF, name: 'both', runtimeConfig }, { ...WEB, CNI_IFNAME: 'eth2' });
    expect(bed.containers).toEqual([
      'web1 back/eth0=10.2.0.2 front/eth1=10.1.0.2 both/eth2=10.3.0.2 8080:80',
    ]);
    for (const [name, ifname] of [
      ['front', 'eth1'],
      ['back', 'eth0'],
      ['both', 'eth2'],
    ] as const) {
      expect((await call('DEL', { ...CONF, name }, { ...WEB, CNI_IFNAME: ifname })).code).toBe(0);
    }
    expect(bed.containers).toEqual([]);
  });

  it('goes to the daemon that the network configuration names', async () => {
    await add({ ...CONF, host: 'unix:///run/other.sock' });
    expect(bed.asked).toEqual(['unix:///run/other.sock']);
  });
});

describe('DEL', () => {
  it('is done when it is done again, without a namespace, and after the namespace', async () => {
    await add();
    const { CNI_NETNS, ...env } = WEB;
    for (let again = 0; again < 3; again++) expect(await call('DEL', CONF, env)).toEqual({ code: 0 });
    expect(bed.containers).toEqual([]);
    GONE.add(CNI_NETNS);
    expect(await call('DEL')).toEqual({ code: 0 });
  });

  it('takes nothing away that another network, container or interface has', async () => {
    await add();
    for (const [conf, env] of [
      [{ ...CONF, name: 'back' }, WEB],
      [{ ...CONF, name: 'other', network: 'front' }, WEB],
      [CONF, { ...WEB, CNI_CONTAINERID: 'web2' }],
      [CONF, { ...WEB, CNI_IFNAME: 'eth1' }],
    ] as const) {
      expect((await call('DEL', conf, env)).code).toBe(0);
    }
    expect(bed.containers).toEqual(['web1 front/eth0=10.1.0.2']);
  });
});

describe('CHECK', () => {
  it('compares what is there with prevResult', async () => {
    const prevResult = await add();
    expect(await call('CHECK', { ...CONF, prevResult })).toEqual({ code: 0 });
    const moved = { ...prevResult, ips: [{ interface: 0, address: '10.1.0.99/24' }] };
    expect((await call('CHECK', { ...CONF, prevResult: moved })).out).toMatchObject({
      code: 102,
      msg: 'interface eth0 has not address 10.1.0.99/24 of prevResult',
    });
    const other = { ...prevResult, interfaces: [{ ...prevResult.interfaces[0], mac: '02:00:00:00:00:01' }] };
    expect((await call('CHECK', { ...CONF, prevResult: other })).out).toMatchObject({ code: 102 });
    expect((await call('CHECK', CONF)).out).toMatchObject({ code: 7 });
    const elsewhere = { ...WEB, CNI_NETNS: '/run/netns/other' };
    expect((await call('CHECK', { ...CONF, prevResult }, elsewhere)).out).toMatchObject({
      code: 102,
      msg: `interface eth0 is in ${NETNS}`,
    });
    GONE.add(NETNS);
    expect((await call('CHECK', { ...CONF, prevResult })).out).toMatchObject({ code: 3 });
    GONE.clear();
    await call('DEL');
    expect((await call('CHECK', { ...CONF, prevResult })).out).toMatchObject({ code: 3 });
  });

  it.each(['0.3.0', '0.3.1'])('is not in %s', async (cniVersion) => {
    expect((await call('CHECK', { ...CONF, cniVersion })).out).toMatchObject({ cniVersion, code: 1 });
  });
});

describe('GC', () => {
  const conf = { ...CONF, cniVersion: '1.1.0' };

  it('takes away what is not valid any more, and only of its own network', async () => {
    for (const id of ['one', 'two', 'three']) {
      await add(conf, { ...WEB, CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}` });
    }
    await add(
      { ...conf, name: 'also', network: 'front' },
      { ...WEB, CNI_CONTAINERID: 'four', CNI_NETNS: '/four' },
    );
    await bed.deck.attach({ netns: '/five', name: 'five', network: 'front' });
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'two', ifname: 'eth0' }] };
    expect(await call('GC', { ...conf, ...valid }, {})).toEqual({ code: 0 });
    expect(bed.containers.map((line) => line.split(' ')[0])).toEqual(['two', 'four', 'five']);
    expect(await call('GC', { ...conf, 'cni.dev/valid-attachments': null }, {})).toEqual({ code: 0 });
    expect(bed.containers.map((line) => line.split(' ')[0])).toEqual(['four', 'five']);
  });

  it('takes away nothing when it is not told what is valid', async () => {
    await add(conf);
    expect((await call('GC', conf, {})).out).toMatchObject({ code: 7 });
    expect(bed.containers).toHaveLength(1);
  });
});

describe('STATUS and VERSION', () => {
  const conf = { ...CONF, cniVersion: '1.1.0' };

  it('is 50 without a daemon, and without the network', async () => {
    expect(await call('STATUS', conf, {})).toEqual({ code: 0 });
    expect((await call('STATUS', { ...conf, name: 'nowhere' }, {})).out).toMatchObject({ code: 50 });
    bed.absent = true;
    expect((await call('STATUS', conf, {})).out).toMatchObject({ cniVersion: '1.1.0', code: 50 });
  });

  it('says which versions there are, in the one that it is asked in', async () => {
    expect(await call('VERSION', '', {})).toEqual({
      code: 0,
      out: { cniVersion: '1.1.0', supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] },
    });
    expect((await call('VERSION', { cniVersion: '0.4.0' }, {})).out.cniVersion).toBe('0.4.0');
    expect((await call('VERSION', { cniVersion: '9.0.0' }, {})).out.cniVersion).toBe('1.1.0');
  });
});

describe('a call that cannot be', () => {
  const without = (name: string) => Object.fromEntries(Object.entries(WEB).filter(([key]) => key !== name));

  it.each<[string, string, object | string, object, number]>([
    ['no command', '', CONF, WEB, 4],
    ['an unknown command', 'UPDATE', CONF, WEB, 4],
    ['no container', 'ADD', CONF, without('CNI_CONTAINERID'), 4],
    ['no namespace', 'ADD', CONF, without('CNI_NETNS'), 4],
    ['no interface', 'ADD', CONF, without('CNI_IFNAME'), 4],
    ['no namespace to check', 'CHECK', CONF, without('CNI_NETNS'), 4],
    ['no container to delete', 'DEL', CONF, without('CNI_CONTAINERID'), 4],
    ['no interface to delete', 'DEL', CONF, without('CNI_IFNAME'), 4],
    ['a container id with a slash', 'ADD', CONF, { ...WEB, CNI_CONTAINERID: '../x' }, 4],
    ['a long interface name', 'ADD', CONF, { ...WEB, CNI_IFNAME: 'sixteen-letters-' }, 4],
    ['an interface name with a colon', 'ADD', CONF, { ...WEB, CNI_IFNAME: 'a:b' }, 4],
    ['a relative namespace', 'ADD', CONF, { ...WEB, CNI_NETNS: 'web' }, 4],
    ['unknown arguments', 'ADD', CONF, { ...WEB, CNI_ARGS: 'COLOUR=red' }, 4],
    ['arguments that are none', 'ADD', CONF, { ...WEB, CNI_ARGS: 'IP' }, 4],
    ['a namespace that has gone', 'ADD', CONF, { ...WEB, CNI_NETNS: '/gone' }, 3],
    ['no JSON', 'ADD', '{"cniVersion":', WEB, 6],
    ['nothing', 'ADD', '', WEB, 6],
    ['no object', 'ADD', '[]', WEB, 6],
    ['no version', 'ADD', { name: 'front' }, WEB, 1],
    ['an old version', 'ADD', { ...CONF, cniVersion: '0.2.0' }, WEB, 1],
    ['a later version', 'ADD', { ...CONF, cniVersion: '2.0.0' }, WEB, 1],
    ['no name', 'ADD', { cniVersion: '1.0.0' }, WEB, 7],
    ['a name that is none', 'ADD', { ...CONF, name: 'a b' }, WEB, 7],
    ['a network that is not there', 'ADD', { ...CONF, name: 'nowhere' }, WEB, 7],
    ['a network that is no text', 'ADD', { ...CONF, network: 7 }, WEB, 7],
    ['an IPAM plugin', 'ADD', { ...CONF, ipam: { type: 'host-local' } }, WEB, 2],
    ['a bandwidth', 'ADD', { ...CONF, runtimeConfig: { bandwidth: { ingressRate: 1000 } } }, WEB, 2],
    ['an MTU above that of the network', 'ADD', { ...CONF, mtu: 70000 }, WEB, 7],
    ['a MAC that is none', 'ADD', { ...CONF, runtimeConfig: { mac: 'x' } }, WEB, 7],
    ['an address of another subnet', 'ADD', { ...CONF, runtimeConfig: { ips: ['10.9.0.2'] } }, WEB, 7],
    ['two addresses', 'ADD', { ...CONF, runtimeConfig: { ips: ['10.1.0.7', '10.1.0.8'] } }, WEB, 7],
    ['IPv6 without any', 'ADD', { ...CONF, runtimeConfig: { ips: ['fd00::7'] } }, WEB, 7],
    ['the address of the gateway', 'ADD', { ...CONF, runtimeConfig: { ips: ['10.1.0.1'] } }, WEB, 100],
    [
      'a port by SCTP',
      'ADD',
      { ...CONF, runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'sctp' }] } },
      WEB,
      7,
    ],
    [
      'a port that is none',
      'ADD',
      { ...CONF, runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 70000 }] } },
      WEB,
      7,
    ],
    ['ports that are no list', 'ADD', { ...CONF, runtimeConfig: { portMappings: {} } }, WEB, 7],
    ['GC before there was one', 'GC', CONF, {}, 1],
    ['STATUS before there was one', 'STATUS', CONF, {}, 1],
  ])('%s: %s is refused and leaves nothing', async (_, command, conf, env, code) => {
    GONE.add('/gone');
    const before = bed.count;
    const { code: exit, out } = await call(command, conf, env);
    expect(exit).toBe(1);
    expect(out).toMatchObject({ code, msg: expect.stringMatching(/^[^\n]+$/) });
    expect(CNI_VERSIONS).toContain(out.cniVersion);
    expect(bed.count).toEqual(before);
  });

  it('names the key and the value of what is not supported', async () => {
    const bandwidth = { ingressRate: 1000, ingressBurst: 2000 };
    const { out } = await call('ADD', { ...CONF, runtimeConfig: { bandwidth } });
    expect(out.msg).toContain('bandwidth {"ingressRate":1000,"ingressBurst":2000}');
  });

  it('is an I/O error when the configuration does not come', async () => {
    const late = async () => {
      throw unavailable('stdin did not end within 10 s');
    };
    const { out } = await answerCni({ env: { CNI_COMMAND: 'ADD', ...WEB }, input: late, reach: bed.reach });
    expect(JSON.parse(out!)).toMatchObject({ code: 5 });
  });

  it.each(['ADD', 'DEL', 'CHECK', 'GC'])(
    '%s: a daemon that is not there is worth another try',
    async (command) => {
      bed.absent = true;
      const conf = { ...CONF, cniVersion: '1.1.0', prevResult: {}, 'cni.dev/valid-attachments': [] };
      const { code, out } = await call(command, conf);
      expect(code).toBe(1);
      expect(out).toMatchObject({
        cniVersion: '1.1.0',
        code: 11,
        msg: expect.stringContaining('no daemon is running'),
      });
    },
  );
});

describe('what fails half-way', () => {
  const ports = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } };

  it.each(['addTap', 'publish'])('%s leaves nothing, and the next call succeeds', async (method) => {
    const before = bed.count;
    bed.plane.failing.set(method, 'no');
    expect((await call('ADD', { ...CONF, ...ports })).out).toMatchObject({ code: 11 });
    // The data plane is told a turn later.
    await expect.poll(() => bed.count).toEqual(before);
    bed.plane.failing.clear();
    await add({ ...CONF, ...ports });
    expect(bed.containers).toEqual(['web1 front/eth0=10.1.0.2 8080:80']);
  });

  it.each(['addTap', 'publish'])('%s of a second network leaves the first', async (method) => {
    await add({ ...CONF, name: 'back' });
    const before = bed.count;
    bed.plane.failing.set(method, 'no');
    expect((await call('ADD', { ...CONF, ...ports }, { ...WEB, CNI_IFNAME: 'eth1' })).code).toBe(1);
    expect(bed.count).toEqual(before);
  });

  it('keeps no address: of a network with five there are five afterwards', async () => {
    await bed.deck.createNetwork({ name: 'tiny', subnet: '10.4.0.0/29' });
    const tiny = { ...CONF, name: 'tiny' };
    const sandbox = (id: string) => ({ ...WEB, CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}` });
    for (const method of ['addTap', 'publish']) {
      bed.plane.failing.set(method, 'no');
      for (let again = 0; again < 6; again++) {
        expect((await call('ADD', { ...tiny, ...ports }, sandbox('failing'))).code).toBe(1);
      }
      bed.plane.failing.clear();
    }
    for (let again = 0; again < 6; again++) {
      const odd = { ...tiny, dns: [] };
      expect((await call('ADD', odd, sandbox('odd'))).out).toMatchObject({ code: 7 });
    }
    const five = ['a', 'b', 'c', 'd', 'e'];
    const given = [];
    for (const id of five) given.push((await add(tiny, sandbox(id))).ips[0].address);
    expect(new Set(given).size).toBe(5);
    expect((await call('ADD', tiny, sandbox('f'))).code).toBe(1);
    for (const id of five) await call('DEL', tiny, sandbox(id));
  });

  it('a name, address, port or interface that is taken is 100, and leaves what was there', async () => {
    await add({ ...CONF, ...ports });
    const before = [bed.count, bed.containers];
    const other = { ...WEB, CNI_CONTAINERID: 'web2', CNI_NETNS: '/run/netns/web2' };
    for (const [conf, env] of [
      [CONF, WEB],
      [{ ...CONF, name: 'both' }, WEB],
      [
        { ...CONF, name: 'again', network: 'front' },
        { ...WEB, CNI_IFNAME: 'eth1' },
      ],
      [{ ...CONF, ...ports }, other],
      [{ ...CONF, runtimeConfig: { ips: ['10.1.0.2'] } }, other],
      [{ ...CONF, runtimeConfig: { mac: '02:42:0a:01:00:02' } }, other],
    ] as const) {
      expect((await call('ADD', conf, env)).out).toMatchObject({ code: 100 });
      expect([bed.count, bed.containers]).toEqual(before);
    }
  });
});

describe('whatever is on stdin', () => {
  it('gets an answer that is JSON, and leaves nothing', async () => {
    const before = bed.count;
    const value = fc.jsonValue({ maxDepth: 3 });
    const conf = fc.record(
      {
        network: value,
        host: value,
        ipam: value,
        mtu: value,
        dns: value,
        runtimeConfig: fc.record(
          { ips: value, mac: value, aliases: value, portMappings: value, bandwidth: value, dns: value },
          { requiredKeys: [] },
        ),
        prevResult: value,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(conf, async (odd) => {
        const { code, out } = await call('ADD', { ...odd, ...CONF });
        if (code === 0) await call('DEL');
        else expect(out).toMatchObject({ code: expect.any(Number), msg: expect.any(String) });
        expect(bed.count).toEqual(before);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the network configuration that is installed', () => {
  it('is one that the plugin takes', async () => {
    const { plugins, ...list } = JSON.parse(cniConflist({ name: 'pods', network: 'front' }));
    const { capabilities, ...plugin } = plugins[0];
    expect(capabilities).toEqual({ portMappings: true, ips: true, mac: true, aliases: true });
    // As runtimes put it together.
    await add({ ...plugin, ...list });
    expect(bed.containers).toEqual(['web1 front/eth0=10.1.0.2']);
  });
});
