import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { CountersAnswer, DropAnswer, FdbAnswer, NeighborAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { answers } from '../schema.ts';

/** The tables of the data plane, as they are at the moment. */
export function tableRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get(
    '/v1/fdb',
    {
      schema: {
        summary: 'Show the filtering database: which address is behind which port',
        response: answers(Type.Array(FdbAnswer), 'All entries'),
      },
    },
    async () => deck.fdb(),
  );
  app.get(
    '/v1/neighbors',
    {
      schema: {
        summary: 'Show the neighbors of all gateways',
        response: answers(Type.Array(NeighborAnswer), 'All neighbors'),
      },
    },
    async () => deck.neighbors(),
  );
  app.get(
    '/v1/drops',
    {
      schema: {
        summary: 'Show why frames were discarded, and how many',
        response: answers(Type.Array(DropAnswer), 'All reasons, the most frequent first'),
      },
    },
    async () => deck.drops(),
  );
  app.get(
    '/v1/counters',
    {
      schema: {
        summary: 'Show the account of all frames, and the counters of all ports',
        response: answers(CountersAnswer, 'The counters'),
      },
    },
    async () => deck.counters(),
  );
}
