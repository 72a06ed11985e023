import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import type { FastifyServerOptions } from 'fastify';

type SchemaController = NonNullable<FastifyServerOptions['schemaController']>;

/** Checks data against a schema; what was wrong is then on the function itself. */
interface Validator {
  (data: unknown): unknown;
  errors?: unknown;
}
type Compile = (route: unknown) => Validator;
type BuildCompile = (schemas: unknown, options: unknown) => Compile;

/** Modules as fastify itself finds them. */
const require = createRequire(createRequire(import.meta.url).resolve('fastify'));

/**
 * What requests are checked with, made of each schema when the first of its requests comes, or when there is nothing else to do:
 * to make all of it, and to load what makes it, is half of what fastify takes until it listens.
 */
export class LateValidation {
  readonly #validators: (() => Validator)[] = [];

  /** For the options of fastify. Schemas of answers describe; they do not choose what is sent. */
  get schemaController(): SchemaController {
    const buildValidator: BuildCompile = (schemas, options) => this.#compiler(schemas, options);
    const compilersFactory = { buildValidator, buildSerializer: () => () => JSON.stringify };
    // Fastify's types want those of ajv, which are not needed before the first request.
    return { compilersFactory } as unknown as SchemaController;
  }

  /** Makes what is not made yet, a schema in each turn of the event loop. */
  async prepare(): Promise<void> {
    for (const make of this.#validators) {
      await turn();
      make();
    }
  }

  #compiler(schemas: unknown, options: unknown): Compile {
    let compile: Compile | undefined;
    return (route) => {
      let made: Validator | undefined;
      const make = () => {
        compile ??= (require('@fastify/ajv-compiler') as () => BuildCompile)()(schemas, options);
        made ??= compile(route);
        return made;
      };
      this.#validators.push(make);
      const late: Validator = (data) => {
        const validator = make();
        const result = validator(data);
        late.errors = validator.errors;
        return result;
      };
      return late;
    };
  }
}
