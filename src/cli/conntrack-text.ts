import type { FlowDirectionView, FlowEventView, FlowView } from '../control/flows.ts';
import { formatTable } from './table.ts';

/** ICMP and ICMPv6 queries and the answers that belong to them (`nf_conntrack_proto_icmp`'s table of inverse types). */
const ANSWERS: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  icmp: { 0: 8, 8: 0, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17 },
  icmpv6: { 128: 129, 129: 128, 139: 140, 140: 139 },
};

/** The connections for people. */
export function flowTable(flows: readonly FlowView[]): string {
  return formatTable(
    [
      'PROTO',
      'TIMEOUT',
      'STATE',
      'FROM',
      'SOURCE',
      'DESTINATION',
      'PACKETS',
      'BYTES',
      'REPLY FROM',
      'REPLY SOURCE',
      'REPLY DESTINATION',
      'PACKETS',
      'BYTES',
      'STATUS',
    ],
    flows.map((flow) => {
      const { protocol, remaining, state, original, reply } = flow;
      return [
        protocol,
        remaining,
        state ?? '-',
        original.network,
        end(flow, original.src, original.srcPort),
        end(flow, original.dst, original.dstPort),
        original.packets,
        original.bytes,
        reply.network,
        end(flow, reply.src, reply.srcPort),
        end(flow, reply.dst, reply.dstPort),
        reply.packets,
        reply.bytes,
        statusOf(flow).join(' ') || '-',
      ];
    }),
  );
}

function statusOf({ unreplied, assured, snat, dnat, published }: FlowView): string[] {
  return [
    ...(unreplied ? ['UNREPLIED'] : []),
    ...(assured ? ['ASSURED'] : []),
    ...(snat ? ['SNAT'] : []),
    ...(dnat ? ['DNAT'] : []),
    ...(published === null ? [] : [`(${published})`]),
  ];
}

function end({ protocol, icmp }: FlowView, address: string, port: number): string {
  // A query has no ports; its identifier stands with its type in `conntrack`'s own format.
  if (icmp || !HAS_PORTS.has(protocol)) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Protocols whose ports conntrack prints. */
const HAS_PORTS = new Set(['tcp', 'udp', 'udplite', 'sctp', 'dccp']);

/** One line of `conntrack -L`. */
export function conntrackLine(flow: FlowView): string {
  // Marks and reference counts are the kernel's own; programs that read these lines expect both.
  return `${beginning(flow)}${both(flow, true)}mark=0 use=1`;
}

/** One line of `conntrack -E`: as the kernel tells it, with counters only at the end of a connection. */
export function eventLine(event: FlowEventView): string {
  if (event.event === 'LOST') return `${'[LOST]'.padStart(9)} ${event.count} events`;
  const { flow } = event;
  const line = `${beginning(flow)}${both(flow, event.event === 'DESTROY')}`;
  return `${`[${event.event}]`.padStart(9)} ${line.trimEnd()}`;
}

function beginning({ protocol, protocolNumber, remaining, state }: FlowView): string {
  return `${protocol.padEnd(8)} ${protocolNumber} ${remaining} ${state === null ? '' : `${state} `}`;
}

function both(flow: FlowView, counters: boolean): string {
  const { original, reply, unreplied, assured } = flow;
  const middle = unreplied ? '[UNREPLIED] ' : '';
  return `${direction(flow, original, counters)}${middle}${direction(flow, reply, counters)}${assured ? '[ASSURED] ' : ''}`;
}

function direction(flow: FlowView, one: FlowDirectionView, counters: boolean): string {
  const { src, dst, packets, bytes } = one;
  const counted = counters ? `packets=${packets} bytes=${bytes} ` : '';
  return `src=${src} dst=${dst} ${what(flow, one)}${counted}`;
}

function what({ protocol, icmp, original }: FlowView, one: FlowDirectionView): string {
  if (icmp) {
    if (one === original) return `type=${icmp.type} code=${icmp.code} id=${icmp.id} `;
    // The identifier stands at the side of who asks, which is where the answer goes.
    const type = ANSWERS[protocol]?.[icmp.type] ?? icmp.type;
    return `type=${type} code=${icmp.code} id=${one.dstPort} `;
  }
  return HAS_PORTS.has(protocol) ? `sport=${one.srcPort} dport=${one.dstPort} ` : '';
}
