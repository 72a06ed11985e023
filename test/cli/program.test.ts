import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { buildProgram, main } from '../../src/cli/program.ts';
import { Daemon } from '../../src/control/daemon.ts';
import { readDriverOptions } from '../../src/control/network-options.ts';
import { runtimePaths } from '../../src/control/paths.ts';
import type { ChainView } from '../../src/control/rule-view.ts';
import { packageVersion } from '../../src/control/version.ts';
import { FakeDataPlane } from '../control/fake-data-plane.ts';
import { fakeDeck } from '../control/fake-deck.ts';
import { flowEntry, pingEntry } from '../control/flow-entries.ts';

let folder: string;
let host: string;
let out: string;
let err: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  host = `unix://${folder}/tapdeck.sock`;
  out = '';
  err = '';
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
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

async function tapdeck(...argv: string[]) {
  out = '';
  err = '';
  const code = await main(argv);
  return { code, out, err };
}

describe('usage', () => {
  it.each([
    [['pss'], /unknown command 'pss' \(did you mean ps\?\); see tapdeck --help/],
    [
      ['ps', '--fromat', 'json'],
      /unknown option '--fromat' \(did you mean --format\?\); see tapdeck ps --help/,
    ],
    [['network', 'creat'], /unknown command 'creat' \(did you mean create\?\); see tapdeck network --help/],
    [['ps', '--format', 'xml'], /'xml' is invalid.*table, json; see tapdeck ps --help/],
    [['ps', 'surplus'], /too many arguments/],
    [['demo', '--fast'], /unknown option '--fast'; see tapdeck demo --help/],
    [['attach', '--netns', 'x', '-p', '1.2.3.4.5:80:80'], /host address "1.2.3.4.5" is not an IPv4 address/],
    [['publish', 'web'], /missing required argument 'spec'/],
    [['publish', 'web', '80-81:80-85'], /the ranges are of unequal length/],
    [['unpublish', 'web', '8080', '70000'], /port 70000 is out of range/],
    [['port', 'web', '8080:80'], /error: "8080:80" is not a port of an endpoint/],
    [['port', 'web', 'abc'], /error: "abc" is not a port of an endpoint; write it as in 80 or 53\/udp/],
    [['port', 'web', '65536'], /error: "65536" is not a port of an endpoint/],
    [['conntrack', '-L', '-D'], /option '-L, --list' cannot be used with option '-D, --delete'/],
    [['conntrack', '-D'], /-D needs a filter/],
    [['conntrack', '-F', '-p', 'tcp'], /-F forgets all connections/],
    [['conntrack', '-p', 'tpc'], /protocol "tpc" is unknown/],
    [['conntrack', '-s', '300.1.1.1'], /"300.1.1.1" is not an IPv4 address/],
    [
      ['conntrack', '-s', '10.0.0.0/8'],
      /connections are chosen by whole addresses, there are no prefixes here/,
    ],
    [['conntrack', '--dport', '80x'], /port "80x" is not a number/],
    [['conntrack', '--state', 'OPEN'], /state "OPEN" is unknown/],
    [['conntrack', '-f', 'ipx'], /family "ipx" is unknown/],
    [['daemon', '--conntrack-max', '3'], /--conntrack-max 3 is out of range/],
    [
      ['daemon', '--conntrack-max', '4294967296'],
      /--conntrack-max 4294967296 is out of range; use 16 to 4194304/,
    ],
    [['daemon', '--conntrack-max', '1e3'], /--conntrack-max "1e3" is not a whole number/],
    [['daemon', '--conntrack-quota', '9999999999'], /--conntrack-quota 9999999999 is out of range/],
    [['daemon', '--conntrack-quota', '0'], /--conntrack-quota "0" is not a whole number/],
    [['daemon', '--timeout', 'tcp=5'], /with one of the names udp, icmp, tcp-established, /],
    [['daemon', '--timeout', 'udp=0'], /"0" is not a number of seconds/],
    [['attach', '--netns', 'x', '--faults', 'nonsense=1'], /--faults: .*nonsense/],
    [['attach', '--netns', 'x', '--mac', '01:00:5e:00:00:01'], /is a group address/],
    [['attach', '--netns', 'x', '--mac-address', '01:00:5e:00:00:01'], /is a group address/],
    [['attach'], /give either --netns PATH or --pid PID/],
    [['attach', '--pid', '12', '--netns', 'x'], /give either --netns PATH or --pid PID/],
    [['attach', '--pid', 'one'], /--pid "one" is not a whole number/],
    [['detach'], /missing required argument 'name'/],
    [['network', 'create', 'a b'], /network name "a b" is not allowed/],
    [['--host', 'tcp://127.0.0.1:1', 'ps'], /host "tcp:\/\/127.0.0.1:1" is not supported/],
    [['ps', '--host'], /argument missing/],
  ])('%j is refused in one line, with exit code 2', async (argv, message) => {
    const { code, out, err } = await tapdeck(...argv);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    expect(err).toMatch(message);
  });

  it.each([
    [['run'], /missing required argument 'command'; see tapdeck run --help/],
    [['run', '-P', '--', 'true'], /unknown option '-P'/],
    [['run', '-p', 'x', '--', 'true'], /publish "x": "x" is not a port number/],
    [['run', '-p', '90-80:80', '--', 'true'], /range 90-80 is reversed; did you mean 80-90\?/],
    [['run', '--ip', '999.1.1.1', '--', 'true'], /"999.1.1.1" is not an IPv4 address/],
    [['run', '--name', '../x', '--', 'true'], /container name "..\/x" is not allowed/],
    [['run', '--deny', 'clouds', '--', 'true'], /deny="clouds": /],
  ])('%j is refused in one line, and no code of the command: 125', async (argv, message) => {
    const { code, out, err } = await tapdeck(...argv);
    expect([code, out]).toEqual([125, '']);
    expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
    expect(err).toMatch(message);
  });

  it('is shown when no command is given', async () => {
    for (const argv of [[], ['network']]) {
      const { code, err } = await tapdeck(...argv);
      expect(code).toBe(2);
      expect(err).toMatch(/^Usage: tapdeck /);
    }
  });

  it('is explained with examples by every command', async () => {
    const paths = (command: Command): string[][] => [
      [],
      ...command
        .createHelp()
        // Without what the program starts for itself, and `help`.
        .visibleCommands(command)
        .filter((child) => command.commands.includes(child))
        .flatMap((child) => paths(child).map((path) => [child.name(), ...path])),
    ];
    const all = paths(buildProgram(() => {}));
    expect(all.length).toBeGreaterThan(15);
    for (const path of all) {
      const { code, out, err } = await tapdeck(...path, '--help');
      expect([code, err], path.join(' ')).toEqual([0, '']);
      expect(out).toMatch(/^Usage: tapdeck /);
      if (path.length > 0) expect(out, path.join(' ')).toContain('Examples:\n  tapdeck ');
    }
  });

  it('has a version', async () => {
    expect(await tapdeck('--version')).toEqual({ code: 0, out: `${packageVersion()}\n`, err: '' });
    expect(packageVersion()).toMatch(/^\d+\.\d+\.\d+/);
  });

  it('names every option of a network', async () => {
    let keys: string[] = [];
    try {
      readDriverOptions({ colour: 'red' });
    } catch (error) {
      keys = (error as Error).message.match(/\b(com\.docker|tapdeck)\.[\w.]+/g) ?? [];
    }
    expect(keys).toContain('tapdeck.dns');
    const { out } = await tapdeck('network', 'create', '--help');
    for (const key of keys) expect(out).toContain(`${key}=`);
  });
});

