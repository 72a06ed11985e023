import { CForwarder } from './c-forwarder.ts';
import type { CPrograms } from './c-program.ts';
import type { Contender, Path } from './contender.ts';
import type { Entry, Sample, Target } from './entry.ts';
import { KernelBridge } from './kernel-bridge.ts';
import type { Measurement, Options } from './options.ts';
import { Tapdeck } from './tapdeck.ts';
import { tcpBulk } from './tcp-bulk.ts';
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
}

const LENGTHS: Lengths = { tcpSeconds: 2, udpTrial: 500, udpSteps: 6, rrMilliseconds: 1000 };
const QUICK: Lengths = { tcpSeconds: 1, udpTrial: 300, udpSteps: 5, rrMilliseconds: 500 };

/** Something to measure: who, what, and what it must reach. */
interface Line {
  title: string;
  contender: Contender;
  measurement: Measurement;
  target?: Target;
  /** Congestion control of a bulk transfer. */
  congestion?: string;
}

/** Everything that a run measures, and those that have to be up for it. */
export interface Plan {
  contenders: Contender[];
  /** The entries, once every contender has told its path. */
  entries(paths: ReadonlyMap<Contender, Path>): Entry[];
}

/**
 * The plan: at MTU 1500 everybody on equal terms; at 65520 what each side's own default makes of a bulk
 * transfer, against the kernel bridge at its default of 1500. The bridge at 65520 is there for orientation.
 */
export function plan(options: Options, programs: CPrograms): Plan {
  const lengths = options.quick ? QUICK : LENGTHS;
  const bridge = new KernelBridge(ETHERNET_MTU);
  const bridgeLarge = new KernelBridge(DECK_MTU);
  const limit = new CForwarder(ETHERNET_MTU, programs.forwarder);
  const limitLarge = new CForwarder(DECK_MTU, programs.forwarder);
  const deck = new Tapdeck(ETHERNET_MTU);
  const deckLarge = new Tapdeck(DECK_MTU);
  const atLeast = (ratio: number): Target => ({ is: 'least', ratio });
  const lines: Line[] = [];
  const measure = (
    title: string,
    measurement: Measurement,
    who: [Contender, Target?][],
    congestion?: string,
  ) => {
    for (const [contender, target] of who) {
      lines.push({
        title,
        contender,
        measurement,
        ...(target && { target }),
        ...(congestion && { congestion }),
      });
    }
  };
  for (const congestion of options.congestion) {
    measure(
      `TCP bulk, one connection (iperf3), ${congestion}, Gbit/s`,
      'tcp',
      [[bridge], [limit], [deck, atLeast(0.95)], [bridgeLarge], [limitLarge], [deckLarge, atLeast(1.25)]],
      congestion,
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
  const wanted = lines.filter((line) => options.only.includes(line.measurement));
  return {
    contenders: [...new Set(wanted.map((line) => line.contender))],
    entries(paths) {
      const entries: Entry[] = [];
      for (const { title, contender, measurement, target, congestion } of wanted) {
        const path = paths.get(contender)!;
        const reference = entries.find((entry) => entry.title === title);
        entries.push({
          title,
          measurement,
          contender: contender.name,
          mtu: contender.mtu,
          ...(target !== undefined && { target }),
          ...(reference !== undefined && { reference }),
          sample: () => sample(measurement, path, programs, lengths, congestion),
          samples: [],
        });
      }
      return entries;
    },
  };
}

async function sample(
  measurement: Measurement,
  path: Path,
  programs: CPrograms,
  lengths: Lengths,
  congestion: string | undefined,
): Promise<Sample> {
  switch (measurement) {
    case 'tcp':
      return { value: await tcpBulk(path, lengths.tcpSeconds, congestion) };
    case 'udp': {
      const search = { trial: lengths.udpTrial, steps: lengths.udpSteps };
      const { rate, loss, reordered } = await udpRate(path, programs.udpBlast, search);
      return { value: rate, detail: `loss ${(loss * 100).toFixed(3)} %, reordered ${reordered}` };
    }
    case 'rr': {
      const { p50, p99 } = await tcpRr(path, programs.tcpRr, lengths.rrMilliseconds);
      return { value: p50, detail: `p99 ${p99.toFixed(0)} µs` };
    }
  }
}
