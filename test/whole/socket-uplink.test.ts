import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CountersView, DropView } from '../../src/control/views.ts';
import { Account, until } from './account.ts';
import {
  FAR,
  HOST,
  HostWorld,
  IFNAME,
  type IpVersion,
  LOOPBACK,
  NEXT_HOP,
  type Protocol,
} from './forwarding.ts';

// Uplink socket with real programs on both sides: ports on the host that are an endpoint's, and what goes out.

const SMALL = 2_000;
const LARGE = 10_000_000;
const CASES = (
  [
    ['tcp', 4],
    ['tcp', 6],
    ['udp', 4],
    ['udp', 6],
  ] as const
).map(([protocol, version]): [Protocol, IpVersion] => [protocol, version]);

/** What Python makes of "administratively prohibited". */
const DENIED = /^(OSError|PermissionError)$/;

function inBrackets(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

describe('a deck as root', () => {
  let world: HostWorld;
  let web: string;

  beforeAll(async () => {
    world = new HostWorld();
    await world.account.daemon('--uplink', 'socket');
    web = await world.attach('web');
    await world.serve(web, 80, 90, 91, 92, 5001, 5010, 5011, 5012);
    await world.serve(world.far, 7000);
  });
  afterEach(async () => {
    for (const { name, ports } of await world.endpoints()) {
      const specs = ports.map(
        ({ hostPort, hostPortEnd, protocol }) => `${hostPort}-${hostPortEnd}/${protocol}`,
      );
      // Both IP versions go at once.
      for (const spec of new Set(specs)) await world.unpublish(name, spec);
    }
  });
  afterAll(() => world.close());

  describe.each(CASES)('publishes %s over IPv%d', (protocol, version) => {
    /** By the host's loopback, and from another host; and what each is to the endpoint. */
    const ways = {
      'another host': { to: HOST[version], ifname: IFNAME, client: FAR[version] },
      "the host's loopback": { to: LOOPBACK[version], ifname: 'lo', client: NEXT_HOP[version] },
    };
    const kinds = {
      'a port': { spec: () => '5001:5001', ports: [[5001, 5001]] },
      'a range': {
        spec: () => '5010-5012:5010-5012',
        ports: [
          [5010, 5010],
          [5011, 5011],
          [5012, 5012],
        ],
      },
      'a translated port': { spec: () => '5021:80', ports: [[5021, 80]] },
      'a translated range': {
        spec: () => '5030-5032:90-92',
        ports: [
          [5030, 90],
          [5031, 91],
          [5032, 92],
        ],
      },
      'a port on an address': {
        spec: ({ to }: { to: string }) => `${inBrackets(to)}:5041:80`,
        ports: [[5041, 80]],
      },
      'a port on an interface': {
        spec: ({ ifname }: { ifname: string }) =>
          `${version === 4 ? `0.0.0.0%${ifname}` : `[::%${ifname}]`}:5051:80`,
        ports: [[5051, 80]],
      },
    };
    const cells = Object.entries(kinds).flatMap(([what, { spec, ports }]) =>
      Object.entries(ways).map(([from, way]) => ({
        what,
        from,
        way,
        spec: `${spec(way)}/${protocol}`,
        ports,
      })),
    );

    it.each(cells)('$what to $from', async ({ from, way, spec, ports }) => {
      const client = from === 'another host' ? world.far : world.host;
      await world.publish('web', spec);
      for (const [hostPort, port] of ports) {
        expect(await world.exchange(client, protocol, way.to, hostPort!, SMALL)).toEqual({
          client: way.client,
          port,
          ownPort: true,
          same: true,
        });
      }
      await world.unpublish('web', spec);
      expect(await world.failure(client, protocol, way.to, ports[0]![0]!)).toBe('ConnectionRefusedError');
    });

    it.each([
      ['small', SMALL],
      ['large', LARGE],
    ])('and takes a %s transfer in', async (_, bytes) => {
      await world.publish('web', `5021:80/${protocol}`);
      const exchange = await world.exchange(world.far, protocol, HOST[version], 5021, bytes);
      expect(exchange).toMatchObject({ client: FAR[version], same: true });
    });

    it.each([
      ['small', SMALL],
      ['large', LARGE],
    ])('and takes a %s transfer out', async (_, bytes) => {
      const exchange = await world.exchange(web, protocol, FAR[version], 7000, bytes);
      expect(exchange).toMatchObject({ client: HOST[version], same: true });
    });
  });
});

describe('an endpoint behind uplink socket', () => {
  let world: HostWorld;
  let inside: string;

  /** A deck with one endpoint, and servers on the host (8000) and on another host (7000). */
  async function open(...options: string[]): Promise<void> {
    await world.account.daemon('--uplink', 'socket', ...options);
    inside = await world.attach('web');
    await world.serve(world.host, 8000);
    await world.serve(world.far, 7000);
  }
  const seen = async (protocol: Protocol, address: string, port: number) =>
    (await world.exchange(inside, protocol, address, port, SMALL)).client;

  beforeEach(() => {
    world = new HostWorld();
  });
  afterEach(() => world.close());

  it('reaches the host at its addresses, and not at its loopback', async () => {
    await open();
    for (const [protocol, version] of CASES) {
      expect(await seen(protocol, HOST[version], 8000)).toBe(HOST[version]);
      expect(await world.failure(inside, protocol, NEXT_HOP[version], 8000)).toMatch(DENIED);
    }
  });

  it("reaches the host's loopback at the next hop, when its network has it", async () => {
    await open('--host-loopback');
    for (const [protocol, version] of CASES) {
      expect(await seen(protocol, NEXT_HOP[version], 8000)).toBe(LOOPBACK[version]);
    }
    await world.account.ok('network', 'create', '--ipv6', 'lab');
    inside = await world.attach('other', '--network', 'lab');
    for (const [protocol, version] of CASES) {
      expect(await world.failure(inside, protocol, NEXT_HOP[version], 8000)).toMatch(DENIED);
    }
  });

  it('reaches nothing that is denied', async () => {
    await open('--no-host-access', '--deny', `${FAR[6]}/127`);
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await world.failure(inside, protocol, HOST[4], 8000)).toMatch(DENIED);
      expect(await world.failure(inside, protocol, HOST[6], 8000)).toMatch(DENIED);
      expect(await world.failure(inside, protocol, FAR[6], 7000)).toMatch(DENIED);
      expect(await seen(protocol, FAR[4], 7000)).toBe(HOST[4]);
    }
    const drops = JSON.parse(await world.account.ok('drops', '--format', 'json')) as { reason: string }[];
    expect(drops.map(({ reason }) => reason)).toContain('DESTINATION_DENIED');
    // An address that the host gets later is denied too.
    execFileSync('ip', ['-n', world.host, 'addr', 'add', '10.50.0.9/24', 'dev', IFNAME]);
    await until(
      async () => DENIED.test(await world.failure(inside, 'tcp', '10.50.0.9', 8000)),
      'it is denied',
    );
  });

  it("reaches its own and others' published ports at the host's addresses", async () => {
    await open();
    await world.serve(inside, 80);
    await world.publish('web', '5021:80', '5021:80/udp');
    const other = await world.attach('other');
    for (const [protocol, version] of CASES) {
      for (const netns of [inside, other]) {
        const exchange = await world.exchange(netns, protocol, HOST[version], 5021, SMALL);
        expect(exchange).toMatchObject({ port: 80, same: true });
      }
    }
  });

  it('is reached by hosts on the same link at the link-local address, and can answer them', async () => {
    await open();
    await world.serve(inside, 80);
    await world.publish('web', '5021:80', '5021:80/udp');
    const shown = (netns: string) =>
      execFileSync('ip', ['-n', netns, '-6', 'addr', 'show', 'dev', 'up0'], { encoding: 'utf8' });
    await until(() => !/tentative/.test(shown(world.host) + shown(world.far)), 'the addresses serve');
    const address = `${/inet6 (fe80\S+)\//.exec(shown(world.host))![1]}%up0`;
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const bytes of [SMALL, 100_000]) {
        expect(await world.exchange(world.far, protocol, address, 5021, bytes)).toEqual({
          client: NEXT_HOP[6],
          port: 80,
          ownPort: true,
          same: true,
        });
      }
    }
  });

  it('is published for the host alone, or for others alone', async () => {
    await open();
    await world.serve(inside, 80);
    await world.publish('web', '127.0.0.1:5021:80', '127.0.0.1:5021:80/udp', `${HOST[4]}:5022:80`);
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await world.exchange(world.host, protocol, LOOPBACK[4], 5021, SMALL)).toMatchObject({
        same: true,
      });
      expect(await world.failure(world.far, protocol, HOST[4], 5021)).toBe('ConnectionRefusedError');
      expect(await world.failure(world.host, protocol, HOST[4], 5021)).toBe('ConnectionRefusedError');
    }
    expect(await world.failure(world.host, 'tcp', LOOPBACK[4], 5022)).toBe('ConnectionRefusedError');
  });

  it('is published for the host alone, also where the host routes 127/8 (CVE-2020-8558)', async () => {
    await open();
    await world.serve(inside, 80);
    // Programs of the host's own are reached by then.
    const server = world.start(world.host, 'python3', '-m', 'http.server', '8001', '--bind', '127.0.0.1');
    await until(
      async () => (await world.failure(world.host, 'tcp', LOOPBACK[4], 8001)) !== 'ConnectionRefusedError',
      'it listens',
    );
    await world.publish('web', '127.0.0.1:5021:80', '127.0.0.1:5021:80/udp');
    for (const netns of [world.host, world.far]) {
      const setting = `net.ipv4.conf.${IFNAME}.route_localnet=1`;
      execFileSync('ip', ['netns', 'exec', netns, 'sysctl', '-qw', setting]);
    }
    for (const change of [
      ['addr', 'del', '127.0.0.1/8', 'dev', 'lo'],
      ['route', 'add', '127.0.0.1', 'via', HOST[4], 'src', FAR[4]],
    ]) {
      execFileSync('ip', ['-n', world.far, ...change]);
    }
    const fetch = (port: number) =>
      world.run(world.far, 'curl', '-sS', '-m', '20', '-o', '/dev/null', `http://127.0.0.1:${port}/`);
    expect(await fetch(8001)).toMatchObject({ code: 0 });
    server.kill('SIGKILL');
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await world.failure(world.far, protocol, LOOPBACK[4], 5021)).toBe('ConnectionRefusedError');
      expect(await world.exchange(world.host, protocol, LOOPBACK[4], 5021, SMALL)).toMatchObject({
        same: true,
      });
    }
  });

  it('gets no port that another program of the host has, and keeps none of those beside it', async () => {
    await open();
    const refused = await world.account.tapdeck('publish', 'web', '7999:80', '8000:80');
    expect(refused).toMatchObject({ code: 1, out: '' });
    expect(refused.err).toMatch(
      /^tapdeck: error: cannot listen at \S+:8000\/tcp: another program of the host has that port \(EADDRINUSE\); choose another host port\n$/,
    );
    expect(await world.failure(world.host, 'tcp', LOOPBACK[4], 7999)).toBe('ConnectionRefusedError');
    const absent = await world.account.tapdeck('publish', 'web', '10.50.0.77:7999:80');
    expect(absent.err).toMatch(
      /: the host has no such address \(EADDRNOTAVAIL\); leave it out for all addresses\n$/,
    );
    expect((await world.publish('web', '7999-8000:80'))[0]).toMatchObject({ hostPort: 7999 });
    expect((await world.endpoints())[0]!.ports).toHaveLength(2);
  });

  it('takes its ports with it within 5 s, when its namespace goes', async () => {
    await open();
    await world.serve(inside, 80);
    await world.publish('web', '5021:80', '5021:80/udp');
    const client = world.start(world.far, 'python3', '-c', WAIT, HOST[4], '5021');
    await client.said('connected');
    await world.stopServers();
    world.removeSandbox(inside);
    await until(async () => (await world.endpoints()).length === 0, 'it is gone', 5000);
    await client.said('over');
    await until(
      async () => (await world.failure(world.far, 'tcp', HOST[4], 5021)) === 'ConnectionRefusedError',
      'the port is gone',
    );
  });

  it('hears that they are reset when a port is withdrawn that has many connections', async () => {
    await open();
    const server = world.start(inside, 'python3', '-c', MANY_UNTIL_RESET, '81', '300');
    await server.said('ready');
    await world.publish('web', `${HOST[4]}:5021:81`);
    const clients = world.start(world.far, 'python3', '-c', MANY, HOST[4], '5021', '300');
    await server.said('connected');
    await world.unpublish('web', '5021');
    await server.said('300 reset');
    clients.kill('SIGKILL');
  });

  it('loses the connections of a port that is withdrawn, and no others', async () => {
    await open();
    await world.serve(inside, 80);
    await world.publish('web', '5021:80', '5022:80');
    const [gone, stays] = ['5021', '5022'].map((port) =>
      world.start(world.far, 'python3', '-c', WAIT, HOST[4], port),
    );
    await gone!.said('connected');
    await stays!.said('connected');
    await world.unpublish('web', '5021');
    await gone!.said('over');
    expect(stays!.out).not.toContain('over');
    await world.unpublish('web', '5022');
    await stays!.said('over');
  });
});

