import { execFileSync, spawn } from 'node:child_process';
import { openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import type { CaptureView } from '../../src/control/capture-schema.ts';
import { run, tsharkFields } from '../capture/tools.ts';
import { type Running, until } from './account.ts';
import { type Host, Lab } from './lab.ts';

// Captures and traces of a running deck, by the commands.

const MAIN = join(import.meta.dirname, '../../dist/src/main.js');
const lab = new Lab();
let web: Host;
let db: Host;
let other: Host;

beforeAll(async () => {
  await lab.open('--uplink', 'none');
  await lab.network('front', '--subnet', '10.66.1.0/24', '--mtu', '1500');
  await lab.network('back', '--subnet', '10.66.2.0/24', '--mtu', '1500');
  web = await lab.attach('web', '--network', 'front');
  db = await lab.attach('db', '--network', 'front');
  other = await lab.attach('other', '--network', 'back');
});

afterEach(async () => {
  for (const running of commands.splice(0)) {
    running.kill('SIGKILL');
    await running.ended;
  }
  await lab.stopPrograms();
});
afterAll(() => lab.close());

const commands: Running[] = [];

function tapdeck(...args: string[]): Running {
  const running = lab.account.start(...args);
  commands.push(running);
  return running;
}

/**
 * Pings that are answered, one after the other. One of each program: whoever is to ask several times asks once more for an
 * answer that is only late, or does not wait for the last one.
 */
async function ping(from: Host, to: Host, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await from.ok('ping', '-q', '-n', '-c', '1', '-W', '30', to.ipv4);
}

/** So many pings that are answered, or a few more, as fast as it goes. */
async function pings(from: Host, to: Host, count: number, size: number): Promise<void> {
  await from.ok('ping', '-q', '-n', '-A', '-c', String(count), '-s', String(size), '-w', '120', to.ipv4);
}

/** Waits until the packet of a ping into another network was stopped. */
async function pingInVain(from: Host, to: Host): Promise<void> {
  const stopped = async () => (await lab.drops())['NETWORK_ISOLATED']!;
  const before = await stopped();
  const pinging = from.start('ping', '-q', '-n', '-c', '1', '-W', '1', to.ipv4);
  await until(async () => (await stopped()) > before, 'the ping was stopped');
  pinging.kill('SIGKILL');
  await pinging.ended;
}

/** Starts a command of tapdeck; what is captured by it comes behind this. */
async function begin(...args: string[]): Promise<Running> {
  const running = tapdeck(...args);
  await running.said('ctrl-C ends');
  return running;
}

async function end(running: Running, signal: NodeJS.Signals = 'SIGINT'): Promise<string> {
  running.kill(signal);
  const { code, err } = await running.ended;
  expect(code, err).toBe(0);
  return err;
}

const file = (name: string) => join(lab.account.folder, name);
const captures = () => lab.client.get<CaptureView[]>('/v1/captures');

describe('tapdeck capture', () => {
  it('writes what tshark, capinfos and tcpdump read: names, stories, directions and ids', async () => {
    const running = await begin('capture', '-w', file('all.pcapng'), 'icmp or arp');
    await ping(web, db, 3);
    await pingInVain(web, other);
    expect(await end(running)).toMatch(/^(\d+) packets captured, 0 missed by the capture$/m);
    const all = file('all.pcapng');
    const rows = tsharkFields(
      all,
      'frame.interface_name',
      'frame.packet_flags',
      'frame.packet_id',
      'icmp.type',
      'icmp.seq',
      'frame.comment',
    );
    const request = rows.filter(([, , , type, seq]) => type === '8' && seq === '1');
    expect(request.slice(0, 2).map(([name, flags]) => [name, Number(flags) & 3])).toEqual([
      ['web eth0', 1],
      ['db eth0', 2],
    ]);
    expect(request[0]![2]).toBe(request[1]![2]);
    expect(request[0]![5]).toContain('egress: sent to db eth0');
    expect(request[1]![5]).toBe('came in from web eth0');
    const stopped = rows.find(([, , , , , comment]) => comment!.includes('drops'))!;
    expect(stopped[5]).toContain(
      'FORWARD: DOCKER-ISOLATION-STAGE-2 drops: network front may not enter back (rule ',
    );
    expect(run('tshark', '-r', all, '-N', 'n', '-Y', 'icmp.seq == 1')).toContain('web → db');
    const info = run('capinfos', all);
    expect(info).toContain('Capture application: tapdeck');
    expect(info).toContain('File timestamp precision:  nanoseconds (9)');
    expect(run('tcpdump', '-nr', all, 'icmp').trim().split('\n').length).toBe(
      rows.filter(([, , , type]) => type !== '').length,
    );
    // As wide as the wall clock says.
    for (const { timestamp } of readCaptureSync(all))
      expect(Math.abs(Number(timestamp / 1_000_000n) - Date.now())).toBeLessThan(120_000);
    expect(await captures()).toEqual([]);
  });

  it('ends with its count, keeps the first bytes, and takes what is meant', async () => {
    const counted = await begin(
      'capture',
      '-i',
      'db',
      '-c',
      '3',
      '-s',
      '60',
      '-w',
      file('few.pcapng'),
      'icmp',
    );
    await ping(web, db, 3);
    const { code, err } = await counted.ended;
    expect([code, err]).toEqual([0, expect.stringContaining('3 packets captured, 0 missed')]);
    const records = Array.from(readCaptureSync(file('few.pcapng')));
    expect(records.map(({ capturedLength, originalLength }) => [capturedLength, originalLength])).toEqual(
      Array.from({ length: 3 }, () => [60, 98]),
    );
  });

  it('writes several files at once, by the daemon and by the command, and lets go of that of one who is killed', async () => {
    const names = ['one.pcapng', 'two.pcapng', 'three.pcapng'];
    const running = [];
    for (const name of names) running.push(await begin('capture', '-w', file(name), 'icmp'));
    const killed = tapdeck('capture', '-w', file('killed.pcapng'), 'icmp');
    await killed.said('ctrl-C ends');
    await ping(web, db, 5);
    killed.kill('SIGKILL');
    for (const one of running) expect(await end(one)).toContain('20 packets captured, 0 missed');
    for (const name of names) expect(Array.from(readCaptureSync(file(name)))).toHaveLength(20);
    await until(async () => (await captures()).length === 0, 'all have ended');
  });

  it('follows a container that comes while it runs, under its name', async () => {
    const running = await begin('capture', '-i', 'front', '-w', file('come.pcapng'), 'icmp');
    const late = await lab.attach('late', '--network', 'front');
    await ping(late, web, 2);
    lab.remove(late.netns);
    await ping(web, db, 1);
    await end(running, 'SIGTERM');
    const names = new Set(tsharkFields(file('come.pcapng'), 'frame.interface_name').flat());
    expect(names).toEqual(new Set(['late eth0', 'web eth0', 'db eth0']));
  });

  it('begins another file after so many bytes', async () => {
    const running = await begin('capture', '-w', file('ring.pcapng'), '-C', '1', '-W', '2', 'icmp');
    await pings(web, db, 900, 1400);
    await end(running);
    const written = readdirSync(lab.account.folder)
      .filter((name) => name.startsWith('ring.pcapng'))
      .sort();
    expect(written).toEqual(['ring.pcapng0', 'ring.pcapng1']);
    for (const name of written) {
      expect(statSync(file(name)).size).toBeLessThan(1_010_000);
      expect(Number(run('capinfos', '-cM', file(name)).match(/packets:\s+(\d+)/)![1])).toBeGreaterThan(0);
    }
  });

  it('says where a filter is wrong, and what there is to capture', async () => {
    const wrong = await tapdeck('capture', 'tcp and host and port 80').ended;
    expect(wrong).toEqual({
      code: 2,
      out: '',
      err: "tapdeck: error: the filter is wrong at character 14: expected an address like 10.1.0.2 or fd00::2, but there is 'and'\n  tcp and host and port 80\n               ^^^\n",
    });
    expect(await tapdeck('capture', '-i', 'nobody').ended).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no network, uplink or container "nobody"'),
    });
    expect((await tapdeck('capture', '-D').ended).out).toMatch(/^web +container +eth0 in front$/m);
  });

  it('counts exactly what a reader did not read, who slows nobody down', async () => {
    const fifo = file('fifo');
    execFileSync('mkfifo', [fifo]);
    const reader = spawn('sleep', ['1000'], { stdio: [openSync(fifo, 'r+'), 'ignore', 'ignore'] });
    try {
      const running = await begin('capture', '-B', '1', '-w', fifo, 'icmp');
      const [capture] = await captures();
      // All of them are answered, or ping fails.
      await pings(web, db, 900, 14_000);
      const { missed } = await lab.client.delete<{ missed: number }>(`/v1/captures/${capture!.id}`);
      expect(missed).toBeGreaterThan(0);
      running.kill('SIGINT');
      const { code, err } = await running.ended;
      expect([code, err]).toEqual([0, expect.stringContaining(`${missed} missed by the capture`)]);
    } finally {
      reader.kill('SIGKILL');
    }
  });

  it('ends quietly with its reader', async () => {
    const program = `TAPDECK_HOST=unix://${lab.account.runtime}/tapdeck.sock ${process.execPath} ${MAIN}`;
    const running = lab.start('sh', '-c', `${program} capture -q -w - icmp | tshark -l -r - -c 2`);
    await until(async () => (await captures()).length > 0, 'it captures');
    await ping(web, db, 5);
    // That nobody reads shows when something is written.
    while ((await captures()).length > 0) await ping(web, db, 1);
    await running.ended;
    expect(running.out.match(/Echo \(ping\) request/g)).toHaveLength(2);
  });
});

