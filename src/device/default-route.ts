import { AF_INET, AF_INET6 } from './inet.ts';
import { inNamespace, type Namespace, type NetnsTarget, openNamespace } from './netns.ts';
import { type Link, type Route, Rtnetlink } from './rtnetlink.ts';

/** Where packets for everywhere else go. */
export interface DefaultRoute {
  ifname: string;
  /** In a subnet of the interface. */
  gateway: string;
}

/** The default routes that a container is to have. */
export interface RouteTarget {
  /** Path of its network namespace, or pid of a process in it. */
  netns: NetnsTarget;
  /** Interfaces whose default routes are ours to change; those by others stay, and are no reason to fail. */
  ifnames: readonly string[];
  /** null for none. */
  gateway4: DefaultRoute | null;
  gateway6: DefaultRoute | null;
}

/** What the kernel gives routes of whom nothing else is said: `ip route` shows 0 and 1024. */
const METRIC = { [AF_INET]: 0, [AF_INET6]: 1024 } as Record<number, number>;

/**
 * Changes the default routes of a network namespace, in which `lo` is up afterwards. A route is replaced in one step, so
 * that at no time packets have nowhere to go. Works on the calling thread, as `openTap`; see `setRoutesFor` for
 * ordinary users. Throws a one-line error.
 */
export function setRoutes(target: RouteTarget): void {
  const namespace = openNamespace(target.netns);
  try {
    setRoutesIn(namespace, target);
  } finally {
    namespace.close();
  }
}

/** `setRoutes` in a namespace that is open already; `target.netns` has no meaning then. */
export function setRoutesIn(namespace: Namespace, { ifnames, gateway4, gateway6 }: RouteTarget): void {
  const rtnetlink = inNamespace(namespace, () => new Rtnetlink());
  try {
    const links = rtnetlink.links();
    const lo = links.find((link) => link.loopback);
    if (lo !== undefined && !lo.up) rtnetlink.setLink(lo, { up: true });
    const own = links.filter(({ name }) => ifnames.includes(name));
    const routes = rtnetlink.routes().filter(({ destination }) => destination === 'default');
    setDefault(rtnetlink, own, of(AF_INET, routes), gateway4);
    setDefault(rtnetlink, own, of(AF_INET6, routes), gateway6);
  } finally {
    rtnetlink.close();
  }
}

function of(family: number, routes: readonly Route[]): Route[] {
  return routes.filter((route) => route.family === family);
}

function setDefault(
  rtnetlink: Rtnetlink,
  links: readonly Link[],
  routes: readonly Route[],
  wanted: DefaultRoute | null,
): void {
  const linkOf = ({ index }: Route) => links.find((link) => link.index === index);
  const own = routes.filter(linkOf);
  const isWanted = (route: Route) =>
    wanted !== null && linkOf(route)?.name === wanted.ifname && route.gateway === wanted.gateway;
  if (wanted !== null && !routes.some(isWanted)) {
    const link = links.find(({ name }) => name === wanted.ifname);
    if (link === undefined)
      throw new Error(`interface ${wanted.ifname} has vanished while its route was made`);
    const inTheWay = routes.some((route) => !linkOf(route) && route.metric === METRIC[route.family]);
    // Somebody has made a way of his own.
    if (own.length === 0 && inTheWay) return;
    rtnetlink.addRoute(link, {
      destination: 'default',
      gateway: wanted.gateway,
      replace: own.length > 0,
    });
  }
  for (const route of own) {
    if (isWanted(route)) continue;
    rtnetlink.deleteRoute(linkOf(route)!, {
      destination: 'default',
      ...(route.gateway !== undefined && { gateway: route.gateway }),
    });
  }
}