describe('an endpoint behind uplink socket that is detached', () => {
  let world: HostWorld;
  let inside: string;

  beforeEach(async () => {
    world = new HostWorld();
    await world.account.daemon('--uplink', 'socket');
    inside = await world.attach('web');
  });
  afterEach(() => world.close());

  it.each([4, 6] as const)('takes its connections outside with it, IPv%d', async (version) => {
    const server = world.start(world.far, 'python3', '-c', UNTIL_RESET, '7001');
    await server.said('ready');
    world.start(inside, 'python3', '-c', WAIT, FAR[version], '7001');
    await server.said('connected');
    await world.client.delete('/v1/endpoints/web');
    await server.said('reset');
  });
});

describe('a deck that runs out of descriptors', () => {
  let world: HostWorld;
  let inside: string;
  let pid: number;

  beforeEach(async () => {
    world = new HostWorld();
    const program = [process.execPath, `${world.account.program}/dist/src/main.js`];
    const daemon = world.account.spawn(['prlimit', '--nofile=256', ...program, 'daemon']);
    await daemon.said('daemon ready');
    pid = (await world.client.version()).pid;
    inside = await world.attach('web');
  });
  afterEach(() => world.close());

  it.each([
    ['published ports', 'in'],
    ['what goes out', 'out'],
  ])('refuses new connections of %s, keeps the others, and recovers', async (_, way) => {
    await world.echo(way === 'in' ? inside : world.far, 5021);
    if (way === 'in') await world.publish('web', `${HOST[4]}:5021:5021`);
    const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
    const before = descriptors();
    const gone = () => until(() => descriptors() <= before, 'the connections are closed');
    const [from, to] = way === 'in' ? [world.far, HOST[4]] : [inside, FAR[4]];
    const crowd = world.crowd(from, to, 5021, 400, gone).finally(() => {
      isOver = true;
    });
    // Whoever asks the daemon is answered meanwhile.
    let isOver = false;
    for (let asked = 0; !isOver || asked === 0; asked++) {
      expect(await world.endpoints()).toHaveLength(1);
      await sleep(20);
    }
    const [first, second, third] = await crowd;
    const [answered, refused, silent] = first!;
    expect(silent).toBe(0);
    expect(answered).toBeGreaterThan(100);
    expect(answered! + refused!).toBe(400);
    expect(refused).toBeGreaterThan(100);
    expect([second, third]).toEqual([
      [answered, 0, 0],
      [answered, 0, 0],
    ]);
    const { ledger, ports } = await world.client.get<CountersView>('/v1/counters');
    expect(ledger.balanced).toBe(true);
    const drops = await world.client.get<DropView[]>('/v1/drops');
    const count = drops.find(({ reason }) => reason === 'SOCKET_EXHAUSTED')!.count;
    // And those that were asked for again because the answer was late.
    expect(count).toBeGreaterThanOrEqual(refused!);
    const uplink = ports.find(({ endpoint }) => endpoint === 'uplink')!;
    expect(way === 'out' ? uplink.txDropped : uplink.rxDropped).toBeGreaterThanOrEqual(refused!);
  });

  it('gives none of the ports for which they do not suffice', async () => {
    const { code, err } = await world.account.tapdeck('publish', 'web', '20000-20299:20000-20299');
    expect(code).toBe(1);
    expect(err).toMatch(
      /^tapdeck: error: cannot listen at 0\.0\.0\.0:20\d+\/tcp: no descriptor is left for it \(EMFILE\); raise "ulimit -n", or publish fewer ports\n$/,
    );
    expect(await world.failure(world.far, 'tcp', HOST[4], 20000)).toBe('ConnectionRefusedError');
    expect(await world.publish('web', '20000-20099:20000-20099')).toHaveLength(2);
  });
});

