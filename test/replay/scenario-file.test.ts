import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadScenario } from '../../src/replay/scenario.ts';
import { dissect, eth, scenario } from '../../src/testing/index.ts';
import '../../src/testing/vitest.ts';
import { formatIpv4, formatMac } from '../../wire/address.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-scenario-'));
  writeFileSync(join(folder, 'a.pcap'), '');
});
afterEach(() => rmSync(folder, { recursive: true }));

function load(text: string) {
  writeFileSync(join(folder, 'scenario.yaml'), text);
  return loadScenario(folder);
}

/** The refusal of a scenario, without the folder. */
function refusal(text: string): string {
  try {
    load(text);
  } catch (error) {
    return (error as Error).message.replace(`${folder}/`, '');
  }
  throw new Error('accepted');
}

test('uplinks and published ports, in words and in packets', () => {
  const { uplinks, networks, ports, conntrack } = load(`
networks:
  lan:
    ipam: { config: [ { subnet: 10.0.0.0/24 }, { subnet: "fd00::/64" } ] }
    x-tapdeck: { uplink: wan, masquerade: false, dhcp: true, npt: "2001:db8:1::/64", host_loopback: true }
services:
  web:
    networks: { lan: { mac_address: 02:00:00:00:00:02, ipv4_address: 10.0.0.2, ipv6_address: "fd00::2" } }
    ports: ["8080:80", "203.0.113.9:53-54:1053-1054/udp", "[2001:db8::9]:443:443"]
  internet: { networks: [wan] }
x-tapdeck:
  conntrack: { capacity: 16, quota: 4, loose: false }
  uplinks:
    wan:
      address: [203.0.113.2/24, "2001:db8::2/64"]
      gateway: [203.0.113.1, "2001:db8::1"]
      pool: [203.0.113.9, "2001:db8::9"]
      filtering: address-and-port-dependent
      deny: [10.9.0.0/16, "fc00::/7"]
`);
  expect(uplinks[0]).toMatchObject({
    name: 'wan',
    options: {
      macHi: 0x0242,
      macLo: 0xcb007102 | 0,
      ipv4: { address: 0xcb007102 | 0, prefix: 24 },
      gateway4: 0xcb007101 | 0,
      gateway6: [0x20010db8, 0, 0, 1],
      ipv4Pool: [0xcb007109 | 0],
      ipv6Pool: [[0x20010db8, 0, 0, 9]],
      filtering: 'address-and-port-dependent',
      isHost: false,
      denied: [{ prefix: 16 }, { prefix: 7 }],
    },
  });
  expect(networks[0]).toMatchObject({
    uplink: 'wan',
    options: { masquerade: false, dhcp: true, hostLoopback: true, npt: { prefix: 64 } },
  });
  expect(conntrack).toEqual({ capacity: 16, quota: 4, loose: false });
  expect(ports.map(({ name, spec }) => [name, spec.network])).toEqual([
    ['web', 'lan'],
    ['internet', 'wan'],
  ]);
  expect(ports[0]!.publishes).toEqual([
    { host: null, from: 8080, to: 8080, target: 80, protocol: 6 },
    { host: 0xcb007109 | 0, from: 53, to: 54, target: 1053, protocol: 17 },
    { host: [0x20010db8, 0, 0, 9], from: 443, to: 443, target: 443, protocol: 6 },
  ]);

  // The same as a deck: who comes from outside to a published port is let in, and translated.
  const deck = scenario({
    networks: { lan: { ipam: { config: [{ subnet: '10.0.0.0/24' }] }, 'x-tapdeck': { uplink: 'wan' } } },
    services: {
      web: {
        networks: { lan: { mac_address: '02:00:00:00:00:02', ipv4_address: '10.0.0.2' } },
        ports: ['8080:80'],
      },
      internet: { networks: ['wan'] },
    },
    'x-tapdeck': { uplinks: { wan: { address: '203.0.113.2/24', gateway: '203.0.113.1' } } },
  });
  const { mac } = deck.gateway('wan');
  const syn = eth({ dst: mac }).ip({ src: '203.0.113.7', dst: '203.0.113.2' });
  expect(deck.fateOf('internet', syn.tcp({ dport: 8080, flags: 'S' }))).toForwardTo('web');
  expect(dissect(deck.take('web')[0]!)).toMatchObject({ ip: { dst: '10.0.0.2' }, tcp: { dport: 80 } });
  expect(deck.fateOf('internet', syn.tcp({ dport: 81, flags: 'S' }))).toBeDroppedBecause('NOT_PUBLISHED');
});

