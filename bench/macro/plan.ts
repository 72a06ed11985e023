import { CForwarder } from './c-forwarder.ts';
import type { CPrograms } from './c-program.ts';
import type { Connected, Contender, Path } from './contender.ts';
import { type Answerer, DNS_RATE, dnsBulk, dnsLatency } from './dns.ts';
import { DockerHost } from './docker-host.ts';
import { DockerNetwork } from './docker-network.ts';
import type { Entry, Sample, Target } from './entry.ts';
import { firstByte } from './first-byte.ts';
import { httpRate } from './http.ts';
import { KernelBridge } from './kernel-bridge.ts';
import { KernelNat } from './kernel-nat.ts';
import type { Measurement, Options } from './options.ts';
import { Pasta } from './pasta.ts';
import { Slirp4netns } from './slirp4netns.ts';
import { Tapdeck } from './tapdeck.ts';
import { TapdeckCaptures } from './tapdeck-captures.ts';
import { TapdeckMany } from './tapdeck-many.ts';
import { TapdeckNat } from './tapdeck-nat.ts';
import { TapdeckSockets } from './tapdeck-sockets.ts';
import { TapdeckStart } from './tapdeck-start.ts';
import { tcpBulk } from './tcp-bulk.ts';
import { tcpCrr } from './tcp-crr.ts';
import { tcpRr } from './tcp-rr.ts';
import { udpRate } from './udp-rate.ts';

/** MTU of docker0 and of the machines behind it. */
const ETHERNET_MTU = 1500;
/** tapdeck's default. */
const DECK_MTU = 65520;

/** How long the samples take. */
interface Lengths {
  tcpSeconds: number;
  udpTrial: number;
  udpSteps: number;
  rrMilliseconds: number;
  crrMilliseconds: number;
  httpSeconds: number;
  firstByteMilliseconds: number;
  captureMilliseconds: number;
}

const LENGTHS: Lengths = {
  tcpSeconds: 2,
  udpTrial: 500,
  udpSteps: 6,
  rrMilliseconds: 1000,
  crrMilliseconds: 1500,
  httpSeconds: 2,
  firstByteMilliseconds: 1500,
  captureMilliseconds: 5000,
};
const QUICK: Lengths = {
  tcpSeconds: 1,
  udpTrial: 300,
  udpSteps: 5,
  rrMilliseconds: 500,
  crrMilliseconds: 500,
  httpSeconds: 1,
  firstByteMilliseconds: 500,
  captureMilliseconds: 2000,
};

/** Something to measure: who, what, and what it must reach. */
interface Line {
  title: string;
  contender: Contender;
  measurement: Measurement;
  target?: Target;
  /** Congestion control of a bulk transfer. */
  congestion?: string;
  /** By NAT and sockets: from where to a published port; left out for the way out. */
  way?: 'inward' | 'local';
  /** HTTP: whether connections are kept. */
  keepAlive?: boolean;
  /** Bulk beside questions for names: who answers them; left out when none are asked. */
  asks?: Answerer;
  /** Whether a capture overruns meanwhile. */
  overruns?: boolean;
}

/** Everything that a run measures, and those that have to be up for it. */
export interface Plan {
  contenders: Contender[];
  /** The entries, once every contender has told its path. */
  entries(paths: ReadonlyMap<Contender, Connected>): Entry[];
}

/**
 * The plan: at MTU 1500 everybody on equal terms; at 65520 what each side's own default makes of a bulk
 * transfer, against the kernel bridge at its default of 1500. The bridge at 65520 is there for orientation.
 * By NAT each side has its default, and the way outside is of MTU 1500 for both. By sockets of the host tapdeck is the
 * reference, and its peers are measured at both MTUs.
 */
