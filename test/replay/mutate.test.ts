import { describe, expect, test } from 'vitest';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { imbalance } from '../../src/replay/tables.ts';
import { type VerdictName, verdictName } from '../../src/replay/verdict-words.ts';
import { VirtualDeck } from '../../src/replay/virtual-deck.ts';
import { frameLine, type Station } from '../../src/testing/index.ts';
import { VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { formatMac, parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_SRC } from '../../wire/ethernet.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { testCaptures } from './captures.ts';
import { Mutator } from './mutator.ts';

/** TAPDECK_MUTATE=1000000 is the long form (`npm run test:mutate`); TAPDECK_SEED another story. */
const FRAMES = Number(process.env['TAPDECK_MUTATE'] ?? 50_000);
const SEED = Number(process.env['TAPDECK_SEED'] ?? 1);
const RERUN = `TAPDECK_MUTATE=${FRAMES} TAPDECK_SEED=${SEED} npx vitest run test/replay/mutate.test.ts`;
const CHECK_EVERY = 1000;

interface MutationPort {
  name: string;
  network: 'lan' | 'far';
  station: Station;
  /** Whether the station is configured, or has to be learned and asked for. */
  known: boolean;
}

const GATEWAYS: Record<MutationPort['network'], Station> = {
  lan: { mac: '02:42:0a:00:00:01', ipv4: '10.0.0.1', ipv6: 'fd00::1' },
  far: { mac: '02:42:0a:01:00:01', ipv4: '10.1.0.1', ipv6: 'fd01::1' },
};
const PORTS: readonly MutationPort[] = (['lan', 'far'] as const).flatMap((network, n) =>
  [0, 1, 2].map((i) => ({
    name: `${network}${i}`,
    network,
    known: i > 0,
    station: {
      mac: `02:42:0a:0${n}:00:0${i + 2}`,
      ipv4: `10.${n}.0.${i + 2}`,
      ipv6: `fd0${n}::${i + 2}`,
    },
  })),
);
const STRANGERS: readonly Station[] = [
  { mac: '02:42:0a:00:00:63', ipv4: '10.0.0.99', ipv6: 'fd00::99' },
  { mac: '02:42:0a:01:00:63', ipv4: '10.1.0.99', ipv6: 'fd01::99' },
  { mac: '02:00:00:00:00:01', ipv4: '198.51.100.1', ipv6: '2001:db8::1' },
  { mac: '02:00:00:00:00:02', ipv4: '255.255.255.255', ipv6: 'ff02::1' },
  { mac: '02:00:00:00:00:03', ipv4: '10.0.0.255', ipv6: 'ff02::1:ff00:1' },
  { mac: '02:00:00:00:00:04', ipv4: '127.0.0.1', ipv6: '::1' },
  { mac: '02:00:00:00:00:05', ipv4: '224.0.0.251', ipv6: '::' },
  { mac: '02:00:00:00:00:06', ipv4: '0.0.0.0', ipv6: 'fe80::42:aff:fe00:1' },
];

const corpus: Uint8Array[] = testCaptures().flatMap(({ path }) =>
  Array.from(readCaptureSync(path, { warn: () => {} }), ({ data }) => data.slice()),
);

interface Outcome {
  sha256: string;
  verdicts: Record<VerdictName | 'routed' | 'sent back', number>;
  drops: Record<string, number>;
  originated: number;
}

/** Feeds mutated frames to a deck of two networks; throws at the first thing that must not be. */
function run(frames: number, seed: number): Outcome {
  const random = new Random(seed);
  let number = 0;
  let received = '';
  const fail = (what: string): never => {
    throw new Error(`frame ${number} (${received}): ${what}\nrerun: ${RERUN}`);
  };
  const deck = new VirtualDeck({
    seed,
    onOutput: ({ spec }, _, bytes, at, length) => {
      const source = formatMac(get16(bytes, at + ETH_SRC), get32(bytes, at + ETH_SRC + 2));
      if (source !== GATEWAYS[spec.network as MutationPort['network']].mac) return;
      const wrong = gatewayFault(bytes.subarray(at, at + length));
      if (wrong) fail(`the gateway sent ${wrong}: ${frameLine(bytes.slice(at, at + length))}`);
    },
  });
  const free = deck.dataplane.arena.free;
  for (const [name, { mac, ipv4, ipv6 }] of Object.entries(GATEWAYS)) {
    const { hi, lo } = parseMac(mac)!;
    deck.addNetwork(name, {
      macHi: hi,
      macLo: lo,
      ipv4: { address: parseIpv4(ipv4!)!, prefix: 24 },
      ipv6: { address: parseIpv6(ipv6!)!, prefix: 64 },
      mtu: name === 'lan' ? 1500 : 1280,
    });
  }
  // Half of the ways between the networks are open, and some rules match what hardly ever comes.
  deck.dataplane.setUserRules([
    { id: 1, action: 'REJECT', protocol: 17, sports: { from: 0, to: 1023 } },
    { id: 2, action: 'DROP', src: { address: [0xfd000000 | 0, 0, 0, 0], prefix: 8 }, states: ['RELATED'] },
    { id: 3, action: 'ACCEPT', in: { network: deck.networkId('lan') } },
    { id: 4, action: 'ACCEPT', states: ['ESTABLISHED', 'INVALID'] },
  ]);
  const networkOf = new Map<number, string>();
  const attach = ({ name, network, station, known }: MutationPort): void => {
    const { mac, ipv4, ipv6 } = station;
    const port = deck.attach(
      name,
      deck.ports.has(name)
        ? undefined
        : {
            network,
            ...(known && { mac: parseMac(mac)!, ipv4: parseIpv4(ipv4!)!, ipv6: parseIpv6(ipv6!)! }),
          },
    );
    networkOf.set(port.id, network);
  };
  for (const port of PORTS) attach(port);

  const stations = PORTS.map(({ station }) => station);
  const mutator = new Mutator(random, corpus, stations, Object.values(GATEWAYS), STRANGERS);
  const verdicts = { forwarded: 0, flooded: 0, consumed: 0, held: 0, dropped: 0, routed: 0, 'sent back': 0 };
  const balance = (): void => {
    const off = imbalance(deck.tables().ledger);
    if (off !== 0) fail(`the ledger is off by ${off}`);
  };
  for (number = 1; number <= frames; number++) {
    deck.advance(deck.now + pause(random));
    const from = PORTS[random.below(PORTS.length)]!;
    const port = deck.ports.get(from.name)!;
    disturb(deck, from, random, attach);
    mutator.next(from.station, GATEWAYS[from.network]);
    const { bytes, length, vnet } = mutator;
    received = `${hex(vnet, VNET_LEN)} ${hex(bytes, Math.min(length, 200))}, ${length} bytes`;
    if (!deck.receive(port, bytes, 0, length, vnet)) continue;
    const [failed] = deck.exceptions;
    if (failed) fail(failed.error instanceof Error ? failed.error.stack! : String(failed.error));
    const verdict = deck.dataplane.lastVerdict;
    verdicts[verdictName(verdict)]++;
    if (verdictKind(verdict) === VerdictKind.FORWARD) {
      if (verdictArgument(verdict) === port.id) verdicts['sent back']++;
      else if (networkOf.get(verdictArgument(verdict)) !== from.network) verdicts.routed++;
    }
    if (number % CHECK_EVERY === 0) balance();
  }
  balance();
  const tables = deck.tables();
  // What waits for neighbors, fragments and slow receivers is given up in time, and every slot comes back.
  for (const { name } of PORTS) if (deck.ports.get(name)!.id >= 0) deck.detach(name);
  deck.advance(deck.now + 600_000);
  balance();
  const { ledger, drops } = deck.tables();
  if (ledger.held !== 0) fail(`${ledger.held} frames are held for ever`);
  if (deck.dataplane.arena.free !== free) fail(`${free - deck.dataplane.arena.free} slots are lost`);
  return { sha256: deck.finish(tables), verdicts, drops, originated: ledger.originated };
}

function hex(bytes: Uint8Array, length: number): string {
  return Buffer.from(bytes.subarray(0, length)).toString('hex');
}

/** Mostly next to nothing; now and then until timers run out. */
function pause(random: Random): number {
  const kind = random.below(1000);
  if (kind < 900) return random.below(1000) / 1000;
  if (kind < 998) return random.below(200);
  return kind === 998 ? random.below(10_000) : random.below(100_000);
}

/** Now and then a port goes, or stops taking frames; soon after it is as before. */
function disturb(
  deck: VirtualDeck,
  port: MutationPort,
  random: Random,
  attach: (port: MutationPort) => void,
): void {
  const { id, end } = deck.ports.get(port.name)!;
  if (id < 0) {
    if (random.chance(0.05)) attach(port);
  } else if (end.blocked) {
    if (random.chance(0.05)) deck.unblock(port.name);
  } else if (random.chance(0.001)) {
    if (random.chance(0.3)) deck.detach(port.name);
    else deck.block(port.name);
  }
}

/** What is wrong with a frame that a gateway sent: it makes and passes on only what is well-formed. */
function gatewayFault(frame: Uint8Array): string | undefined {
  const packet = new Packet(frame);
  packet.length = frame.length;
  const malformed = parse(packet);
  if (malformed !== Malformed.NONE) return `a malformed frame (${malformed})`;
  // A bad checksum of TCP or UDP is passed on as it came: it is the receiver's to find (CK-2).
  const icmp = packet.protocol === PROTO_ICMP || packet.protocol === PROTO_ICMPV6;
  const own = Object.values(GATEWAYS).some(({ ipv4 }) => get32(frame, 26) === parseIpv4(ipv4!));
  if (icmp && own && get16(frame, 12) === 0x0800 && !transportChecksumOk(packet))
    return 'a wrong ICMP checksum';
  return undefined;
}

describe(`${FRAMES} mutated frames, seed ${SEED}`, () => {
  test('nothing throws, every frame is accounted for, and a second run is the same', {
    timeout: 3_600_000,
  }, () => {
    const first = run(FRAMES, SEED);
    if (process.env['TAPDECK_MUTATE'] !== undefined) console.info(report(first));
    expect(run(FRAMES, SEED).sha256, RERUN).toBe(first.sha256);
    // Every stage has been reached, or the test would prove little.
    for (const [verdict, count] of Object.entries(first.verdicts))
      expect(count, verdict).toBeGreaterThan(FRAMES / 1000);
    expect(first.originated).toBeGreaterThan(FRAMES / 100);
    expect(Object.keys(first.drops).length).toBeGreaterThanOrEqual(30);
  });
});

function report({ verdicts, drops, originated }: Outcome): string {
  const words = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  return `${FRAMES} frames: ${words(verdicts)}; originated ${originated}\ndrops: ${words(drops)}`;
}
