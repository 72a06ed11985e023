/**
 * One measurement of a build, in a process of its own: `node child.js DIST`. Prints nanoseconds per frame as JSON. Uses only what
 * every build has had since the first release, so that old ones can be measured, too.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as DataplaneModule from '../../src/dataplane/dataplane.ts';
import type * as MemoryModule from '../../src/device/memory.ts';
import type * as FramesModule from '../../src/testing/frames.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import type * as AddressModule from '../../wire/address.ts';

/** Frames of a round, and rounds: short ones, of which the best are those in which nobody else had the CPU. */
const FRAMES = 20_000;
const ROUNDS = 400;
/** Of the rounds, the one that counts: a twentieth of them were faster. */
const QUANTILE = 0.05;

const [dist, looks] = process.argv.slice(2);
const load = <T>(path: string): Promise<T> => import(pathToFileURL(resolve(dist!, path)).href) as Promise<T>;
await load('src/runtime/engine.js');
const { Dataplane } = await load<typeof DataplaneModule>('src/dataplane/dataplane.js');
const { MemoryDevice } = await load<typeof MemoryModule>('src/device/memory.js');
const { udp } = await load<typeof FramesModule>('src/testing/frames.js');
const { dockerMac, formatMac, parseIpv4 } = await load<typeof AddressModule>('wire/address.js');

const dataplane = new Dataplane({ seed: 1, arena: { small: 64, big: 8 }, conntrack: { capacity: 4096 } });
const station = (ipv4: string) => ({
  ipv4,
  mac: formatMac(dockerMac(parseIpv4(ipv4)!).hi, dockerMac(parseIpv4(ipv4)!).lo),
});
const [one, other, gateway, deck, outside] = [
  '10.0.0.2',
  '10.0.0.3',
  '10.0.0.1',
  '198.51.100.2',
  '198.51.100.1',
].map(station) as [Station, Station, Station, Station, Station];
type Station = ReturnType<typeof station>;

const segment = ({ ipv4 }: Station, prefix: number) => {
  const address = parseIpv4(ipv4)!;
  const { hi, lo } = dockerMac(address);
  return { macHi: hi, macLo: lo, ipv4: { address, prefix }, ipv6: null, mtu: 65_520 };
};
const uplink = dataplane.addUplink(segment(deck, 24));
const network = dataplane.addNetwork({ ...segment(gateway, 16), uplink });
const attach = ({ ipv4 }: Station, to: number): PortId => {
  const device = new MemoryDevice(dataplane.arena, { discard: true, capacity: 1 });
  const address = parseIpv4(ipv4)!;
  return dataplane.addPort(device, { network: to, mac: dockerMac(address), ipv4: address }, 0);
};
const [onePort, , outsidePort] = [attach(one, network), attach(other, network), attach(outside, uplink)];

if (looks === 'observed') {
  const { makeObservationRing } = await load<typeof import('../../src/dataplane/observation.ts')>(
    'src/dataplane/observation.js',
  );
  const { RingSubscriber } = await load<typeof import('../../src/dataplane/ring-subscriber.ts')>(
    'src/dataplane/ring-subscriber.js',
  );
  // Nobody reads: after the first round the ring is full.
  dataplane.observer.subscribe(
    new RingSubscriber(makeObservationRing(65_536), { snaplen: 262_144 }, dataplane.ports),
  );
}

/** A frame as it comes in by a port, again and again. */
interface Traffic {
  frame: Frame;
  port: PortId;
  bytes: Uint8Array;
}

function traffic(bytes: Uint8Array, port: PortId): Traffic {
  const frame = dataplane.arena.allocate(bytes.length)!;
  frame.bytes.fill(0, frame.at - 12, frame.at);
  return { frame, port, bytes };
}

let now = 1;
function pass({ frame, port, bytes }: Traffic): void {
  for (let i = 0; i < FRAMES; i++) {
    frame.bytes.set(bytes, frame.at);
    dataplane.arena.retain(frame);
    dataplane.receive(port, frame, now);
  }
  now++;
}

const data = 'x'.repeat(22);
const ask = { from: one, srcPort: 5000, dstPort: 5001, data };
const way = {
  bridged: traffic(udp({ ...ask, to: other }), onePort),
  masqueraded: traffic(udp({ ...ask, to: outside, via: gateway }), onePort),
};
pass(way.masqueraded);
const mapped = dataplane.flows({}, 0)[0]!.reply.dstPort;
const kinds = {
  ...way,
  answered: traffic(udp({ from: outside, to: deck, srcPort: 5001, dstPort: mapped, data }), outsidePort),
};
for (let round = 0; round < 20; round++) for (const each of Object.values(kinds)) pass(each);
const times = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, [] as number[]]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [kind, each] of Object.entries(kinds)) {
    // The process's own time, not the clock's: on a busy machine most rounds lose the CPU for a while.
    const before = process.cpuUsage();
    pass(each);
    const { user, system } = process.cpuUsage(before);
    times[kind]!.push(((user + system) * 1000) / FRAMES);
  }
}
const { drops } = dataplane.ledger.snapshot();
if (drops.some((count) => count > 0)) throw new Error('frames were dropped');
const figures = Object.entries(times).map(([kind, list]) => [
  kind,
  list.sort((a, b) => a - b)[Math.floor(list.length * QUANTILE)]!,
]);
console.log(JSON.stringify(Object.fromEntries(figures)));
