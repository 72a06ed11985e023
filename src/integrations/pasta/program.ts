import { spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DeckError, invalid } from '../../control/error.ts';
import { packageVersion } from '../../control/version.ts';
import { Link } from '../slirp4netns/link.ts';
import { type PastaOptions, readPastaOptions } from './options.ts';

const HELP = `Usage: pasta --config-net [OPTION]... --netns PATH | PID
tapdeck in place of pasta: connects a network namespace to the switch of the user's daemon, and goes on in the background.

--config-net             give the interface its addresses and routes (needed)
--netns PATH             the network namespace
--userns PATH            accepted: the kernel knows the user namespace
-I, --ns-ifname NAME     the interface (default eth0)
-m, --mtu MTU            largest IP packet (default 65520)
-a, --address ADDRESS    what the caller takes for the container's, as 10.0.2.100
-n, --netmask LENGTH     of its prefix (default 24)
-g, --gateway ADDRESS    the gateway, as 10.0.2.2
--dns-forward ADDRESS    the name server (default 169.254.1.1)
--no-map-gw              keep the host's loopback from the gateway's address
-4, --ipv4-only          no IPv6
-t, --tcp-ports SPEC     publish ports: none, or [ADDRESS/]PORTS[:PORTS]
-u, --udp-ports SPEC     the same of UDP
-T, -U none              accepted
-P, --pid FILE           write the process id
-f, --foreground         stay
-q, -e                   accepted
`;

/** What the one in the background tells the one that has started it. */
type Word = { ready: true } | { ready: false; message: string };

/** Runs what pasta runs; `program` is the file to go on with in the background. Answers the exit code. */
export async function pasta(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  program: string,
): Promise<number> {
  try {
    const options = readPastaOptions(args);
    if (options === 'help') process.stdout.write(HELP);
    else if (options === 'version') process.stdout.write(`pasta (tapdeck ${packageVersion()})\n`);
    else if (options.foreground || process.send) await connect(options, env);
    else await inBackground(program, args);
    return 0;
  } catch (error) {
    if (!(error instanceof DeckError)) throw error;
    if (process.send) await tell({ ready: false, message: error.message });
    else process.stderr.write(`pasta: ${error.message}\n`);
    return 1;
  }
}

/** Starts the same once more, and waits until it is ready. */
async function inBackground(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(program), ...args], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    detached: true,
  });
  const word = await new Promise<Word>((resolve) => {
    child.once('message', (message) => resolve(message as Word));
    child.once('error', ({ message }) => resolve({ ready: false, message }));
    child.once('exit', (code, signal) => resolve({ ready: false, message: `ended with ${signal ?? code}` }));
  });
  child.unref();
  if (!word.ready) throw invalid(word.message);
}

async function connect(options: PastaOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const { pidFile } = options;
  const signal = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => resolve());
  });
  const link = await Link.open({ ...options, configure: true, name: env['TAPDECK_NAME'] || undefined }, env);
  try {
    if (pidFile !== undefined) writePid(pidFile);
    if (process.send) await tell({ ready: true });
    await Promise.race([signal, link.follow()]);
  } finally {
    await link.close();
    if (pidFile !== undefined) rmSync(pidFile, { force: true });
  }
}

function writePid(file: string): void {
  try {
    writeFileSync(file, `${process.pid}\n`);
  } catch (error) {
    throw invalid(`cannot write --pid ${file}: ${(error as Error).message}`);
  }
}

/** Nobody waits any more behind it. */
function tell(word: Word): Promise<void> {
  return new Promise((resolve) => {
    process.send!(word, () => {
      process.disconnect();
      resolve();
    });
  });
}
