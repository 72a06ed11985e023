import { AF_INET6, formatInet, type InetAddress, macText, parseInet, parseMac } from './inet.ts';
import {
  attributesOf,
  NetlinkMessage,
  NetlinkSocket,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  type Refusal,
  textOf,
  u32Of,
} from './netlink.ts';
import {
  EACCES,
  EADDRNOTAVAIL,
  EBUSY,
  EEXIST,
  EINVAL,
  ENETUNREACH,
  ENODEV,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
  type Explanation,
  SyscallError,
} from './syscall-error.ts';

// rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_NET_NS_FD = 28;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;

// Lengths of ifinfomsg, ifaddrmsg, rtmsg, and of the netlink header before them.
const IFINFO = 16;
const IFADDR = 8;
const RTMSG = 12;
const NLMSG = 16;

/** An interface of a namespace. */
export interface Link {
  index: number;
  name: string;
  /** '' for interfaces without one. */
  mac: string;
  mtu: number;
  txqueuelen: number;
  up: boolean;
  loopback: boolean;
  /** `tun` (for TAPs too), `veth`, …; '' for physical interfaces and lo. */
  kind: string;
}

/** What identifies an interface in a request; the name is for messages. */
export type LinkName = Pick<Link, 'index' | 'name'>;

/** What can be changed about an interface; what is absent stays. */
export interface LinkChange {
  up?: boolean;
  mtu?: number;
  mac?: string;
  name?: string;
  txqueuelen?: number;
}

/** An address on an interface: `172.17.0.2/16`. */
export interface LinkAddress {
  index: number;
  address: string;
}

/** A unicast route of the main table. */
export interface Route {
  /** `default`, or `10.1.0.0/16`. */
  destination: string;
  /** Absent for what is on the link itself. */
  gateway?: string;
  /** Index of the interface it leaves by, 0 when it has several next hops. */
  index: number;
  family: number;
  metric: number;
}

/** A route to add. */
export interface NewRoute {
  /** `default`, or `10.1.0.0/16`. */
  destination: string;
  gateway?: string;
  /** The gateway is on the link though no subnet of the interface holds it (`ip route … onlink`). */
  onlink?: boolean;
  /** In place of the route to the same destination that is there, in one step. */
  replace?: boolean;
}

/**
 * Links, addresses and routes of one network namespace: that in which the object is made. It keeps that
 * namespace alive until it is closed. Every refusal is a one-line SyscallError with the kernel's reason.
 */
export class Rtnetlink {
  readonly #socket = new NetlinkSocket();

  close(): void {
    this.#socket.close();
  }

