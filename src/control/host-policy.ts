import type { DeniedPrefix } from '../dataplane/commands.ts';
import { ADDRESS_BITS, familyOf, parseAddress, type Subnet, toInt32, toWords } from './address.ts';
import { deniedPrefixes, type SocketUplinkSpec } from './socket-uplink-spec.ts';

/** What endpoints are kept from behind uplink `socket`: what they are told to, and perhaps the host's own addresses. */
export class HostPolicy {
  readonly #spec: SocketUplinkSpec;
  readonly #hostAddresses: () => string[];
  #own = '';
  #denied: readonly DeniedPrefix[] = [];

  /** @param hostAddresses lists the addresses of the host */
  constructor(spec: SocketUplinkSpec, hostAddresses: () => string[]) {
    this.#spec = spec;
    this.#hostAddresses = hostAddresses;
    this.#look(this.#listOwn());
  }

  get denied(): readonly DeniedPrefix[] {
    return this.#denied;
  }

  /** Looks at the host again; whether what is denied has changed. */
  changed(): boolean {
    const own = this.#listOwn();
    if (own.join() === this.#own) return false;
    this.#look(own);
    return true;
  }

  #listOwn(): string[] {
    return this.#spec.hostAccess ? [] : this.#hostAddresses();
  }

  #look(own: readonly string[]): void {
    this.#own = own.join();
    this.#denied = [...deniedPrefixes(this.#spec), ...own.map(onlyOf)].map(asWords);
  }
}

/** The prefix that one address is. */
function onlyOf(text: string): Subnet {
  const family = familyOf(text);
  return { family, base: parseAddress(family, text), prefix: ADDRESS_BITS[family] };
}

/** As the data plane takes it. */
function asWords({ family, base, prefix }: Subnet): DeniedPrefix {
  return { address: family === 4 ? toInt32(base) : toWords(base), prefix };
}
