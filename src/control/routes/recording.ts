import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { RecordingEndedAnswer } from '../recording-schema.ts';
import type { RecordingListener } from '../recordings.ts';
import { answers, answersBytes } from '../schema.ts';

/** Everything that happens, written down. */
export function recordingRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  const { recordings } = deck;
  app.get(
    '/v1/recording',
    {
      schema: {
        summary:
          'Record all that enters the data plane, its secrets included, until `DELETE /v1/recording` or for as long as the client reads; there is one recording at a time',
        response: answersBytes('application/octet-stream', 'A file for `tapdeck replay`'),
      },
    },
    async (_, reply) => {
      const stream = reply.raw;
      const listener: RecordingListener = {
        chunk: (bytes, taken) => {
          if (!stream.destroyed) stream.write(bytes, taken);
        },
        end: (error) => {
          if (error) stream.destroy();
          else stream.end();
        },
      };
      // Nothing may happen for days.
      stream.setTimeout(0);
      await recordings.start(listener);
      reply.hijack();
      stream.writeHead(200, { 'content-type': 'application/octet-stream' });
      stream.flushHeaders();
      stream.on('close', () => recordings.drop(listener));
      if (stream.destroyed) recordings.drop(listener);
    },
  );
  app.delete(
    '/v1/recording',
    {
      schema: {
        summary:
          'End the recording that is running, or say what came of the last one: what was recorded still comes to its reader, and then the end',
        response: answers(RecordingEndedAnswer, 'What it came to'),
      },
    },
    async () => recordings.stop(),
  );
}
