import type { Measurement } from './options.ts';
import { median } from './statistics.ts';

/** What must be reached: by a contender as a ratio to the kernel, by tapdeck as a ratio to a peer, or by itself. */
export type Target = {
  /** `least` where more is better, `most` where less is. */
  is: 'least' | 'most';
} & ({ ratio: number } | { value: number });

/** One line of the table while it is being measured. */
export interface Entry {
  /** What is measured, with its conditions: the heading of its part of the table. */
  title: string;
  measurement: Measurement;
  contender: string;
  mtu: number;
  target?: Target;
  /** Takes one sample; larger is not always better. */
  sample(): Promise<Sample>;
  samples: Sample[];
  /** The entry with which every sample is paired: the kernel's or, beside peers, tapdeck's; undefined for itself. */
  reference?: Entry;
  /** The ratio is the reference's to this one: the line is a peer's, and the reference is tapdeck. */
  turned?: boolean;
}

export interface Sample {
  value: number;
  /** Something else that the measurement has shown. */
  detail?: string;
}

/** One line of the table. */
export interface Row {
  title: string;
  measurement: Measurement;
  contender: string;
  mtu: number;
  unit: string;
  median: number;
  min: number;
  max: number;
  /** Median of the ratios to the reference's sample of the same round, or of the reference's to these. */
  ratio?: number;
  target?: Target;
  met?: boolean;
  /** What the sample in the middle has shown besides. */
  detail?: string;
}

export const UNITS: Record<Measurement, string> = {
  tcp: 'Gbit/s',
  udp: 'frames/s',
  rr: 'µs p50',
  dns: 'µs p99',
  'dns-bulk': 'Gbit/s',
  'scale-tcp': 'Gbit/s',
  'scale-dns': 'µs p99',
  'scale-attach': 'ms p95',
  'scale-api': 'ms p95',
  'scale-memory': 'MB',
  'scale-restart': 's',
  'nat-tcp': 'Gbit/s',
  'nat-crr': 'connections/s',
  'nat-udp': 'frames/s',
  'nat-rr': 'µs p50',
  'sockets-tcp': 'Gbit/s',
  'sockets-http': 'requests/s',
  'sockets-first': 'µs p50',
  'start-version': 'ms',
  'start-daemon': 'ms',
  'docker-tcp': 'Gbit/s',
  'capture-file': 'missed',
  'capture-overrun': 'packets/s',
};

export function wantedOf(target: Target): number {
  return 'value' in target ? target.value : target.ratio;
}

/** Sums an entry up; null when it has no sample. */
export function summarize(entry: Entry): Row | null {
  const { title, measurement, contender, mtu, target, reference, turned, samples } = entry;
  if (samples.length === 0) return null;
  const values = samples.map((sample) => sample.value);
  const middle = median(values);
  const row: Row = {
    title,
    measurement,
    contender,
    mtu,
    unit: UNITS[measurement],
    median: middle,
    min: Math.min(...values),
    max: Math.max(...values),
  };
  if (reference !== undefined) {
    const ratio = (value: number, round: number) => value / reference.samples[round]!.value;
    row.ratio = median(values.map((value, round) => ratio(value, round) ** (turned ? -1 : 1)));
  }
  const reached = target && ('value' in target ? middle : row.ratio);
  if (target !== undefined && reached !== undefined) {
    row.target = target;
    const wanted = wantedOf(target);
    row.met = target.is === 'least' ? reached >= wanted : reached <= wanted;
  }
  const distance = (sample: Sample) => Math.abs(sample.value - middle);
  const nearest = samples.reduce((best, sample) => (distance(sample) < distance(best) ? sample : best));
  if (nearest.detail !== undefined) row.detail = nearest.detail;
  return row;
}
