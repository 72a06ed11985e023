import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import type { Station as TestStation } from '../../src/testing/station.ts';
import { ask } from '../../src/why/conversation.ts';
import { saveDataplane } from '../../src/why/fork.ts';
import type { Address, Outcome, Question, Station } from '../../src/why/question.ts';
import { parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';

/** An address in text as words. */
export function words(text: string): Address {
  const ipv4 = parseIpv4(text);
  return ipv4 === undefined ? parseIpv6(text)! : [ipv4];
}

/** The stations of a memory deck as the question knows them, of one IP version. */
export function stationsOf(deck: MemoryDeck, family: 4 | 6): { names: string[]; stations: Station[] } {
  const names: string[] = [];
  const stations: Station[] = [];
  for (const port of deck.virtual.ports.values()) {
    if (port.id < 0) continue;
    const network = port.spec.network;
    const gateway = deck.gateway(network);
    const own = family === 4 ? gateway.ipv4 : gateway.ipv6;
    const at: TestStation = deck.station(port.name);
    const mac = parseMac(at.mac)!;
    const text = family === 4 ? at.ipv4 : at.ipv6;
    const isUplink = network.startsWith('up');
    names.push(port.name);
    stations.push({
      host: port.name.split(':')[0]!,
      port: port.id,
      mac,
      ip:
        text === undefined || own === undefined
          ? null
          : { address: words(text), prefix: family === 4 ? 24 : 64, gateway: isUplink ? null : words(own) },
      outside: isUplink && own !== undefined ? { deck: [words(own)] } : null,
    });
  }
  return { names, stations };
}

/** Asks what would become of a packet. */
export function why(
  deck: MemoryDeck,
  from: string,
  destination: string,
  protocol: Question['protocol'] = 'icmp',
  port = protocol === 'icmp' ? 0 : 80,
): Outcome & { names: string[] } {
  const to = words(destination);
  const { names, stations } = stationsOf(deck, to.length === 1 ? 4 : 6);
  const index = names.indexOf(from);
  const source = stations[index]!.ip!.address;
  const saved = saveDataplane(deck.virtual.dataplane, deck.now);
  return {
    ...ask(saved, { protocol, from: index, source, bound: false, destination: to, port, stations }),
    names,
  };
}
