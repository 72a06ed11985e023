import { frameLine } from '../replay/frame-difference.ts';
import { decode } from './decode.ts';
import { encode } from './encode.ts';
import type { Layer, LayerName, Layers, PartialLayer } from './layer.ts';

/** Fields to change, by layer: `{ eth: { src }, ip: { ttl: 63 } }`. */
export type Changes = { [K in LayerName]?: Partial<Layers[K]> };

/** Fields that follow from what stands behind: first those of which the checksums know. */
const FOLLOWING = ['type', 'headerLength', 'length', 'protocol', 'next'] as const;
const CHECKSUMS = ['checksum'] as const;

/** The type of an ICMP message does not follow from anything. */
const TYPED_BY_NEXT: readonly LayerName[] = ['eth', 'vlan'];

/**
 * A frame in layers, to be read: `dissect(bytes).ip?.ttl`. A layer that the frame does not have is undefined; of layers that
 * stand in it more than once, these are the first.
 */
export class Dissection {
  /** From the outside to the inside, all fields as they stand. */
  readonly layers: readonly Layer[];
  readonly #bytes: Uint8Array;

  /** @throws RangeError when there is no whole Ethernet header */
  constructor(bytes: Uint8Array) {
    this.layers = decode(bytes);
    this.#bytes = bytes.slice();
  }

  get eth(): Readonly<Layers['eth']> {
    return this.first('eth')!;
  }
  get vlan(): Readonly<Layers['vlan']> | undefined {
    return this.first('vlan');
  }
  get arp(): Readonly<Layers['arp']> | undefined {
    return this.first('arp');
  }
  get ip(): Readonly<Layers['ip']> | undefined {
    return this.first('ip');
  }
  get ip6(): Readonly<Layers['ip6']> | undefined {
    return this.first('ip6');
  }
  get fragment(): Readonly<Layers['fragment']> | undefined {
    return this.first('fragment');
  }
  get tcp(): Readonly<Layers['tcp']> | undefined {
    return this.first('tcp');
  }
  get udp(): Readonly<Layers['udp']> | undefined {
    return this.first('udp');
  }
  get icmp(): Readonly<Layers['icmp']> | undefined {
    return this.first('icmp');
  }
  get icmp6(): Readonly<Layers['icmp6']> | undefined {
    return this.first('icmp6');
  }
  /** What is behind the last header; empty when there is nothing. */
  get payload(): Uint8Array {
    return this.first('payload')?.data ?? new Uint8Array(0);
  }
  /** The payload as text. */
  get text(): string {
    return new TextDecoder().decode(this.payload);
  }

  /** The first layer of a kind. */
  first<K extends LayerName>(name: K): Readonly<Layers[K]> | undefined {
    return this.layers.find(({ layer }) => layer === name) as Readonly<Layers[K]> | undefined;
  }

  /**
   * The frame with other fields. Lengths and checksums that were right become right again; those that were wrong stay as they are.
   * @throws TypeError when the frame has no such layer
   */
  with(changes: Changes): Dissection {
    return new Dissection(encode(changed(withoutFollowing(this.layers), changes)));
  }

  bytes(): Uint8Array {
    return this.#bytes.slice();
  }

  toString(): string {
    return frameLine(this.#bytes);
  }
}

/** A frame in layers; see `Dissection`. */
export function dissect(bytes: Uint8Array): Dissection {
  return new Dissection(bytes);
}

/** Layers in which fields are other ones. */
export function changed(layers: readonly PartialLayer[], changes: Changes): PartialLayer[] {
  const copy = [...layers];
  for (const [name, fields] of Object.entries(changes)) {
    const found = copy.findIndex(({ layer }) => layer === name);
    if (found < 0) {
      const have = copy.map(({ layer }) => layer).join(', ');
      throw new TypeError(`the frame has no layer '${name}'; it has ${have}`);
    }
    copy[found] = { ...copy[found]!, ...fields } as PartialLayer;
  }
  return copy;
}

/** Leaves out what would be the same if it were not given. */
function withoutFollowing(layers: readonly Layer[]): PartialLayer[] {
  const known = strip(layers, layers, [...FOLLOWING, ...CHECKSUMS]);
  const lengths = strip(layers, decode(encode(known)), FOLLOWING);
  const bare = strip(lengths, layers, CHECKSUMS);
  return strip(lengths, decode(encode(bare)), CHECKSUMS);
}

/** Leaves out fields in which layers are the same as others. */
function strip(
  layers: readonly PartialLayer[],
  others: readonly Layer[],
  keys: readonly string[],
): PartialLayer[] {
  return layers.map((layer, i) => {
    const other = others[i];
    const kept = Object.entries(layer).filter(
      ([key, value]) =>
        !keys.includes(key) ||
        (key === 'type' && !TYPED_BY_NEXT.includes(layer.layer)) ||
        other?.layer !== layer.layer ||
        (other as unknown as Record<string, unknown>)[key] !== value,
    );
    return Object.fromEntries(kept) as unknown as PartialLayer;
  });
}
