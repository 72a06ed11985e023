import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { checksums, type Host, Lab, type Station, sendAndCollect, source, transfer } from './lab.ts';
import { DECK, FAMILIES, FAR, nft, OUT, type Outside, outside } from './outside.ts';

// Containers have links of 64 KiB, the world has not. Who sends learns what fits: from the deck, from routers outside
// whose errors are about translated packets, and where nobody tells him, from the MSS.

const ETH_LEN = 14;
const MTU = 1280;
/** As `transfer` and `sendAndCollect` choose their ports. */
const PUBLISHED = ['-p', '20000-20099:20000-20099', '-p', '20000-20099:20000-20099/udp'];

let lab: Lab;
let world: Outside;
let a: Host;

/** What a namespace has learned of the way to an address; the interface's own when it has learned nothing. */
function knownMtu(station: Station, address: string): number {
  const [, mtu] = / mtu (\d+) /.exec(station.ip('route', 'get', address)) ?? [];
  return mtu === undefined
    ? Number(/ mtu (\d+) /.exec(station.ip('link', 'show', station.ifname))?.[1])
    : Number(mtu);
}

/** The MSS that is announced in a capture, by those who connect or by those who answer. One that was late is there twice. */
async function announcedMss(path: string, who: 'client' | 'server'): Promise<Set<number>> {
  const tshark = lab.account.spawn([
    ...[
      'tshark',
      '-n',
      '-r',
      path,
      '-Y',
      `tcp.flags.syn == 1 && tcp.flags.ack == ${who === 'server' ? 1 : 0}`,
    ],
    ...['-T', 'fields', '-e', 'tcp.options.mss_val'],
  ]);
  return new Set((await tshark.ended).out.trim().split('\n').map(Number));
}

const IP_HEADERS = { ipv4: 20, ipv6: 40 } as const;

describe(`an uplink of ${MTU} bytes`, () => {
  /** Hears no ICMP errors. */
  let deaf: Host;
  beforeAll(async () => {
    lab = new Lab();
    world = outside(lab, { options: `mtu=${MTU}` });
    await lab.open(...world.uplink);
    a = await lab.attach('a', ...PUBLISHED);
    deaf = await lab.attach('deaf');
    // Neighbor discovery must pass.
    nft(
      deaf,
      `table inet filter {
        chain input {
          type filter hook input priority 0;
          meta l4proto icmp counter drop
          icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } counter drop
        }
      }`,
    );
  });
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  describe.each(FAMILIES)('over %s', (family) => {
    it('is what TCP announces, both ways, also to somebody who hears no ICMP', async () => {
      for (const host of [a, deaf]) {
        const captures = [await host.capture('tcp'), await world.far.capture('tcp')] as const;
        await transfer(host, world.far, FAR[family], 5_000_000);
        for (const capture of captures) await capture.stop();
        const fits = new Set([MTU - IP_HEADERS[family] - 20]);
        // The SYN/ACK that arrives, and on the far side the SYN. What either has sent is its own.
        expect(await announcedMss(captures[0].path, 'server')).toEqual(fits);
        expect(await announcedMss(captures[1].path, 'client')).toEqual(fits);
        expect(await announcedMss(captures[0].path, 'client')).not.toEqual(fits);
        expect(await announcedMss(captures[1].path, 'server')).not.toEqual(fits);
        expect(knownMtu(host, FAR[family])).toBe(host.mtu);
      }
    });

    it('carries what is published there', async () => {
      await transfer(world.far, a, DECK[family], 5_000_000);
      await transfer(world.out, a, DECK[family], 5_000_000);
      await sendAndCollect(world.out, a, DECK[family], { size: 8000, count: 20 });
    });

    it('is what the deck tells who asks for more', async () => {
      const options = family === 'ipv4' ? ['-M', 'do'] : [];
      const refused = await a.run('ping', '-n', '-c', '1', '-W', '20', '-s', '8000', ...options, FAR[family]);
      expect(refused.out).toContain(
        family === 'ipv4'
          ? `From ${a.gateway.ipv4} icmp_seq=1 Frag needed and DF set (mtu = ${MTU})`
          : `From ${a.gateway.ipv6} icmp_seq=1 Packet too big: mtu=${MTU}`,
      );
      expect(knownMtu(a, FAR[family])).toBe(MTU);
      const fits = MTU - IP_HEADERS[family] - 8;
      expect(await a.lostPings(FAR[family], 3, '-s', String(fits), '-M', 'do')).toEqual([]);
    });

    it('takes what may be cut in pieces that fit', async () => {
      // What the kernel has learned it would apply itself.
      if (family === 'ipv4') a.ip('route', 'flush', 'cache');
      // All fragments. Neighbors may be asked for meanwhile, and TCP connections say a late last word.
      const capture = await world.out.capture(family === 'ipv4' ? 'ip proto 17' : 'ip6 proto 44');
      await sendAndCollect(a, world.far, FAR[family], { size: 8000, count: 40 });
      const frames = (await capture.stop()).filter((frame) => source(frame) === DECK.mac);
      expect(Math.max(...frames.map(({ length }) => length))).toBeLessThanOrEqual(ETH_LEN + MTU);
      // 1,256 bytes in each fragment of IPv4, and 1,232 in each of IPv6.
      expect(frames.length).toBe(40 * 7);
      const { packets, wrong } = await checksums(lab.account, capture.path);
      expect([wrong, packets.udp]).toEqual([[], 40]);
      // Bundles whose datagrams fit, and for IPv4 such as do not.
      await sendAndCollect(a, world.far, FAR[family], { size: 1200, count: 320, perCall: 32 });
      if (family === 'ipv4')
        await sendAndCollect(a, world.far, FAR.ipv4, { size: 1400, count: 320, perCall: 32 });
    });
  });

  it('has kept its account', keptAccount);
});

