// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Project, ProjectService } from '../../src/control/compose/project.ts';
import { parseProject, readProject, readProjectName } from '../../src/control/compose/read-project.ts';
import { DeckError } from '../../src/control/error.ts';

const FILE = '/labs/Shop 2/compose.yaml';

function read(text: string, env: NodeJS.ProcessEnv = {}, name?: string): Project {
  return parseProject(FILE, text, { env, name });
}

function service(lines: string, more = ''): ProjectService {
  const indented = lines.replace(/^/gm, '    ');
  return read(`services:\n  web:\n    command: run\n${indented}\n  db:\n    command: serve\n${more}`)
    .services[0]!;
}

const NETWORKS = `
networks:
  front:
    ipam:
      config:
        - subnet: 10.1.0.0/24
        - subnet: fd00:1::/64
  back: {}
`;

describe('a file', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'td-compose-'));
    file = join(folder, 'compose.yaml');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('that has no end is read no further than somebody would write', () => {
    symlinkSync('/dev/zero', file);
    expect(() => readProject({ file })).toThrow(/compose.yaml:1:1: is larger than 1 MiB$/);
    expect(() => readProjectName(file)).toThrow(/compose.yaml:1:1: is larger than 1 MiB$/);
    rmSync(file);
    writeFileSync(file, 'services: { a: { command: run, env_file: /dev/zero } }');
    expect(() => readProject({ file })).toThrow(
      /compose.yaml:1:42: .*\/dev\/zero:1:1: is larger than 1 MiB$/,
    );
  });

  test('that cannot be read is refused', () => {
    // What is no file, in place of what has no permission, which root always has.
    mkdirSync(join(folder, '.env'));
    writeFileSync(file, 'services: { a: { command: run } }');
    expect(() => readProjectName(file)).toThrow(/\.env: EISDIR/);
    expect(() => readProject({ file })).toThrow(DeckError);
  });

  test('has no NUL in what it says', () => {
    expect(() => read('services: { a: { command: [echo, "a\\0b"] } }')).toThrow(
      'compose.yaml:1:34: services.a.command[1]: must not have a NUL character in it',
    );
  });
});

