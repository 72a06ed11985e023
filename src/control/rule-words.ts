import { nameOf, type RuleSpec } from '../dataplane/rule-spec.ts';

/**
 * What a rule of the user's does, in plain words: `TCP to port 5432 from network front to network back passes, whatever
 * the chains behind this one say`.
 * @param place what a network or uplink is called in a sentence
 */
export function wordsOfRule(rule: RuleSpec & { active: boolean }, place: (name: string) => string): string {
  const { protocol, sport, dport, icmpType, src, dst, state = [] } = rule;
  const what = [
    subjectOf(protocol, icmpType),
    ...(sport === undefined ? [] : [`from ${portsOf(sport)}`]),
    ...(dport === undefined ? [] : [`to ${portsOf(dport)}`]),
    ...(src === undefined ? [] : [`of ${other(src, 'any address but')}`]),
    ...(rule.in === undefined ? [] : [`from ${placeOf(rule.in, place)}`]),
    ...(rule.out === undefined ? [] : [`to ${placeOf(rule.out, place)}`]),
    ...(dst === undefined ? [] : [`for ${other(dst, 'any address but')}`]),
    ...(state.length === 0 ? [] : [`in state ${state.join(' or ')}`]),
  ];
  return `${what.join(' ')} ${fateOf(rule)}${rule.active ? '' : '; asleep, because a network that it names is not there'}`;
}

function subjectOf(protocol: string | undefined, icmpType: string | undefined): string {
  if (protocol === undefined) return 'all traffic';
  const name = /^\d/.test(protocol) ? `IP protocol ${protocol}` : protocol.toUpperCase();
  return icmpType === undefined ? name : `${name} ${icmpType}`;
}

function portsOf(text: string): string {
  const [from, to = from] = text.split(/[:-]/);
  return from === to ? `port ${from}` : `ports ${from} to ${to}`;
}

function placeOf(text: string, place: (name: string) => string): string {
  return other(text.startsWith('!') ? `!${place(nameOf(text))}` : place(text), 'anywhere but');
}

function other(text: string, but: string): string {
  return text.startsWith('!') ? `${but} ${text.slice(1)}` : text;
}

function fateOf({ action, rejectWith }: RuleSpec): string {
  switch (action) {
    case 'ACCEPT':
      return 'passes, whatever the chains behind this one say';
    case 'DROP':
      return 'is dropped';
    case 'REJECT':
      return `is refused, and the sender told${rejectWith === undefined ? '' : ` (${rejectWith})`}`;
    default:
      return 'goes on with the next chain';
  }
}
