/** Relations of numbers: `tcp[tcpflags] & tcp-syn != 0`. */
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../../wire/ethernet.ts';
import { IPV6_LEN, IPV6_NEXT_HEADER } from '../../../wire/ipv6.ts';
import { PROTO_ICMPV6 } from '../../../wire/protocol.ts';
import { all, type Condition, field, not, test } from './condition.ts';
import type { Layers } from './layers.ts';
import { Op } from './machine.ts';
import type { Arithmetic, Operator, Protocol, Relation, Span } from './syntax.ts';

/** How a number comes into A, and what must be true of a frame that has it. */
interface Value {
  readonly load: readonly number[];
  readonly needs: Condition | undefined;
}

/** Reports a mistake at a place of the filter. */
export type Fail = (span: Span, what: string) => never;

const WITH_NUMBER: Readonly<Record<Operator, Op>> = {
  '+': Op.ADD,
  '-': Op.SUB,
  '*': Op.MUL,
  '/': Op.DIV,
  '%': Op.MOD,
  '&': Op.AND,
  '|': Op.OR,
  '^': Op.XOR,
  '<<': Op.LSH,
  '>>': Op.RSH,
};
/** From the operation with a number to the one with X. */
const TO_X = Op.ADD_X - Op.ADD;

/** Jumps with a number and with X, and whether the answer is to be turned round. */
const JUMPS: Readonly<Record<Relation, readonly [Op, Op, boolean]>> = {
  '=': [Op.EQUAL, Op.EQUAL_X, false],
  '!=': [Op.EQUAL, Op.EQUAL_X, true],
  '>': [Op.GREATER, Op.GREATER_X, false],
  '<=': [Op.GREATER, Op.GREATER_X, true],
  '>=': [Op.AT_LEAST, Op.AT_LEAST_X, false],
  '<': [Op.AT_LEAST, Op.AT_LEAST_X, true],
};

/** Largest index that is added to an offset beforehand: sums of such are the same with 32 bits as without limit. */
const MAX_FOLDED = 0xffff;

/** Protocols in an IPv4 packet whose header can be indexed. */
const IN_IPV4: ReadonlySet<Protocol> = new Set<Protocol>([
  ...(['tcp', 'udp', 'sctp', 'icmp', 'igmp', 'igrp', 'pim', 'vrrp', 'carp'] as const),
]);

/** The condition of a relation, and how many words of memory it needs. */
export function relation(
  layers: Layers,
  kind: Relation,
  left: Arithmetic,
  right: Arithmetic,
  fail: Fail,
): { condition: Condition; memory: number } {
  const compiler = new Compiler(layers, fail);
  const [withNumber, withX, turned] = JUMPS[kind];
  const first = compiler.value(left, 0);
  let second: Value | undefined;
  let compared: Condition;
  if (right.kind === 'number') {
    compared = test(first.load, withNumber, right.value);
  } else {
    second = compiler.value(right, 1);
    compared = test(compiler.pair(first, second, 0), withX);
  }
  if (turned) compared = not(compared);
  // The frame must have both numbers before they are compared, so `not` does not reach what they need.
  const needs = [first.needs, second?.needs].filter((need) => need !== undefined);
  const condition = needs.length === 0 ? compared : all(needs[0]!, ...needs.slice(1), compared);
  return { condition, memory: compiler.memory };
}

class Compiler {
  /** Words of memory in use. */
  memory = 0;
  readonly #layers: Layers;
  readonly #fail: Fail;

  constructor(layers: Layers, fail: Fail) {
    this.#layers = layers;
    this.#fail = fail;
  }