describe('on a host without IPv6', () => {
  let world: HostWorld;

  beforeEach(() => {
    world = new HostWorld();
    for (const name of ['all', 'default', 'lo', IFNAME]) {
      execFileSync('ip', [
        ...['netns', 'exec', world.host, 'sysctl', '-qw', `net.ipv6.conf.${name}.disable_ipv6=1`],
      ]);
    }
  });
  afterEach(() => world.close());

  it('IPv4 goes in and out, and IPv6 is refused at once', async () => {
    await world.account.daemon('--uplink', 'socket');
    const inside = await world.attach('web');
    await world.serve(inside, 80);
    await world.serve(world.far, 7000);
    await world.publish('web', '5021:80', '5021:80/udp');
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await world.exchange(world.far, protocol, HOST[4], 5021, SMALL)).toMatchObject({ same: true });
      expect(await world.exchange(inside, protocol, FAR[4], 7000, SMALL)).toMatchObject({ same: true });
    }
    // Of datagrams Linux does not tell the program that there is no route.
    expect(await world.failure(inside, 'tcp', FAR[6], 7000)).toBe('OSError');
    const refused = await world.account.tapdeck('publish', 'web', '[::1]:5022:80');
    expect(refused.err).toMatch(
      /^tapdeck: error: cannot listen at \[::1\]:5022\/tcp: the host has no such address /,
    );
  });
});

