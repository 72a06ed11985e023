import { launcher } from '../launcher.ts';
import { NETWORK_ANNOTATION } from './hook.ts';

/** Where Podman and CRI-O look for hooks (oci-hooks(5)): the administrator's folder. */
export const HOOKS_FOLDER = '/etc/containers/oci/hooks.d';
/** Name of the file there. */
export const HOOK_FILE = 'tapdeck.json';

/** Seconds for one call; it gives up by itself before. */
const TIMEOUT = 30;

/** Content of the hook's program, which has mode 0755. */
export function ociHook(): string {
  return launcher('oci-hook');
}

/**
 * Content of the file by which the hook is started for every container with the annotation.
 * @param path where the program is
 * @param host where the daemon is, `unix:///PATH`, if not where it is looked for
 */
export function ociHookConfiguration(path: string, host?: string): string {
  const configuration = {
    version: '1.0.0',
    hook: {
      path,
      args: ['tapdeck-oci-hook', ...(host === undefined ? [] : ['--host', host])],
      timeout: TIMEOUT,
    },
    when: { annotations: { [`^${NETWORK_ANNOTATION.replace('.', '\\.')}$`]: '.+' } },
    stages: ['createRuntime', 'poststop'],
  };
  return `${JSON.stringify(configuration, null, 2)}\n`;
}
