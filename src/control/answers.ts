import { Type } from '@sinclair/typebox';
import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import { FILTERINGS, REJECTIONS, RULE_ACTIONS, RULE_STATES } from '../dataplane/commands.ts';
import type {
  AttachmentRemoved,
  FlowsClosed,
  SandboxClosed,
  SandboxEvent,
  VersionInfo,
} from './api-schema.ts';
import type { Attachment } from './attachments.ts';
import type { Container } from './container.ts';
import type { Endpoint } from './endpoint.ts';
import type { FlowEventView, FlowView } from './flows.ts';
import type { NetworkInfo } from './network.ts';
import type { PublishedPort } from './published.ts';
import type { ChainView } from './rule-view.ts';
import { Count, nullable, object, oneOf, schemaOf, Time } from './schema.ts';
import type { UplinkInfo } from './uplink.ts';
import type { SavedRule, UserRuleInfo } from './user-rules.ts';
import type { CountersView, DropView, FdbView, NeighborView } from './views.ts';
import type { WhyView } from './why/explain.ts';
import type { WhyFrameView } from './why/frame.ts';
import type { WhyPastView } from './why/past.ts';

/** What the API answers, as schemas. Each is the type that it names: where the two differ, the compiler says so. */

const Text = Type.String();
const Id = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Port = Type.Integer({ minimum: 0, maximum: 65535 });

export const HealthAnswer = object('Health', { status: oneOf('ok') });

export const VersionAnswer = schemaOf<VersionInfo>()(
  object('Version', {
    version: Text,
    pid: Type.Integer(),
    startedAt: Time,
    untilEmpty: Type.Boolean({ description: 'Whether the daemon ends with its last endpoint.' }),
    uplinks: Type.Array(Text),
    notices: Type.Array(Text, { description: 'What it had to clean up when it started.' }),
  }),
);

const Segment = object('Subnet', {
  subnet: Text,
  gateway: Text,
  ipRange: nullable(Text),
  auxAddresses: Type.Record(Text, Text),
});

export const NetworkAnswer = schemaOf<NetworkInfo>()(
  object('Network', {
    id: Id,
    name: Text,
    driver: oneOf('bridge', 'host', 'null'),
    mtu: Type.Integer({ description: '0 where its containers have no interface.' }),
    mac: Type.String({ description: "The gateway's." }),
    ipv4: nullable(Segment),
    ipv6: nullable(Segment),
    internal: Type.Boolean(),
    uplink: nullable(Text),
    npt: nullable(Text),
    hostLoopback: Type.Boolean(),
    icc: Type.Boolean({ description: 'Whether its containers reach one another.' }),
    masquerade: Type.Boolean(),
    hostBinding: nullable(Text),
    labels: Type.Record(Text, Text),
    options: Type.Record(Text, Text, { description: 'Those of the driver, as they are in force.' }),
    endpoints: Type.Array(Text, { description: 'Names of the containers.' }),
    createdAt: Time,
  }),
);

const UplinkAddresses = object('UplinkAddresses', {
  subnet: Text,
  addresses: Type.Array(Text),
  gateway: Text,
});

export const UplinkAnswer = schemaOf<UplinkInfo>()(
  object('Uplink', {
    name: Text,
    kind: oneOf('tap', 'packet', 'socket'),
    ifname: nullable(Text),
    netns: nullable(Text),
    mac: Text,
    mtu: Type.Integer(),
    ipv4: nullable(UplinkAddresses),
    ipv6: nullable(UplinkAddresses),
    filtering: oneOf(...FILTERINGS),
    state: oneOf('up', 'gone'),
    default: Type.Boolean(),
    spec: Text,
  }),
);

export const PublishedPortAnswer = schemaOf<PublishedPort>()(
  object('PublishedPort', {
    endpoint: Text,
    protocol: oneOf('tcp', 'udp'),
    host: Text,
    hostPort: Port,
    hostPortEnd: Port,
    port: Port,
    portEnd: Port,
    gateway: Type.Optional(Text),
  }),
);

export const EndpointAnswer = schemaOf<Endpoint>()(
  object('Endpoint', {
    id: Id,
    name: Text,
    container: Text,
    containerId: Id,
    network: Text,
    ifname: Text,
    mac: Text,
    mtu: Type.Integer(),
    ipv4: nullable(Text),
    ipv6: nullable(Text),
    ipv6Outside: nullable(Text),
    port: Type.Integer(),
    netns: nullable(Text),
    pid: nullable(Type.Integer()),
    aliases: Type.Array(Text),
    links: Type.Array(Text, {
      description: 'Containers and the names by which this one finds them: db:database.',
    }),
    gatewayPriority: Type.Integer(),
    allowSpoof: Type.Boolean(),
    ports: Type.Array(PublishedPortAnswer),
    createdAt: Time,
  }),
);

