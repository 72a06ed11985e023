import type { Namespace } from './namespace.ts';

/** Two namespaces that reach each other through a contender. */
export interface Path {
  nsA: Namespace;
  nsB: Namespace;
  /** IPv4 address of B, as A reaches it. */
  addressB: string;
}

/** A way to connect two containers. */
export interface Contender {
  /** What the table calls it. */
  readonly name: string;
  /** MTU of the interfaces in both namespaces. */
  readonly mtu: number;
  /** Makes two namespaces and connects them. */
  up(): Promise<Path>;
  /** Removes everything that `up` has made, also when it failed half-way. */
  down(): Promise<void>;
}
