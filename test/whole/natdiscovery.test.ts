import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { FILTERINGS, type Filtering } from '../../src/dataplane/commands.ts';
import { type Host, Lab } from './lab.ts';
import { DECK, FAMILIES, OUT, type Outside, outside } from './outside.ts';

// What a stranger's program makes of the translation: coturn's turnutils_natdiscovery (RFC 5780) in a container, and
// its server with two addresses outside.

/** The server's second address; it has two ports on each. */
const OTHER = { ipv4: '192.0.2.10', ipv6: '2001:db8::10' } as const;
/** The container's second address, from which the same port is used (collision). */
const SECOND = { ipv4: '172.17.0.200', ipv6: 'fd74:6170:6465::200' } as const;

const VERDICTS: Record<Filtering, string> = {
  'endpoint-independent': 'NAT with Endpoint Independent Filtering!',
  'address-dependent': 'NAT with Address Dependent Filtering!',
  'address-and-port-dependent': 'NAT with Address and Port Dependent Filtering!',
};

describe.each(FILTERINGS)('with %s filtering', (filtering) => {
  let lab: Lab;
  let world: Outside;
  let a: Host;
  afterEach(() => lab.close());

  it.each(FAMILIES)('coturn finds exactly that over %s', async (family) => {
    lab = new Lab();
    world = outside(lab, { options: `filtering=${filtering}` });
    await lab.open(...world.uplink);
    // It gives itself a second address.
    a = await lab.attach('a', '--allow-spoof');
    const [bits, flags] = family === 'ipv4' ? [24, []] : [64, ['nodad']];
    world.out.ip('addr', 'add', `${OTHER[family]}/${bits}`, 'dev', world.out.ifname, ...flags);
    a.ip('addr', 'add', `${SECOND[family]}/${bits === 24 ? 16 : 64}`, 'dev', a.ifname, ...flags);
    await world.out.serve(
      'Total General servers',
      ...['turnserver', '-n', '--no-auth', '--no-tls', '--no-dtls', '--no-cli', '--simple-log'],
      ...['--log-file', 'stdout', '--pidfile', join(lab.account.folder, 'turn.pid')],
      ...['--userdb', join(lab.account.folder, 'turn.db'), '-L', OUT[family], '-L', OTHER[family]],
    );
    const local = ['-L', a[family], '-l', '5555', '-A', SECOND[family]];
    const said = await a.ok('turnutils_natdiscovery', '-m', '-f', '-c', '-H', ...local, OUT[family]);

    expect(Array.from(said.matchAll(/^NAT with .*$/gm), ([line]) => line)).toEqual([
      'NAT with Endpoint Independent Mapping!',
      VERDICTS[filtering],
    ]);
    // That is as far as the program goes in its praise.
    expect(said).toContain('Received a request (maybe a successful hairpinning)');
    expect(said.match(/^No ALG: Mapped == XOR-Mapped$/gm)!.length).toBeGreaterThanOrEqual(6);

    const [, ...collision] = said.split('-= Collision Behavior Discovery =-');
    const reflexive = endpoints(collision.join(), 'UDP reflexive addr');
    const inside = endpoints(collision.join(), 'Local addr');
    // Two endpoints with the same port are two ports of the same address outside.
    expect(inside.map(({ address }) => address)).toEqual([a[family], SECOND[family]]);
    expect(inside[0]!.port).toBe(inside[1]!.port);
    expect(reflexive.map(({ address }) => address)).toEqual([DECK[family], DECK[family]]);
    expect(reflexive[0]!.port).not.toBe(reflexive[1]!.port);
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });
});

/** `0: : IPv4. Local addr: : 172.17.0.2:5555`, and for IPv6 `[fd00::2]:5555`. */
function endpoints(said: string, what: string): { address: string; port: number }[] {
  return Array.from(said.matchAll(new RegExp(`${what}[: ]+(\\S+):(\\d+)$`, 'gm')), ([, address, port]) => ({
    address: address!.replace(/[[\]]/g, ''),
    port: Number(port),
  }));
}