  links(): Link[] {
    const links: Link[] = [];
    this.#query(
      new NetlinkMessage(RTM_GETLINK, NLM_F_DUMP, IFINFO),
      RTM_NEWLINK,
      'list interfaces',
      (bytes) => links.push(linkOf(bytes)),
    );
    return links;
  }

  /** The interface called `name`, if there is one. */
  link(name: string): Link | undefined {
    let found: Link | undefined;
    const message = new NetlinkMessage(RTM_GETLINK, NLM_F_ACK, IFINFO).attributeText(IFLA_IFNAME, name);
    const refusal = this.#socket.query(message, (type, bytes) => {
      if (type === RTM_NEWLINK) found = linkOf(bytes);
    });
    if (refusal !== null && refusal.errno !== ENODEV)
      throw refused(`cannot look up interface ${name}`, refusal);
    return found;
  }

  /** Changes an interface, all at once. */
  setLink(link: LinkName, change: LinkChange): void {
    const message = new NetlinkMessage(RTM_NEWLINK, NLM_F_ACK, IFINFO).u32(4, link.index);
    if (change.up !== undefined) message.u32(8, change.up ? IFF_UP : 0).u32(12, IFF_UP);
    if (change.mtu !== undefined) message.attributeU32(IFLA_MTU, change.mtu);
    if (change.mac !== undefined) message.attribute(IFLA_ADDRESS, parseMac(change.mac));
    if (change.name !== undefined) message.attributeText(IFLA_IFNAME, change.name);
    if (change.txqueuelen !== undefined) message.attributeU32(IFLA_TXQLEN, change.txqueuelen);
    const asked = Object.entries(change).map(([key, value]) => `${key} ${value}`);
    this.#change(message, `cannot set ${asked.join(', ')} of interface ${link.name}`, explainLink);
  }

  /**
   * Moves an interface into another namespace, under a new name. It arrives down and without addresses.
   * @param netns descriptor of the namespace
   */
  moveLink(link: LinkName, netns: number, name: string): void {
    checkMove(name, this.#socket.request(moveMessage(link, netns, name)));
  }

  /** `moveLink` while this thread does something else; but nothing with this object. */
  async moveLinkAside(link: LinkName, netns: number, name: string): Promise<void> {
    checkMove(name, await this.#socket.requestAside(moveMessage(link, netns, name)));
  }

  deleteLink(link: LinkName): void {
    const message = new NetlinkMessage(RTM_DELLINK, NLM_F_ACK, IFINFO).u32(4, link.index);
    this.#change(message, `cannot delete interface ${link.name}`, explainLink);
  }

  addresses(): LinkAddress[] {
    const addresses: LinkAddress[] = [];
    const message = new NetlinkMessage(RTM_GETADDR, NLM_F_DUMP, IFADDR);
    this.#query(message, RTM_NEWADDR, 'list addresses', (bytes) => {
      const attributes = attributesOf(bytes, NLMSG + IFADDR);
      // On point-to-point links IFA_ADDRESS is the peer's.
      const address = formatInet(attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS));
      const index = new DataView(bytes.buffer, bytes.byteOffset).getUint32(NLMSG + 4, true);
      if (address !== '') addresses.push({ index, address: `${address}/${bytes[NLMSG + 1]}` });
    });
    return addresses;
  }

  /**
   * Gives an interface an address with its subnet's prefix. IPv6 addresses are usable at once, without
   * duplicate address detection (RFC 4862 §5.4): whoever gives them out keeps them unique.
   */
  addAddress(link: LinkName, address: string): void {
    const { family, bytes, prefix } = parseInet(address);
    const message = new NetlinkMessage(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, IFADDR)
      .u8(0, family)
      .u8(1, prefix)
      .u32(4, link.index)
      .attribute(IFA_LOCAL, bytes)
      .attribute(IFA_ADDRESS, bytes);
    if (family === AF_INET6) message.u8(2, IFA_F_NODAD).attributeU32(IFA_FLAGS, IFA_F_NODAD);
    this.#change(message, `cannot give address ${address} to interface ${link.name}`, (number) => {
      if (number === EEXIST) return { why: 'the address is already in use there' };
      if (family === AF_INET6 && (number === EACCES || number === EOPNOTSUPP)) {
        return {
          why: 'IPv6 is off there',
          remedy: `set the sysctl net.ipv6.conf.${link.name}.disable_ipv6 to 0 in the namespace, or give no IPv6 address`,
        };
      }
      if (number === EINVAL || number === EADDRNOTAVAIL) return { why: 'it is no address for an interface' };
      return explainLink(number);
    });
  }

  /** Unicast routes of the main table, both families. */
  routes(): Route[] {
    const routes: Route[] = [];
    this.#query(new NetlinkMessage(RTM_GETROUTE, NLM_F_DUMP, RTMSG), RTM_NEWROUTE, 'list routes', (bytes) => {
      if (bytes[NLMSG + 4] !== RT_TABLE_MAIN || bytes[NLMSG + 7] !== RTN_UNICAST) return;
      const attributes = attributesOf(bytes, NLMSG + RTMSG);
      const prefix = bytes[NLMSG + 1]!;
      const gateway = formatInet(attributes.get(RTA_GATEWAY));
      routes.push({
        destination: prefix === 0 ? 'default' : `${formatInet(attributes.get(RTA_DST))}/${prefix}`,
        ...(gateway === '' ? {} : { gateway }),
        index: u32Of(attributes.get(RTA_OIF)),
        family: bytes[NLMSG]!,
        metric: u32Of(attributes.get(RTA_PRIORITY)),
      });
    });
    return routes;
  }

  /** Adds a route through an interface that is up. */
  addRoute(link: LinkName, route: NewRoute): void {
    const { destination, gateway, replace = false } = route;
    const flags = NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL);
    const message = routeMessage(RTM_NEWROUTE, flags, link, route);
    this.#change(
      message,
      `cannot add route ${describe(destination, gateway)} by interface ${link.name}`,
      (number) => {
        if (number === EEXIST)
          return { why: 'there is such a route already', remedy: 'see `ip route` in the namespace' };
        if (number === ENETUNREACH) return { why: 'no subnet of the interface holds the gateway' };
        return explainLink(number);
      },
    );
  }

  /** Takes a route away; one that is not there is no error. */
  deleteRoute(link: LinkName, route: Omit<NewRoute, 'replace'>): void {
    const refusal = this.#socket.request(routeMessage(RTM_DELROUTE, 0, link, route));
    if (refusal === null || refusal.errno === ESRCH) return;
    throw refused(
      `cannot take away route ${describe(route.destination, route.gateway)} by interface ${link.name}`,
      refusal,
    );
  }

  #change(message: NetlinkMessage, what: string, explain: (number: number) => Explanation): void {
    const refusal = this.#socket.request(message);
    if (refusal !== null) throw refused(what, refusal, explain);
  }

  #query(message: NetlinkMessage, type: number, what: string, visit: (bytes: Uint8Array) => void): void {
    const refusal = this.#socket.query(message, (answerType, bytes) => {
      if (answerType === type) visit(bytes);
    });
    if (refusal !== null) throw refused(`cannot ${what}`, refusal);
  }
}

