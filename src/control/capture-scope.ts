import type { PortId } from '../../switch/frame.ts';
import type { Container } from './container.ts';
import { invalid, notFound } from './error.ts';
import { quote } from './name.ts';

/** What a capture is of, in the data plane's numbers: all packets at one of these networks or ports. */
export interface CaptureScope {
  readonly networks: readonly number[];
  readonly ports: readonly PortId[];
  /** Containers by name, whose ports of later belong to it, too. */
  readonly containers: ReadonlySet<string>;
}

/** What there is to be named. */
export interface ScopeNames {
  /** Names and data plane's numbers of the networks, and of the uplinks. */
  networks(): readonly { readonly name: string; readonly id: string; readonly number: number }[];
  uplinks(): readonly { readonly name: string; readonly number: number }[];
  containers(): readonly Container[];
}

/** Digits that stand for an id. */
const SHORTEST_ID = 4;

const KINDS = ['network', 'uplink', 'container'] as const;

/**
 * Reads names of networks, uplinks and containers, as `front` or `network:front`; null when none are given: everything is meant.
 * Throws a `DeckError`.
 */
export function captureScope(texts: readonly string[], names: ScopeNames): CaptureScope | null {
  if (texts.length === 0) return null;
  const networks: number[] = [];
  const ports: PortId[] = [];
  const containers = new Set<string>();
  for (const text of texts) {
    const [, only, name = text] = /^(network|uplink|container):(.+)$/.exec(text) ?? [];
    const kinds = KINDS.filter((kind) => only === undefined || kind === only);
    const found = kinds.flatMap((kind) => findIn(kind, name, names) ?? []);
    if (found.length > 1) {
      throw invalid(
        `${quote(name)} is the name of ${found.map(({ kind }) => `a ${kind}`).join(' and of ')}; write ${found.map(({ kind }) => `${kind}:${name}`).join(' or ')}`,
      );
    }
    if (!found[0]) {
      throw notFound(
        `there is no ${kinds.length === 1 ? only : 'network, uplink or container'} ${quote(name)}; "tapdeck capture -D" lists what there is`,
      );
    }
    const { network, container } = found[0];
    if (network !== undefined) networks.push(network);
    if (container) {
      containers.add(container.name);
      for (const { port } of container.endpoints) if (port >= 0) ports.push(port);
    }
  }
  return { networks, ports, containers };
}

interface Found {
  readonly kind: (typeof KINDS)[number];
  /** Of the data plane's numbers. */
  readonly network?: number;
  readonly container?: Container;
}

function findIn(kind: (typeof KINDS)[number], text: string, names: ScopeNames): Found | undefined {
  const means = ({ name, id }: { readonly name: string; readonly id: string }) =>
    name === text || (text.length >= SHORTEST_ID && id.startsWith(text));
  if (kind === 'container') {
    const container = names.containers().find(means);
    return container && { kind, container };
  }
  const segment =
    kind === 'network' ? names.networks().find(means) : names.uplinks().find(({ name }) => name === text);
  return segment && { kind, network: segment.number };
}
