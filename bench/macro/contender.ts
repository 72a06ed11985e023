import type { Namespace } from './namespace.ts';

/** Two namespaces of which A reaches B through a contender. */
export interface Path {
  nsA: Namespace;
  nsB: Namespace;
  /** A third one beside them, where there is one. */
  third?: Namespace;
  /** IPv4 address of B, as A reaches it. */
  addressB: string;
  /** The port at which A reaches iperf3's port of B; that one itself when left out. */
  bulkPort?: number;
  /** What is added to every port of B's where A reaches it; 0 when left out. */
  shift?: number;
}

/** What a contender has made. */
export interface Connected extends Path {
  /** By NAT and sockets: the way back in, from outside to a published port. The path itself is the way out then. */
  inward?: Path;
  /** By sockets of the host: the way back in for a program of the host's own that uses its loopback. */
  local?: Path;
}

/** Where iperf3 listens. */
export const BULK_PORT = 5201;

/** A way to connect two containers. */
export interface Contender {
  /** What the table calls it. */
  readonly name: string;
  /** MTU of the interfaces in both namespaces; by NAT, of the container's (outside it is 1500). */
  readonly mtu: number;
  /** Makes two namespaces and connects them. */
  up(): Promise<Connected>;
  /** Removes everything that `up` has made, also when it failed half-way. */
  down(): Promise<void>;
}
