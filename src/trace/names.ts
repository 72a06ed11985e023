import type { PortId } from '../../switch/frame.ts';

/** What the numbers in rows are called. Whoever does not know says so with the number. */
export interface Names {
  /** `web eth0`, `the gateway of front`; `port 3` when nobody knows. */
  port(port: PortId): string;
  /** `front`; of networks and uplinks. */
  network(network: number): string;
  /** A rule in the words of whoever lists rules, `rule 3`, by its kind (`RULE_KINDS`) and networks; undefined when it has none. */
  rule?(kind: string, from: number, to: number): string | undefined;
  /** A rule of the user, by its id; undefined when it is gone. */
  userRule?(id: number): string | undefined;
  /** What is published, `8080/tcp`; undefined when it is no more. */
  publish?(publish: number): string | undefined;
}

/** Where nothing has a name. */
export const NUMBERS: Names = {
  port: (port) => `port ${port}`,
  network: (network) => `#${network}`,
};