describe('a Compose file', () => {
  test('is one network and services with names when it says no more', () => {
    const { name, networks, services, warnings } = read(
      'services:\n  web:\n    command: python3 -m http.server\n',
    );
    expect(name).toBe('shop2');
    expect(networks).toEqual([
      {
        key: 'default',
        name: 'shop2_default',
        options: {
          name: 'shop2_default',
          labels: { 'com.docker.compose.project': 'shop2', 'com.docker.compose.network': 'default' },
        },
      },
    ]);
    expect(services).toEqual([
      {
        key: 'web',
        container: 'shop2-web-1',
        command: ['python3', '-m', 'http.server'],
        environment: {},
        cwd: '/labs/Shop 2',
        hostname: 'shop2-web-1',
        networks: [{ network: 'default', aliases: [], priority: 0, gatewayPriority: 0 }],
        networkMode: null,
        publish: [],
        links: [],
        extraHosts: [],
        dns: [],
        dnsSearch: [],
        dnsOptions: [],
        dependsOn: [],
        healthcheck: null,
        restart: { when: 'never', most: 0 },
        labels: {
          'com.docker.compose.project': 'shop2',
          'com.docker.compose.service': 'web',
          'com.docker.compose.container-number': '1',
        },
        stopGrace: 10_000,
        files: { readOnly: true, privateTmp: true, tmpfs: [], write: [] },
        allowSpoof: false,
      },
    ]);
    expect(warnings).toEqual([]);
  });

  test('has a name of its own, or is given one', () => {
    const text = 'name: tour\nservices:\n  a:\n    command: run\n';
    expect(read(text).name).toBe('tour');
    expect(read(text, {}, 'second').services[0]!.container).toBe('second-a-1');
    expect(read('name: ${N:-x}\nservices:\n  a:\n    command: run\n', { N: 'given' }).name).toBe('given');
    expect(() => read(text, {}, 'No Good')).toThrow(/project name "No Good" must be/);
  });

  test('describes networks', () => {
    const { networks } = read(`
services:
  a:
    command: run
    networks: [all, there, older]
networks:
  all:
    name: exactly-this
    driver: bridge
    driver_opts:
      com.docker.network.bridge.enable_icc: "false"
      com.docker.network.driver.mtu: 1400
    internal: true
    enable_ipv6: true
    attachable: true
    labels:
      - one=1
      - two
    ipam:
      driver: default
      config:
        - subnet: 10.5.0.0/16
          ip_range: 10.5.7.0/24
          gateway: 10.5.0.254
          aux_addresses: { printer: 10.5.7.1 }
        - subnet: fd00:5::/64
          gateway: fd00:5::99
  there:
    external: true
  older:
    external: { name: named }
  unused: {}
`);
    expect(networks).toEqual([
      {
        key: 'all',
        name: 'exactly-this',
        options: {
          name: 'exactly-this',
          subnet: '10.5.0.0/16',
          ipRange: '10.5.7.0/24',
          gateway: '10.5.0.254',
          auxAddresses: { printer: '10.5.7.1' },
          ipv6Subnet: 'fd00:5::/64',
          ipv6Gateway: 'fd00:5::99',
          ipv6: true,
          internal: true,
          options: {
            'com.docker.network.bridge.enable_icc': 'false',
            'com.docker.network.driver.mtu': '1400',
          },
          labels: {
            one: '1',
            two: '',
            'com.docker.compose.project': 'shop2',
            'com.docker.compose.network': 'all',
          },
        },
      },
      { key: 'there', name: 'there', options: null, place: `${FILE}:28:3` },
      { key: 'older', name: 'named', options: null, place: `${FILE}:30:3` },
    ]);
  });

  test('describes what a service has in its networks, the most important first', () => {
    const { networks } = service(
      `mac_address: 02:00:00:00:00:09
networks:
  back:
    aliases: [one, two]
  front:
    ipv4_address: 10.1.0.7
    ipv6_address: fd00:1::7
    interface_name: lan0
    priority: 5
    gw_priority: 1`,
      NETWORKS,
    );
    expect(networks).toEqual([
      {
        network: 'front',
        aliases: [],
        ip: '10.1.0.7',
        ip6: 'fd00:1::7',
        ifname: 'lan0',
        mac: '02:00:00:00:00:09',
        priority: 5,
        gatewayPriority: 1,
      },
      { network: 'back', aliases: ['one', 'two'], priority: 0, gatewayPriority: 0 },
    ]);
    expect(service('networks: [back, front]', NETWORKS).networks.map(({ network }) => network)).toEqual([
      'back',
      'front',
    ]);
    expect(service('network_mode: none')).toMatchObject({ networks: [], networkMode: 'none' });
    expect(service('network_mode: service:db')).toMatchObject({
      networks: [],
      networkMode: { service: 'db' },
      dependsOn: [{ service: 'db', condition: 'service_started' }],
    });
  });

  test('takes ports in both forms', () => {
    expect(
      service(`ports:
  - "8080:80"
  - 3000
  - "127.0.0.1:8001-8002:8001-8002/udp"
  - target: 80
  - { target: 443, published: "8443", host_ip: 127.0.0.1, protocol: tcp, mode: host }
  - { target: 53, published: 5300-5310, host_ip: "::1", protocol: udp }
expose: ["3000", 8000-8010, 53/udp]`).publish,
    ).toEqual([
      '8080:80',
      '3000',
      '127.0.0.1:8001-8002:8001-8002/udp',
      '80/tcp',
      '127.0.0.1:8443:443/tcp',
      '[::1]:5300-5310:53/udp',
    ]);
  });

  test.each<[one: string, other: string, port: string | null]>([
    ['8080:80', '8080:8080', '8080/tcp'],
    ['8080:80', '127.0.0.1:8080:80', '8080/tcp'],
    ['8000-8005:80-85', '8005:80', '8005/tcp'],
    ['[::1]:53:53/udp', '53:53/udp', '53/udp'],
    ['8080:80', '8080:80/udp', null],
    ['127.0.0.1:8080:80', '127.0.0.2:8080:80', null],
    ['127.0.0.1:8080:80', '[::1]:8080:80', null],
    ['80', '80', null],
    // The first free one of a range is taken.
    ['8080-8090:80', '8080:80', null],
  ])('notices that two services have one host port: %s and %s', (one, other, port) => {
    const text = `services:
  a:
    command: run
    ports: ["${one}"]
  b:
    command: run
    ports:
      - 3000
      - "${other}"
`;
    if (port === null) expect(read(text).services).toHaveLength(2);
    else {
      expect(() => read(text)).toThrow(
        `${FILE}:9:9: services.b.ports[1]: asks for host port ${port}, which services.a.ports[0] has (${FILE}:4:13)`,
      );
    }
  });

  test('names an external network that no service is in', () => {
    const { networks, warnings } = read(
      'services:\n  a:\n    command: run\nnetworks:\n  there: { external: true, name: far }\n  unused: {}\n',
    );
    expect(networks.map(({ key }) => key)).toEqual(['default']);
    expect(warnings).toEqual([
      `${FILE}:5:3: no service is in the external network there; nobody asks whether there is a network far`,
    ]);
  });

  test('takes whatever has two forms in both', () => {
    const one = service(`environment:
  A: text
  B: 7
  C: true
  PASSED:
  ABSENT:
depends_on:
  db: { condition: service_started, restart: true }
  none: { required: false }
extra_hosts: { far: 192.0.2.1, six: "2001:db8::1" }
dns: 192.0.2.53
dns_search: example.org
labels: { tier: web }
links: ["db:database"]`);
    const other = service(`environment: [A=text, "B=7", "C=true"]
depends_on: [db]
extra_hosts: ["far=192.0.2.1", "six:[2001:db8::1]"]
dns: [192.0.2.53]
dns_search: [example.org]
labels: [tier=web]
links: ["db:database"]`);
    expect(one).toEqual(other);
    expect(one.environment).toEqual({ A: 'text', B: '7', C: 'true' });
    expect(one.extraHosts).toEqual([
      { name: 'far', address: '192.0.2.1' },
      { name: 'six', address: '2001:db8::1' },
    ]);
  });

  test('passes variables on that are only named, and what a value is made of is not looked at again', () => {
    const text =
      'services:\n  a:\n    command: run\n    environment: [HERE, GONE, "MADE=$HERE", __proto__=x]\n';
    const { environment } = read(text, { HERE: '$$x' }).services[0]!;
    expect(Object.entries(environment)).toEqual([
      ['HERE', '$$x'],
      ['MADE', '$$x'],
      ['__proto__', 'x'],
    ]);
  });

  test('puts values in place of variables everywhere, also of numbers and truths', () => {
    const { networks, services, warnings } = read(
      `services:
  a:
    command:
      - run
      - $\{WORD}
      - $$WORD
      - $\{NONE}
    networks:
      default:
        gw_priority: $\{NUMBER:-4}
networks:
  default:
    internal: $TRUTH
`,
      { WORD: 'w', TRUTH: 'true' },
    );
    expect(services[0]!.command).toEqual(['run', 'w', '$WORD', '']);
    expect(services[0]!.networks[0]!.gatewayPriority).toBe(4);
    expect(networks[0]!.options?.internal).toBe(true);
    expect(warnings).toEqual([expect.stringContaining('variable NONE is not set')]);
  });

  test('has anchors, and merges what they name', () => {
    const { services } = read(`
x-common: &common
  restart: always
  environment: &env { A: "1", B: "2" }
x-more: &more { restart: "no", stop_grace_period: 1s }
services:
  one:
    <<: *common
    command: run
  two:
    <<: [*common, *more]
    command: run
    environment:
      <<: *env
      B: "3"
`);
    expect(services[0]).toMatchObject({ restart: { when: 'always' }, environment: { A: '1', B: '2' } });
    expect(services[1]).toMatchObject({
      restart: { when: 'always' },
      stopGrace: 1000,
      environment: { A: '1', B: '3' },
    });
  });

  test('puts an entrypoint before the command', () => {
    const text = 'services:\n  a:\n    entrypoint: [python3, -u]\n    command: app.py --port 80\n';
    expect(read(text).services[0]!.command).toEqual(['python3', '-u', 'app.py', '--port', '80']);
  });

  test('says how a service is asked, begun again and ended', () => {
    expect(
      service(`healthcheck: { test: curl -f localhost, interval: 1m30s, timeout: 2s, retries: 5, start_period: 10s }
restart: on-failure:3
stop_grace_period: 1m`),
    ).toMatchObject({
      healthcheck: {
        command: ['/bin/sh', '-c', 'curl -f localhost'],
        interval: 90_000,
        timeout: 2000,
        retries: 5,
        startPeriod: 10_000,
        startInterval: 5000,
      },
      restart: { when: 'on-failure', most: 3 },
      stopGrace: 60_000,
    });
    expect(service('healthcheck: { test: [CMD, ask, -q] }').healthcheck!.command).toEqual(['ask', '-q']);
    expect(service('healthcheck: { disable: true }').healthcheck).toBeNull();
    expect(service('healthcheck: { test: [NONE] }').healthcheck).toBeNull();
  });

  test('says what of the host a service may write to', () => {
    const { files, cwd, allowSpoof } = service(`working_dir: src
tmpfs: [/run:size=1m, /opt]
x-tapdeck: { read_only: false, private_tmp: false, write: [./data, /srv], allow_spoof: true }`);
    expect(allowSpoof).toBe(true);
    expect(cwd).toBe('/labs/Shop 2/src');
    expect(files).toEqual({
      readOnly: false,
      privateTmp: false,
      tmpfs: ['/run', '/opt'],
      write: ['/labs/Shop 2/data', '/srv'],
    });
  });

  test('names in one warning what has no meaning', () => {
    const { warnings } = read(`version: "3"
services:
  a: { image: nginx, command: run, volumes: [x:/y] }
  b: { build: ., image: y, command: run, x-mine: 1 }
volumes: { x: }
`);
    expect(warnings).toEqual(['what has no meaning here is left out: volumes (a), image (a, b), build (b)']);
  });
});

