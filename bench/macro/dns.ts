import type { Path } from './contender.ts';
import type { Sample } from './entry.ts';
import { tcpBulk } from './tcp-bulk.ts';

/** Questions per second that a container asks. */
export const DNS_RATE = 5000;
const GATEWAY = '172.17.0.1';
/** iperf3's own beginning and end, during which the questions go on. */
const AROUND = 1500;

/** What a container has seen of its questions. */
interface Answers {
  rate: number;
  lost: number;
  /** Microseconds. */
  p50: number;
  p99: number;
}

/** Who answers a third container: the gateway, or a program beside the one that asks, so that the deck sees nothing of it. */
export type Answerer = 'gateway' | 'itself';

/** Asks for the address of a container, from a third one. */
async function ask(
  path: Path,
  binary: string,
  milliseconds: number,
  who: Answerer = 'gateway',
): Promise<Answers> {
  const argv = [binary, who === 'gateway' ? GATEWAY : who, 'b', String(DNS_RATE), String(milliseconds)];
  return JSON.parse(await path.third!.run(argv, milliseconds + 10_000)) as Answers;
}

function words({ rate, lost, p50, p99 }: Answers): string {
  return `${rate} answers/s, lost ${lost}, p50 ${p50.toFixed(0)} µs, p99 ${p99.toFixed(0)} µs`;
}

/** How long the slowest of a hundred answers takes, in microseconds. */
export async function dnsLatency(path: Path, binary: string, milliseconds: number): Promise<Sample> {
  const answers = await ask(path, binary, milliseconds);
  return { value: answers.p99, detail: words(answers) };
}

/** What a bulk transfer between two containers moves, in Gbit/s, while a third asks. */
export async function dnsBulk(
  path: Path,
  binary: string,
  seconds: number,
  congestion: string | undefined,
  who: Answerer,
): Promise<Sample> {
  const [value, answers] = await Promise.all([
    tcpBulk(path, seconds, congestion),
    ask(path, binary, seconds * 1000 + AROUND, who),
  ]);
  return { value, detail: words(answers) };
}
