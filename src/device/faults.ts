/**
 * What a bad line does to the frames of one direction. Each frame meets, in this order and each independently: loss,
 * corruption, duplication, reordering, delay.
 */
export interface Faults {
  /** Probability, 0 to 1, that a frame is lost. */
  loss: number;
  /** Probability that one bit of a frame is flipped, after its checksums were finished. */
  corrupt: number;
  /** Probability that a frame comes twice. */
  duplicate: number;
  /** Probability that a frame is held back until `distance` later ones have passed it, or `hold` ms are over. */
  reorder: number;
  distance: number;
  hold: number;
  /** Milliseconds that every frame takes longer. */
  delay: number;
  /** Up to so many milliseconds more or less than `delay`, evenly; frames may overtake each other by it. */
  jitter: number;
  /** Most frames that wait; those that come then are lost, as in the queue of a line. */
  limit: number;
  /**
   * Whether a GSO frame, which stands for many frames on a line, is cut up first, so that each of them meets its own
   * fate, and partial checksums are finished: what comes out is what a line carries. Without it, a GSO frame of
   * 64 KiB is lost as a whole. Corruption cuts in any case.
   */
  perSegment: boolean;
}

/** Faults of both directions: `receive` is what the deck gets, `transmit` what it sends. */
export interface LineFaults {
  receive: Faults;
  transmit: Faults;
  /** The same seed and the same frames at the same times give the same faults. */
  seed: number;
}

export const NO_FAULTS: Readonly<Faults> = {
  loss: 0,
  corrupt: 0,
  duplicate: 0,
  reorder: 0,
  distance: 3,
  hold: 10,
  delay: 0,
  jitter: 0,
  limit: 1000,
  perSegment: false,
};

/** A description of faults that cannot be understood. The message is one line: what, why, what to do. */
export class FaultsError extends Error {
  override readonly name = 'FaultsError';

  constructor(what: string, why: string, advice: string) {
    super(`faults: ${what}: ${why}; ${advice}`);
  }
}

type Setter = (faults: Faults, value: string) => void;

const SETTERS: Readonly<Record<string, Setter>> = {
  loss: (faults, value) => {
    faults.loss = probability('loss', value);
  },
  corrupt: (faults, value) => {
    faults.corrupt = probability('corrupt', value);
  },
  duplicate: (faults, value) => {
    faults.duplicate = probability('duplicate', value);
  },
  reorder: (faults, value) => {
    faults.reorder = probability('reorder', value);
  },
  distance: (faults, value) => {
    faults.distance = whole('distance', value, 1, 65_535);
  },
  hold: (faults, value) => {
    faults.hold = milliseconds('hold', value);
  },
  delay: (faults, value) => {
    faults.delay = milliseconds('delay', value);
  },
  jitter: (faults, value) => {
    faults.jitter = milliseconds('jitter', value);
  },
  limit: (faults, value) => {
    faults.limit = whole('limit', value, 1, 65_535);
  },
  'per-segment': (faults, value) => {
    if (value !== 'yes' && value !== 'no') {
      throw new FaultsError(`per-segment=${value}`, 'neither yes nor no', 'write per-segment=yes');
    }
    faults.perSegment = value === 'yes';
  },
};

const KEYS = [...Object.keys(SETTERS), 'seed'];
const DIRECTIONS = ['receive', 'transmit'] as const;
const MAX_MILLISECONDS = 3_600_000;

/**
 * Reads `loss=5%,duplicate=5%,reorder=25%,corrupt=1%,delay=10ms,jitter=2ms,seed=7`. A key counts for both directions,
 * or with `receive.` or `transmit.` before it for one, which wins over both. The seed is 0 when it is not given.
 * @throws FaultsError
 */
export function parseFaults(text: string): LineFaults {
  const line: LineFaults = { receive: { ...NO_FAULTS }, transmit: { ...NO_FAULTS }, seed: 0 };
  const said = new Set<string>();
  const parts = text.split(',').map((part) => part.trim());
  // What counts for one direction is set last.
  parts.sort((a, b) => Number(isDirected(a)) - Number(isDirected(b)));
  for (const part of parts) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals).trim();
    const direction = DIRECTIONS.find((known) => name.startsWith(`${known}.`));
    const key = direction === undefined ? name : name.slice(direction.length + 1);
    if (!KEYS.includes(key) || (direction !== undefined && key === 'seed')) {
      const why = name === '' ? 'no fault is named' : 'there is no such fault';
      throw new FaultsError(name === '' ? `"${text}"` : name, why, `use one of ${KEYS.join(', ')}`);
    }
    if (equals < 0)
      throw new FaultsError(name, 'it has no value', `write for example ${name}=${EXAMPLES[key]}`);
    if (said.has(name)) throw new FaultsError(name, 'it is said twice', 'say it once');
    said.add(name);
    const value = part.slice(equals + 1).trim();
    if (key === 'seed') {
      line.seed = whole('seed', value, 0, 0xffff_ffff);
      continue;
    }
    for (const each of direction === undefined ? DIRECTIONS : [direction]) SETTERS[key]!(line[each], value);
  }
  return line;
}

const EXAMPLES: Readonly<Record<string, string>> = {
  loss: '5%',
  corrupt: '1%',
  duplicate: '5%',
  reorder: '25%',
  distance: '3',
  hold: '10ms',
  delay: '10ms',
  jitter: '2ms',
  limit: '1000',
  'per-segment': 'yes',
  seed: '7',
};

function isDirected(part: string): boolean {
  return DIRECTIONS.some((direction) => part.startsWith(`${direction}.`));
}

function probability(key: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)%$/.exec(value);
  const percent = Number(match?.[1]);
  if (match === null || percent > 100) refuse(key, value, 'not a share from 0% to 100%');
  return percent / 100;
}

function milliseconds(key: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s)$/.exec(value);
  const unit = match?.[2] === 's' ? 1000 : match?.[2] === 'ms' ? 1 : 0.001;
  const time = Number(match?.[1]) * unit;
  if (match === null || time > MAX_MILLISECONDS)
    refuse(key, value, 'not a time in us, ms or s of at most an hour');
  return time;
}

function whole(key: string, value: string, min: number, max: number): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < min || number > max)
    refuse(key, value, `not a whole number from ${min} to ${max}`);
  return number;
}

function refuse(key: string, value: string, why: string): never {
  throw new FaultsError(`${key}=${value}`, why, `write for example ${key}=${EXAMPLES[key]}`);
}
