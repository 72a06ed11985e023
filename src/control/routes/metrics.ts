import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { formatMetrics } from '../metrics.ts';
import { answersText } from '../schema.ts';

/** Numbers for those who watch over a longer time. */
export function metricsRoutes(app: FastifyInstance, { deck, version }: ApiParts): void {
  app.get(
    '/metrics',
    {
      schema: {
        summary: "Show all counters in Prometheus' text format",
        response: answersText('text/plain', 'Version 0.0.4 of the format'),
      },
    },
    async (_, reply) => {
      const before = performance.now();
      const conntrack = await deck.countFlows();
      const latency = performance.now() - before;
      const [counters, drops, chains, names] = await Promise.all([
        deck.counters(),
        deck.drops(),
        deck.rules(),
        deck.nameCounters(),
      ]);
      const text = formatMetrics({
        ...version(),
        counters,
        drops,
        conntrack,
        names,
        chains,
        networks: deck.networks(),
        uplinks: deck.uplinks(),
        containers: deck.containers().length,
        latency,
      });
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text);
    },
  );
}
