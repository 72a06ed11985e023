import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { ConnectBody, CreateNetworkBody } from './api-schema.ts';
import { type SavedState, STATE_VERSION } from './saved-state.ts';
import type { SavedRule } from './user-rules.ts';

const Text = Type.String({ minLength: 1 });
// What a network, an endpoint or a rule may be, the deck knows; here it is enough that it can be asked. An `internal` that is no boolean,
// written by hand, must not come to mean that the network has a way out.
const Wish = { additionalProperties: true } as const;
const { container: _, ...Wishes } = ConnectBody.properties;
const Schema = Type.Object({
  version: Type.Literal(STATE_VERSION),
  writer: Type.String(),
  boot: Text,
  networks: Type.Array(
    Type.Object({
      id: Text,
      createdAt: Text,
      options: Type.Object({ ...CreateNetworkBody.properties, name: Text }, Wish),
    }),
  ),
  containers: Type.Array(
    Type.Object({
      id: Text,
      name: Text,
      createdAt: Text,
      netns: Type.Optional(Text),
      pid: Type.Optional(Type.Integer({ minimum: 1 })),
      namespace: Text,
      hostname: Type.Optional(Text),
      labels: Type.Record(Type.String(), Type.String()),
      endpoints: Type.Array(Type.Object({ ...Wishes, id: Text, network: Text }, Wish)),
      publish: Type.Array(Text),
      startTime: Type.Optional(Type.Integer()),
    }),
  ),
  rules: Type.Array(
    Type.Object(
      { id: Type.Integer(), createdAt: Text, action: Type.Unsafe<SavedRule['action']>(Text) },
      Wish,
    ),
  ),
  sandboxes: Type.Array(
    Type.Object({
      id: Text,
      container: Text,
      name: Text,
      netns: Text,
      pid: Type.Integer({ minimum: 1 }),
      startTime: Type.Integer(),
    }),
  ),
});

/** The compiler says when schema and types go apart. */
const conforms = (state: Static<typeof Schema>): SavedState => state;

/** Reads what `formatState` wrote; else says in a few words what is wrong with it. */
export function parseState(
  text: string,
): { state: SavedState } | { newer: number; writer: string | null } | { damage: string } {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    return { damage: text.trim() === '' ? 'it is empty' : `it is not JSON: ${(error as Error).message}` };
  }
  const { version, writer } = Object(found) as Partial<Record<string, unknown>>;
  if (typeof version === 'number' && version > STATE_VERSION)
    return { newer: version, writer: typeof writer === 'string' ? writer : null };
  if (Value.Check(Schema, found)) return { state: conforms(found) };
  const first = Value.Errors(Schema, found).First();
  return { damage: `${first?.path || 'it'} is not what it should be` };
}
