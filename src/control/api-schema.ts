import { type Static, Type } from '@sinclair/typebox';
import { REJECTIONS, RULE_ACTIONS, RULE_STATES } from '../dataplane/commands.ts';
import type { Endpoint } from './endpoint.ts';
import type { DeckErrorCode } from './error.ts';
import { oneOf } from './schema.ts';

/** What the API takes and gives beyond the deck's own types. Text is only bounded here; the deck knows what it may be. */

const Text = Type.String({ maxLength: 4096 });
const Mtu = Type.Integer();
const Texts = Type.Array(Text, { maxItems: 1024 });
const TextMap = Type.Record(Type.String({ maxLength: 4096 }), Text, { maxProperties: 1024 });

export const CreateNetworkBody = Type.Object(
  {
    name: Text,
    driver: Type.Optional(Text),
    subnet: Type.Optional(Text),
    gateway: Type.Optional(Text),
    ipRange: Type.Optional(Text),
    ipv6: Type.Optional(Type.Boolean()),
    ipv6Subnet: Type.Optional(Text),
    ipv6Gateway: Type.Optional(Text),
    ipv6Range: Type.Optional(Text),
    auxAddresses: Type.Optional(TextMap),
    mtu: Type.Optional(Mtu),
    internal: Type.Optional(Type.Boolean()),
    uplink: Type.Optional(Text),
    npt: Type.Optional(Text),
    hostLoopback: Type.Optional(Type.Boolean()),
    labels: Type.Optional(TextMap),
    options: Type.Optional(TextMap),
  },
  { additionalProperties: false },
);
export type CreateNetworkBody = Static<typeof CreateNetworkBody>;

/** Which of the unused networks go: `until=24h`, `label=key=value`, `label!=key`. */
export const PruneBody = Type.Object({ filters: Type.Optional(Texts) }, { additionalProperties: false });
export type PruneBody = Static<typeof PruneBody>;

const connectFields = {
  ip: Type.Optional(Text),
  ip6: Type.Optional(Text),
  mac: Type.Optional(Text),
  ifname: Type.Optional(Text),
  mtu: Type.Optional(Mtu),
  aliases: Type.Optional(Texts),
  links: Type.Optional(Texts),
  gatewayPriority: Type.Optional(Type.Integer()),
  allowSpoof: Type.Optional(Type.Boolean()),
  ipv6: Type.Optional(Type.Boolean()),
  localAddresses: Type.Optional(Texts),
  hostAtGateway: Type.Optional(Type.Boolean()),
  takeOver: Type.Optional(Type.Boolean()),
  faults: Type.Optional(Text),
};

export const ConnectBody = Type.Object(
  { container: Text, ...connectFields },
  { additionalProperties: false },
);
export type ConnectBody = Static<typeof ConnectBody>;

export const DisconnectBody = Type.Object({ container: Text }, { additionalProperties: false });
export type DisconnectBody = Static<typeof DisconnectBody>;

const endpointFields = {
  ...connectFields,
  network: Type.Optional(Text),
  /** Further networks. */
  networks: Type.Optional(
    Type.Array(Type.Object({ network: Text, ...connectFields }, { additionalProperties: false }), {
      maxItems: 1024,
    }),
  ),
  name: Type.Optional(Text),
  hostname: Type.Optional(Text),
  labels: Type.Optional(TextMap),
  publish: Type.Optional(Texts),
};

export const AttachBody = Type.Object(
  { netns: Type.Optional(Text), pid: Type.Optional(Type.Integer()), ...endpointFields },
  { additionalProperties: false },
);
export type AttachBody = Static<typeof AttachBody>;

/** Of an endpoint whose maker chooses it. */
export const AttachmentId = Type.String({ pattern: '^[0-9a-f]{64}$' });

/** An endpoint of a container runtime's; further networks are attachments of their own. */
export const AttachmentBody = Type.Object(
  {
    id: AttachmentId,
    netns: Type.Optional(Text),
    pid: Type.Optional(Type.Integer()),
    ...connectFields,
    network: Type.Optional(Text),
    name: Type.Optional(Text),
    hostname: Type.Optional(Text),
    labels: Type.Optional(TextMap),
    publish: Type.Optional(Texts),
  },
  { additionalProperties: false },
);
export type AttachmentBody = Static<typeof AttachmentBody>;

/** Answer to the removal of an attachment. */
export interface AttachmentRemoved {
  /** Whether it was there. */
  removed: boolean;
}

/** Value of `TAPDECK_SANDBOX` in the processes of a sandbox. */
export const SandboxId = Type.String({ pattern: '^[0-9a-f]{32}$' });

