import type { ResolverCounters } from '../../switch/resolver.ts';
import type { ChainView } from './rule-view.ts';
import type { CountersView, DropView } from './views.ts';

/** What is measured, as the deck shows it. */
export interface MetricsParts {
  version: string;
  /** RFC 3339. */
  startedAt: string;
  counters: CountersView;
  drops: readonly DropView[];
  conntrack: { entries: number; capacity: number };
  names: ResolverCounters;
  chains: readonly ChainView[];
  networks: readonly { name: string; endpoints: readonly string[] }[];
  uplinks: readonly { name: string; state: string }[];
  containers: number;
  /** Milliseconds from a command to its answer by the thread that moves the frames: it comes when a turn of its loop is done. */
  latency: number;
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

/** Everything in Prometheus' text format, version 0.0.4. */
export function formatMetrics(parts: MetricsParts): string {
  const { counters, drops, conntrack, chains, networks, uplinks, containers } = parts;
  const { ledger, ports } = counters;
  const perPort = (value: (port: (typeof ports)[number]) => number): Sample[] =>
    ports.map((port) => {
      const { network, endpoint, ifname } = port;
      return [{ network, endpoint, ifname: ifname ?? '', port: String(port.port) }, value(port)];
    });
  const rule = (value: 'packets' | 'bytes'): Sample[] =>
    chains.flatMap(({ table, name, rules }) =>
      rules.flatMap((one, index): Sample[] =>
        one[value] === null
          ? []
          : [
              [
                {
                  table,
                  chain: name,
                  rule: String(index + 1),
                  target: one.target,
                  in: one.in,
                  out: one.out,
                },
                one[value],
              ],
            ],
      ),
    );
  return [
    metric('info', 'gauge', 'The daemon.', [[{ version: parts.version }, 1]]),
    metric('start_time_seconds', 'gauge', 'When the daemon was started, in seconds since 1970.', [
      [{}, new Date(parts.startedAt).getTime() / 1000],
    ]),
    metric('containers', 'gauge', 'Containers that are known.', [[{}, containers]]),
    metric(
      'network_endpoints',
      'gauge',
      'Endpoints of each network.',
      networks.map(({ name, endpoints }) => [{ network: name }, endpoints.length]),
    ),
    metric(
      'port_receive_frames_total',
      'counter',
      'Frames that came from a port.',
      perPort((port) => port.rxFrames),
    ),
    metric(
      'port_receive_bytes_total',
      'counter',
      'Bytes of these frames.',
      perPort((port) => port.rxBytes),
    ),
    metric(
      'port_receive_dropped_total',
      'counter',
      'Frames from a port that were discarded.',
      perPort((port) => port.rxDropped),
    ),
    metric(
      'port_transmit_frames_total',
      'counter',
      'Frames that left by a port.',
      perPort((port) => port.txFrames),
    ),
    metric(
      'port_transmit_bytes_total',
      'counter',
      'Bytes of these frames.',
      perPort((port) => port.txBytes),
    ),
    metric(
      'port_transmit_dropped_total',
      'counter',
      'Frames for a port that were discarded.',
      perPort((port) => port.txDropped),
    ),
    metric(
      'frames_total',
      'counter',
      'Where frames came from and went: received + originated + copied = sent + consumed + dropped + those held.',
      [
        [{ fate: 'received' }, ledger.received],
        [{ fate: 'originated' }, ledger.originated],
        [{ fate: 'copied' }, ledger.copies],
        [{ fate: 'sent' }, ledger.sent],
        [{ fate: 'consumed' }, ledger.consumed],
        [{ fate: 'dropped' }, ledger.dropped],
      ],
    ),
    metric('frames_held', 'gauge', 'Frames that wait inside.', [[{}, ledger.held]]),
    metric(
      'drops_total',
      'counter',
      'Discarded frames by reason.',
      drops.map(({ reason, count }) => [{ reason }, count]),
    ),
    metric('conntrack_entries', 'gauge', 'Connections that are tracked.', [[{}, conntrack.entries]]),
    metric('conntrack_capacity', 'gauge', 'Connections that can be tracked.', [[{}, conntrack.capacity]]),
    metric(
      'dns_questions_total',
      'counter',
      "Questions to the gateways' name servers by what became of them: `answered` here, `forwarded` to the host's servers, `refused` to an internal network, too many at a time (`busy`).",
      Object.entries(parts.names).map(([fate, count]): Sample => [{ fate }, count]),
    ),
    metric(
      'rule_packets_total',
      'counter',
      'Packets that met a rule, as `tapdeck rules -v` counts them.',
      rule('packets'),
    ),
    metric('rule_bytes_total', 'counter', 'Bytes of these packets.', rule('bytes')),
    metric(
      'uplink_up',
      'gauge',
      'Whether an uplink has its interface.',
      uplinks.map(({ name, state }) => [{ uplink: name }, state === 'up' ? 1 : 0]),
    ),
    metric(
      'uplink_connections_total',
      'counter',
      'Connections that containers began by an uplink.',
      uplinks.map(({ name }) => [{ uplink: name }, connectionsBy(name, chains)]),
    ),
    metric(
      'loop_latency_seconds',
      'gauge',
      'How long the thread that moves the frames took to answer just now.',
      [[{}, parts.latency / 1000]],
    ),
  ].join('');
}

/** What the rules that translate sources have counted on the way out by an uplink: first packets. */
function connectionsBy(uplink: string, chains: readonly ChainView[]): number {
  return chains
    .filter(({ table, name }) => table === 'nat' && name === 'POSTROUTING')
    .flatMap(({ rules }) => rules)
    .filter(({ out }) => out === uplink)
    .reduce((sum, { packets }) => sum + (packets ?? 0), 0);
}

function metric(name: string, type: 'counter' | 'gauge', help: string, samples: readonly Sample[]): string {
  const full = `tapdeck_${name}`;
  const lines = samples.map(([labels, value]) => `${full}${formatLabels(labels)} ${value}\n`);
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`;
}

function formatLabels(labels: Labels): string {
  const entries = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return entries.length === 0 ? '' : `{${entries.join(',')}}`;
}

/** As the format has it: backslash, double quote and line feed. */
function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`));
}
