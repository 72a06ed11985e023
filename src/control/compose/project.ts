import type { CreateNetworkOptions } from '../network.ts';

/** A Compose file as tapdeck understands it, with everything checked that can be without a deck. */
export interface Project {
  /** Begins the names of its networks and containers. */
  name: string;
  /** Absolute path of the file. */
  file: string;
  /** The folder of the file, in which its services run. */
  folder: string;
  /** Those that a service uses. */
  networks: ProjectNetwork[];
  /** In the order of the file. */
  services: ProjectService[];
  /** What has no meaning here or no value, one line each. */
  warnings: string[];
}

export interface ProjectNetwork {
  /** As the file calls it. */
  key: string;
  /** As the deck does. */
  name: string;
  /** How to make it; null for one that must be there already. */
  options: CreateNetworkOptions | null;
  /** Of one that must be there already: where the file says so, for the error when it is not. */
  place?: string;
}

/** How a service stands in a network. */
export interface ServiceNetwork {
  /** The network's key in the file. */
  network: string;
  aliases: string[];
  ip?: string;
  ip6?: string;
  mac?: string;
  ifname?: string;
  /** In which order it is connected, the highest first. */
  priority: number;
  gatewayPriority: number;
}

export const CONDITIONS = ['service_started', 'service_healthy', 'service_completed_successfully'] as const;

export interface Dependency {
  service: string;
  condition: (typeof CONDITIONS)[number];
}

/** How to find out whether a service is well. Milliseconds. */
export interface Healthcheck {
  command: string[];
  interval: number;
  timeout: number;
  retries: number;
  /** For so long after the start a failure does not count. */
  startPeriod: number;
  /** Between two checks in that time. */
  startInterval: number;
}

export interface RestartPolicy {
  when: 'never' | 'always' | 'on-failure';
  /** How often at most. */
  most: number;
}

/** What a service sees of the host's files. */
export interface ServiceFiles {
  readOnly: boolean;
  /** Whether it has a /tmp, a /var/tmp and a /dev/shm of its own. */
  privateTmp: boolean;
  /** Further folders that are its own. */
  tmpfs: string[];
  /** Folders it may write to all the same. */
  write: string[];
}

export interface ProjectService {
  /** As the file calls it. */
  key: string;
  container: string;
  command: string[];
  environment: Record<string, string>;
  /** Absolute. */
  cwd: string;
  hostname: string;
  /** What it is connected to; empty with `networkMode`. */
  networks: ServiceNetwork[];
  /** In place of networks: none at all, the host's own, or what another service has. */
  networkMode: 'none' | 'host' | { service: string } | null;
  /** In Docker's grammar. */
  publish: string[];
  /** Services, and the names by which this one finds them. */
  links: { service: string; alias: string }[];
  extraHosts: { name: string; address: string }[];
  /** Servers in place of the gateway. */
  dns: string[];
  dnsSearch: string[];
  dnsOptions: string[];
  dependsOn: Dependency[];
  healthcheck: Healthcheck | null;
  restart: RestartPolicy;
  labels: Record<string, string>;
  /** Milliseconds between TERM and KILL. */
  stopGrace: number;
  files: ServiceFiles;
  /** Whether it may send under other addresses than its own. */
  allowSpoof: boolean;
}
