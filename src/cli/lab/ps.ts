import { notFound } from '../../control/error.ts';
import type { RuntimePaths } from '../../control/paths.ts';
import { EXIT_DONE, type Format, print, say } from '../output.ts';
import { portsCell } from '../publish.ts';
import { formatDuration, formatTable } from '../table.ts';
import { labName } from './down.ts';
import { isHeld, type LabState, labPaths, readLab, type ServiceState } from './lab-files.ts';
import type { LabFlags } from './up.ts';

/** The lab that is meant. Throws a `DeckError` when it is not up. */
export function findLab(paths: RuntimePaths, file: string | undefined, flags: LabFlags): LabState {
  const name = labName(file, flags);
  const lab = readLab(labPaths(paths, name));
  if (!lab) throw notFound(`lab ${name} is not up; bring it up with "tapdeck lab up"`);
  return lab;
}

/** Lists the services of a lab. */
export function ps(paths: RuntimePaths, file: string | undefined, flags: LabFlags, format: Format): number {
  const lab = findLab(paths, file, flags);
  const services = isHeld(lab) ? lab.services : lab.services.map(withoutHolder);
  if (!isHeld(lab)) {
    say(
      `the supervisor of lab ${lab.project} was killed, and its services with it; "tapdeck lab down" removes what is left`,
    );
  }
  print(format, services, () => serviceTable(services, Date.now()));
  return EXIT_DONE;
}

/** Nothing outlives the supervisor; what it could not write down is known all the same. */
function withoutHolder(service: ServiceState): ServiceState {
  if (service.state === 'exited' || service.state === 'created') return service;
  return { ...service, state: 'exited', exitCode: 137, health: null, pid: null, networks: [], ports: [] };
}

export function serviceTable(services: readonly ServiceState[], now: number): string {
  return formatTable(
    ['NAME', 'SERVICE', 'STATUS', 'ADDRESSES', 'PORTS'],
    services.map((service) => [
      service.container,
      service.service,
      status(service, now),
      service.networks.map(({ name, ipv4, ipv6 }) => `${name}=${ipv4 ?? ipv6}`).join(' '),
      portsCell(service.ports),
    ]),
  );
}

/** In Docker's words. */
function status({ state, health, exitCode, startedAt, endedAt }: ServiceState, now: number): string {
  const since = (text: string | null) => formatDuration(now - Date.parse(text ?? ''));
  if (state === 'created') return 'Created';
  if (state === 'restarting') return `Restarting (${exitCode}) ${since(endedAt)} ago`;
  if (state === 'exited') return `Exited (${exitCode})${endedAt ? ` ${since(endedAt)} ago` : ''}`;
  const how = health === 'starting' ? 'health: starting' : health;
  return `Up ${since(startedAt)}${how ? ` (${how})` : ''}`;
}
