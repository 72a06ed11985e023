import { formatMac } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_SRC } from '../../wire/ethernet.ts';
import type { CaptureError } from '../capture/capture-error.ts';
import type { CaptureRecord } from '../capture/capture-record.ts';
import { CaptureSource } from './capture-source.ts';
import type { CaptureReference, Scenario } from './scenario.ts';

/** Whether a record belongs to what a scenario refers to, by its source MAC; undefined when all do. */
export function referenced(reference: CaptureReference): ((record: CaptureRecord) => boolean) | undefined {
  const { from, notFrom } = reference;
  if (!from && !notFrom) return undefined;
  return ({ data }) => {
    const source = data.length < ETH_SRC + 6 ? '' : formatMac(get16(data, ETH_SRC), get32(data, ETH_SRC + 2));
    return (!from || from.includes(source)) && !notFrom?.includes(source);
  };
}

/** One of a scenario's captures on its way into a port. */
export interface ScenarioSource {
  port: string;
  source: CaptureSource;
}

/**
 * Opens all captures that go into a scenario and sets their clocks: those with an `at` begin then, all others
 * share one clock, whose 0 is the first frame of any of them.
 */
export function openInputs(scenario: Scenario, warn: (problem: CaptureError) => void): ScenarioSource[] {
  const opened = scenario.ports.flatMap(({ name, inputs }) =>
    inputs.map((input) => {
      const only = referenced(input);
      const source = new CaptureSource(input.path, { file: input.file, ...(only && { only }), warn });
      return { port: name, input, source };
    }),
  );
  let epoch: bigint | undefined;
  for (const { input, source } of opened) {
    const first = source.record?.timestamp;
    if (input.at === undefined && first !== undefined && (epoch === undefined || first < epoch))
      epoch = first;
  }
  for (const { input, source } of opened) {
    const own = source.record?.timestamp ?? 0n;
    if (input.at === undefined) source.align(epoch ?? own);
    else source.align(own, input.at);
  }
  return opened.map(({ port, source }) => ({ port, source }));
}
