import { DeckError } from '../../control/error.ts';
import { HostForwards } from './api-request.ts';
import { ApiSocket } from './api-socket.ts';
import { checkDescriptor, tellReady, untilClosed } from './descriptors.ts';
import { guestNetwork } from './guest-network.ts';
import { HELP, versionText } from './help.ts';
import { Link } from './link.ts';
import { type Options, readOptions } from './options.ts';

/** Runs what slirp4netns runs: until its caller, its namespace or a signal ends it. Answers the exit code. */
export async function slirp4netns(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    const options = readOptions(args);
    if (options === 'help') process.stdout.write(HELP);
    else if (options === 'version') process.stdout.write(versionText());
    else await connect(options, env);
    return 0;
  } catch (error) {
    if (!(error instanceof DeckError)) throw error;
    process.stderr.write(`slirp4netns: ${error.message}\n`);
    return 1;
  }
}

async function connect(options: Options, env: NodeJS.ProcessEnv): Promise<void> {
  const { readyFd, exitFd, apiSocket, habits } = options;
  if (readyFd !== undefined) checkDescriptor('ready-fd', readyFd);
  if (exitFd !== undefined) checkDescriptor('exit-fd', exitFd);
  // Before anything is made, so that nothing is left when the end comes early.
  const wanted = endOf(exitFd);
  const place = { network: guestNetwork(habits), guest: habits.guest };
  const link = await Link.open({ ...options, ...place, name: env['TAPDECK_NAME'] || undefined }, env);
  let api: ApiSocket | undefined;
  try {
    if (apiSocket !== undefined) {
      const { ipv4, ipv6 } = link.endpoint;
      const forwards = new HostForwards(link, { habits, own: [ipv4, ipv6] });
      link.published = () => forwards.specs();
      api = await ApiSocket.listen(apiSocket, forwards);
    }
    if (readyFd !== undefined) tellReady(readyFd);
    await Promise.race([wanted, link.follow()]);
  } finally {
    api?.close();
    await link.close();
  }
}

/** Settles when a signal comes, or the caller closes its end. Throws a `DeckError`, at once, when it has none. */
function endOf(exitFd: number | undefined): Promise<void> {
  const signal = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => resolve());
  });
  return Promise.race([signal, ...(exitFd === undefined ? [] : [untilClosed(exitFd)])]);
}
