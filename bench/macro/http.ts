import { awaitOutput, CommandError, stop } from './command.ts';
import type { Path } from './contender.ts';
import { HTTP_PORT } from './served-ports.ts';

/** Connections at one time. */
const CONNECTIONS = '32';

/** Requests to a web server with a short answer. */
export interface Requests {
  /** Answers per second. */
  rate: number;
  /** Connections, reads and writes that failed, and answers that were none. */
  failed: number;
  /** From request to answer, as wrk prints it. */
  p50: string;
  p99: string;
}

/** Requests from A to B by wrk, on connections that are kept, or each on one of its own. */
export async function httpRate(
  path: Path,
  binary: string,
  seconds: number,
  keepAlive: boolean,
): Promise<Requests> {
  const server = path.nsB.start([binary, String(HTTP_PORT)]);
  try {
    await awaitOutput(server, 'ready');
    const url = `http://${path.addressB}:${HTTP_PORT + (path.shift ?? 0)}/`;
    const report = await path.nsA.run(
      [
        ...['wrk', '-t', '1', '-c', CONNECTIONS, '-d', `${seconds}s`, '--latency'],
        ...(keepAlive ? [] : ['-H', 'Connection: close']),
        url,
      ],
      seconds * 1000 + 20_000,
    );
    const figure = (pattern: RegExp): string => {
      const found = pattern.exec(report)?.[1];
      if (found === undefined) throw new CommandError(`wrk said nothing like ${pattern}: ${report}`);
      return found;
    };
    const errors = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(report)?.slice(1) ?? [];
    const wrong = /Non-2xx or 3xx responses: (\d+)/.exec(report)?.[1] ?? '0';
    return {
      rate: Number(figure(/Requests\/sec:\s+([\d.]+)/)),
      failed: [...errors, wrong].reduce((sum, count) => sum + Number(count), 0),
      p50: figure(/50%\s+(\S+)/),
      p99: figure(/99%\s+(\S+)/),
    };
  } finally {
    await stop(server);
  }
}