/** A sandbox that the caller has made and holds for as long as the connection is open. */
export const OpenSandboxBody = Type.Object(
  {
    id: SandboxId,
    pid: Type.Integer(),
    ...endpointFields,
    /** What its resolv.conf is to say in place of what it says by itself. */
    resolver: Type.Optional(
      Type.Object(
        { servers: Type.Optional(Texts), search: Type.Optional(Texts), options: Type.Optional(Texts) },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type OpenSandboxBody = Static<typeof OpenSandboxBody>;

export const NameParams = Type.Object({ name: Type.String() });
export type NameParams = Static<typeof NameParams>;

export const PublishBody = Type.Object(
  { publish: Type.Array(Text, { minItems: 1, maxItems: 1024 }) },
  { additionalProperties: false },
);
export type PublishBody = Static<typeof PublishBody>;

export const UnpublishQuery = Type.Object(
  { spec: Type.Union([Text, Type.Array(Text, { maxItems: 1024 })]) },
  { additionalProperties: false },
);
export type UnpublishQuery = Static<typeof UnpublishQuery>;

/** A rule of chain DOCKER-USER; what is left out matches all. */
export const AddRuleBody = Type.Object(
  {
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
    state: Type.Optional(Type.Array(oneOf(...RULE_STATES), { maxItems: RULE_STATES.length })),
    comment: Type.Optional(Text),
    position: Type.Optional(Type.Integer()),
  },
  { additionalProperties: false },
);
export type AddRuleBody = Static<typeof AddRuleBody>;

export const RuleIdsQuery = Type.Object(
  {
    id: Type.Union([
      Type.String({ pattern: '^[0-9]{1,9}$' }),
      Type.Array(Type.String({ pattern: '^[0-9]{1,9}$' }), { maxItems: 1024 }),
    ]),
  },
  { additionalProperties: false },
);
export type RuleIdsQuery = Static<typeof RuleIdsQuery>;

const Port = Type.Optional(Type.String({ pattern: '^[0-9]{1,5}$' }));

/** A `FlowQuery` in the query of a URL, where everything is text. */
export const FlowQueryText = Type.Object(
  {
    protocol: Type.Optional(Text),
    family: Type.Optional(Type.Union([Type.Literal('4'), Type.Literal('6')])),
    src: Type.Optional(Text),
    dst: Type.Optional(Text),
    srcPort: Port,
    dstPort: Port,
    replySrc: Type.Optional(Text),
    replyDst: Type.Optional(Text),
    replySrcPort: Port,
    replyDstPort: Port,
    state: Type.Optional(Text),
    network: Type.Optional(Text),
  },
  { additionalProperties: false },
);
export type FlowQueryText = Static<typeof FlowQueryText>;

/** Answer to the order to forget connections. */
export interface FlowsClosed {
  closed: number;
}

/** Body of every answer that is not 2xx. */
export interface ErrorBody {
  code: DeckErrorCode | 'internal';
  /** One line for people. */
  message: string;
}

export interface VersionInfo {
  version: string;
  pid: number;
  /** RFC 3339. */
  startedAt: string;
  /** Whether the daemon ends with its last endpoint. */
  untilEmpty: boolean;
  /** Its uplinks, as `formatUplinkSpec` writes them. */
  uplinks: string[];
  /** What it had to clean up when it started. */
  notices: string[];
}

/** Lines of the stream that holds a sandbox. The first is `attached`. */
export type SandboxEvent =
  | { event: 'attached'; endpoint: Endpoint; resolvConf: string }
  /** Its networks are others now, and so is what its resolv.conf is to say. */
  | { event: 'names'; resolvConf: string }
  /** Somebody else detached the endpoint. */
  | { event: 'detached' }
  /** The interface vanished. */
  | { event: 'gone' }
  /** The daemon is ending, and the sandbox with it. */
  | { event: 'closing' };

/** Answer to the end of a sandbox. */
export interface SandboxClosed {
  /** The daemon ends because this was its last endpoint. */
  ending: boolean;
}

/** A question about a packet. */
export const WhyBody = Type.Object(
  {
    from: Type.String({ description: 'A container, `NETWORK/CONTAINER`, an address, `host` or `outside`.' }),
    to: Type.String({
      description:
        'The same or `gateway`, with a port and a protocol, `web:80/tcp`; a ping when it has none. IPv6 addresses with a port are in brackets.',
    }),
    family: Type.Optional(
      Type.Union([Type.Literal(4), Type.Literal(6)], {
        description: 'IP version; IPv4 by default where both ends have it.',
      }),
    ),
  },
  { title: 'WhyQuestion', additionalProperties: false },
);
export type WhyBody = Static<typeof WhyBody>;

export const PastBody = Type.Object(
  { everything: Type.Boolean({ description: 'Also the ways of packets that were not dropped.' }) },
  { title: 'Past', additionalProperties: false },
);
export type PastBody = Static<typeof PastBody>;

/** A frame that was captured. */
export const WhyFrameBody = Type.Object(
  {
    port: Type.String({ description: 'The port by which it comes in, as captures call it: `web eth0`.' }),
    frame: Type.String({
      pattern: '^[A-Za-z0-9+/]+=*$',
      maxLength: 90_000,
      description: 'Its bytes from the Ethernet header on, in base64.',
    }),
  },
  { title: 'WhyFrameQuestion', additionalProperties: false },
);
export type WhyFrameBody = Static<typeof WhyFrameBody>;