describe('run', () => {
  let world: HostWorld;

  beforeEach(() => {
    world = new HostWorld();
  });
  afterEach(() => world.close());

  it('is refused by a daemon that leaves in other ways than it asks for', async () => {
    await world.account.daemon('--uplink', 'socket,filtering=endpoint-independent');
    const rows: [string[], RegExp][] = [
      [['--uplink', 'none'], /runs with uplink socket,filtering=endpoint-independent; leave --uplink out/],
      [['--uplink', 'socket'], /runs without uplink socket,filtering=address-dependent;/],
      [['--deny', 'metadata'], /runs without uplink socket,filtering=address-dependent,deny=metadata;/],
      [['--host-loopback'], /network bridge of the daemon at \S+ keeps the host's loopback from endpoints;/],
    ];
    for (const [options, message] of rows) {
      const { code, out, err } = await world.account.tapdeck('run', ...options, '--', 'echo', 'it ran');
      expect([code, out]).toEqual([125, '']);
      expect(err).toMatch(message);
      expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    }
    expect(await world.account.tapdeck('run', '--', 'echo', 'it ran')).toMatchObject({ out: 'it ran\n' });
  });

  it('gives its daemon what it asks for', async () => {
    await world.serve(world.host, 8000);
    const reach = `import socket; socket.create_connection(("${NEXT_HOP[4]}", 8000), timeout=20); print("reached")`;
    const { code, out, err } = await world.account.tapdeck(
      ...['run', '--host-loopback', '--deny', 'metadata', '--', 'python3', '-c', reach],
    );
    expect([code, out], err).toEqual([0, 'reached\n']);
    const none = await world.account.tapdeck('run', '--uplink', 'none', '--', 'python3', '-c', reach);
    expect(none.err).toContain('unreachable');
  });
});

/** Takes so many connections and says that it has, and how many were reset. */
const MANY_UNTIL_RESET = `
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=1000)
print("ready", flush=True)
connections = [listener.accept()[0] for _ in range(int(sys.argv[2]))]
print("connected", flush=True)
count = 0
for connection in connections:
    connection.settimeout(30)
    try:
        connection.recv(1)
    except ConnectionResetError:
        count += 1
print(count, "reset", flush=True)
`;

/** Makes so many connections and keeps them. */
const MANY = `
import socket, sys, time
address = (sys.argv[1], int(sys.argv[2]))
connections = [socket.create_connection(address, timeout=20) for _ in range(int(sys.argv[3]))]
time.sleep(60)
`;

/** Takes a connection and says that it has, and when it is reset. */
const UNTIL_RESET = `
import socket, sys
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
connection, _ = listener.accept()
connection.recv(1)
print("connected", flush=True)
try:
    connection.recv(1)
except ConnectionResetError:
    print("reset", flush=True)
`;

/** Connects, sends a word and waits until the connection is over, however that is. */
const WAIT = `
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
connection.settimeout(None)
connection.sendall(b"x")
print("connected", flush=True)
try:
    connection.recv(1)
except OSError as error:
    print(error)
print("over", flush=True)
`;

describe('as an ordinary user', () => {
  let world: HostWorld;

  beforeEach(() => {
    world = new HostWorld(Account.user);
  });
  afterEach(() => world.close());

  const curl = (netns: string, url: string) => world.run(netns, 'curl', '-sS', '-m', '20', url);

  it('a server in a sandbox is reached by the host and by others, and sees who they are', async () => {
    const { account } = world;
    const server = account.start(
      ...['run', '--uplink', 'socket', '--name', 'web', '-p', '8080:80', '--'],
      ...['python3', '-u', '-m', 'http.server', '80', '--bind', '::'],
    );
    await server.said('Serving HTTP');
    for (const address of [LOOPBACK[4], LOOPBACK[6], HOST[4], HOST[6]]) {
      const { out, err } = await curl(world.host, `http://${inBrackets(address)}:8080/`);
      expect(out, err).toContain('Directory listing');
    }
    for (const address of [HOST[4], HOST[6]]) {
      const { out, err } = await curl(world.far, `http://${inBrackets(address)}:8080/`);
      expect(out, err).toContain('Directory listing');
    }
    await server.said(FAR[4]);
    await server.said(FAR[6]);
    await account.ok('unpublish', 'web', '8080');
    // Nobody listens there.
    expect(await curl(world.far, `http://${HOST[4]}:8080/`)).toMatchObject({ code: 7 });
    expect(await account.ok('publish', 'web', '8081:80')).toBe(
      '80/tcp -> 0.0.0.0:8081\n80/tcp -> [::]:8081\n',
    );
    expect((await curl(world.far, `http://${HOST[4]}:8081/`)).out).toContain('Directory listing');
    server.kill('SIGTERM');
    await server.ended;
    expect(await account.untilNothingIsLeft()).toEqual([]);
    expect(await curl(world.far, `http://${HOST[4]}:8081/`)).toMatchObject({ code: 7 });
  });

  it('who may not ping is told so in the log, once', async () => {
    const { account } = world;
    execFileSync('ip', ['netns', 'exec', world.host, 'sysctl', '-qw', 'net.ipv4.ping_group_range=1 0']);
    const daemon = await account.daemon('--uplink', 'socket');
    const ping = await account.tapdeck('run', '--', 'ping', '-c', '3', '-i', '0.2', '-W', '1', FAR[4]);
    expect(ping.out).toContain('3 packets transmitted, 0 received');
    await daemon.said('containers cannot ping the outside');
    const said = `${daemon.out}${daemon.err}`;
    expect(said.match(/containers cannot ping the outside/g), said).toHaveLength(1);
    const drops = JSON.parse(await account.ok('drops', '--format', 'json')) as DropView[];
    expect(drops.find(({ reason }) => reason === 'PING_FORBIDDEN')?.count).toBe(3);
  });

  it('a port that takes privilege is refused with the name of the setting', async () => {
    const { code, out, err } = await world.account.tapdeck(
      ...['run', '--uplink', 'socket', '-p', '80:80', '--', 'echo', 'it ran'],
    );
    expect([code, out]).toEqual([125, '']);
    expect(err).toBe(
      'tapdeck: error: cannot listen at 0.0.0.0:80/tcp: ports below 1024 take privilege (EACCES); allow it with "sysctl -w net.ipv4.ip_unprivileged_port_start=80", or choose a higher host port\n',
    );
    expect(await world.account.untilNothingIsLeft()).toEqual([]);
    execFileSync('ip', [
      ...['netns', 'exec', world.host, 'sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=80'],
    ]);
    const allowed = await world.account.tapdeck(
      'run',
      '--uplink',
      'socket',
      '-p',
      '80:80',
      '--',
      'echo',
      'it ran',
    );
    expect(allowed).toMatchObject({ code: 0, out: 'it ran\n' });
  });
});
