/** IEEE 802.1Q and 802.1ad tags: four bytes between the source address and the type field. */
import { get16, set16 } from './bytes.ts';

/** Offsets in a tag, counted from its tag protocol identifier. */
export const VLAN_TPID = 0;
export const VLAN_TCI = 2;
/** Length of one tag. */
export const VLAN_LEN = 4;
/** Tags that `parse` looks behind: one service tag and one customer tag. */
export const VLAN_MAX_TAGS = 2;

/** The VLAN identifier of a tag control field; 0 means "priority only", 4095 is reserved. */
export function vlanId(tci: number): number {
  return tci & 0x0fff;
}

/** The priority code point, 0 to 7. */
export function vlanPriority(tci: number): number {
  return (tci >>> 13) & 7;
}

/** Whether the frame may be dropped before others (drop eligible indicator). */
export function vlanDropEligible(tci: number): boolean {
  return (tci & 0x1000) !== 0;
}

/** A tag control field of its parts. */
export function vlanTci(id: number, priority: number, dropEligible: boolean): number {
  return ((priority & 7) << 13) | (dropEligible ? 0x1000 : 0) | (id & 0x0fff);
}

/** Tag protocol identifier of the tag at `at`. */
export function vlanTpid(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + VLAN_TPID);
}

/** Tag control information of the tag at `at`. */
export function vlanTagTci(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + VLAN_TCI);
}

/** Writes a tag; the type of what it encloses follows at the offset that is returned. */
export function writeVlan(bytes: Uint8Array, at: number, tpid: number, tci: number): number {
  set16(bytes, at + VLAN_TPID, tpid);
  set16(bytes, at + VLAN_TCI, tci);
  return at + VLAN_LEN;
}
