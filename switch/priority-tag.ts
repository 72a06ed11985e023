import { copy } from '../wire/bytes.ts';
import { ETH_LEN, ETH_TYPE } from '../wire/ethernet.ts';
import { csumStart, needsChecksum, setCsumStart, VNET_LEN } from '../wire/virtio-net.ts';
import { VLAN_LEN, vlanId } from '../wire/vlan.ts';
import type { Frame } from './frame.ts';

/** Whether a frame is in no VLAN: it has no tag, or one that carries only a priority (IEEE 802.1Q §9.6, VID 0). */
export function isUntagged(frame: Frame): boolean {
  return frame.vlan < 0 || (vlanId(frame.vlan) === 0 && frame.l3 - frame.at === ETH_LEN + VLAN_LEN);
}

/**
 * Takes the priority tag out of a frame that `isUntagged`: the addresses and the virtio-net header move up to the type
 * field, all other offsets stay.
 */
export function stripPriorityTag(frame: Frame): void {
  if (frame.vlan < 0) return;
  const { bytes, at } = frame;
  const vnet = at - VNET_LEN;
  copy(bytes, vnet, bytes, vnet + VLAN_LEN, VNET_LEN + ETH_TYPE);
  if (needsChecksum(bytes, vnet + VLAN_LEN)) {
    setCsumStart(bytes, vnet + VLAN_LEN, csumStart(bytes, vnet + VLAN_LEN) - VLAN_LEN);
  }
  frame.at = at + VLAN_LEN;
  frame.length -= VLAN_LEN;
  frame.vlan = -1;
}
