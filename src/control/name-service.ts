import type { DataPlane } from '../runtime/data-plane.ts';
import type { Container } from './container.ts';
import { DnsForwarder, type ForwarderOptions } from './dns-forwarder.ts';
import { formatResolvConf } from './resolv-conf.ts';
import { inOrder, Zones, type ZonesParts } from './zones.ts';

export interface NameServiceParts extends Omit<ZonesParts, 'plane'> {
  plane: Pick<DataPlane, 'setNames' | 'setSearch' | 'onQuery' | 'answerQuery'>;
}

/** What a container's resolv.conf is to say in place of what it says by itself. */
export interface ResolverWishes {
  /** Name servers in place of the gateways (`--dns`). */
  servers?: string[];
  /** Domains in which names are looked for, in place of the host's (`--dns-search`); `.` for none. */
  search?: string[];
  /** Options in place of ours (`--dns-option`). */
  options?: string[];
}

/** As many name servers as the C library reads. */
const MOST_NAMESERVERS = 3;

/** Names in a deck: the zones that its data plane answers from, and the host's name servers for the rest. */
export class NameService {
  readonly #parts: NameServiceParts;
  readonly #forwarder: DnsForwarder;

  constructor(parts: NameServiceParts, options: ForwarderOptions = {}) {
    const { plane } = parts;
    this.#parts = parts;
    new Zones(parts);
    const forwarder = new DnsForwarder(options);
    this.#forwarder = forwarder;
    plane.onQuery(({ id, port, message, limit, overTcp }) => {
      void forwarder
        .answer(message, limit, overTcp, port)
        .catch((error: Error) => {
          parts.log('error', `a question to the host's name servers failed: ${error.stack ?? error.message}`);
          return new Uint8Array();
        })
        // The data plane may be closing.
        .then((answer) => plane.answerQuery(id, answer).catch(() => {}));
    });
  }

  /**
   * The text of a container's /etc/resolv.conf: its gateways, those that lead out first, because an internal one refuses what is
   * outside; the host's domains and options; and names tried as they are before a domain is put behind them (`ndots:0`), or a container's name would
   * be asked for outside first.
   */
  resolvConf({ endpoints }: Pick<Container, 'endpoints'>, wishes: ResolverWishes = {}): string {
    const networks = new Map(this.#parts.networks().map((network) => [network.name, network]));
    const ordered = inOrder(endpoints).flatMap(({ network }) => networks.get(network) ?? []);
    const leading = [...ordered.filter(({ way }) => way.uplink), ...ordered.filter(({ way }) => !way.uplink)];
    const gateways = leading.flatMap((network) => {
      const { ipv4, ipv6 } = network.describe();
      return [ipv4, ipv6].flatMap((pool) => pool?.gateway ?? []);
    });
    const { nameservers, search, options } = this.#forwarder.hostConf;
    // In no network of ours, or in the host's.
    const own = gateways.length > 0 ? gateways.slice(0, MOST_NAMESERVERS) : nameservers;
    const others = options.filter((option) => !option.startsWith('ndots:'));
    return formatResolvConf({
      nameservers: wishes.servers?.length ? wishes.servers : own,
      search: (wishes.search?.length ? wishes.search : search).filter((domain) => domain !== '.'),
      options: wishes.options?.length ? wishes.options : [...others, 'ndots:0'],
    });
  }
}
