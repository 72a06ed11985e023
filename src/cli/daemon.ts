import { Daemon } from '../control/daemon.ts';
import { asShortage, DeckError, invalid } from '../control/error.ts';
import { parseSubnetPool } from '../control/ipam.ts';
import { createLog, logForm } from '../control/log.ts';
import { type PassedSocket, takePassedDescriptors } from '../control/passed-descriptors.ts';
import { PLUGIN_SOCKET, type RuntimePaths, runtimePaths } from '../control/paths.ts';
import { ServiceManager } from '../control/service-manager.ts';
import { DEFAULT_UPLINK } from '../control/socket-uplink-spec.ts';
import { TapStore } from '../control/tap-store.ts';
import { type ConntrackDaemonFlags, conntrackOptions } from './conntrack-options.ts';
import { EXIT_DONE, EXIT_FAILED } from './output.ts';
import { type UplinkFlags, uplinkOptions } from './uplink-options.ts';

/** What an embedded daemon tells the `run` that started it, over the channel between them. */
export type DaemonMessage =
  | { ready: true; notices: readonly string[] }
  | { ready: false; code: DeckError['code']; message: string };

export interface DaemonFlags extends ConntrackDaemonFlags, UplinkFlags {
  untilEmpty?: boolean;
  defaultAddressPool?: string[];
  group?: string;
  /** Path of a new file for all that enters the data plane. */
  record?: string;
  /** True for the usual place. */
  dockerPlugin?: string | true;
  /** Tell the parent process over its channel when it is ready; hidden, for `run`. */
  tellParent?: boolean;
}

/** `FileDescriptorName=` of the socket that Docker's plugin is to use; all others are the API's. */
export const DOCKER_SOCKET_NAME = 'docker';

/** Runs the daemon until somebody ends it. */
export async function runDaemon(usual: RuntimePaths, flags: DaemonFlags): Promise<number> {
  const { sockets: passed, others } = takePassedDescriptors();
  const docker = passed.find(({ name }) => name === DOCKER_SOCKET_NAME);
  const [api, unused] = passed.filter((one) => one !== docker);
  // Whoever connects there would wait for ever.
  if (unused) {
    throw invalid(
      `sockets ${api!.path} and ${unused.path} are passed on for the API, which has one; take the other ListenStream= away`,
    );
  }
  const paths = pathsAt(usual, api);
  const manager = ServiceManager.find();
  const store = manager && new TapStore(manager, others);
  const { untilEmpty = false, hostLoopback = false, group, dockerPlugin } = flags;
  const addressPools = (flags.defaultAddressPool ?? []).map(parseSubnetPool);
  const conntrack = conntrackOptions(flags);
  const uplinks = uplinkOptions(flags) ?? [DEFAULT_UPLINK];
  const tell = (message: DaemonMessage) => {
    if (flags.tellParent) process.send?.(message, () => process.disconnect());
  };
  const log = createLog(logForm());
  let daemon: Daemon;
  try {
    daemon = await Daemon.start({
      paths,
      log,
      untilEmpty,
      conntrack,
      uplinks,
      hostLoopback,
      addressPools,
      ...(group !== undefined && { group }),
      ...(flags.record !== undefined && { record: flags.record }),
      ...(dockerPlugin !== undefined && {
        dockerPlugin: dockerPlugin === true ? PLUGIN_SOCKET : dockerPlugin,
      }),
      ...(docker && { dockerPlugin: docker.path }),
      ...(store && { store }),
      passed: { ...(api && { api: api.fd }), ...(docker && { docker: docker.fd }) },
    });
  } catch (error) {
    const refusal = error instanceof DeckError ? error : asShortage(error);
    if (refusal) tell({ ready: false, code: refusal.code, message: refusal.message });
    throw error;
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Asked for twice, it is still ending: nothing may be left behind.
    process.on(signal, () => {
      manager?.stopping(`ending: ${signal}`);
      void daemon.stop(signal);
    });
  }
  log.info(`daemon ready at unix://${paths.socket}`);
  manager?.ready(`at unix://${paths.socket}`, () => daemon.alive());
  tell({ ready: true, notices: daemon.notices });
  return (await daemon.ended) ? EXIT_DONE : EXIT_FAILED;
}

/** The files of a daemon at whose socket somebody listens already: in a folder that is not ours, and elsewhere than usual if it says so. */
function pathsAt(usual: RuntimePaths, api: PassedSocket | undefined): RuntimePaths {
  if (!api) return usual;
  return api.path === usual.socket ? { ...usual, own: false } : runtimePaths(`unix://${api.path}`);
}