describe('a Compose file that is wrong', () => {
  const one = (line: string) =>
    `services:\n  web:\n    command: run\n    ${line}\n  db: { command: run }\n${NETWORKS}`;

  test.each([
    ['services:\n  web:\n    comand: run\n', '3:5: services.web.comand: unknown key; allowed: command,'],
    ['services:\n  web:\n    image: nginx\n', '2:3: services.web: needs a command'],
    ['services: {}\n', '1:11: services: a lab needs at least one service'],
    ['nets: {}\n', '1:1: nets: unknown key'],
    ['- a\n', '1:1: must be a mapping'],
    ['a: [\n', '2:1: '],
    ['services:\n  a: { command: run }\n  a: { command: run }\n', '3:3: Map keys must be unique'],
    ['services:\n  "bad name": { command: run }\n', '2:15: services.bad name: container name'],
    [one('networks: [nowhere]'), '4:16: services.web.networks[0]: there is no network nowhere'],
    [
      one('networks: { nowhere: }'),
      '4:17: services.web.networks.nowhere: there is no network nowhere in this file; there are front, back',
    ],
    [one('networks: [front, front]'), 'names network front twice'],
    [
      one('networks: { front: { ipv4_address: 10.2.0.7 } }'),
      '4:40: services.web.networks.front.ipv4_address: address 10.2.0.7 lies outside',
    ],
    [one('networks: { front: { ipv4_address: 10.1.0.255 } }'), 'broadcast address'],
    [
      one('networks: { back: { ipv4_address: 10.1.0.7 } }'),
      'needs an IPv4 subnet in the ipam of network back',
    ],
    [one('networks: { front: { mac_address: "01:00:00:00:00:01" } }'), '4:39: '],
    [one('networks: { front: { link_local_ips: [] } }'), 'unknown key; allowed: aliases'],
    [one('network_mode: service:nobody'), '4:19: services.web.network_mode: there is no service nobody'],
    [one('network_mode: container:x'), 'must be bridge, none, host or service:NAME'],
    [one('network_mode: host\n    networks: [front]'), 'network_mode and networks exclude each other'],
    [one('network_mode: host\n    ports: ["80:80"]'), 'there are none to publish with this network_mode'],
    [one('network_mode: service:web'), 'depends on itself: web -> web'],
    [one('ports: ["80:80:80:80"]'), '4:13: services.web.ports[0]: '],
    [one('ports: [{ published: 80 }]'), 'needs a target'],
    [one('ports: ["8000-8005:80-81"]'), 'the ranges are of unequal length'],
    [one('ports: 80'), "must be a list, not '80'"],
    [one('expose: [http]'), 'must be a port or a range'],
    [one('expose: [70000]'), 'must be a port or a range'],
    [one('depends_on: [none]'), '4:18: services.web.depends_on[0]: there is no service none in this file'],
    [
      one('depends_on: { db: { condition: maybe } }'),
      "must be service_started or service_healthy or service_completed_successfully, not 'maybe'",
    ],
    [
      one('depends_on: { db: { condition: service_healthy } }'),
      '2:3: services.web: waits until db is healthy, which has no healthcheck',
    ],
    [one('links: ["db:a:b"]'), 'must be SERVICE or SERVICE:ALIAS'],
    [one('extra_hosts: ["far=away"]'), '"away" is not an IPv4 address'],
    [one('dns: eight'), '"eight" is not an IPv4 address'],
    [one('hostname: "not a name"'), 'must be a host name'],
    [one('restart: sometimes'), 'must be no, always, unless-stopped, on-failure'],
    [one('healthcheck: { interval: 1s }'), 'needs a test'],
    [one('healthcheck: { test: [ask] }'), 'must be [CMD, PROGRAM'],
    [one('stop_grace_period: soon'), 'must be a duration'],
    [one('environment: ["=x"]'), 'must be NAME=value'],
    [one('env_file: /labs/none.env'), '4:15: services.web.env_file: there is no file /labs/none.env'],
    [one('labels: ["a b"]'), 'label "a b"'],
    [one('container_name: shop2-db-1'), 'has the same container name as web: shop2-db-1'],
    [
      one('x-tapdeck: { readonly: true }'),
      'unknown key; allowed: read_only, private_tmp, write, allow_spoof',
    ],
    [one('command: "echo \'open"'), 'Map keys must be unique'],
    ['services:\n  a: { command: "echo \'" }\n', "services.a.command: a ' is not closed"],
    ['services:\n  a: { command: "$5" }\n', '2:17: services.a.command: "$5" has a "$" that is no variable'],
    ['services:\n  a: { command: "${X:?set X}" }\n', 'variable X is required: set X'],
    [
      'services:\n  a: { command: x, networks: { default: { gw_priority: high } } }\n',
      'must be a whole number',
    ],
  ])('%j says where and why', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(/^\/labs\/Shop 2\/compose\.yaml:\d+:\d+: /);
  });

  test.each([
    ['driver: macvlan', 'must be bridge or tapdeck or default'],
    ['driver_opts: { mtu: "1400" }', 'there is no such option of a network'],
    ['driver_opts: { com.docker.network.driver.mtu: "many" }', 'is not a whole number'],
    ['ipam: { config: [{ gateway: 10.0.0.1 }] }', 'needs a subnet'],
    ['ipam: { config: [{ subnet: 10.0.0.5/24 }] }', 'has host bits set; did you mean 10.0.0.0/24?'],
    ['ipam: { config: [{ subnet: 10.0.0.0/31 }] }', 'too small'],
    ['ipam: { config: [{ subnet: "::ffff:10.0.0.0/120" }] }', 'IPv4-mapped'],
    ['ipam: { config: [{ subnet: 10.0.0.0/24, gateway: 10.0.1.1 }] }', 'lies outside 10.0.0.0/24'],
    ['ipam: { config: [{ subnet: 10.0.0.0/24, ip_range: 10.0.1.0/25 }] }', 'lies outside 10.0.0.0/24'],
    ['ipam: { config: [{ subnet: 10.0.0.0/24, aux_addresses: { a: 10.9.0.1 } }] }', 'lies outside'],
    ['ipam: { config: [{ subnet: 10.0.0.0/24 }, { subnet: 10.0.1.0/24 }] }', 'one IPv4 subnet'],
    ['ipam: { driver: infoblox }', 'must be default'],
    ['external: true, internal: true', 'is there already, and has only a name'],
    ['enable_ipv4: false', 'every network has IPv4'],
    ['internal: maybe', 'must be true or false'],
    ['name: "no spaces"', 'network name "no spaces" is not allowed'],
  ])('a network with %s is refused', (line, message) => {
    const text = `services:\n  a: { command: run }\nnetworks:\n  n: { ${line} }\n`;
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(/compose\.yaml:4:\d+: networks\.n/);
  });

  test('names services that wait for each other', () => {
    const text = `services:
  a: { command: run, depends_on: [b] }
  b: { command: run, links: [c] }
  c: { command: run, depends_on: { a: } }
`;
    expect(() => read(text)).toThrow('compose.yaml:2:3: services.a: depends on itself: a -> b -> c -> a');
  });

  test('names who has the same address', () => {
    const text = `services:
  a: { command: run, networks: { front: { ipv4_address: 10.1.0.7 } } }
  b: { command: run, networks: { front: { ipv4_address: 10.1.0.7 } } }
${NETWORKS}`;
    expect(() => read(text)).toThrow('3:3: services.b: has the same address in network front as a: 10.1.0.7');
  });

  test('refuses aliases without end', () => {
    expect(() => read('services: &s\n  a: { command: run, x-loop: *s }\n')).toThrow(
      'compose.yaml:2:30: alias *s stands inside of what it names',
    );
    const laughs = Array.from({ length: 9 }, (_, i) => {
      const inside = i === 0 ? 'lol' : Array.from({ length: 10 }, () => `*l${i - 1}`).join(', ');
      return `x-${i}: &l${i} [${inside}]`;
    });
    expect(() => read(`${laughs.join('\n')}\nservices:\n  a: { command: run }\n`)).toThrow(
      /compose\.yaml:\d:\d+: stands for more than 100000 values/,
    );
    expect(() => read(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)).toThrow(/compose\.yaml:1:/);
  });
});
