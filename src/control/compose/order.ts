import type { ProjectService } from './project.ts';

type Depending = Pick<ProjectService, 'key' | 'dependsOn'>;

/** Services each of which depends on the next, and the last on the first; undefined when there are none. */
export function findCycle(services: readonly Depending[]): string[] | undefined {
  const byKey = new Map(services.map((service) => [service.key, service]));
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (key: string): string[] | undefined => {
    if (done.has(key)) return undefined;
    const seen = way.indexOf(key);
    if (seen >= 0) return way.slice(seen);
    way.push(key);
    for (const { service } of byKey.get(key)?.dependsOn ?? []) {
      const cycle = visit(service);
      if (cycle) return cycle;
    }
    way.pop();
    done.add(key);
    return undefined;
  };
  for (const { key } of services) {
    const cycle = visit(key);
    if (cycle) return cycle;
  }
  return undefined;
}
