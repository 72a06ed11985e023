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
  contender: Contender;
  measurement: Measurement;
  target?: Target;
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
  const lines: Line[] = [
    { measurement: 'tcp', contender: bridge },
    { measurement: 'tcp', contender: limit },
    { measurement: 'tcp', contender: deck, target: atLeast(0.95) },
    { measurement: 'tcp', contender: bridgeLarge },
    { measurement: 'tcp', contender: limitLarge },
    { measurement: 'tcp', contender: deckLarge, target: atLeast(1.25) },
    { measurement: 'udp', contender: bridge },
    { measurement: 'udp', contender: limit },
    { measurement: 'udp', contender: deckLarge, target: atLeast(1) },
    { measurement: 'rr', contender: bridge },
    { measurement: 'rr', contender: limit },
    { measurement: 'rr', contender: deckLarge, target: { is: 'most', ratio: 1.2 } },
  ];
  const wanted = lines.filter((line) => options.only.includes(line.measurement));
  return {
    contenders: [...new Set(wanted.map((line) => line.contender))],
    entries(paths) {
      const entries: Entry[] = [];
      for (const { contender, measurement, target } of wanted) {
        const path = paths.get(contender)!;
        const reference = entries.find((entry) => entry.measurement === measurement);
        entries.push({
          measurement,
          contender: contender.name,
          mtu: contender.mtu,
          ...(target !== undefined && { target }),
          ...(reference !== undefined && { reference }),
          sample: () => sample(measurement, path, programs, lengths, options.congestion),
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
