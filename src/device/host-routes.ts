import { Rtnetlink } from './rtnetlink.ts';

/** The prefixes to which the host has routes, without the default routes: `192.0.2.0/24`. Takes no privilege. */
export function hostRoutes(): string[] {
  const rtnetlink = new Rtnetlink();
  try {
    return rtnetlink.routes().flatMap(({ destination }) => (destination === 'default' ? [] : destination));
  } finally {
    rtnetlink.close();
  }
}
