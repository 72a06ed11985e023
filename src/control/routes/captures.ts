import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import {
  CaptureAnswer,
  CaptureEndedAnswer,
  CaptureQuery,
  TraceAnswer,
  TraceQuery,
} from '../capture-schema.ts';
import { streamCapture } from '../capture-stream.ts';
import { answers, answersBytes, answersLines } from '../schema.ts';

const CaptureParams = Type.Object({ id: Type.String({ pattern: '^\\d{1,9}$' }) });
type CaptureParams = Static<typeof CaptureParams>;

/** Packets while they pass. */
export function captureRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  const { captures } = deck;
  app.get<{ Querystring: CaptureQuery }>(
    '/v1/capture',
    {
      schema: {
        summary:
          'Capture packets with what is decided about them, until `DELETE /v1/captures/{id}`, whose id is in the header `tapdeck-capture`, or for as long as the client reads',
        querystring: CaptureQuery,
        response: answersBytes('application/x-pcapng', 'A pcapng section'),
      },
    },
    async ({ query: { interface: interfaces, filter, snaplen, buffer, direction } }, reply) => {
      const options = {
        kind: 'capture' as const,
        interfaces: [interfaces ?? []].flat(),
        ...(filter !== undefined && { filter }),
        ...(snaplen !== undefined && { snaplen: Number(snaplen) }),
        ...(buffer !== undefined && { buffer: Number(buffer) }),
        ...(direction !== undefined && { direction }),
      };
      await streamCapture(captures, options, reply.raw);
      reply.hijack();
    },
  );
  app.get<{ Querystring: TraceQuery }>(
    '/v1/trace',
    {
      schema: {
        summary: 'Follow what is decided about packets, step by step, ended as a capture is',
        querystring: TraceQuery,
        response: answersLines(TraceAnswer, 'One packet per line'),
      },
    },
    async ({ query: { interface: interfaces, filter } }, reply) => {
      const options = {
        kind: 'trace' as const,
        interfaces: [interfaces ?? []].flat(),
        ...(filter !== undefined && { filter }),
      };
      await streamCapture(captures, options, reply.raw);
      reply.hijack();
    },
  );
  app.get(
    '/v1/captures',
    {
      schema: {
        summary: 'List the captures and traces that are running',
        response: answers(Type.Array(CaptureAnswer), 'The oldest first'),
      },
    },
    async () => captures.list(),
  );
  app.delete<{ Params: CaptureParams }>(
    '/v1/captures/:id',
    {
      schema: {
        summary: 'End a capture or trace: what it has observed still comes to its reader, and then the end',
        params: CaptureParams,
        response: answers(CaptureEndedAnswer, 'What it came to'),
      },
    },
    async ({ params: { id } }) => captures.stop(Number(id)),
  );
}