test('everything a scenario can say', () => {
  const scenario = load(`
networks:
  lan:
    driver: bridge
    driver_opts: { com.docker.network.driver.mtu: 1500, com.docker.network.bridge.enable_icc: "false" }
    ipam: { config: [ { subnet: 10.0.0.0/24 }, { subnet: "fd00::/64", gateway: "fd00::ff" } ] }
  far: { internal: true, x-tapdeck: { gateway_mac: 02:00:00:00:00:77 } }
services:
  a:
    image: alpine
    networks:
      lan:
        mac_address: 02:42:0a:00:00:0a
        ipv4_address: 10.0.0.10
        ipv6_address: "fd00::a"
        x-tapdeck: { allow_spoof: true, isolated: false }
  r: { networks: [lan, far] }
x-tapdeck:
  seed: 7
  ageing: 1m30s
  duration: 500ms
  ports:
    a:
      in: [ a.pcap, { capture: a.pcap, from: 02:42:0A:00:00:0A, at: 20us } ]
      out: out.pcap
      faults: loss=5%,seed=3
    r.far: { out: { recorded: a.pcap, not_from: [02:00:00:00:00:01] } }
  commands:
    - { at: 2s, detach: a }
    - { at: 1s, block: r.lan }
  rules:
    - { in: lan, out: '!far', src: 10.0.0.0/24, protocol: tcp, sport: '1:1023', dport: 80, action: DROP }
    - { dst: 'fd00::/8', protocol: icmpv6, icmp_type: echo-request, state: [NEW, RELATED], action: ACCEPT }
    - { state: INVALID, action: REJECT, reject_with: icmp-host-unreachable }
`);
  const [lan, far] = scenario.networks;
  expect(formatIpv4(lan!.options.ipv4!.address)).toBe('10.0.0.1');
  expect(lan!.options.ipv6).toEqual({ address: [0xfd000000 | 0, 0, 0, 0xff], prefix: 64 });
  expect(lan!.options.mtu).toBe(1500);
  expect(formatMac(lan!.options.macHi, lan!.options.macLo)).toBe('02:42:0a:00:00:01');
  expect(far!.options).toMatchObject({ ipv4: null, ipv6: null, macHi: 0x0200, macLo: 0x77 });
  expect(scenario.ports.map((port) => port.name)).toEqual(['a', 'r.lan', 'r.far']);
  const [a, , rFar] = scenario.ports;
  expect(lan!.options).toMatchObject({ icc: false, internal: false });
  expect(far!.options).toMatchObject({ icc: true, internal: true });
  expect(a!.spec).toMatchObject({ isolated: false, guard: false, mac: { hi: 0x0242 }, ipv4: 0x0a00000a });
  expect(a!.inputs[1]).toMatchObject({ from: ['02:42:0a:00:00:0a'], at: 0.02 });
  expect(a!.output).toMatchObject({ file: 'out.pcap', recorded: false });
  expect(a!.faults).toMatchObject({ seed: 3, receive: { loss: 0.05 } });
  expect(rFar!.output).toMatchObject({ recorded: true, notFrom: ['02:00:00:00:00:01'] });
  expect(scenario.commands.map((command) => command.action)).toEqual(['block', 'detach']);
  expect(scenario).toMatchObject({ seed: 7, ageing: 90_000, duration: 500 });
  expect(scenario.rules).toEqual([
    {
      action: 'DROP',
      in: 'lan',
      out: '!far',
      src: '10.0.0.0/24',
      protocol: 'tcp',
      sport: '1:1023',
      dport: '80',
    },
    {
      action: 'ACCEPT',
      dst: 'fd00::/8',
      protocol: 'icmpv6',
      icmpType: 'echo-request',
      state: ['NEW', 'RELATED'],
    },
    { action: 'REJECT', state: ['INVALID'], rejectWith: 'icmp-host-unreachable' },
  ]);
});

test('a service without networks is on the default network, as in Compose', () => {
  const scenario = load('services:\n  a: {}\n');
  expect(scenario.networks.map((network) => network.name)).toEqual(['default']);
  expect(scenario.ports.map((port) => port.spec.network)).toEqual(['default']);
});