export function plan(options: Options, programs: CPrograms): Plan {
  const lengths = options.quick ? QUICK : LENGTHS;
  const bridge = new KernelBridge(ETHERNET_MTU);
  const bridgeLarge = new KernelBridge(DECK_MTU);
  const limit = new CForwarder(ETHERNET_MTU, programs.forwarder);
  const limitLarge = new CForwarder(DECK_MTU, programs.forwarder);
  const deck = new Tapdeck(ETHERNET_MTU);
  const deckLarge = new Tapdeck(DECK_MTU);
  const deckMany = new TapdeckMany(DECK_MTU);
  const deckKept = new TapdeckMany(DECK_MTU, true);
  const deckStart = new TapdeckStart(DECK_MTU);
  const deckCaptures = new TapdeckCaptures(programs.udpBlast);
  const nat = new KernelNat();
  const deckNat = new TapdeckNat(DECK_MTU);
  const atLeast = (ratio: number): Target => ({ is: 'least', ratio });
  const atMost = (value: number): Target => ({ is: 'most', value });
  const lines: Line[] = [];
  const measure = (
    title: string,
    measurement: Measurement,
    who: [Contender, Target?][],
    how: Pick<Line, 'congestion' | 'way' | 'keepAlive' | 'asks' | 'overruns'> = {},
  ) => {
    for (const [contender, target] of who) {
      lines.push({ title, contender, measurement, ...(target && { target }), ...how });
    }
  };
  for (const congestion of options.congestion) {
    measure(
      `TCP bulk, one connection (iperf3), ${congestion}, Gbit/s`,
      'tcp',
      [[bridge], [limit], [deck, atLeast(0.95)], [bridgeLarge], [limitLarge], [deckLarge, atLeast(1.25)]],
      { congestion },
    );
  }
  measure('UDP, 64-byte frames, highest rate with at most 0.1 % lost, frames/s', 'udp', [
    [bridge],
    [limit],
    [deckLarge, atLeast(1)],
  ]);
  measure('TCP request/response, one byte each way, p50 in µs', 'rr', [
    [bridge],
    [limit],
    [deckLarge, { is: 'most', ratio: 1.2 }],
  ]);
  const ways = [
    ['masquerade, container to outside', {}],
    ['a published port, outside to container', { way: 'inward' }],
  ] as const;
  measure(`Names of the deck, ${DNS_RATE} questions/s by UDP, p99 in µs`, 'dns', [[deckLarge]]);
  const beside = `TCP bulk while a third container asks for names ${DNS_RATE} times/s, Gbit/s`;
  measure(beside, 'dns-bulk', [[deckLarge]]);
  // What the machine has left for the deck when nothing of it comes there.
  measure(beside, 'dns-bulk', [[deckLarge]], { asks: 'itself' });
  measure(beside, 'dns-bulk', [[deckLarge, atLeast(0.9)]], { asks: 'gateway' });
  const bulkAmong = 'TCP bulk between two of 500 containers on 50 networks, and of three, Gbit/s';
  measure(bulkAmong, 'scale-tcp', [[deckLarge], [deckMany, atLeast(0.95)]]);
  const namesAmong = `Names of the deck among 500 containers, ${DNS_RATE} questions/s by UDP, p99 in µs`;
  measure(namesAmong, 'scale-dns', [[deckLarge], [deckMany, atMost(5000)]]);
  measure('The API asked for 50 of 500 containers to be attached, p95 in ms', 'scale-attach', [
    [deckMany, atMost(30)],
  ]);
  measure('The API asked for one of 50 networks and for all 500 containers, p95 in ms', 'scale-api', [
    [deckMany, atMost(50)],
  ]);
  measure('Memory of the daemon with 500 containers, MB', 'scale-memory', [[deckMany]]);
  measure('From kill -9 of the daemon until all 500 containers are attached again, s', 'scale-restart', [
    [deckMany],
    [deckKept, atMost(2)],
  ]);
  for (const congestion of options.congestion) {
    for (const [name, way] of ways) {
      measure(
        `TCP bulk through ${name} (iperf3), ${congestion}, Gbit/s`,
        'nat-tcp',
        [[nat], [deckNat, atLeast(1)]],
        { congestion, ...way },
      );
    }
  }
  measure('New TCP connections through masquerade, 64 bytes each, 64 at a time, connections/s', 'nat-crr', [
    [nat],
    [deckNat, atLeast(0.7)],
  ]);
  measure(
    'UDP through masquerade, 64-byte frames, highest rate with at most 0.1 % lost, frames/s',
    'nat-udp',
    [[nat], [deckNat]],
  );
  measure('TCP request/response through masquerade, one byte each way, p50 in µs', 'nat-rr', [
    [nat],
    [deckNat],
  ]);
  for (const mtu of [DECK_MTU, ETHERNET_MTU]) {
    const [sockets, slirp, pasta] = [new TapdeckSockets(mtu), new Slirp4netns(mtu), new Pasta(mtu)];
    const beside = (toSlirp?: number, toPasta?: number): [Contender, Target?][] => [
      [sockets],
      toSlirp === undefined ? [slirp] : [slirp, atLeast(toSlirp)],
      toPasta === undefined ? [pasta] : [pasta, atLeast(toPasta)],
    ];
    const large = mtu === DECK_MTU;
    const bulk = (name: string, who: [Contender, Target?][], way: Pick<Line, 'way'>) =>
      measure(`TCP bulk by sockets, MTU ${mtu}, ${name} (iperf3), Gbit/s`, 'sockets-tcp', who, way);
    bulk('container to host', large ? beside(3, 3) : beside(8, 8), {});
    bulk('host to a published port', large ? beside(1.5, 1) : beside(8, 8), { way: 'inward' });
    // pasta splices these, whatever the MTU.
    bulk("host's loopback to a published port", large ? beside(1.5, 1) : beside(8), { way: 'local' });
    if (!large) continue;
    for (const keepAlive of [true, false]) {
      measure(
        `HTTP to a published port, 32 connections, ${keepAlive ? 'keep-alive' : 'one per request'} (wrk), requests/s`,
        'sockets-http',
        beside(1.5),
        { way: 'inward', keepAlive },
      );
    }
    measure('TCP from connect to first byte, container to host, p50 in µs', 'sockets-first', beside());
    measure(
      'TCP from connect to first byte, host to a published port, p50 in µs',
      'sockets-first',
      beside(),
      {
        way: 'inward',
      },
    );
  }
  const docker = new DockerHost();
  const docker0 = new DockerNetwork(docker, 'docker0');
  const dockerDeck = new DockerNetwork(docker, 'tapdeck');
  for (const congestion of options.congestion) {
    measure(
      `TCP bulk between two containers of Docker (iperf3), ${congestion}, Gbit/s`,
      'docker-tcp',
      [[docker0], [dockerDeck, atLeast(1)]],
      { congestion },
    );
  }
  measure(
    'Capture of everything to a file at 1 Gbit/s of packets of 1,500 bytes, packets missed',
    'capture-file',
    [[deckCaptures, atMost(0)]],
  );
  const overrun =
    'Packets of 1,500 bytes forwarded, with a capture whose reader reads nothing and without, packets/s';
  measure(overrun, 'capture-overrun', [[deckCaptures]]);
  measure(overrun, 'capture-overrun', [[deckCaptures, atLeast(0.8)]], { overruns: true });
  measure('`tapdeck --version` from its start to its end, ms', 'start-version', [[deckStart, atMost(80)]]);
  measure('`tapdeck daemon` from its start until it is ready, ms', 'start-daemon', [
    [deckStart, atMost(400)],
  ]);
  const wanted = lines.filter((line) => options.only.includes(line.measurement));
  return {
    contenders: [...new Set(wanted.map((line) => line.contender))],
    entries(paths) {
      const entries: Entry[] = [];
      for (const {
        title,
        contender,
        measurement,
        target,
        congestion,
        way,
        keepAlive,
        asks,
        overruns,
      } of wanted) {
        const connected = paths.get(contender)!;
        const path = way === undefined ? connected : connected[way]!;
        const reference = entries.find((entry) => entry.title === title);
        entries.push({
          title,
          measurement,
          contender: asks
            ? `${contender.name}, ${asks === 'gateway' ? 'asked' : 'not the one asked'}`
            : overruns
              ? `${contender.name}, overrun`
              : contender.name,
          mtu: contender.mtu,
          ...(target !== undefined && { target }),
          ...(reference !== undefined && { reference }),
          ...(measurement.startsWith('sockets-') && { turned: true }),
          sample: () => {
            if (isOfMany(measurement)) return MANY[measurement](contender === deckKept ? deckKept : deckMany);
            if (measurement === 'capture-file') return deckCaptures.missed(lengths.captureMilliseconds);
            if (measurement === 'capture-overrun')
              return deckCaptures.forwarded(lengths.captureMilliseconds, overruns === true);
            if (isOfStart(measurement)) return START[measurement](deckStart);
            return sample(measurement, path, programs, lengths, { congestion, keepAlive, asks });
          },
          samples: [],
        });
      }
      return entries;
    },
  };
}

