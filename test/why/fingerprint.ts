import { createHash } from 'node:crypto';
import { Session } from 'node:inspector';

/** Everything that can be reached from an object, private fields included: by its path, what it is. */
export interface Fingerprint {
  values: Map<string, string>;
  objects: Set<object>;
}

interface Reach {
  __reached?: object[];
  __root?: object;
}
const reach = globalThis as Reach;

/**
 * Walks all that an object holds, by way of V8's inspector, which alone sees private fields. Two walks differ where any number, text,
 * element of a typed array, entry of a map or reference has changed.
 */
export function fingerprint(root: object): Fingerprint {
  const session = new Session();
  session.connect();
  const values = new Map<string, string>();
  const paths = new Map<object, string>();
  const bare = new Set<unknown>();
  const queue: [string, object][] = [];
  const note = (path: string, value: unknown) => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null) {
      values.set(path, Object.is(value, -0) ? '-0' : String(value));
      return;
    }
    if (typeof value === 'function') {
      values.set(path, `function ${value.name}`);
      return;
    }
    const seen = paths.get(value);
    values.set(path, seen === undefined ? 'object' : `the same as ${seen}`);
    if (seen !== undefined) return;
    paths.set(value, path);
    queue.push([path, value]);
  };
  note('', root);
  for (let next = queue.shift(); next; next = queue.shift()) {
    const [path, value] = next;
    if (ArrayBuffer.isView(value)) {
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      values.set(path, createHash('sha1').update(bytes).digest('hex'));
      continue;
    }
    if (value instanceof Map || value instanceof Set) {
      for (const [i, entry] of [...value.entries()].entries()) {
        note(`${path}/${i} key`, entry[0]);
        note(`${path}/${i} value`, entry[1]);
      }
    }
    for (const key of Object.keys(value)) note(`${path}/${key}`, (value as Record<string, unknown>)[key]);
    const kind = value.constructor;
    if (kind === Object || kind === Array || bare.has(kind)) continue;
    const fields = privateFields(session, value);
    // A class has private fields in all of its objects or in none.
    if (fields.length === 0) bare.add(kind);
    for (const [name, field] of fields) note(`${path}/${name}`, field);
  }
  session.disconnect();
  return { values, objects: new Set(paths.keys()) };
}

/** Names and values of the private fields of an object. */
function privateFields(session: Session, object: object): [string, unknown][] {
  reach.__root = object;
  reach.__reached = [];
  const post = <T>(method: string, params: object): T => {
    let answer: T | undefined;
    session.post(method, params, (error, result) => {
      if (error) throw error;
      answer = result as T;
    });
    return answer!;
  };
  type Remote = { objectId?: string; value?: unknown; unserializableValue?: string };
  const { result } = post<{ result: Remote }>('Runtime.evaluate', { expression: 'globalThis.__root' });
  const { privateProperties = [] } = post<{ privateProperties?: { name: string; value?: Remote }[] }>(
    'Runtime.getProperties',
    { objectId: result.objectId, ownProperties: true },
  );
  const fields = privateProperties.flatMap(({ name, value }): [string, unknown][] => {
    if (value === undefined) return [];
    if (value.objectId === undefined) return [[name, value.unserializableValue ?? value.value]];
    post('Runtime.callFunctionOn', {
      objectId: value.objectId,
      functionDeclaration: 'function () { globalThis.__reached.push(this); }',
    });
    return [[name, reach.__reached!.at(-1)]];
  });
  post('Runtime.releaseObject', { objectId: result.objectId });
  delete reach.__root;
  delete reach.__reached;
  return fields;
}
