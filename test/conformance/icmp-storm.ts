import type { Bed, Seen } from './bed.ts';

/** All codes of destination unreachable, time exceeded and parameter problem; of the other types the first. */
const CODES = 8;
const THOROUGH = new Set([3, 11, 12]);

/**
 * Sends ICMP messages of all types about a packet that left the NAT, from the host that it went to and from a router;
 * answers how many. Errors quote the packet as it was seen outside.
 */
export async function icmpStorm(bed: Bed, about: Seen): Promise<number> {
  let count = 0;
  for (let type = 0; type < 256; type++) {
    const codes = THOROUGH.has(type) ? 256 : CODES;
    for (let code = 0; code < codes; code++) {
      const from = code % 2 === 0 ? about.at : 'router';
      // Also as a redirect to the router, and as a next hop that takes 68 bytes.
      bed.post(from, bed.errorFrame(from, about, [type, code], { rest: type === 3 && code === 4 ? 68 : 0 }));
      count++;
    }
    if (type % 8 === 7) await bed.settle();
  }
  return count;
}