describe('without a daemon', () => {
  it.each([
    [['ps']],
    [['fdb']],
    [['neigh']],
    [['drops']],
    [['counters']],
    [['network', 'ls']],
    [['network', 'inspect', 'bridge']],
    [['attach', '--pid', '1']],
    [['detach', 'x']],
    [['publish', 'x', '80']],
    [['unpublish', 'x', '80']],
    [['port']],
    [['conntrack']],
    [['conntrack', '-E']],
    [['events', '-f']],
    [['rules']],
  ])('%j says so and how to start one, with exit code 1', async ([command, ...rest]) => {
    const path = command === 'network' ? [command, rest.shift()!] : [command!];
    const { code, err } = await tapdeck(...path, '-H', host, ...rest);
    expect(code).toBe(1);
    expect(err).toBe(
      `tapdeck: error: no daemon is running at ${folder}/tapdeck.sock; start one with \`tapdeck daemon\`, or have systemd do it: \`tapdeck install service\`\n`,
    );
  });
});

describe('with a daemon', () => {
  let daemon: Daemon;
  let plane: FakeDataPlane;

  beforeEach(async () => {
    const log = pino({ enabled: false });
    plane = new FakeDataPlane();
    daemon = await Daemon.start({ paths: runtimePaths(host), log, openDeck: () => fakeDeck(plane) });
    vi.stubEnv('TAPDECK_HOST', host);
  });

  afterEach(async () => {
    vi.unstubAllEnvs();
    await daemon.stop('the test is over');
  });

  it('attaches, lists and detaches', async () => {
    expect(await tapdeck('attach', '--pid', '1', '--name', 'web')).toEqual({
      code: 0,
      out: 'web 172.17.0.2 fd74:6170:6465::2\n',
      err: '',
    });
    const id = (await tapdeck('ps', '-aq')).out.trim();
    expect(id).toMatch(/^[0-9a-f]{12}$/);
    expect(JSON.parse((await tapdeck('ps', '-q', '--format', 'json')).out)).toEqual([id]);
    expect((await tapdeck('ps', '-q', '--no-trunc')).out).toMatch(new RegExp(`^${id}[0-9a-f]{52}\\n$`));
    expect((await tapdeck('ps', '--no-trunc')).out).toMatch(new RegExp(`^${id}[0-9a-f]{52} `, 'm'));
    expect(JSON.parse((await tapdeck('inspect', id)).out)).toMatchObject([{ Name: '/web' }]);
    expect((await tapdeck('ps')).out).toMatch(
      /^CONTAINER ID .*\n[0-9a-f]{12} +web +bridge +172\.17\.0\.2, fd74:6170:6465::2 /,
    );
    expect(JSON.parse((await tapdeck('ps', '--format', 'json')).out)).toMatchObject([
      { name: 'web', pid: 1 },
    ]);
    expect(await tapdeck('detach', 'web', 'nobody')).toMatchObject({
      code: 1,
      out: 'web\n',
      err: expect.stringContaining('there is no container "nobody"'),
    });
    expect(JSON.parse((await tapdeck('ps', '--format', 'json')).out)).toEqual([]);
  });

  it('makes, lists, shows and removes networks as Docker does', async () => {
    const made = await tapdeck(
      'network',
      'create',
      '--attachable',
      '--subnet',
      '10.1.0.0/24',
      '--subnet',
      'fd00:1::/64',
      'lab',
    );
    expect(made.out).toMatch(/^[0-9a-f]{64}\n$/);
    expect((await tapdeck('network', 'ls')).out).toMatch(
      /^NETWORK ID +NAME +DRIVER +SCOPE\n.* bridge +bridge .*\n.* host +host .*\n.* none +null .*\n.* lab +bridge +local\n$/,
    );
    expect((await tapdeck('network', 'list', '-q')).out).toMatch(/^([0-9a-f]{12}\n){4}$/);
    expect((await tapdeck('network', 'ls', '-f', 'type=custom', '-q', '--no-trunc')).out).toBe(made.out);
    const inspected = await tapdeck('network', 'inspect', 'lab', 'nowhere', 'bridge');
    expect(inspected.code).toBe(1);
    expect(inspected.err).toContain('there is no network "nowhere"');
    expect(JSON.parse(inspected.out)).toMatchObject([{ Name: 'lab', EnableIPv6: true }, { Name: 'bridge' }]);
    expect(await tapdeck('network', 'rm', 'lab', 'bridge')).toMatchObject({
      code: 1,
      out: 'lab\n',
      err: 'tapdeck: error: network bridge is there by default and cannot be removed\n',
    });
  });

  it('shows the tables for people and for programs', async () => {
    await tapdeck('attach', '--pid', '1', '--name', 'web');
    expect((await tapdeck('drops')).out).toMatch(
      /^REASON +COUNT +MEANING\nFDB_SAME_PORT +1 +The destination/,
    );
    expect(JSON.parse((await tapdeck('drops', '--all', '--format', 'json')).out).length).toBeGreaterThan(40);
    expect((await tapdeck('counters')).out).toMatch(/^received 5 \+ originated 1 /);
    expect(JSON.parse((await tapdeck('counters', '--format', 'json')).out)).toMatchObject({
      ports: [{ endpoint: 'web' }],
    });
    expect(await tapdeck('fdb')).toEqual({ code: 0, out: '', err: '' });
    expect(await tapdeck('fdb', '--network', 'bridge')).toEqual({ code: 0, out: '', err: '' });
    expect((await tapdeck('neigh', '--format', 'json')).out).toBe('[]\n');
  });

  it('answers conflicts and wrong wishes in one line, with exit codes 1 and 2', async () => {
    await tapdeck('attach', '--pid', '1', '--name', 'web');
    const rows: [string[], number, string][] = [
      [['attach', '--pid', '2', '--name', 'web'], 1, 'container web exists already'],
      [
        ['attach', '--pid', '2', '--ip', '172.17.0.2'],
        1,
        'address 172.17.0.2 is in use by web in 172.17.0.0/16',
      ],
      [['attach', '--pid', '2', '--ip', '10.0.0.2'], 2, 'lies outside the network'],
      [['attach', '--pid', '2', '--network', 'nowhere'], 1, 'there is no network "nowhere"'],
      [['attach', '--pid', '2', '--net', 'nowhere'], 1, 'there is no network "nowhere"'],
      [['network', 'create', 'bridge'], 1, 'network bridge exists already'],
      [['network', 'create', '--subnet', '172.17.0.0/24', 'x'], 1, 'overlaps with 172.17.0.0/16'],
      [['network', 'create', '--subnet', '10.0.0.1/24', 'x'], 2, 'has host bits set'],
      [['network', 'create', '--mtu', '70000', 'x'], 2, 'MTU 70000 is out of range'],
      [['network', 'rm', '../endpoints'], 1, 'there is no network "../endpoints"'],
      [['detach', 'a/b'], 1, 'there is no container "a/b"'],
      [['fdb', '--network', 'nowhere'], 1, 'there is no network "nowhere"'],
      [['neigh', '--network', 'nowhere'], 1, 'there is no network "nowhere"'],
      [['fdb', '--network', '../fdb'], 2, 'network name "../fdb" is not allowed'],
    ];
    for (const [argv, code, message] of rows) {
      const answer = await tapdeck(...argv);
      expect([answer.code, answer.out], argv.join(' ')).toEqual([code, '']);
      expect(answer.err).toMatch(/^tapdeck: error: [^\n]+\n$/);
      expect(answer.err).toContain(message);
    }
  });

  it('publishes ports and shows them as Docker does', async () => {
    await tapdeck('attach', '--pid', '1', '--name', 'web', '-p', '8080:80', '--publish', '53:53/udp');
    expect(await tapdeck('port', 'web')).toEqual({
      code: 0,
      out: '53/udp -> 172.17.0.1:53\n53/udp -> [fd74:6170:6465::1]:53\n80/tcp -> 172.17.0.1:8080\n80/tcp -> [fd74:6170:6465::1]:8080\n',
      err: '',
    });
    expect((await tapdeck('ps')).out).toContain(
      '   172.17.0.1:53->53/udp, [fd74:6170:6465::1]:53->53/udp, 172.17.0.1:8080->80/tcp, [fd74:6170:6465::1]:8080->80/tcp\n',
    );
    expect((await tapdeck('publish', 'web', '172.17.0.1:8000-8010:90-100')).out).toBe(
      '90-100/tcp -> 172.17.0.1:8000-8010\n',
    );
    expect((await tapdeck('port', 'web', '80')).out).toBe('172.17.0.1:8080\n[fd74:6170:6465::1]:8080\n');
    expect((await tapdeck('port', 'web', '93/tcp')).out).toBe('172.17.0.1:8003\n');
    expect((await tapdeck('port')).out).toContain('web 90-100/tcp -> 172.17.0.1:8000-8010\n');
    expect(JSON.parse((await tapdeck('port', 'web', '93', '--format', 'json')).out)).toMatchObject([
      { endpoint: 'web', hostPort: 8000, hostPortEnd: 8010 },
    ]);
    expect((await tapdeck('unpublish', 'web', '8080')).out).toBe(
      '80/tcp -> 172.17.0.1:8080\n80/tcp -> [fd74:6170:6465::1]:8080\n',
    );
    expect(await tapdeck('port', 'web', '80')).toEqual({
      code: 1,
      out: '',
      err: 'tapdeck: error: container web publishes no port 80/tcp; see "tapdeck port web"\n',
    });
    expect(await tapdeck('attach', '--pid', '2', '--name', 'other', '-p', '1:1', '-p', '53:53/udp')).toEqual({
      code: 1,
      out: '',
      err: 'tapdeck: error: port 53/udp is published by container web already, on all addresses; choose another host port, or take it away first with "tapdeck unpublish web 53/udp"\n',
    });
    expect((await tapdeck('publish', 'web', '127.0.0.1:1:1')).err).toContain(
      'ports of container web cannot be on 127.0.0.1; use 172.17.0.1 (gateway of bridge)',
    );
    expect(JSON.parse((await tapdeck('ps', '--format', 'json')).out)).toMatchObject([{ name: 'web' }]);
  });

  it('says which ports were chosen, and which nobody outside reaches', async () => {
    const gateways = '(172.17.0.1, fd74:6170:6465::1)';
    await tapdeck('attach', '--pid', '1', '--name', 'web', '-p', '8080:80', '-p', '443');
    expect(out).toBe('web 172.17.0.2 fd74:6170:6465::2\n');
    const chosen =
      /^tapdeck: 443\/tcp -> 172\.17\.0\.1:(\d+)\ntapdeck: 443\/tcp -> \[fd74:6170:6465::1\]:\1\n/.exec(err)!;
    expect(err.slice(chosen[0].length)).toBe(
      `tapdeck: note: network bridge has no uplink; 8080/tcp, ${chosen[1]}/tcp are reachable only at its gateways ${gateways}\n`,
    );
    await tapdeck('publish', 'web', '8500:80');
    expect(err).toBe(
      `tapdeck: note: network bridge has no uplink; 8500/tcp is reachable only at its gateways ${gateways}\n`,
    );
    // Who says where knows where.
    expect((await tapdeck('publish', 'web', '172.17.0.1:8501:80')).err).toBe('');
    expect(
      (await tapdeck('unpublish', 'web', '172.17.0.1:8500', '8501', '8080:80')).out.split('\n'),
    ).toHaveLength(5);
  });

  it('shows, counts and forgets connections', async () => {
    plane.flowTable = [flowEntry(), pingEntry()];
    expect((await tapdeck('conntrack', '-p', 'tcp', '--orig-src', '172.17.0.2', '-f', 'ipv4')).out).toMatch(
      /^PROTO +TIMEOUT .*\ntcp +7439 +ESTABLISHED +bridge +172\.17\.0\.2:40000 /,
    );
    expect(plane.filters).toEqual([{ protocol: 6, family: 4, src: '172.17.0.2' }]);
    expect((await tapdeck('conntrack', '-L', '--format', 'conntrack')).out).toMatch(
      /^tcp {6}6 7439 ESTABLISHED src=172\.17\.0\.2 .* \[ASSURED\] mark=0 use=1\nicmp {5}1 59 src=/,
    );
    expect(err).toBe('tapdeck: 2 flow entries have been shown.\n');
    expect(JSON.parse((await tapdeck('conntrack', '--format', 'json')).out)).toHaveLength(2);
    expect(err).toBe('');
    expect((await tapdeck('conntrack', '-C')).out).toBe('2\n');
    expect(await tapdeck('conntrack', '-D', '--dport', '443')).toEqual({
      code: 0,
      out: '2 flow entries have been deleted\n',
      err: '',
    });
    expect(plane.filters.at(-1)).toEqual({ dstPort: 443 });
    expect(await tapdeck('conntrack', '-D', '-s', 'fd00::1')).toMatchObject({ code: 1 });
    plane.flowTable = [flowEntry()];
    expect(await tapdeck('conntrack', '-D', '-p', 'tcp', '--format', 'conntrack')).toEqual({
      code: 0,
      out: expect.stringMatching(/^tcp {6}6 7439 ESTABLISHED src=.*\n$/),
      err: 'tapdeck: 1 flow entries have been deleted.\n',
    });
    expect(await tapdeck('conntrack', '-F')).toMatchObject({ code: 0 });
    expect(JSON.parse((await tapdeck('conntrack', '-C', '--format', 'json')).out)).toMatchObject({
      entries: 0,
    });
  });

  it('says so when the table breaks off', async () => {
    plane.flowTable = [flowEntry(), pingEntry()];
    plane.flowsPerPage = 1;
    const flows = plane.flows.bind(plane);
    plane.flows = async (filter, from) => {
      if (from > 0) throw new Error('the data plane has stopped');
      return flows(filter, from);
    };
    for (const format of ['table', 'conntrack', 'json']) {
      expect(await tapdeck('conntrack', '--format', format)).toMatchObject({
        code: 1,
        err: expect.stringContaining('has gone in the middle of its answer'),
      });
    }
  });

  it.each(['table', 'json'])('follows connections until it is interrupted (%s)', async (format) => {
    const interrupt = new Promise<() => void>((resolve) => {
      vi.spyOn(process, 'once').mockImplementation((name: string | symbol, listener: () => void) => {
        if (name === 'SIGINT') resolve(listener);
        return process;
      });
    });
    const following = tapdeck('conntrack', '-E', '-p', 'tcp', '--format', format);
    const stop = await interrupt;
    expect(plane.watched).toBe(true);
    plane.happen({ event: 'NEW', flow: pingEntry() });
    plane.happen({ event: 'NEW', flow: flowEntry() });
    plane.lose(3);
    await expect.poll(() => out).toContain('LOST');
    stop();
    expect(await following).toMatchObject({ code: 0, err: '' });
    if (format === 'table') expect(out).toMatch(/^ {4}\[NEW\] tcp {6}6 7439 .*\n {3}\[LOST\] 3 events\n$/);
    else {
      const events = out.trim().split('\n');
      expect(events.map((line) => JSON.parse(line).event)).toEqual(['NEW', 'LOST']);
    }
    await expect.poll(() => plane.watched).toBe(false);
  });

  it('says so when the daemon goes while it follows connections', async () => {
    const following = tapdeck('conntrack', '-E');
    await expect.poll(() => plane.watched).toBe(true);
    await daemon.stop('the test is over');
    expect(await following).toMatchObject({ code: 1, err: expect.stringContaining('the daemon has gone') });
  });

  it('shows the rules in the chains of Docker', async () => {
    await tapdeck('attach', '--pid', '1', '--name', 'web', '-p', '8080:80');
    const [publish] = plane.publishes.keys();
    plane.rules = [{ kind: 'DNAT', network: 0, publish: publish!, packets: 12, bytes: 720 }];
    expect((await tapdeck('rules')).out).toMatch(
      /\nChain DOCKER \(1 references\)\ntarget .*\nDNAT +tcp +-- +\* +\* +0\.0\.0\.0\/0 +0\.0\.0\.0\/0 +tcp dpt:8080 to:172\.17\.0\.2:80\n/,
    );
    expect((await tapdeck('rules', '-v')).out).toContain('\n   12   720 DNAT ');
    const chains = JSON.parse((await tapdeck('rules', '--format', 'json')).out) as ChainView[];
    expect(chains.map(({ table, name }) => `${table} ${name}`)).toEqual(
      expect.arrayContaining(['nat PREROUTING', 'filter DOCKER-USER', 'filter DOCKER-ISOLATION-STAGE-1']),
    );
  });

  it('refuses a second daemon', async () => {
    const { code, err } = await tapdeck('daemon');
    expect(code).toBe(1);
    expect(err).toContain(`a daemon (pid ${process.pid}) is running at ${folder}/tapdeck.sock already`);
  });
});
