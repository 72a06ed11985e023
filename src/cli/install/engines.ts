import { DEFAULT_NETWORK } from '../../control/name.ts';
import {
  CNI_CONFIGURATION_FOLDER,
  CNI_PLUGIN_FOLDERS,
  CNI_TYPE,
  cniConflist,
  cniPlugin,
} from '../../integrations/cni/files.ts';
import { NETAVARK_DRIVER, NETAVARK_FOLDER, netavarkPlugin } from '../../integrations/netavark/files.ts';
import { HOOK_FILE, HOOKS_FOLDER, ociHook, ociHookConfiguration } from '../../integrations/oci/files.ts';
import { checkStays, isThere, launcherOf, onlyForRoot, type Place, type Plan } from './place.ts';

const EXECUTABLE = 0o755;
/** Where an administrator's programs are that no person calls (FHS 3.0 §4.7). */
const SYSTEM_PROGRAMS = '/usr/local/libexec/tapdeck';
/** Podman listens at published ports itself, so that nobody takes them; tapdeck is then that nobody. */
const NO_RESERVATION =
  'for podman run -p: enable_port_reservation = false in section [engine] of containers.conf, so that tapdeck gets the ports';

/** The CNI plugin, and a network `tapdeck` of it: network `bridge` of the deck. */
export function cniPlan(place: Place): Plan {
  if (!place.system) throw onlyForRoot('The CNI plugin');
  checkStays();
  const folder = CNI_PLUGIN_FOLDERS.find((one) => isThere(place, one)) ?? CNI_PLUGIN_FOLDERS[0];
  return {
    files: [
      { path: `${folder}/${CNI_TYPE}`, content: cniPlugin(), mode: EXECUTABLE },
      {
        // Behind others: runtimes take the first one that they find.
        path: `${CNI_CONFIGURATION_FOLDER}/90-tapdeck.conflist`,
        content: cniConflist({ name: 'tapdeck', network: DEFAULT_NETWORK }),
      },
    ],
    next: ['with a daemon running: podman run --network tapdeck …', NO_RESERVATION],
  };
}

/** The driver of netavark. */
export function netavarkPlan(place: Place): Plan {
  if (!place.system) throw onlyForRoot('The driver of netavark');
  checkStays();
  return {
    files: [{ path: `${NETAVARK_FOLDER}/${NETAVARK_DRIVER}`, content: netavarkPlugin(), mode: EXECUTABLE }],
    next: ['with netavark 1.6 or newer: podman network create -d tapdeck front', NO_RESERVATION],
  };
}

/** The hook of OCI runtimes, and what has engines call it for containers with the annotation. */
export function ociPlan(place: Place): Plan {
  checkStays();
  const program = `${place.system ? SYSTEM_PROGRAMS : `${place.data}/tapdeck`}/oci-hook`;
  const hooks = place.system ? HOOKS_FOLDER : `${place.config}/containers/oci/hooks.d`;
  const files = [
    { path: program, content: ociHook(), mode: EXECUTABLE },
    { path: `${hooks}/${HOOK_FILE}`, content: ociHookConfiguration(program) },
  ];
  const next = ['with a daemon running: podman run --network none --annotation tapdeck.network=bridge …'];
  if (place.system) return { files, next };
  // Podman reads no folder of a user's by itself.
  const folders = ['/usr/share/containers/oci/hooks.d', HOOKS_FOLDER, hooks];
  const content = `[engine]\nhooks_dir = [${folders.map((folder) => JSON.stringify(folder)).join(', ')}]\n`;
  return { files: [...files, { path: settings(place, 'tapdeck-oci'), content }], next };
}

/** Our stand-in for slirp4netns, and Podman's setting by which it calls that one. */
export function slirp4netnsPlan(place: Place): Plan {
  const program = `${place.system ? SYSTEM_PROGRAMS : `${place.data}/tapdeck`}/slirp4netns`;
  return {
    files: [
      { path: program, content: launcherOf('tapdeck-slirp4netns'), mode: EXECUTABLE },
      {
        path: settings(place, 'tapdeck-slirp4netns'),
        content: `[engine]\nnetwork_cmd_path = ${JSON.stringify(program)}\n`,
      },
    ],
    next: [
      'podman run --network slirp4netns …',
      `rootlesskit --net=slirp4netns --slirp4netns-binary=${program} …`,
    ],
  };
}

/** A file of settings of containers.conf(5), which are taken in the order of their names. */
function settings({ system, config }: Place, name: string): string {
  return `${system ? '/etc' : config}/containers/containers.conf.d/${name}.conf`;
}
