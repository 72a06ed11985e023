import { statSync } from 'node:fs';
import { replayCapture } from '../../src/replay/capture-replay.ts';
import { loadPolicy } from '../../src/replay/scenario.ts';
import type { Figure } from './figure.ts';
import { type Traffic, writeTraffic } from './replay-traffic.ts';

const MIN_PACKETS_PER_SECOND = 1e6;
const ROUNDS = 3;

/** Packets per second of one core's time of `tapdeck replay --with-policy` through bridge, conntrack and NAT, the reading of the file included. */
export function replayFigures(quick: boolean): Figure[] {
  const frames = quick ? 1_000_000 : 2_000_000;
  return [
    figure(
      'offline replay, 64-byte frames of a pcap',
      writeTraffic('pcap', frames, 64),
      MIN_PACKETS_PER_SECOND,
    ),
    figure(
      'offline replay, 64-byte frames of a pcapng',
      writeTraffic('pcapng', frames, 64),
      MIN_PACKETS_PER_SECOND,
    ),
    // Of these, most is sha256.
    figure('offline replay, 600-byte frames of a pcapng', writeTraffic('pcapng', frames / 2, 600)),
  ];
}

function figure(name: string, traffic: Traffic, target?: number): Figure {
  try {
    const policy = loadPolicy(traffic.policy);
    let best = 0;
    for (let i = 0; i < ROUNDS; i++) {
      // CPU time, compiler and collector included: what else the machine does at the time is not ours.
      const before = process.cpuUsage();
      const { frames, tables } = replayCapture(traffic.capture, { policy });
      const { user, system } = process.cpuUsage(before);
      const seconds = (user + system) / 1e6;
      if (frames !== traffic.frames || tables.ledger.sent !== frames) {
        throw new Error(`${name}: of ${traffic.frames} frames ${tables.ledger.sent} were sent`);
      }
      best = Math.max(best, frames / seconds);
    }
    const size = statSync(traffic.capture).size;
    return {
      name,
      value: `${(best / 1e6).toFixed(2)} M/s`,
      detail: `${((size / traffic.frames) * best * 8e-9).toFixed(1)} Gbit/s of file`,
      ...(target !== undefined && { target: `≥ ${target / 1e6} M/s`, met: best >= target }),
    };
  } finally {
    traffic.remove();
  }
}
