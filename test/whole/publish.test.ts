import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FlowEventView, FlowView } from '../../src/control/flows.ts';
import type { Running } from './account.ts';
import { type Host, Lab, type Station } from './lab.ts';
import { DECK, FAMILIES, type Outside, outside } from './outside.ts';

// What is published, withdrawn and forgotten while packets flow, by the commands that people type.

let lab: Lab;
let world: Outside;
let a: Host;
let b: Host;

beforeAll(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
  a = await lab.attach('a');
  b = await lab.attach('b');
});
afterEach(async () => {
  await lab.stopPrograms();
  const paths = (await published()).map(({ endpoint, hostPort, hostPortEnd, protocol }) => {
    const spec = encodeURIComponent(`${hostPort}-${hostPortEnd}/${protocol}`);
    return `/v1/endpoints/${endpoint}/ports?spec=${spec}`;
  });
  // Both IP versions go at once.
  for (const path of new Set(paths)) await lab.client.delete(path);
  await lab.client.delete('/v1/conntrack');
});
afterAll(() => lab.close());

interface Published {
  endpoint: string;
  hostPort: number;
  hostPortEnd: number;
  protocol: string;
}

async function published(): Promise<Published[]> {
  return (await lab.endpoints()).flatMap(({ ports }) => ports);
}

async function flows(...filter: string[]): Promise<FlowView[]> {
  return JSON.parse(await lab.account.ok('conntrack', ...filter, '--format', 'json')) as FlowView[];
}

/** Answers every datagram to a port with its own name in front. */
const NAMED = `
import socket, sys
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, sender = udp.recvfrom(2000)
    udp.sendto(sys.argv[1].encode() + b" " + data, sender)
`;

/** Sends each line of stdin from one and the same socket, and says what comes back in so many seconds, which stand before it. */
const TALK = `
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
for line in sys.stdin:
    seconds, text = line.split()
    udp.settimeout(float(seconds))
    udp.sendto(text.encode(), (host, port))
    try:
        print(udp.recv(2000).decode(), flush=True)
    except TimeoutError:
        print("silence", flush=True)
`;

/** A conversation by one UDP socket. */
class Talk {
  readonly #running: Running;

  static async begin(from: Station, address: string, port: number): Promise<Talk> {
    return new Talk(await from.serve('ready\n', 'python3', '-c', TALK, address, String(port)));
  }

  private constructor(running: Running) {
    this.#running = running;
  }

  /** Says what is answered. */
  say(text: string): Promise<string> {
    return this.#say(text, 20);
  }

  /** Says what nobody is to answer. */
  sayInVain(text: string): Promise<string> {
    return this.#say(text, 1);
  }

  async #say(text: string, seconds: number): Promise<string> {
    const before = this.#running.out.length;
    this.#running.child.stdin!.write(`${seconds} ${text}\n`);
    while (!this.#running.out.endsWith('\n') || this.#running.out.length === before) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.#running.out.slice(before).trimEnd();
  }
}

function named(host: Host, port: number): Promise<Running> {
  return host.serve('ready', 'python3', '-c', NAMED, host.name, String(port));
}

describe.each(FAMILIES)('a published port over %s', (family) => {
  it('belongs to the next from the next datagram on', async () => {
    await named(a, 5000);
    await named(b, 5000);
    const talk = await Talk.begin(world.far, DECK[family], 5000);
    expect(await talk.sayInVain('1')).toBe('silence');
    await lab.account.ok('publish', 'a', '5000:5000/udp');
    expect(await talk.say('2')).toBe('a 2');
    await lab.account.ok('unpublish', 'a', '5000/udp');
    expect(await flows('-p', 'udp')).toEqual([]);
    expect(await talk.sayInVain('3')).toBe('silence');
    await lab.account.ok('publish', 'b', '4999-5001:4999-5001/udp');
    expect(await talk.say('4')).toBe('b 4');
    expect(await flows('-p', 'udp')).toMatchObject([{ published: 'b', dnat: true, unreplied: false }]);
  });

  it('is free when its endpoint is detached, and nothing of its connections is left', async () => {
    const c = await lab.attach('c', '-p', '5000:5000/udp');
    await named(c, 5000);
    await named(b, 5000);
    const talk = await Talk.begin(world.far, DECK[family], 5000);
    expect(await talk.say('1')).toBe('c 1');
    const inside = await Talk.begin(c, b[family], 5000);
    expect(await inside.say('2')).toBe('b 2');
    await lab.account.ok('detach', 'c');
    expect(await flows('-p', 'udp')).toEqual([]);
    await lab.account.ok('publish', 'b', '5000:5000/udp');
    expect(await talk.say('3')).toBe('b 3');
    lab.remove(c.netns);
  });

  it('ends the TCP connections that came in by it, and no others', async () => {
    await a.servePeer('echo', '80');
    await lab.account.ok('publish', 'a', '8080:80', '8081:80');
    const [closing, staying] = await Promise.all(
      ['8080', '8081'].map((port) => world.far.servePeer('crowd', DECK[family], port, '3')),
    );
    // The last word of a handshake may still be on its way to the deck.
    const established = (port: string) => flows('-p', 'tcp', '--dport', port, '--state', 'established');
    for (const port of ['8080', '8081']) await expect.poll(() => established(port)).toHaveLength(3);
    await lab.account.ok('unpublish', 'a', '8080');
    expect(await flows('-p', 'tcp', '--dport', '8080')).toEqual([]);
    expect(await flows('-p', 'tcp', '--dport', '8081', '--state', 'ESTABLISHED')).toHaveLength(3);
    staying!.child.stdin!.end('go\n');
    expect((await staying!.ended).out).toBe('ready\n3\n');
    closing!.kill('SIGKILL');
  });
});

