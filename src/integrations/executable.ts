import { unavailable } from '../control/error.ts';

/** More than any runtime says. */
const LARGEST_INPUT = 1 << 20;
/** Milliseconds in which the input must have come as a whole. */
const INPUT_TIMEOUT = 10_000;

/** What a program that others start has to say in the end. */
export interface Answer {
  /** Exit code. */
  code: number;
  /** For whoever started it. */
  out?: string;
  /** For people. */
  err?: string;
}

/**
 * Runs a program that a container engine starts for one call, says its answer and ends.
 * @param work told how to get what is on stdin, which throws a `DeckError` when it does not come
 */
export async function answerAndEnd(work: (input: () => Promise<string>) => Promise<Answer>): Promise<void> {
  const { code, out = '', err = '' } = await work(readInput);
  if (err !== '') process.stderr.write(err);
  // Not before it is written. And whatever may be under way still, as input that never ends, is of no interest.
  process.stdout.on('error', () => process.exit(code));
  process.stdout.write(out, () => process.exit(code));
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(unavailable(`stdin did not end within ${INPUT_TIMEOUT / 1000} s`));
    }, INPUT_TIMEOUT);
  });
  const whole = async () => {
    for await (const chunk of process.stdin) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length > LARGEST_INPUT) throw unavailable(`stdin is longer than ${LARGEST_INPUT} bytes`);
    }
    return Buffer.concat(chunks).toString('utf8');
  };
  try {
    return await Promise.race([whole(), late]);
  } finally {
    clearTimeout(timer);
  }
}