describe('refused with file, line and column', () => {
  test.each([
    ['services:\n  a: [\n', /^scenario.yaml:3:1: /],
    [
      'servics:\n  a: {}\n',
      'scenario.yaml:1:1: servics: unknown key; allowed: name, networks, services, x-tapdeck',
    ],
    ['services: {}\n', 'scenario.yaml:1:11: services: a scenario needs at least one service'],
    [
      'services:\n  a: { networks: [lan] }\n',
      "scenario.yaml:2:18: services.a.networks: there is no network 'lan'; there are: none",
    ],
    [
      'services: { a: { x-tapdeck: {} } }\n',
      'scenario.yaml:1:18: services.a.x-tapdeck: unknown key; allowed: networks',
    ],
    [
      'services: { a: }\nx-tapdeck: { seed: seven }\n',
      "scenario.yaml:2:20: x-tapdeck.seed: must be a whole number from 0 to 4294967295, not 'seven'",
    ],
    [
      'services: { a: }\nx-tapdeck: { ageing: 300 }\n',
      "scenario.yaml:2:22: x-tapdeck.ageing: must be a duration such as 300s, 1m30s, 500ms or 20us, not '300'",
    ],
    [
      'services: { a: }\nx-tapdeck:\n  ports:\n    b: {}\n',
      "scenario.yaml:4:8: x-tapdeck.ports.b: there is no port 'b'; there are: a",
    ],
    [
      'services: { a: }\nx-tapdeck: { ports: { a: { in: b.pcap } } }\n',
      /^scenario.yaml:2:32: x-tapdeck.ports.a.in: there is no file 'b.pcap'/,
    ],
    [
      'services: { a: }\nx-tapdeck: { ports: { a: { out: ../b.pcap } } }\n',
      /a .pcap file in the scenario's folder/,
    ],
    [
      'services: { a: }\nx-tapdeck: { ports: { a: { faults: loss=5 } } }\n',
      /^scenario.yaml:2:36: x-tapdeck.ports.a.faults: loss=5: not a share/,
    ],
    [
      'services: { a: }\nx-tapdeck: { commands: [ { at: 5s, explode: a } ] }\n',
      /commands\[0\].explode: unknown key; allowed: at, attach, detach, block, unblock/,
    ],
    [
      'networks: { lan: }\nservices: { a: { networks: [lan] } }\nx-tapdeck: { rules: [ { in: wan, action: DROP } ] }\n',
      /^scenario.yaml:3:\d+: x-tapdeck.rules\[0\]: there is no network or uplink 'wan'/,
    ],
    [
      'services: { a: }\nx-tapdeck: { rules: [ { dport: 80, action: DROP } ] }\n',
      /x-tapdeck.rules\[0\]: port 80 says nothing without a protocol that has ports: give tcp or udp/,
    ],
    [
      'services: { a: }\nx-tapdeck: { rules: [ { protocol: tcp } ] }\n',
      /x-tapdeck.rules\[0\]: needs an action: ACCEPT, DROP, REJECT or RETURN/,
    ],
    [
      'services: { a: }\nx-tapdeck: { commands: [ { at: 5s } ] }\n',
      /commands\[0\]: needs exactly one of attach, detach, block, unblock/,
    ],
    [
      'services: { a: }\nx-tapdeck: { commands: [ { at: 5s, block: a }, { at: 1s, detach: a } ] }\n',
      /^scenario.yaml:2:26: x-tapdeck.commands\[0\]: the port 'a' is detached already then/,
    ],
    [
      'services: { a: }\nx-tapdeck: { commands: [ { at: 1s, attach: a }, { at: 2s, attach: a } ] }\n',
      /commands\[1\]: the port 'a' is attached already then/,
    ],
    [
      'networks: { n: { ipam: { config: [ { subnet: 10.0.0.0/33 } ] } } }\nservices: { a: }\n',
      /must be a subnet such as 10.0.0.0\/24/,
    ],
    [
      'networks: { n: { ipam: { config: [ { subnet: 10.0.0.0/24, gateway: 10.0.1.1 } ] } } }\nservices: { a: }\n',
      /gateway: is outside the subnet 10.0.0.0\/24/,
    ],
    [
      'networks: { n: }\nservices: { a: { networks: { n: { mac_address: 01:00:5e:00:00:01 } } } }\n',
      /must be the MAC of a station/,
    ],
    [
      'networks: { n: }\nservices: { a: { networks: { n: { ipv4_address: 10.0.0.1 } } } }\n',
      /is in no subnet of the network 'n'/,
    ],
    [
      'networks: { n: { driver: overlay } }\nservices: { a: }\n',
      "scenario.yaml:1:26: networks.n.driver: must be bridge or tapdeck, not 'overlay'",
    ],
    [
      'networks: { n: { driver_opts: { mtu: 1500 } } }\nservices: { a: }\n',
      /networks.n.driver_opts.mtu: unknown driver option; allowed: com.docker/,
    ],
    ['services: { a: }\nservices: { b: }\n', /^scenario.yaml:2:1: /],
    [
      'networks: { n: { x-tapdeck: { uplink: wan } } }\nservices: { a: }\n',
      "scenario.yaml:1:39: networks.n.x-tapdeck.uplink: there is no uplink 'wan' in x-tapdeck.uplinks; there are: none",
    ],
    [
      'x-tapdeck: { uplinks: { w: { gateway: 203.0.113.1 } } }\nservices: { a: { networks: [w] } }\n',
      /x-tapdeck.uplinks.w: needs an address/,
    ],
    [
      'networks: { w: }\nx-tapdeck: { uplinks: { w: { address: 203.0.113.2/24 } } }\nservices: { a: }\n',
      /networks.w: there is an uplink 'w' already/,
    ],
    [
      'services: { a: { networks: [default], ports: ["80:80"] } }\n',
      /services.a.ports: a service that publishes ports needs an ipv4_address/,
    ],
    ...['80', '80-90:80', '0:80', '80:80/sctp', 'x:80:80'].map((spec): [string, RegExp] => [
      `networks: { n: { ipam: { config: [ { subnet: 10.0.0.0/24 } ] } } }
services: { a: { networks: { n: { ipv4_address: 10.0.0.2 } }, ports: ["${spec}"] } }
`,
      /^scenario.yaml:2:71: services.a.ports\[0\]: /,
    ]),
  ])('%j', (text, expected) => {
    expect(refusal(text)).toMatch(expected);
  });
});