function moveMessage(link: LinkName, netns: number, name: string): NetlinkMessage {
  return new NetlinkMessage(RTM_NEWLINK, NLM_F_ACK, IFINFO)
    .u32(4, link.index)
    .attributeU32(IFLA_NET_NS_FD, netns)
    .attributeText(IFLA_IFNAME, name);
}

function checkMove(name: string, refusal: Refusal | null): void {
  if (refusal !== null) throw refused(`cannot put interface ${name} into the namespace`, refusal);
}

function linkOf(bytes: Uint8Array): Link {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const attributes = attributesOf(bytes, NLMSG + IFINFO);
  const info = attributes.get(IFLA_LINKINFO);
  const flags = view.getUint32(NLMSG + 8, true);
  return {
    index: view.getInt32(NLMSG + 4, true),
    name: textOf(attributes.get(IFLA_IFNAME)),
    mac: macText(attributes.get(IFLA_ADDRESS)),
    mtu: u32Of(attributes.get(IFLA_MTU)),
    txqueuelen: u32Of(attributes.get(IFLA_TXQLEN)),
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    kind: info === undefined ? '' : textOf(attributesOf(info, 0).get(IFLA_INFO_KIND)),
  };
}

function routeMessage(
  type: number,
  flags: number,
  link: LinkName,
  { destination, gateway, onlink = false }: NewRoute,
): NetlinkMessage {
  const via = gateway === undefined ? undefined : parseInet(gateway, 'gateway');
  const to = destinationOf(destination, via);
  if (via !== undefined && via.family !== to.family) {
    throw new Error(`route to ${destination} cannot go via ${gateway}: one is IPv4, the other IPv6`);
  }
  const message = new NetlinkMessage(type, NLM_F_ACK | flags, RTMSG)
    .u8(0, to.family)
    .u8(1, to.prefix)
    .u8(4, RT_TABLE_MAIN)
    .u8(5, RTPROT_STATIC)
    .u8(6, via === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE)
    .u8(7, RTN_UNICAST)
    .u32(8, onlink ? RTNH_F_ONLINK : 0)
    .attributeU32(RTA_OIF, link.index);
  if (to.prefix > 0) message.attribute(RTA_DST, to.bytes);
  if (via !== undefined) message.attribute(RTA_GATEWAY, via.bytes);
  return message;
}

function describe(destination: string, gateway: string | undefined): string {
  return gateway === undefined ? destination : `${destination} via ${gateway}`;
}

/** `default` has the family of its gateway. */
function destinationOf(destination: string, via: InetAddress | undefined): InetAddress {
  if (destination !== 'default') return parseInet(destination, 'destination');
  if (via === undefined) throw new Error('a default route needs a gateway');
  return { family: via.family, bytes: new Uint8Array(via.bytes.length), prefix: 0 };
}

function refused(
  what: string,
  { errno, message }: Refusal,
  explain: (number: number) => Explanation = explainLink,
): SyscallError {
  const explanation = explain(errno);
  if (message !== '' && explanation.why === undefined) {
    const sentence = message.replace(/\.$/, '');
    explanation.why = `the kernel says: ${sentence}`;
  }
  return new SyscallError(what, errno, explanation);
}

function explainLink(number: number): Explanation {
  switch (number) {
    case EPERM:
      return {
        why: 'not permitted',
        remedy: 'it takes CAP_NET_ADMIN in the user namespace that owns the namespace',
      };
    case EEXIST:
      return { why: 'the name is already in use there', remedy: 'choose another name' };
    case ENODEV:
      return { why: 'there is no such interface any more' };
    case EBUSY:
      return { why: 'the interface is in use' };
    default:
      return {};
  }
}