export const AttachmentAnswer = schemaOf<Attachment>()(
  object('Attachment', {
    endpoint: EndpointAnswer,
    network: NetworkAnswer,
    leadsOut: Type.Boolean({ description: 'Whether the default routes of the container lead by it.' }),
    faults: Type.Array(Text, { description: 'What is not any more as it was made.' }),
  }),
);

export const AttachmentRemovedAnswer = schemaOf<AttachmentRemoved>()(
  object('AttachmentRemoved', { removed: Type.Boolean({ description: 'Whether it was there.' }) }),
);

export const ContainerAnswer = schemaOf<Container>()(
  object('Container', {
    id: Id,
    name: Text,
    netns: nullable(Text),
    pid: nullable(Type.Integer()),
    endpoints: Type.Array(EndpointAnswer),
    labels: Type.Record(Text, Text),
    hostname: nullable(Text),
    ports: Type.Array(PublishedPortAnswer),
    createdAt: Time,
  }),
);

export const SandboxEventAnswer = schemaOf<SandboxEvent>()(
  Type.Union([
    object('SandboxAttached', {
      event: Type.Literal('attached'),
      endpoint: EndpointAnswer,
      resolvConf: Text,
    }),
    object('SandboxNames', { event: Type.Literal('names'), resolvConf: Text }),
    object('SandboxChanged', { event: oneOf('detached', 'gone', 'closing') }),
  ]),
);

export const SandboxClosedAnswer = schemaOf<SandboxClosed>()(
  object('SandboxClosed', { ending: Type.Boolean() }),
);

export const FdbAnswer = schemaOf<FdbView>()(
  object('FdbEntry', {
    mac: Text,
    network: Text,
    endpoint: Text,
    ifname: nullable(Text),
    port: Type.Integer(),
    state: oneOf('static', 'learned'),
    age: nullable(Type.Number({ description: 'Seconds.' })),
  }),
);

export const NeighborAnswer = schemaOf<NeighborView>()(
  object('Neighbor', {
    address: Text,
    network: Text,
    mac: nullable(Text),
    state: Type.String({ description: "Linux's NUD state." }),
    age: nullable(Type.Number({ description: 'Seconds.' })),
  }),
);

export const DropAnswer = schemaOf<Omit<DropView, 'reason'>>()(
  object('Drop', { reason: Text, count: Count, text: Text }),
);

export const CountersAnswer = schemaOf<CountersView>()(
  object('Counters', {
    ledger: object('Ledger', {
      received: Count,
      originated: Count,
      copies: Count,
      sent: Count,
      consumed: Count,
      held: Count,
      dropped: Count,
      balanced: Type.Boolean(),
    }),
    ports: Type.Array(
      object('PortCounters', {
        port: Type.Integer(),
        network: Text,
        endpoint: Text,
        ifname: nullable(Text),
        rxFrames: Count,
        rxBytes: Count,
        rxDropped: Count,
        txFrames: Count,
        txBytes: Count,
        txDropped: Count,
      }),
    ),
  }),
);

const PortRange = object('PortRange', { from: Port, to: Port });

export const ChainAnswer = schemaOf<ChainView>()(
  object('Chain', {
    table: oneOf('nat', 'filter'),
    name: Text,
    policy: nullable(oneOf('ACCEPT', 'DROP')),
    references: Count,
    rules: Type.Array(
      object('Rule', {
        target: Text,
        protocol: Text,
        in: Text,
        out: Text,
        source: Type.Array(Text),
        destination: Type.Array(Text),
        sourcePorts: nullable(PortRange),
        destinationPorts: nullable(PortRange),
        states: Type.Array(Text),
        to: nullable(object('Destination', { address: Text, ports: PortRange })),
        detail: Type.String({ description: "What else must hold, in iptables' words." }),
        words: Type.String({ description: 'What the rule does, in plain words.' }),
        rule: nullable(Type.Integer({ description: "The id of a rule of the user's." })),
        packets: nullable(Count),
        bytes: nullable(Count),
      }),
    ),
  }),
);

