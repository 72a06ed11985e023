import { describe, expect, test } from 'vitest';
import {
  arpReply,
  arpRequest,
  fragments,
  icmpEcho,
  type Station,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import { DROP_STAGE } from '../../src/trace/drop-stage.ts';
import { dropInWords, headline, inWords, originLine } from '../../src/trace/story.ts';
import { DROP_TEXT } from '../../switch/drop-text.ts';
import { C1, C2, D1, EXT1, GA, UP, VIA_GA, VIA_UP } from '../dataplane/nat-bed.ts';
import { gatewayBed, send } from '../switch/gateway-bed.ts';
import { watched } from './watched.ts';

const ask = (to: Station) => udp({ from: C1, to, via: VIA_GA, srcPort: 5000, dstPort: 53, data: 'ask' });

describe('a story in words', () => {
  test('out by masquerade', () => {
    const { deck, told } = watched();
    send(deck, 'c1', ask(EXT1));
    expect(told()).toEqual([
      [
        'ingress: a:3, UDP 10.0.0.2:5000 → 203.0.113.1:53, 45 bytes, 3 of payload',
        'bridge: 02:42:0a:00:00:01 is behind a:1',
        'port security: the sender is who it says it is',
        'PREROUTING: conntrack #0 NEW',
        'FORWARD: from a to up',
        'FORWARD: DOCKER-ISOLATION-STAGE-1 lets it pass from a to up',
        'FORWARD: DOCKER-ISOLATION-STAGE-2 lets it pass from a to up',
        'FORWARD: DOCKER accepts: out of a to up',
        'POSTROUTING: MASQUERADE 10.0.0.2:5000 → 198.51.100.2:17928',
        'neighbor: 198.51.100.1 is at 02:00:00:00:00:01',
        'bridge: 02:00:00:00:00:01 is behind up:6',
        'egress: sent to up:6',
      ],
    ]);
  });

  test('in by a published port: the connection is told of beside its translation', () => {
    const { deck, steps } = watched();
    deck.publish({ station: C1, network: 'a', from: 8080, target: 80 });
    const syn = { from: EXT1, to: UP, via: VIA_UP, srcPort: 7000, dstPort: 8080, flags: 'S', sequence: 5 };
    send(deck, 'ext', tcp(syn));
    const [story] = steps();
    const lines = inWords(story!);
    expect(lines).toContain('PREROUTING: DNAT 198.51.100.2:8080 → 10.0.0.2:80, conntrack #0 NEW');
    expect(lines).toContain('FORWARD: DOCKER accepts: published 8080/tcp');
    expect(headline(story!)).toBe('up:6 → DNAT 198.51.100.2:8080 → 10.0.0.2:80; egress: sent to a:3');
    send(deck, 'ext', tcp(syn));
    expect(inWords(steps()[0]!)).toContain(
      'PREROUTING: conntrack #0 NEW, TCP SYN_SENT, DNAT 198.51.100.2:8080 → 10.0.0.2:80',
    );
  });

  test('what one network may not say to another', () => {
    const { deck, steps } = watched();
    send(deck, 'c1', ask(D1));
    const [story] = steps();
    const line = 'FORWARD: DOCKER-ISOLATION-STAGE-2 drops: network a may not enter b (rule 3)';
    expect(inWords(story!).at(-1)).toBe(line);
    expect(headline(story!)).toBe(`a:3 → ${line}`);
    expect(story!.at(-1)).toMatchObject({ action: 'VERDICT', verdict: 'DROP', reason: 'NETWORK_ISOLATED' });
  });

  test('a rule of the user, and the error that it says', () => {
    const { deck, told } = watched();
    deck.setUserRules([
      { id: 4, action: 'ACCEPT', protocol: 6 },
      { id: 7, action: 'REJECT', protocol: 17 },
    ]);
    send(deck, 'c1', ask(EXT1));
    const [asked, answer] = told();
    expect(asked!.at(-1)).toBe('FORWARD: DOCKER-USER rule 2 rejects');
    expect(answer).toEqual([
      'origin: made by the deck because of packet 1: ICMP port unreachable 10.0.0.1 → 10.0.0.2',
      'egress: sent to a:3',
    ]);
    send(deck, 'c1', icmpEcho({ from: C1, to: EXT1, via: VIA_GA }));
    expect(told()[0]).toContain('FORWARD: DOCKER-USER none of 2 rules matches');
  });

  test('what a rule of the user accepts meets no chain behind it', () => {
    const { deck, told } = watched();
    deck.setUserRules([{ id: 4, action: 'ACCEPT', protocol: 17 }]);
    send(deck, 'c1', ask(D1));
    send(deck, 'c1', ask(D1));
    send(deck, 'c1', ask(EXT1));
    const chains = told()
      .map((lines) => lines.filter((line) => line.includes('DOCKER')))
      .filter((lines) => lines.length > 0);
    expect(chains).toEqual(Array(3).fill(['FORWARD: DOCKER-USER rule 1 accepts']));
  });

  test('who waits for a neighbor, and what becomes of it', () => {
    const { deck, told } = watched();
    send(deck, 'c1', ask({ ...C2, ipv4: '10.0.0.77' }));
    const [waits, question] = told();
    expect(waits!.at(-1)).toBe('neighbor: asks a who has 10.0.0.77; the packet waits');
    expect(question).toEqual([
      'origin: made by the deck because of packet 1: ARP who-has 10.0.0.77 tell 10.0.0.1',
      'egress: sent to a:3, a:4',
    ]);
    deck.advance(5000);
    expect(told().slice(2)).toEqual([
      [
        'origin: made by the deck because of packet 1: ICMP host unreachable 10.0.0.1 → 10.0.0.2',
        'egress: sent to a:3',
      ],
      [
        'neighbor: 10.0.0.77 has not answered; the packet has waited 3.0 s',
        'neighbor drops: the next hop does not answer ARP or neighbor discovery (NEIGH_FAILED)',
      ],
    ]);
  });

  test('what has waited goes on under its number, and says because of whom', () => {
    const { deck, steps, collector } = watched();
    const far = { mac: '02:00:00:00:00:77', ipv4: '198.51.100.77' };
    send(deck, 'c1', ask({ ...EXT1, ...far }));
    send(deck, 'c1', ask({ ...EXT1, ...far }));
    const [first] = collector.stories;
    expect(inWords(steps()[0]!).at(-1)).toBe('neighbor: asks up who has 198.51.100.77; the packet waits');
    deck.advance(120);
    send(deck, 'ext', arpReply({ from: far, to: UP }));
    const answer = first!.packet + 3;
    expect(collector.stories.map(({ packet, port }) => [packet, port])).toEqual([
      [answer, 6],
      [first!.packet, 3],
      [first!.packet + 2, 3],
    ]);
    const [, resumed] = steps();
    expect(inWords(resumed!)).toEqual([
      `neighbor: 198.51.100.77 is at 02:00:00:00:00:77, by packet ${answer}; the packet has waited 120 ms`,
      'egress: sent to up:6',
    ]);
    expect(resumed![0]).toMatchObject({ ingress: 'a:3', waited: 120, cause: answer, network: 'up' });
    expect(originLine('web eth0', resumed)).toBe('came in from web eth0, waited 120 ms for 198.51.100.77');
  });

  test('who has begun to look too late does not know how long it was', () => {
    const { deck, told, collector } = watched();
    const { observer } = deck.virtual.dataplane;
    observer.unsubscribe(collector);
    send(deck, 'c1', ask({ ...C2, ipv4: '10.0.0.77' }));
    observer.subscribe(collector);
    deck.advance(5000);
    expect(told().at(-1)).toEqual([
      'neighbor: the packet waits no more',
      'neighbor drops: the next hop does not answer ARP or neighbor discovery (NEIGH_FAILED)',
    ]);
  });

  test('what is put together and cut again, said once', () => {
    const { deck, told } = watched();
    const whole = udp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort: 7, data: 2000 });
    for (const piece of fragments(whole, 1500)) send(deck, 'c1', piece);
    const [first, second] = told();
    expect(first!.at(-1)).toBe('PREROUTING: a fragment, which waits for the others');
    expect(second!.slice(-5).map((line) => line.replace(/ 198.*/, ''))).toEqual([
      'POSTROUTING: MASQUERADE 10.0.0.2:5000 →',
      'POSTROUTING: cut into fragments of at most 1500 bytes',
      'neighbor:',
      'bridge: 02:00:00:00:00:01 is behind up:6',
      'egress: sent to up:6 in 2 pieces',
    ]);
  });

  test('what the gateway does not believe goes on to others', () => {
    const { deck, steps } = watched(gatewayBed({ known: true, guard: false }));
    send(deck, 'c1', arpRequest({ from: { mac: '02:00:00:00:00:99', ipv4: C1.ipv4 }, ask: C2.ipv4 }));
    const [heard] = steps();
    const refused =
      "INPUT: the gateway drops its copy: ARP whose sender is impossible: another's MAC or address, the gateway's, or outside the subnet (ARP_SPOOF)";
    expect(inWords(heard!)).toContain(refused);
    expect(headline(heard!).replace(/^.* → /, '')).toBe(
      `INPUT: the gateway hears ARP; ${refused}; egress: sent to a:3`,
    );
  });

  test('what the deck itself is asked', () => {
    const { deck, told } = watched();
    send(deck, 'c1', icmpEcho({ from: C1, to: GA, via: VIA_GA }));
    send(deck, 'c1', ask({ ...GA, ipv4: '10.0.0.1' }));
    const [echo] = told();
    expect(echo!.slice(3)).toEqual([
      'INPUT: ICMP for the gateway',
      'bridge: 02:42:0a:00:00:02 is behind a:3',
      'egress: sent to a:3',
    ]);
  });

  test('every drop reason has a stage and words', () => {
    expect(Object.keys(DROP_STAGE).sort()).toEqual(Object.keys(DROP_TEXT).sort());
    expect(dropInWords('IP_CSUM')).toBe('the IPv4 header checksum is wrong (IP_CSUM)');
    expect(dropInWords('ARP_SPOOF')).toMatch(/^ARP whose .*\(ARP_SPOOF\)$/);
  });
});