describe('tapdeck trace', () => {
  it('tells a packet stage by stage, and the same for programs', async () => {
    const people = await begin('trace', '-i', 'web', '-c', '1', 'icmp');
    const programs = tapdeck('trace', '--format', 'json', 'icmp');
    await until(async () => (await captures()).length === 2, 'both trace');
    await pingInVain(web, other);
    const { code, out, err } = await people.ended;
    expect([code, err]).toEqual([0, expect.stringContaining('1 packet traced, 0 missed by the trace')]);
    expect(out).toMatch(
      /^\d\d:\d\d:\d\d\.\d{6} #\d+ ingress: web eth0, ICMP echo request 10\.66\.1\.2 → 10\.66\.2\.2, seq \d+, 98 bytes$/m,
    );
    expect(out).toMatch(/ FORWARD: DOCKER-ISOLATION-STAGE-2 drops: network front may not enter back/);
    await programs.said('NETWORK_ISOLATED');
    await end(programs);
    const lines = programs.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const story = lines.find(({ steps }) => steps.at(-1).reason === 'NETWORK_ISOLATED');
    expect(story).toMatchObject({
      interface: 'web eth0',
      steps: expect.arrayContaining([expect.objectContaining({ stage: 'INGRESS' })]),
    });
  });
});

describe('tapdeck extcap', () => {
  it('lists the deck for Wireshark, and captures into its FIFO', async () => {
    const extcap = async (...args: string[]) => (await tapdeck('extcap', ...args).ended).out;
    const list = await extcap('--extcap-interfaces', '--extcap-version=4.0');
    expect(list).toMatch(/^extcap \{version=[\d.]+\}/);
    expect(list).toContain('interface {value=tapdeck-front}{display=tapdeck network front (10.66.1.0/24)}');
    expect(await extcap('--extcap-interface', 'tapdeck-front', '--extcap-dlts')).toBe(
      'dlt {number=1}{name=EN10MB}{display=Ethernet}\n',
    );
    const config = await extcap('--extcap-interface', 'tapdeck-front', '--extcap-config');
    expect(config).toContain('value {arg=0}{value=web}{display=web: eth0 in front}');
    expect(config).not.toContain('other');
    const check = ['--extcap-interface', 'tapdeck-front', '--extcap-capture-filter'];
    expect(await extcap(...check, 'tcp port 80')).toBe('');
    expect(await extcap(...check, 'tcp port')).toContain('character 9');
    const fifo = file('wireshark');
    execFileSync('mkfifo', [fifo]);
    const reader = lab.start('tshark', '-l', '-i', fifo, '-c', '2');
    const running = tapdeck('extcap', ...check, 'icmp', '--port', 'db', '--capture', '--fifo', fifo);
    await until(async () => (await captures()).length > 0, 'it captures');
    await ping(web, db, 2);
    await reader.ended;
    expect(reader.out.match(/Echo \(ping\)/g)).toHaveLength(2);
    while ((await captures()).length > 0) await ping(web, db, 1);
    expect((await running.ended).code).toBe(0);
  });
});