const ruleFields = {
  id: Type.Integer(),
  action: oneOf(...RULE_ACTIONS),
  rejectWith: Type.Optional(oneOf(...REJECTIONS)),
  in: Type.Optional(Text),
  out: Type.Optional(Text),
  src: Type.Optional(Text),
  dst: Type.Optional(Text),
  protocol: Type.Optional(Text),
  sport: Type.Optional(Text),
  dport: Type.Optional(Text),
  icmpType: Type.Optional(Text),
  state: Type.Optional(Type.Array(oneOf(...RULE_STATES))),
  comment: Type.Optional(Text),
  createdAt: Time,
};

export const SavedRuleAnswer = schemaOf<SavedRule>()(object('UserRule', ruleFields));

export const UserRuleAnswer = schemaOf<UserRuleInfo>()(
  object('UserRuleState', {
    ...ruleFields,
    position: Type.Integer({ minimum: 1 }),
    active: Type.Boolean({ description: 'false while a network that it names is not there.' }),
    packets: Count,
    bytes: Count,
  }),
);

const FlowDirection = object('FlowDirection', {
  network: Text,
  src: Text,
  dst: Text,
  srcPort: Port,
  dstPort: Port,
  packets: Count,
  bytes: Count,
});

export const FlowAnswer = schemaOf<FlowView>()(
  object('Flow', {
    id: Type.Integer(),
    protocol: Text,
    protocolNumber: Type.Integer(),
    family: Type.Union([Type.Literal(4), Type.Literal(6)]),
    state: nullable(Text),
    original: FlowDirection,
    reply: FlowDirection,
    unreplied: Type.Boolean(),
    assured: Type.Boolean(),
    icmp: nullable(object('IcmpQuery', { type: Type.Integer(), code: Type.Integer(), id: Type.Integer() })),
    snat: Type.Boolean(),
    dnat: Type.Boolean(),
    remaining: Type.Number({ description: 'Seconds.' }),
    published: nullable(Text),
  }),
);

export const FlowEventAnswer = schemaOf<FlowEventView>()(
  Type.Union([
    object('FlowEvent', { event: oneOf('NEW', 'UPDATE', 'DESTROY'), flow: FlowAnswer }),
    object('FlowEventsLost', { event: Type.Literal('LOST'), count: Count }),
  ]),
);

export const FlowsClosedAnswer = schemaOf<FlowsClosed>()(object('FlowsClosed', { closed: Count }));

export const FlowCountAnswer = object('FlowCount', { entries: Count, capacity: Count });

const WhyEndAnswer = object('WhyEnd', {
  name: Type.String(),
  address: Type.String(),
  network: nullable(Type.String()),
});

const whyHead = {
  protocol: oneOf('tcp', 'udp', 'icmp'),
  port: nullable(Type.Integer()),
  family: Type.Union([Type.Literal(4), Type.Literal(6)]),
  from: WhyEndAnswer,
  to: WhyEndAnswer,
};

const WhyRemedy = nullable(object('Remedy', { commands: Type.Array(Type.String()), words: Type.String() }));

export const WhyAnswer = schemaOf<WhyView>()(
  object('Why', {
    answer: oneOf('yes', 'no'),
    ...whyHead,
    steps: Type.Array(
      object('WhyStep', {
        kind: oneOf('neighbor-question', 'neighbor-answer', 'request', 'answer', 'acknowledgment', 'data'),
        from: Type.String(),
        to: nullable(Type.String()),
        what: Type.String(),
        way: Type.Array(Type.String()),
        rules: Type.Array(
          object('WhyRule', {
            table: oneOf('nat', 'filter'),
            chain: Type.String(),
            target: Type.String(),
            words: Type.String(),
            rule: nullable(Type.Integer()),
          }),
        ),
        drops: Type.Array(oneOf(...(Object.keys(DROP_TEXT) as DropReasonName[]))),
        fate: Type.String(),
      }),
    ),
    conclusion: Type.String(),
    remedy: WhyRemedy,
  }),
);

export const WhyPastAnswer = schemaOf<WhyPastView>()(
  object('WhyPast', {
    ...whyHead,
    packets: Type.Array(
      object('PastPacket', {
        packet: Count,
        ago: Type.Integer({ minimum: 0, description: 'Milliseconds since.' }),
        way: Type.Array(Type.String()),
      }),
    ),
  }),
);

export const PastAnswer = object('PastState', { everything: Type.Boolean() });

export const WhyFrameAnswer = schemaOf<WhyFrameView>()(
  object('WhyFrame', {
    answer: oneOf('yes', 'no'),
    from: Type.String(),
    to: Type.Array(Type.String()),
    way: Type.Array(Type.String()),
    conclusion: Type.String(),
    remedy: WhyRemedy,
  }),
);
