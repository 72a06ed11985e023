import { basename } from 'node:path';
import { invalid } from '../../control/error.ts';
import { PLUGIN_SOCKET } from '../../control/paths.ts';
import { DOCKER_SOCKET_NAME } from '../daemon.ts';
import { isThere, onlyForRoot, type Place, type Plan, programLine } from './place.ts';
import type { Target } from './target.ts';

/** Where an administrator's units are (systemd.unit(5)). */
const SYSTEM_UNITS = '/etc/systemd/system';
/** Where Docker reads of plugins that may come later. */
const PLUGIN_SPEC = '/etc/docker/plugins/tapdeck.spec';

export interface ServiceOptions {
  /** A group that may use the daemon. */
  group?: string;
}

/** The daemon as a service of systemd, of the machine or of a user, which begins with the first who connects. */
export function servicePlan(place: Place, { group }: ServiceOptions): Plan {
  if (group !== undefined && !/^[a-zA-Z0-9_.-]+$/.test(group))
    throw invalid(`"${group}" is no name of a group`);
  const folder = place.system ? SYSTEM_UNITS : `${place.config}/systemd/user`;
  const systemctl = place.system ? 'systemctl' : 'systemctl --user';
  return {
    files: [
      { path: `${folder}/tapdeck.service`, content: serviceUnit(place) },
      { path: `${folder}/tapdeck.socket`, content: socketUnit(group) },
    ],
    next:
      place.root === ''
        ? [`${systemctl} daemon-reload && ${systemctl} enable --now tapdeck.socket tapdeck.service`]
        : enableBelow(place, 'tapdeck.socket', 'tapdeck.service'),
  };
}

/** What is left to do when units have been taken away: systemd has them in memory yet, and links to them where they were enabled. */
export function afterUninstall(
  target: Target,
  { system, root }: Place,
  files: readonly { path: string }[],
): string[] {
  const units = files.map(({ path }) => basename(path)).filter((name) => /\.(service|socket)$/.test(name));
  if (units.length === 0 || root !== '') return [];
  const systemctl = system ? 'systemctl' : 'systemctl --user';
  const names = units.join(' ');
  // Not with &&: of units that are gone, disable takes the links away, and ends with an error.
  const line = `${systemctl} stop ${names}; ${systemctl} disable ${names}; ${systemctl} daemon-reload`;
  // A daemon that runs has Docker's socket still.
  return [target === 'docker' ? `${line}; systemctl try-restart tapdeck.service` : line];
}

/** Docker's plugin: its socket, by which Docker starts the daemon, and where there is no systemd, where Docker has to wait for it. */
export function dockerPlan(place: Place): Plan {
  if (!place.system) throw onlyForRoot("Docker's plugin");
  const spec = { path: PLUGIN_SPEC, content: `unix://${PLUGIN_SOCKET}\n` };
  if (!isThere(place, '/etc/systemd')) {
    return { files: [spec], next: ['tapdeck daemon --docker-plugin'] };
  }
  const service = isThere(place, `${SYSTEM_UNITS}/tapdeck.service`) ? [] : ['tapdeck install service'];
  return {
    files: [spec, { path: `${SYSTEM_UNITS}/tapdeck-docker.socket`, content: dockerSocketUnit() }],
    next: [
      ...service,
      // A socket of a service that runs already is not started.
      ...(place.root === ''
        ? [
            'systemctl daemon-reload && systemctl enable tapdeck-docker.socket && systemctl stop tapdeck.service && systemctl start tapdeck-docker.socket tapdeck.service',
          ]
        : enableBelow(place, 'tapdeck-docker.socket')),
      'docker network create -d tapdeck front',
    ],
  };
}

/** How units are enabled in an image in which nothing runs yet; a user's are not, as systemctl has no `--root` for them. */
function enableBelow({ system, root }: Place, ...units: string[]): string[] {
  return system ? [`systemctl --root=${root} enable ${units.join(' ')}`] : [];
}

function serviceUnit({ system }: Place): string {
  const line = programLine('tapdeck', 'daemon').map(unitWord).join(' ');
  return `[Unit]
Description=tapdeck container networking
Requires=tapdeck.socket
After=tapdeck.socket network.target
${
  // Docker asks for its networks when it starts.
  system ? 'Before=docker.service\n' : ''
}
[Service]
Type=notify
NotifyAccess=main
ExecStart=${line}
Restart=on-failure
WatchdogSec=60
KillMode=mixed
FileDescriptorStoreMax=16384
LimitNOFILE=1048576

[Install]
WantedBy=${system ? 'multi-user.target' : 'default.target'}
Also=tapdeck.socket
`;
}

function socketUnit(group: string | undefined): string {
  // Others may pass through the folder where a group may use the socket in it.
  const access =
    group === undefined
      ? 'SocketMode=0600\nDirectoryMode=0700\n'
      : `SocketGroup=${group}\nSocketMode=0660\nDirectoryMode=0711\n`;
  return `[Unit]
Description=tapdeck API

[Socket]
ListenStream=%t/tapdeck/tapdeck.sock
${access}RemoveOnStop=yes

[Install]
WantedBy=sockets.target
`;
}

function dockerSocketUnit(): string {
  return `[Unit]
Description=tapdeck network plugin for Docker
Before=docker.service

[Socket]
ListenStream=${PLUGIN_SOCKET}
FileDescriptorName=${DOCKER_SOCKET_NAME}
Service=tapdeck.service
SocketMode=0600
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
`;
}

/** As a word of ExecStart (systemd.service(5), "Command lines"; `%` and `$` mean something there). */
function unitWord(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w/.:%@+=-]+$/.test(word) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`;
}
