import { type Static, Type } from '@sinclair/typebox';
import type { EventView } from './event-log.ts';
import { object, oneOf, schemaOf, Time } from './schema.ts';

export const EventQuery = Type.Object(
  {
    since: Type.Optional(
      Type.String({
        maxLength: 64,
        pattern: '^\\d{4}-\\d{2}-\\d{2}',
        description: 'Also what happened from then on, as far as it is remembered: RFC 3339.',
      }),
    ),
  },
  { additionalProperties: false },
);
export type EventQuery = Static<typeof EventQuery>;

export const EventAnswer = schemaOf<EventView>()(
  object('Event', {
    time: Time,
    type: oneOf('container', 'network', 'port', 'rule'),
    action: oneOf('create', 'rename', 'destroy', 'connect', 'disconnect', 'change', 'add', 'remove'),
    id: Type.String(),
    name: Type.String(),
    attributes: Type.Record(Type.String(), Type.String()),
  }),
);