/** What is measured of many containers alone. */
const MANY = {
  'scale-attach': (many: TapdeckMany) => many.attachLatency(),
  'scale-api': (many: TapdeckMany) => many.apiLatency(),
  'scale-memory': (many: TapdeckMany) => many.memory(),
  'scale-restart': (many: TapdeckMany) => many.restart(),
};

function isOfMany(measurement: Measurement): measurement is keyof typeof MANY {
  return measurement in MANY;
}

/** And of a start. */
const START = {
  'start-version': (start: TapdeckStart) => start.version(),
  'start-daemon': (start: TapdeckStart) => start.daemon(),
};

function isOfStart(measurement: Measurement): measurement is keyof typeof START {
  return measurement in START;
}

async function sample(
  measurement: Exclude<
    Measurement,
    keyof typeof MANY | keyof typeof START | 'capture-file' | 'capture-overrun'
  >,
  path: Path,
  programs: CPrograms,
  lengths: Lengths,
  {
    congestion,
    keepAlive = true,
    asks,
  }: { congestion: string | undefined; keepAlive: boolean | undefined; asks: Answerer | undefined },
): Promise<Sample> {
  switch (measurement) {
    case 'tcp':
    case 'scale-tcp':
    case 'nat-tcp':
    case 'sockets-tcp':
    case 'docker-tcp':
      return { value: await tcpBulk(path, lengths.tcpSeconds, congestion) };
    case 'dns':
    case 'scale-dns':
      return dnsLatency(path, programs.dnsRate, lengths.rrMilliseconds);
    case 'dns-bulk':
      if (asks) return dnsBulk(path, programs.dnsRate, lengths.tcpSeconds, congestion, asks);
      return { value: await tcpBulk(path, lengths.tcpSeconds, congestion) };
    case 'udp':
    case 'nat-udp': {
      const search = { trial: lengths.udpTrial, steps: lengths.udpSteps };
      const { rate, loss, reordered } = await udpRate(path, programs.udpBlast, search);
      return { value: rate, detail: `loss ${(loss * 100).toFixed(3)} %, reordered ${reordered}` };
    }
    case 'rr':
    case 'nat-rr': {
      const { p50, p99 } = await tcpRr(path, programs.tcpRr, lengths.rrMilliseconds);
      return { value: p50, detail: `p99 ${p99.toFixed(0)} µs` };
    }
    case 'nat-crr': {
      const { rate, failed, p50, p99 } = await tcpCrr(path, programs.tcpCrr, lengths.crrMilliseconds);
      return {
        value: rate,
        detail: `failed ${failed}, p50 ${p50.toFixed(0)} µs, p99 ${p99.toFixed(0)} µs`,
      };
    }
    case 'sockets-http': {
      const { rate, failed, p50, p99 } = await httpRate(
        path,
        programs.httpServer,
        lengths.httpSeconds,
        keepAlive,
      );
      return { value: rate, detail: `failed ${failed}, p50 ${p50}, p99 ${p99}` };
    }
    case 'sockets-first': {
      const { failed, p50, p99 } = await firstByte(path, programs.firstByte, lengths.firstByteMilliseconds);
      return { value: p50, detail: `p99 ${p99.toFixed(0)} µs, failed ${failed}` };
    }
  }
}
