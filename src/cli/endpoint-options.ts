import { parseAddress, parseStationMac } from '../control/address.ts';
import type { AttachOptions } from '../control/endpoint.ts';
import { invalid } from '../control/error.ts';
import { checkIfname, checkName, quote } from '../control/name.ts';
import { parsePublishSpec } from '../control/publish-spec.ts';
import { parseFaults } from '../device/faults.ts';

/** Options of the commands that make an endpoint, as commander gives them. */
export interface EndpointFlags {
  network?: string;
  name?: string;
  ip?: string;
  ip6?: string;
  mac?: string;
  ifname?: string;
  mtu?: string;
  faults?: string;
  publish?: string[];
}

/**
 * Checks what can be checked without the deck, before anything is made: mistakes of form are mistakes of
 * usage. Throws a `DeckError`.
 */
export function endpointOptions(flags: EndpointFlags): Omit<AttachOptions, 'netns' | 'pid'> {
  const { network, name, ip, ip6, mac, ifname, mtu, faults, publish } = flags;
  if (network !== undefined) checkName('network', network);
  if (name !== undefined) checkName('container', name);
  if (ip !== undefined) parseAddress(4, ip);
  if (ip6 !== undefined) parseAddress(6, ip6);
  if (mac !== undefined) parseStationMac(mac);
  if (ifname !== undefined) checkIfname(ifname);
  if (faults !== undefined) checkFaults(faults);
  for (const spec of publish ?? []) parsePublishSpec(spec);
  return {
    ...(network !== undefined && { network }),
    ...(name !== undefined && { name }),
    ...(ip !== undefined && { ip }),
    ...(ip6 !== undefined && { ip6 }),
    ...(mac !== undefined && { mac }),
    ...(ifname !== undefined && { ifname }),
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu) }),
    ...(faults !== undefined && { faults }),
    ...(publish !== undefined && { publish }),
  };
}

function checkFaults(faults: string): void {
  try {
    parseFaults(faults);
  } catch (error) {
    throw invalid(`--faults: ${(error as Error).message}`);
  }
}

/** What every interface takes as a number. */
const HIGHEST_NUMBER = 2 ** 31 - 1;

/** The number in an option's value. Throws a `DeckError` for everything that is not a whole positive one. */
export function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw invalid(`${option} ${quote(text)} is not a whole number above zero`);
  const number = Number(text);
  if (number > HIGHEST_NUMBER) throw invalid(`${option} ${text} is out of range; use 1 to ${HIGHEST_NUMBER}`);
  return number;
}