describe(`a router outside with a line of ${MTU} bytes behind it`, () => {
  beforeAll(async () => {
    lab = new Lab();
    world = outside(lab, { mtu: MTU });
    await lab.open(...world.uplink);
    a = await lab.attach('a', ...PUBLISHED);
    // Who announces a large MSS gets large segments: only the router in between knows better.
    world.far.ip('route', 'change', '192.0.2.0/24', 'via', '198.51.100.1', 'advmss', '8000');
    world.far.ip('route', 'change', '2001:db8::/64', 'via', '2001:db8:1::1', 'advmss', '8000');
  });
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  describe.each(FAMILIES)('over %s', (family) => {
    it('tells a container by an error about a translated packet', async () => {
      const options = family === 'ipv4' ? ['-M', 'do'] : [];
      const refused = await a.run('ping', '-n', '-c', '1', '-W', '20', '-s', '1400', ...options, FAR[family]);
      expect(refused.out).toContain(
        family === 'ipv4'
          ? `From ${OUT.ipv4} icmp_seq=1 Frag needed and DF set (mtu = ${MTU})`
          : `From ${OUT.ipv6} icmp_seq=1 Packet too big: mtu=${MTU}`,
      );
      expect(knownMtu(a, FAR[family])).toBe(MTU);
    });

    it('tells TCP, out of a container and into it', async () => {
      const b = await lab.attach(`b-${family}`, '-p', '21000:21000');
      const capture = await b.capture(family === 'ipv4' ? 'icmp' : 'icmp6');
      expect(knownMtu(b, FAR[family])).toBe(b.mtu);
      await transfer(b, world.far, FAR[family], 5_000_000);
      expect(knownMtu(b, FAR[family])).toBe(MTU);
      await capture.stop();
      const { packets, wrong } = await checksums(lab.account, capture.path);
      expect(wrong).toEqual([]);
      expect(packets[family === 'ipv4' ? 'icmp' : 'icmpv6']).toBeGreaterThan(0);
      // A server learns it likewise, about a connection that came in.
      const c = await lab.attach(`c-${family}`, '-p', '80:80');
      await c.serve('ready\n', 'python3', '-c', SERVE, '80', '5000000');
      const said = await world.far.ok(
        'curl',
        '-sSf',
        '-m',
        '60',
        url(DECK[family]),
        '-o',
        '/dev/null',
        ...SIZE,
      );
      expect(said).toBe('5000000');
      expect(knownMtu(c, FAR[family])).toBe(MTU);
      for (const host of [b, c]) await lab.account.ok('detach', host.name);
    });

    it('cuts what may be cut', async () => {
      if (family === 'ipv4') a.ip('route', 'flush', 'cache');
      await sendAndCollect(a, world.far, FAR[family], { size: 8000, count: 40 });
      await sendAndCollect(world.far, a, DECK[family], { size: 8000, count: 40 });
    });
  });

  it('has kept its account', keptAccount);
});

const SIZE = ['-w', '%{size_download}'];

function url(address: string): string {
  return address.includes(':') ? `http://[${address}]/` : `http://${address}/`;
}

/** A web server with one answer of so many bytes. */
const SERVE = `
import http.server, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", sys.argv[2])
        self.end_headers()
        self.wfile.write(bytes(int(sys.argv[2])))
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
server = Server(("::", int(sys.argv[1])), Answer)
print("ready", flush=True)
server.serve_forever()
`;

async function keptAccount(): Promise<void> {
  expect((await lab.counters()).ledger).toMatchObject({ balanced: true, held: 0 });
  const { EXCEPTION, VNET_INHDR, NOMEM, FRAG_TIMEOUT, ICMP_ERROR_UNRELATED } = await lab.drops();
  expect({ EXCEPTION, VNET_INHDR, NOMEM, FRAG_TIMEOUT, ICMP_ERROR_UNRELATED }).toEqual({
    EXCEPTION: 0,
    VNET_INHDR: 0,
    NOMEM: 0,
    FRAG_TIMEOUT: 0,
    ICMP_ERROR_UNRELATED: 0,
  });
}
