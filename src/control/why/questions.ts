import type { RuleCounter } from '../../dataplane/commands.ts';
import type { Family } from '../address.ts';
import { notFound } from '../error.ts';
import { quote } from '../name.ts';
import type { PlaneNames, PlaneNamesParts } from '../plane-names.ts';
import type { ChainView } from '../rule-view.ts';
import { type ExplainParts, explain, type WhyView } from './explain.ts';
import { explainFrame, type WhyFrameView } from './frame.ts';
import { parseWanted } from './grammar.ts';
import { MOST_PAST, pastFilter, viewPast, type WhyPastView } from './past.ts';
import { resolve, type WhyParts } from './resolve.ts';

export interface QuestionsParts extends Omit<PlaneNamesParts, 'published'> {
  names: PlaneNames;
  chains: (counters: readonly RuleCounter[]) => ChainView[];
}

/** Answers what would become of packets, and what became of them. Nothing is sent, and nothing changes. */
export class Questions {
  readonly #parts: QuestionsParts;

  constructor(parts: QuestionsParts) {
    this.#parts = parts;
  }

  /** What would become of a packet, and of the answer to it: tried on a copy of the data plane. */
  async why(from: string, to: string, family?: Family): Promise<WhyView> {
    const resolved = resolve(this.#whyParts(), parseWanted(from, to), family);
    const saved = await this.#parts.plane.save();
    return explain(await this.#explainParts(), resolved, saved);
  }

  /** What happened to the last packets like those of such a question. */
  async past(from: string, to: string, family?: Family): Promise<WhyPastView> {
    const { plane, names } = this.#parts;
    const resolved = resolve(this.#whyParts(), parseWanted(from, to), family);
    const rows = await plane.past(pastFilter(resolved), MOST_PAST);
    const { now } = await plane.snapshot({});
    return viewPast(resolved, rows, now, await names.forStories());
  }

  /**
   * What would become of a frame that comes in by a port now.
   * @param port as captures call it: `web eth0`
   */
  async frame(port: string, frame: Uint8Array): Promise<WhyFrameView> {
    const { plane, names } = this.#parts;
    const table = await names.table();
    const found = table.ports.find(({ name }) => name === port);
    if (!found || found.isDeck) {
      throw notFound(
        `there is no port ${quote(port)}; there are ${table.ports.map(({ name }) => name).join(', ')}`,
      );
    }
    return explainFrame(await this.#explainParts(), await plane.save(), found.port, frame);
  }

  async #explainParts(): Promise<ExplainParts> {
    const { names, chains, userRules } = this.#parts;
    return {
      ...this.#whyParts(),
      chains,
      names: await names.forStories(),
      userRules: userRules.list([]).map(({ id }) => id),
    };
  }

  #whyParts(): WhyParts {
    const { containers, networks, uplinks } = this.#parts;
    return { containers: containers.list(), networks: networks.bridges(), uplinks: uplinks.all() };
  }
}