  /** A number, with the words of memory from `free` on to do it. */
  value(of: Arithmetic, free: number): Value {
    // A long sum is deep on the left: that way there is no recursion.
    const operations: (Arithmetic & { kind: 'binary' })[] = [];
    let first = of;
    for (; first.kind === 'binary'; first = first.left) operations.push(first);
    const { load, needs } = this.#operand(first, free);
    const loads = [...load];
    for (const { operator, right } of operations.reverse()) {
      const op = WITH_NUMBER[operator];
      if (right.kind === 'number') {
        this.#check(operator, right, right.value);
        loads.push(op, right.value);
      } else {
        // libpcap forgets what the right operand needs: `1 + ip[8] > 2` is asked of every frame, `ip[8] + 1 > 2` is not.
        loads.push(...this.#keeping(this.value(right, free + 1), free), op + TO_X, 0);
      }
    }
    return { load: loads, needs };
  }

  #operand(of: Arithmetic & { kind: Exclude<Arithmetic['kind'], 'binary'> }, free: number): Value {
    switch (of.kind) {
      case 'number':
        return { load: [Op.NUMBER, of.value], needs: undefined };
      case 'length':
        return { load: [Op.LENGTH, 0], needs: undefined };
      case 'negative': {
        const { load, needs } = this.value(of.of, free);
        return { load: [...load, Op.NEG, 0], needs };
      }
      case 'load':
        return this.#load(of, free);
    }
  }

  /** Loads `first` into A and `second` into X; the word `free` of memory holds the first meanwhile. */
  pair(first: Value, second: Value, free: number): number[] {
    return [...first.load, ...this.#keeping(second, free)];
  }

  /** Loads a number into X, and keeps A. */
  #keeping({ load }: Value, free: number): number[] {
    this.memory = Math.max(this.memory, free + 1);
    return [Op.STORE, free, ...load, Op.COPY_X, 0, Op.RECALL, free];
  }

  /** Refuses what can never be computed. */
  #check(operator: Operator, span: Span, value: number): void {
    if ((operator === '/' || operator === '%') && value === 0) this.#fail(span, 'division by 0');
    if ((operator === '<<' || operator === '>>') && value > 31) {
      this.#fail(span, 'expected a shift by 0 to 31 bits');
    }
  }

  #load(of: Arithmetic & { kind: 'load' }, free: number): Value {
    const { protocol, size } = of;
    const index = this.value(of.index, free);
    const { payload } = this.#layers;
    if (protocol === 'ether') return { load: indexed(of, index, 0), needs: index.needs };
    if (protocol === 'icmp6') {
      const ipv6 = this.#layers.etherType(ETHERTYPE_IPV6);
      const next = field(payload + IPV6_NEXT_HEADER, 1, PROTO_ICMPV6);
      return { load: indexed(of, index, payload + IPV6_LEN), needs: needing(index, ipv6, next) };
    }
    const itself = this.#layers.protocol(protocol)!;
    if (IN_IPV4.has(protocol)) {
      const needs = all(
        this.#layers.etherType(ETHERTYPE_IPV4),
        index.needs,
        itself,
        this.#layers.firstFragment(),
      );
      const header = [Op.HEADER_X, payload];
      const constant = folded(of.index);
      if (constant !== undefined) return { load: [...header, loadX(size), payload + constant], needs };
      this.memory = Math.max(this.memory, free + 1);
      const sum = [...index.load, Op.STORE, free, ...header, Op.RECALL, free, Op.ADD_X, 0];
      return { load: [...sum, Op.COPY_X, 0, loadX(size), payload], needs };
    }
    if (protocol === 'ah' || protocol === 'esp' || protocol === 'stp') {
      this.#fail(
        of,
        `'${protocol}' has no fields here: expected ether, arp, rarp, ip, ip6, tcp, udp, icmp or icmp6`,
      );
    }
    return { load: indexed(of, index, payload), needs: needing(index, itself) };
  }
}

function needing(index: Value, ...needs: [Condition, ...Condition[]]): Condition {
  const [first, ...others] = needs;
  return index.needs === undefined ? all(first, ...others) : all(index.needs, first, ...others);
}

/** Instructions for a field behind a header that begins at a fixed place. */
function indexed(of: Arithmetic & { kind: 'load' }, index: Value, base: number): number[] {
  const constant = folded(of.index);
  if (constant !== undefined) return [loadAt(of.size), base + constant];
  return [...index.load, Op.COPY_X, 0, loadX(of.size), base];
}

function folded(index: Arithmetic): number | undefined {
  return index.kind === 'number' && index.value <= MAX_FOLDED ? index.value : undefined;
}

function loadAt(size: 1 | 2 | 4): Op {
  return size === 1 ? Op.BYTE : size === 2 ? Op.HALF : Op.WORD;
}

function loadX(size: 1 | 2 | 4): Op {
  return size === 1 ? Op.BYTE_X : size === 2 ? Op.HALF_X : Op.WORD_X;
}
