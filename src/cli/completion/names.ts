import { request } from 'node:http';
import { runtimePaths } from '../../control/paths.ts';
import { afterRunning } from '../../control/patience.ts';

/** Milliseconds for the daemon: whoever presses the tabulator does not want to wait. */
const PATIENCE = 2000;
/** Where the names of each kind are. */
const PATHS: Record<string, readonly string[]> = {
  containers: ['/v1/containers'],
  networks: ['/v1/networks'],
  names: ['/v1/containers', '/v1/networks'],
};

/**
 * Prints the names of a kind, a line for each: what completion asks for while somebody types, so nothing but this is loaded for it.
 * Without a daemon, and with one that does not answer, there are none.
 * @param args the kind, and the --host that was typed
 */
export async function printNames([kind = '', host]: readonly string[]): Promise<void> {
  const given = new AbortController();
  const done = afterRunning(PATIENCE, () => given.abort());
  try {
    const { socket } = runtimePaths(host || undefined);
    const lists = await Promise.all((PATHS[kind] ?? []).map((path) => get(socket, path, given.signal)));
    process.stdout.write(
      lists
        .flat()
        .map(({ name }) => `${name}\n`)
        .join(''),
    );
  } catch {
    // Nobody is there to read why.
  } finally {
    done();
    // When one has failed, the others need not answer any more.
    given.abort();
  }
}

async function get(socketPath: string, path: string, signal: AbortSignal): Promise<{ name: string }[]> {
  const said = await new Promise<string>((resolve, reject) => {
    const sent = request({ socketPath, path, agent: false, signal }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      answer.on('end', () => resolve(answer.statusCode === 200 ? text : '[]'));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
  return JSON.parse(said) as { name: string }[];
}
