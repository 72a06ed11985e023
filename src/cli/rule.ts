import type { AddRuleBody } from '../control/api-schema.ts';
import type { DaemonClient } from '../control/client.ts';
import { invalid } from '../control/error.ts';
import { quote } from '../control/name.ts';
import { wordsOfRule } from '../control/rule-words.ts';
import type { SavedRule, UserRuleInfo } from '../control/user-rules.ts';
import {
  REJECTIONS,
  type Rejection,
  RULE_ACTIONS,
  RULE_STATES,
  type RuleAction,
  type RuleState,
} from '../dataplane/commands.ts';
import { EXIT_DONE, type Format, print } from './output.ts';
import { formatTable } from './table.ts';

/** What `tapdeck rule add` is given. */
export interface RuleFlags {
  jump: string;
  in?: string;
  out?: string;
  src?: string;
  dst?: string;
  proto?: string;
  sport?: string;
  dport?: string;
  icmpType?: string;
  state?: string;
  rejectWith?: string;
  comment?: string;
  position?: string;
}

const PATH = '/v1/rules/user';

export async function addRule(client: DaemonClient, format: Format, flags: RuleFlags): Promise<number> {
  const rule = await client.post<UserRuleInfo>(PATH, bodyOf(flags));
  print(format, rule, () => `${rule.id}\n`);
  return EXIT_DONE;
}

export async function removeRules(
  client: DaemonClient,
  format: Format,
  ids: readonly string[],
): Promise<number> {
  for (const id of ids) {
    if (!/^\d{1,9}$/.test(id)) throw invalid(`${quote(id)} is no id of a rule; see "tapdeck rule ls"`);
  }
  const search = new URLSearchParams(ids.map((id): [string, string] => ['id', id]));
  const gone = await client.delete<SavedRule[]>(`${PATH}?${search}`);
  print(format, gone, () => gone.map(({ id }) => `${id}\n`).join(''));
  return EXIT_DONE;
}

export async function listRules(client: DaemonClient, format: Format): Promise<number> {
  const rules = await client.get<UserRuleInfo[]>(PATH);
  print(format, rules, () => ruleTable(rules));
  return EXIT_DONE;
}

export function ruleTable(rules: readonly UserRuleInfo[]): string {
  return formatTable(
    ['POSITION', 'ID', 'ACTION', 'IN', 'OUT', 'PACKETS', 'BYTES', 'MEANING'],
    rules.map((rule) => [
      rule.position,
      rule.id,
      rule.action,
      rule.in ?? '*',
      rule.out ?? '*',
      rule.packets,
      rule.bytes,
      wordsOfRule(rule, (name) => name) + (rule.comment === undefined ? '' : ` (${rule.comment})`),
    ]),
  );
}

/** Throws a `DeckError` for words that the daemon would not know. */
export function bodyOf(flags: RuleFlags): AddRuleBody {
  const { jump, rejectWith, state, position } = flags;
  const action = wordOf<RuleAction>(RULE_ACTIONS, jump.toUpperCase(), 'action', '-j');
  const states = state
    ?.split(',')
    .map((one) => wordOf<RuleState>(RULE_STATES, one.toUpperCase(), 'state', '--state'));
  if (position !== undefined && !/^\d{1,4}$/.test(position)) {
    throw invalid(`position ${quote(position)} is no number; 1 is in front of all other rules`);
  }
  return {
    action,
    ...(rejectWith !== undefined && {
      rejectWith: wordOf<Rejection>(REJECTIONS, rejectWith, 'answer', '--reject-with'),
    }),
    ...(flags.in !== undefined && { in: flags.in }),
    ...(flags.out !== undefined && { out: flags.out }),
    ...(flags.src !== undefined && { src: flags.src }),
    ...(flags.dst !== undefined && { dst: flags.dst }),
    ...(flags.proto !== undefined && { protocol: flags.proto.toLowerCase() }),
    ...(flags.sport !== undefined && { sport: flags.sport }),
    ...(flags.dport !== undefined && { dport: flags.dport }),
    ...(flags.icmpType !== undefined && { icmpType: flags.icmpType.toLowerCase() }),
    ...(states && { state: states }),
    ...(flags.comment !== undefined && { comment: flags.comment }),
    ...(position !== undefined && { position: Number(position) }),
  };
}

function wordOf<W extends string>(words: readonly W[], text: string, what: string, option: string): W {
  const word = words.find((each) => each === text);
  if (word === undefined) {
    throw invalid(`${quote(text)} is no ${what}; with ${option} there are: ${words.join(', ')}`);
  }
  return word;
}
