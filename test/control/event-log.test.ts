import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import { EventLog, type EventView } from '../../src/control/event-log.ts';
import { streamEvents } from '../../src/control/event-stream.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

let plane: FakeDataPlane;
let deck: Deck;
let seconds: number;
let log: EventLog;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
  seconds = 0;
  log = new EventLog(deck.events, () => new Date(1000 * seconds++));
});
afterEach(() => deck.close());

const short = ({ type, action, name, attributes }: EventView) =>
  [type, action, name, ...Object.entries(attributes).map(([key, value]) => `${key}=${value}`)].join(' ');

describe('the log of events', () => {
  it('tells what happens, in the words of docker events', async () => {
    const heard: EventView[] = [];
    const stop = log.watch((event) => heard.push(event));
    await deck.createNetwork({ name: 'lab', subnet: '10.1.0.0/24' });
    await deck.attach({ pid: 1, name: 'web', publish: ['8080:80'] });
    await deck.connect('lab', 'web');
    await deck.unpublish('web', '8080');
    plane.vanish(deck.endpoints()[0]!.port);
    await expect.poll(() => deck.endpoints().length).toBe(1);
    await deck.detach('web');
    const { id } = await deck.addRule({ action: 'DROP', in: 'lab', protocol: 'tcp', dport: '25' });
    await deck.removeRule(id);
    await deck.removeNetwork('lab');
    stop();
    await deck.createNetwork({ name: 'unheard' });
    expect(heard.map(short)).toEqual([
      expect.stringMatching(/^network create lab type=/),
      'container create web',
      'network connect bridge container=web ifname=eth0 mac=02:42:ac:11:00:02 ipv4=172.17.0.2 ipv6=fd74:6170:6465::2',
      'port change web ports=0.0.0.0:8080:80/tcp [::]:8080:80/tcp',
      'network connect lab container=web ifname=eth1 mac=02:42:0a:01:00:02 ipv4=10.1.0.2',
      'port change web ports=',
      expect.stringMatching(/^network disconnect bridge container=web .* reason=gone$/),
      expect.stringMatching(/^network disconnect lab container=web /),
      'container destroy web',
      'rule add  action=DROP in=lab protocol=tcp dport=25',
      'rule remove  action=DROP in=lab protocol=tcp dport=25',
      expect.stringMatching(/^network destroy lab type=/),
    ]);
    expect(heard.map(({ time }) => new Date(time).getTime() / 1000)).toEqual(heard.map((_, i) => i));
  });

  it('remembers the last thousand', async () => {
    for (let i = 0; i < 501; i++) {
      await deck.createNetwork({ name: 'lab', subnet: '10.1.0.0/24' });
      await deck.removeNetwork('lab');
    }
    const all: EventView[] = [];
    log.watch((event) => all.push(event), new Date(0))();
    expect(all.length).toBe(1000);
    expect(all[0]!.time).toBe(new Date(2000).toISOString());
    const late: EventView[] = [];
    log.watch((event) => late.push(event), new Date(1_000_000))();
    expect(late.map(({ time }) => time)).toEqual(['1970-01-01T00:16:40.000Z', '1970-01-01T00:16:41.000Z']);
  });
});

describe('a stream of events', () => {
  it('cuts off who never reads, and keeps what waits for him bounded', async () => {
    let waiting = 0;
    const server = createServer((_, response) => {
      streamEvents(log, undefined, response);
      response.on('close', () => server.close());
      deck.events.on('network', () => {
        waiting = Math.max(waiting, response.writableLength);
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const request = get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
    const [response] = await once(request, 'response');
    response.pause();
    const cut = once(server, 'close');
    let over = false;
    void cut.then(() => {
      over = true;
    });
    // Some 200 bytes each, into buffers of the kernel's that hold some megabytes.
    const network = { ...deck.network('bridge'), name: 'x'.repeat(4000) };
    let told = 0;
    for (; !over && told < 20_000; told++) {
      deck.events.emit('network', { action: 'create', network });
      if (told % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await cut;
    expect(told).toBeLessThan(20_000);
    expect(waiting).toBeLessThan((1 << 20) + 10_000);
    response.destroy();
    // Nobody is told any more.
    deck.events.emit('network', { action: 'create', network });
  });
});
