import { Readable } from 'node:stream';
import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { FlowAnswer, FlowCountAnswer, FlowEventAnswer, FlowsClosedAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { FlowQueryText, type FlowsClosed } from '../api-schema.ts';
import type { Deck } from '../deck.ts';
import type { FlowQuery } from '../flow-filter.ts';
import { streamFlows } from '../flow-stream.ts';
import type { FlowPageView } from '../flows.ts';
import { answers, answersLines } from '../schema.ts';

/** Connections. */
export function conntrackRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  const querystring = FlowQueryText;
  // An array as any other, but with each connection on a line of its own: there can be hundreds of thousands, which neither
  // side wants to have in one piece.
  app.get<{ Querystring: FlowQueryText }>(
    '/v1/conntrack',
    {
      schema: {
        summary: 'List connections',
        querystring,
        response: answers(Type.Array(FlowAnswer), 'Those that the query means'),
      },
    },
    async ({ query }, reply) => {
      const wanted = readFlowQuery(query);
      // What can be refused is refused before an answer begins.
      const first = await deck.flowPage(wanted);
      return reply
        .type('application/json; charset=utf-8')
        .send(Readable.from(flowLines(deck, wanted, first)));
    },
  );
  app.delete<{ Querystring: FlowQueryText }>(
    '/v1/conntrack',
    {
      schema: {
        summary: 'Forget connections',
        querystring,
        response: answers(FlowsClosedAnswer, 'How many there were'),
      },
    },
    async ({ query }): Promise<FlowsClosed> => ({ closed: await deck.closeFlows(readFlowQuery(query)) }),
  );
  app.get(
    '/v1/conntrack/count',
    {
      schema: {
        summary: 'Count the connections',
        response: answers(FlowCountAnswer, 'How many there are, and how many there can be'),
      },
    },
    async () => deck.countFlows(),
  );
  app.get<{ Querystring: FlowQueryText }>(
    '/v1/conntrack/events',
    {
      schema: {
        summary: 'Follow what happens to connections, for as long as the client reads',
        querystring,
        response: answersLines(FlowEventAnswer, 'One event per line'),
      },
    },
    async ({ query }, reply) => {
      await streamFlows(deck, readFlowQuery(query), reply.raw);
      reply.hijack();
    },
  );
}

async function* flowLines(deck: Deck, query: FlowQuery, first: FlowPageView): AsyncGenerator<string> {
  let separator = '[\n';
  for (let page: FlowPageView | undefined = first; page; ) {
    // The next part is made while this one is being sent.
    const next: Promise<FlowPageView> | undefined =
      page.next === null ? undefined : deck.flowPage(query, page.next);
    next?.catch(() => {});
    let lines = '';
    for (const flow of page.flows) {
      lines += `${separator}${JSON.stringify(flow)}`;
      separator = ',\n';
    }
    if (lines !== '') yield lines;
    page = await next;
  }
  yield separator === '[\n' ? '[]\n' : '\n]\n';
}

function readFlowQuery({
  family,
  srcPort,
  dstPort,
  replySrcPort,
  replyDstPort,
  ...texts
}: FlowQueryText): FlowQuery {
  return {
    ...texts,
    ...(family && { family: family === '4' ? 4 : 6 }),
    ...(srcPort && { srcPort: Number(srcPort) }),
    ...(dstPort && { dstPort: Number(dstPort) }),
    ...(replySrcPort && { replySrcPort: Number(replySrcPort) }),
    ...(replyDstPort && { replyDstPort: Number(replyDstPort) }),
  };
}