it('a port that cannot be had leaves the namespace as it was', async () => {
  await lab.account.ok('publish', 'a', '8080:80');
  const netns = lab.sandbox('d');
  const refused = await lab.account.tapdeck(
    'attach',
    '--netns',
    netns,
    '--name',
    'd',
    '-p',
    '81:81',
    '-p',
    '8080:80',
  );
  expect(refused).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('port 8080/tcp is published by container a already'),
  });
  expect((await lab.account.names()).split('\n')).not.toContain('d');
  expect((await published()).map(({ endpoint }) => endpoint)).toEqual(['a', 'a']);
  await lab.account.ok('attach', '--netns', netns, '--name', 'd', '-p', '81:81');
  await lab.account.ok('detach', 'd');
  lab.remove(netns);
});

it('a sandbox of run has its published ports as long as it runs', async () => {
  const server = lab.account.start('run', '-p', '5000:5000/udp', '--', 'python3', '-c', NAMED, 'run', '5000');
  await server.said('ready');
  const talk = await Talk.begin(world.out, DECK.ipv4, 5000);
  expect(await talk.say('1')).toBe('run 1');
  server.kill('SIGTERM');
  await server.ended;
  expect(await published()).toEqual([]);
  expect(await talk.sayInVain('2')).toBe('silence');
});

describe('connections', () => {
  it('are followed from their beginning to their end, until ctrl-C', async () => {
    const following = lab.account.start('conntrack', '-E', '-p', 'icmp', '--format', 'json');
    const spoken = lab.account.start('conntrack', '-E', '-p', 'icmp');
    // Only then does it print what happens.
    await expect
      .poll(async () => {
        await a.ok('ping', '-c', '1', '-W', '20', '192.0.2.1');
        return [following.out, spoken.out].every((out) => out.includes('NEW'));
      })
      .toBe(true);
    await lab.account.ok('conntrack', '-D', '-p', 'icmp');
    await following.said('DESTROY');
    await spoken.said('[DESTROY]');
    following.kill('SIGINT');
    spoken.kill('SIGINT');
    const { code, out } = await following.ended;
    expect(code).toBe(0);
    expect((await spoken.ended).code).toBe(0);
    const events = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as FlowEventView);
    const { event: first } = events[0]!;
    expect(['NEW', 'UPDATE']).toContain(first);
    expect(events.at(-1)).toMatchObject({
      event: 'DESTROY',
      flow: { protocol: 'icmp', original: { src: a.ipv4, network: 'bridge' }, reply: { dst: DECK.ipv4 } },
    });
    expect(spoken.out).toMatch(
      /^ {4}\[NEW\] icmp {5}1 60 src=\S+ dst=192\.0\.2\.1 type=8 code=0 id=\d+ \[UNREPLIED\] src=192\.0\.2\.1 dst=192\.0\.2\.2 type=0 code=0 id=\d+$/m,
    );
  });

  it('are forgotten by filter, by network and altogether', async () => {
    await named(a, 5000);
    await lab.account.ok('publish', 'a', '5000:5000/udp');
    const talk = await Talk.begin(world.far, DECK.ipv4, 5000);
    expect(await talk.say('1')).toBe('a 1');
    await a.ok('ping', '-c', '1', '192.0.2.1');
    await b.ok('ping', '-c', '1', '192.0.2.1');
    expect(await lab.account.ok('conntrack', '-C')).toBe('3\n');
    expect(await lab.account.ok('conntrack', '-D', '-p', 'icmp', '-s', b.ipv4)).toBe(
      '1 flow entries have been deleted\n',
    );
    expect((await lab.account.tapdeck('conntrack', '-D', '-s', b.ipv4)).code).toBe(1);
    expect(await flows('--network', 'bridge')).toHaveLength(2);
    expect(await flows('--network', world.out.ifname, '-r', '192.0.2.1')).toHaveLength(1);
    expect(await lab.account.ok('conntrack', '-F')).toBe('2 flow entries have been deleted\n');
    // What is published is not forgotten with them.
    expect(await talk.say('2')).toBe('a 2');
  });

  it('are counted by the rules that they pass', async () => {
    await a.servePeer('echo', '80');
    await lab.account.ok('publish', 'a', '8080:80');
    const crowd = await world.far.servePeer('crowd', DECK.ipv4, '8080', '5');
    crowd.child.stdin!.end('go\n');
    expect((await crowd.ended).out).toBe('ready\n5\n');
    const rules = await lab.account.ok('rules', '-v');
    expect(rules).toMatch(/^ +5 +300 DNAT +tcp +-- .* 0\.0\.0\.0\/0 +tcp dpt:8080 to:\S+:80$/m);
    const accept = `ACCEPT +tcp +-- +\\* +bridge .* ${a.ipv4} +tcp dpt:80 ctstate DNAT /\\* a 8080 \\*/$`;
    const [, packets, bytes] = new RegExp(`^ +(\\d+) +(\\d+) ${accept}`, 'm').exec(rules)!.map(Number);
    // And those that were sent again because the answer was late.
    expect(packets).toBeGreaterThanOrEqual(5);
    expect(bytes).toBe(60 * packets!);
    expect(rules).toMatch(/^ +0 +0 MASQUERADE +tcp .*hairpin, a 8080 \*\/$/m);
  });
});
