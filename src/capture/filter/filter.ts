/** Filters in tcpdump's language (pcap-filter(7)) for Ethernet frames. What is in and what is different: docs/filters.md. */
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN } from '../../../wire/ethernet.ts';
import { IPV4_DST } from '../../../wire/ipv4.ts';
import { IPV6_DST } from '../../../wire/ipv6.ts';
import { type Fail, relation } from './arithmetic.ts';
import { all, any, assemble, type Condition, field, test } from './condition.ts';
import { FilterError } from './filter-error.ts';
import { identifier, macAddress } from './identifier.ts';
import { Layers } from './layers.ts';
import { Op, run } from './machine.ts';
import { parseFilter } from './parser.ts';
import type { Expression } from './syntax.ts';

/**
 * Whether a frame passes: `length` captured bytes, beginning with the Ethernet header, at `bytes[at]`. Of a frame that
 * was cut when it was captured, `wireLength` is its length on the wire, which `len`, `less` and `greater` mean. Nothing is
 * allocated and nothing beyond `length` is read: a frame that lacks a byte that is asked for does not pass.
 */
export type Filter = (bytes: Uint8Array, at: number, length: number, wireLength?: number) => boolean;

/** The type in front of the tag that providers used before IEEE 802.1ad. */
const ETHERTYPE_QINQ_OLD = 0x9100;
const MAX_VLAN = 0x0fff;
const BROADCAST = [255, 255, 255, 255, 255, 255];

/**
 * The function for a filter; that of an empty one lets every frame pass.
 * @throws FilterError with the place of the mistake and what was expected there.
 */
export function compileFilter(text: string): Filter {
  const expression = parseFilter(text);
  const generator = new Generator(text);
  const program = assemble(expression && generator.condition(expression));
  const memory = new Int32Array(generator.memory);
  return (bytes, at, length, wireLength = length) => run(program, memory, bytes, at, length, wireLength);
}

/** Walks the tree in the order of the text, because `vlan` moves what stands behind it. */
class Generator {
  /** Words of memory that the program needs. */
  memory = 0;
  readonly #layers = new Layers();
  readonly #fail: Fail;

  constructor(text: string) {
    this.#fail = (span, what) => {
      throw new FilterError(text, span.at, span.length, what);
    };
  }

  condition(of: Expression): Condition {
    switch (of.kind) {
      case 'and':
      case 'or': {
        const left = this.condition(of.left);
        return { kind: of.kind, left, right: this.condition(of.right) };
      }
      case 'not':
        return { kind: 'not', of: this.condition(of.of) };
      case 'identifier':
        return identifier(this.#layers, of.qualifiers, of.id, this.#fail);
      case 'protocol':
        return (
          this.#layers.protocol(of.protocol) ??
          this.#fail(
            of.span,
            `every frame is '${of.protocol}': expected more, like 'ether host' or 'ether proto'`,
          )
        );
      case 'broadcast':
        return this.#broadcast(of);
      case 'multicast':
        return this.#multicast(of);
      case 'vlan':
        return this.#vlan(of);
      case 'relation': {
        const { condition, memory } = relation(this.#layers, of.relation, of.left, of.right, this.#fail);
        this.memory = Math.max(this.memory, memory);
        return condition;
      }
    }
  }

  #broadcast(of: Expression & { kind: 'broadcast' | 'multicast' }): Condition {
    switch (of.protocol) {
      case undefined:
      case 'ether':
        return macAddress('dst', BROADCAST);
      case 'ip': {
        // No subnet is known here, so the broadcast address of one is not either.
        const destination = this.#layers.payload + IPV4_DST;
        const broadcast = any(field(destination, 4, 0), field(destination, 4, 0xffff_ffff));
        return all(this.#layers.etherType(ETHERTYPE_IPV4), broadcast);
      }
    }
    return this.#fail(of.span, "expected 'broadcast', 'ether broadcast' or 'ip broadcast'");
  }

  #multicast(of: Expression & { kind: 'broadcast' | 'multicast' }): Condition {
    const { payload } = this.#layers;
    switch (of.protocol) {
      case undefined:
      case 'ether':
        // The lowest bit of the first byte makes a group address (IEEE 802 §8.2.2).
        return test([Op.BYTE, 0], Op.ANY_BIT, 1);
      case 'ip':
        // As in libpcap: also what is beyond 239.255.255.255 (RFC 5771), and so the broadcast address.
        return all(
          this.#layers.etherType(ETHERTYPE_IPV4),
          test([Op.BYTE, payload + IPV4_DST], Op.AT_LEAST, 0xe0),
        );
      case 'ip6':
        return all(this.#layers.etherType(ETHERTYPE_IPV6), field(payload + IPV6_DST, 1, 0xff));
    }
    return this.#fail(of.span, "expected 'multicast', 'ether multicast', 'ip multicast' or 'ip6 multicast'");
  }

  #vlan(of: Expression & { kind: 'vlan' }): Condition {
    const { id, span } = of;
    if (id !== undefined && id > MAX_VLAN) this.#fail(span, `expected a VLAN from 0 to ${MAX_VLAN}`);
    const { type, payload } = this.#layers;
    const tagged = any(
      field(type, 2, ETHERTYPE_VLAN),
      field(type, 2, ETHERTYPE_QINQ),
      field(type, 2, ETHERTYPE_QINQ_OLD),
    );
    this.#layers.enterVlan();
    return id === undefined ? tagged : all(tagged, field(payload, 2, id, MAX_VLAN));
  }
}
