import { checkIfname, QUEUE_LENGTH } from './attach.ts';
import { inNamespace, openNamespace } from './netns.ts';
import { Rtnetlink } from './rtnetlink.ts';
import { close } from './syscall.ts';
import type { OpenTap } from './tap.ts';
import { openTun } from './tun.ts';

/** An interface that somebody else is to move into a container, and to configure there. */
export interface HandoverTarget {
  /** Its name until then. */
  ifname: string;
  mac: string;
  mtu: number;
}

/**
 * Makes a TAP in the namespace of the calling thread and leaves it there, down and without addresses, for a program that
 * will move it into a container and rename it: Docker does so with what a network driver names. Closing the descriptor
 * takes the interface away wherever it is.
 */
export function openHandover({ ifname, mac, mtu }: HandoverTarget): OpenTap {
  checkIfname(ifname);
  const fd = openTun(ifname);
  let rtnetlink: Rtnetlink | undefined;
  try {
    rtnetlink = new Rtnetlink();
    const link = rtnetlink.link(ifname);
    if (!link) throw new Error(`interface ${ifname} has vanished while it was set up`);
    rtnetlink.setLink(link, { mac, mtu, txqueuelen: QUEUE_LENGTH });
    return { fd, ifname, mac, mtu };
  } catch (error) {
    close(fd);
    throw error;
  } finally {
    rtnetlink?.close();
  }
}

/** What the interface with a MAC is called in the namespace at `netns`; undefined while there is none, or no namespace. */
export function nameOfInterface(netns: string, mac: string): string | undefined {
  let namespace: ReturnType<typeof openNamespace>;
  try {
    namespace = openNamespace(netns);
  } catch {
    return undefined;
  }
  try {
    const rtnetlink = inNamespace(namespace, () => new Rtnetlink());
    try {
      return rtnetlink.links().find((link) => link.mac === mac)?.name;
    } finally {
      rtnetlink.close();
    }
  } finally {
    namespace.close();
  }
}
