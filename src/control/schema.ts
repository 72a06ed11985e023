import { type Static, type TObject, type TProperties, type TSchema, Type } from '@sinclair/typebox';

/** How routes say what they take and answer: for those who check it, and for the description of the API. */

/** A schema whose values are `T`s: the compiler says when the two go apart. */
export function schemaOf<T>() {
  return <S extends TSchema>(schema: S & (Static<S> extends T ? unknown : never)): S => schema;
}

/** An object with these fields and no others. */
export function object<P extends TProperties>(title: string, fields: P): TObject<P> {
  return Type.Object(fields, { title, additionalProperties: false });
}

export function nullable<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Null()]);
}

/** One of these words. */
export function oneOf<const T extends string>(...words: T[]) {
  return Type.Unsafe<T>({ type: 'string', enum: words });
}

/** A number that counts something. */
export const Count = Type.Integer({ minimum: 0 });

/** RFC 3339. */
export const Time = Type.String({ format: 'date-time' });

export const ErrorAnswer = object('Error', {
  code: Type.String({
    enum: ['invalid', 'permission', 'not-found', 'conflict', 'unavailable', 'internal'],
    description: 'What kind of failure it is, for programs.',
  }),
  message: Type.String({ description: 'One line for people: what, why, what to do.' }),
});

const FAILURE = {
  description:
    'Why it cannot be: 400 invalid, 403 permission, 404 not-found, 409 conflict, 503 unavailable, 500 internal.',
  content: { 'application/json': { schema: ErrorAnswer } },
};

/** What a route answers: `schema`, or the one way to say that it cannot. */
export function answers(schema: TSchema, description: string, status: 200 | 201 = 200) {
  return { [status]: { description, content: { 'application/json': { schema } } }, default: FAILURE };
}

/** An answer of one JSON text per line, which comes for as long as the connection stands. */
export function answersLines(schema: TSchema, description: string) {
  return { 200: { description, content: { 'application/x-ndjson': { schema } } }, default: FAILURE };
}

export function answersText(type: string, description: string) {
  return { 200: { description, content: { [type]: { schema: Type.String() } } }, default: FAILURE };
}

export function answersBytes(type: string, description: string) {
  const schema = Type.String({ format: 'binary' });
  return { 200: { description, content: { [type]: { schema } } }, default: FAILURE };
}
