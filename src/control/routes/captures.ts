import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import {
  CaptureAnswer,
  CaptureEndedAnswer,
  CaptureQuery,
  DescriptorAnswer,
  FileCaptureQuery,
  FileProgressAnswer,
  TraceAnswer,
  TraceQuery,
} from '../capture-schema.ts';
import { streamCapture, streamProgress } from '../capture-stream.ts';
import type { CaptureOptions } from '../captures.ts';
import { Descriptors } from '../descriptors.ts';
import { answers, answersBytes, answersLines } from '../schema.ts';

const CaptureParams = Type.Object({ id: Type.String({ pattern: '^\\d{1,9}$' }) });
type CaptureParams = Static<typeof CaptureParams>;

/** Packets while they pass. */
export function captureRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  const { captures } = deck;
  const descriptors = new Descriptors();
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
    async ({ query }, reply) => {
      await streamCapture(captures, captureOptions(query), reply.raw);
      reply.hijack();
    },
  );
  app.post(
    '/v1/descriptors',
    {
      schema: {
        summary:
          'Announce an open file: it is sent with SCM_RIGHTS to the abstract unix socket that is answered, and is good for ten seconds',
        body: Type.Object({}, { additionalProperties: false }),
        response: answers(DescriptorAnswer, 'Where to send it, with which text'),
      },
    },
    async () => descriptors.offer(),
  );
  app.get<{ Querystring: FileCaptureQuery }>(
    '/v1/capture/file',
    {
      schema: {
        summary:
          'Capture as `GET /v1/capture` does, to a file that has come by `POST /v1/descriptors`; how far it is comes as lines',
        querystring: FileCaptureQuery,
        response: answersLines(
          FileProgressAnswer,
          'Bytes written, now and then, and at the end packets, or why there are no more',
        ),
      },
    },
    async ({ query: { token, ...query } }, reply) => {
      const options = { ...captureOptions(query), file: descriptors.take(token) };
      await streamProgress(captures, options, reply.raw);
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

function captureOptions({
  interface: interfaces,
  filter,
  snaplen,
  buffer,
  direction,
}: CaptureQuery): CaptureOptions {
  return {
    kind: 'capture',
    interfaces: [interfaces ?? []].flat(),
    ...(filter !== undefined && { filter }),
    ...(snaplen !== undefined && { snaplen: Number(snaplen) }),
    ...(buffer !== undefined && { buffer: Number(buffer) }),
    ...(direction !== undefined && { direction }),
  };
}
