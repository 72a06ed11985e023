import { isIP } from 'node:net';
import { encodeDnsName } from '../../wire/dns.ts';
import { invalid } from '../control/error.ts';
import { quote } from '../control/name.ts';
import type { ResolverWishes } from '../control/name-service.ts';

/** Options about /etc/resolv.conf, as commander gives them. */
export interface ResolverFlags {
  dns?: string[];
  dnsSearch?: string[];
  dnsOption?: string[];
}

/** What they ask for, undefined for nothing. Throws a `DeckError`. */
export function resolverOptions({ dns, dnsSearch, dnsOption }: ResolverFlags): ResolverWishes | undefined {
  for (const address of dns ?? []) {
    if (isIP(address) === 0)
      throw invalid(`--dns ${quote(address)} is no address; give that of a name server`);
  }
  for (const domain of dnsSearch ?? []) {
    if (encodeDnsName(domain) === undefined && domain !== '.') {
      throw invalid(`--dns-search ${quote(domain)} is no domain; write it as example.com, or . for none`);
    }
    checkWord('--dns-search', domain);
  }
  for (const option of dnsOption ?? []) checkWord('--dns-option', option);
  if (!dns && !dnsSearch && !dnsOption) return undefined;
  return {
    ...(dns && { servers: dns }),
    ...(dnsSearch && { search: dnsSearch }),
    ...(dnsOption && { options: dnsOption }),
  };
}

/** It stands between spaces in a line of its own. */
function checkWord(flag: string, text: string): void {
  if (!/^[\x21-\x7e]{1,255}$/.test(text) || /[#;]/.test(text)) {
    throw invalid(`${flag} ${quote(text)} is not one word of resolv.conf(5)`);
  }
}
