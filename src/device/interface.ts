import { inNamespace, type NetnsTarget, openNamespace } from './netns.ts';
import { Rtnetlink } from './rtnetlink.ts';

/** An interface as it is found in a network namespace. */
export interface FoundInterface {
  mac: string;
  up: boolean;
  /** With their prefix: `172.17.0.2/16`. */
  addresses: string[];
}

/**
 * Looks at an interface in a network namespace, which the calling thread enters for a moment; undefined when there is none of
 * that name. Throws a SyscallError when there is no namespace or we may not enter.
 */
export function findInterface(netns: NetnsTarget, ifname: string): FoundInterface | undefined {
  const namespace = openNamespace(netns);
  try {
    const rtnetlink = inNamespace(namespace, () => new Rtnetlink());
    try {
      const link = rtnetlink.link(ifname);
      if (!link) return undefined;
      const addresses = rtnetlink
        .addresses()
        .flatMap(({ index, address }) => (index === link.index ? address : []));
      return { mac: link.mac, up: link.up, addresses };
    } finally {
      rtnetlink.close();
    }
  } finally {
    namespace.close();
  }
}
