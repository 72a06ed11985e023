import { awaitOutput, finish, stop } from './command.ts';
import type { Path } from './contender.ts';

const PORT = '5203';
/** Ethernet 14, IPv4 20, UDP 8, this, and a frame check sequence of 4 that a TAP never sees: 64 bytes. */
const PAYLOAD = 18;
/** The share of the frames that may be lost. */
export const LOSS_ALLOWED = 0.001;

/** One flow of frames at a given rate. */
export interface Flow {
  /** Frames per second that the sender really got out; less than asked for when it cannot do more. */
  offered: number;
  /** Frames per second that arrived. */
  delivered: number;
  /** Share of the frames that did not arrive. */
  loss: number;
  /** Frames that arrived after one with a higher number. */
  reordered: number;
}

/**
 * Sends 64-byte frames from A to B, or others.
 * @param rate frames per second, 0 for as many as the sender can
 */
export async function udpFlow(
  path: Path,
  binary: string,
  rate: number,
  milliseconds: number,
  payload = PAYLOAD,
): Promise<Flow> {
  const argv = [binary, 'recv', path.addressB, PORT, '1000'];
  const receiver = path.nsB.start(argv);
  try {
    await awaitOutput(receiver, 'ready');
    const report = finish(receiver, argv, milliseconds + 20_000);
    report.catch(() => undefined);
    const sent = JSON.parse(
      await path.nsA.run(
        [
          binary,
          'send',
          path.addressB,
          PORT,
          String(Math.round(rate)),
          String(milliseconds),
          String(payload),
        ],
        milliseconds + 10_000,
      ),
    ) as { sent: number; seconds: number };
    const said = await report;
    const received = JSON.parse(said.slice(said.indexOf('{'))) as { received: number; reordered: number };
    return {
      offered: sent.sent / sent.seconds,
      delivered: received.received / sent.seconds,
      loss: 1 - received.received / sent.sent,
      reordered: received.reordered,
    };
  } finally {
    await stop(receiver);
  }
}

/** How the highest rate is looked for. */
export interface Search {
  /** Length of one trial, in milliseconds. */
  trial: number;
  /** Halvings of the interval. */
  steps: number;
}

/** The highest rate that was carried. */
export interface Carried {
  /** Frames per second that arrived; 0 when none of the rates was carried. */
  rate: number;
  /** Share lost at that rate. */
  loss: number;
  reordered: number;
}

/**
 * The highest rate at which no more than 0.1 % is lost, by bisection under the rate that the sender reaches
 * unpaced. A rate that fails is tried once more, for all contenders alike: 0.1 % of one trial is less than what
 * one hiccup of a shared machine costs.
 */
export async function udpRate(path: Path, binary: string, search: Search): Promise<Carried> {
  const carries = async (rate: number): Promise<Flow | undefined> => {
    for (let attempt = 0; attempt < 2; attempt++) {
      const flow = await udpFlow(path, binary, rate, search.trial);
      if (flow.loss <= LOSS_ALLOWED) return flow;
    }
    return undefined;
  };
  const best: Carried = { rate: 0, loss: 0, reordered: 0 };
  const keep = ({ delivered, loss, reordered }: Flow) => {
    if (delivered > best.rate) Object.assign(best, { rate: delivered, loss, reordered });
  };
  const unpaced = await udpFlow(path, binary, 0, search.trial);
  if (unpaced.loss <= LOSS_ALLOWED) {
    keep(unpaced);
    return best;
  }
  let low = 0;
  let high = unpaced.offered;
  // What arrived of an unpaced flow is near the answer; start there rather than in the middle.
  let rate = unpaced.delivered;
  for (let step = 0; step < search.steps; step++) {
    const flow = await carries(rate);
    if (flow === undefined) high = rate;
    else {
      low = rate;
      keep(flow);
      // The sender cannot do more than this, asked for more or not.
      if (flow.offered < rate * 0.98) break;
    }
    rate = (low + high) / 2;
  }
  return best;
}
