import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSegment, segmentFrame } from '../../fixtures/conntrack/segment.ts';
import { TCP_STATE_NAMES } from '../../nat/tcp-state.ts';
import { TcpTracking, TcpVerdict } from '../../nat/tcp-tracking.ts';
import { ACK_WINDOW } from '../../nat/tcp-window.ts';
import { DEFAULT_TIMEOUTS } from '../../nat/timeouts.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';

const COURSE = {
  client: { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' },
  server: { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' },
  clientPort: 4000,
  serverPort: 80,
};
const ROW = 3;
const VERDICTS = ['pass', 'invalid', 'reopen', 'ignore'];

function packetOf(line: string): Packet {
  const frame = segmentFrame(parseSegment(line), COURSE);
  const packet = new Packet(frame);
  packet.length = frame.length;
  expect(parse(packet)).toBe(Malformed.NONE);
  return packet;
}

/** A tracked connection that is told segments and answers `verdict STATE`. */
class Connection {
  readonly tracking: TcpTracking;
  opened = false;

  constructor(loose = true) {
    this.tracking = new TcpTracking(8, { loose });
  }

  send(line: string): string {
    const packet = packetOf(line);
    if (!this.opened) {
      this.opened = this.tracking.open(ROW, packet);
      return this.opened ? `open ${this.state}` : 'refused';
    }
    const verdict = this.tracking.track(ROW, packet.bytes[14 + 15] === 10 ? 0 : 1, packet);
    return `${VERDICTS[verdict]} ${this.state}`;
  }

  /** Sends all; answers what the last one did. */
  after(...lines: string[]): string {
    return lines.map((line) => this.send(line)).at(-1)!;
  }

  get state(): string {
    return TCP_STATE_NAMES[this.tracking.state[ROW]!]!;
  }

  get timeout(): number {
    return this.tracking.timeout(ROW, DEFAULT_TIMEOUTS);
  }
}

const HANDSHAKE = ['> S seq 1000', '< SA seq 5000 ack 1001', '> A seq 1001 ack 5001'];

function established(): Connection {
  const connection = new Connection();
  expect(connection.after(...HANDSHAKE)).toBe('pass ESTABLISHED');
  return connection;
}

describe('a connection', () => {
  test('from the first SYN to TIME_WAIT, and its timeouts', () => {
    const connection = new Connection();
    expect(connection.send('> S seq 1000')).toBe('open SYN_SENT');
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpOpening);
    expect(connection.send('< SA seq 5000 ack 1001')).toBe('pass SYN_RECV');
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpOpening);
    expect(connection.tracking.isAssured(ROW)).toBe(false);
    expect(connection.send('> A seq 1001 ack 5001')).toBe('pass ESTABLISHED');
    expect(connection.tracking.isAssured(ROW)).toBe(true);
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpEstablished);
    expect(connection.send('> PA seq 1001 ack 5001 len 100')).toBe('pass ESTABLISHED');
    expect(connection.send('< A seq 5001 ack 1101 len 1000')).toBe('pass ESTABLISHED');
    expect(connection.send('> FA seq 1101 ack 6001')).toBe('pass FIN_WAIT');
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpClosing);
    expect(connection.send('< A seq 6001 ack 1102')).toBe('pass CLOSE_WAIT');
    expect(connection.send('< FA seq 6001 ack 1102')).toBe('pass LAST_ACK');
    expect(connection.send('> A seq 1102 ack 6002')).toBe('pass TIME_WAIT');
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpClosing);
    expect(connection.send('> S seq 90000')).toBe('reopen TIME_WAIT');
  });

  test('simultaneous open (RFC 9293 §3.5)', () => {
    const connection = new Connection();
    expect(
      connection.after('> S seq 1000', '< S seq 5000', '> SA seq 1000 ack 5001', '< SA seq 5000 ack 1001'),
    ).not.toMatch(/invalid/);
    expect(connection.after('< A seq 5001 ack 1001', '> A seq 1001 ack 5001')).toBe('pass ESTABLISHED');
  });

  test('data in the SYN (RFC 7413)', () => {
    const connection = new Connection();
    expect(connection.after('> S seq 1000 len 50', '< SA seq 5000 ack 1051', '> A seq 1051 ack 5001')).toBe(
      'pass ESTABLISHED',
    );
  });

  test('is picked up in the middle only where that is allowed', () => {
    const loose = new Connection(true);
    expect(loose.send('> A seq 3000000000 ack 7 len 10')).toBe('open ESTABLISHED');
    expect(loose.timeout).toBe(DEFAULT_TIMEOUTS.tcpOpening);
    expect(loose.tracking.isAssured(ROW)).toBe(false);
    expect(loose.send('< A seq 7 ack 3000000010')).toBe('pass ESTABLISHED');
    expect(loose.timeout).toBe(DEFAULT_TIMEOUTS.tcpOpening);
    expect(loose.send('> A seq 3000000010 ack 7 len 9')).toBe('pass ESTABLISHED');
    expect(loose.tracking.isAssured(ROW)).toBe(true);
    expect(loose.timeout).toBe(DEFAULT_TIMEOUTS.tcpEstablished);
    expect(new Connection(false).send('> A seq 3000000000 ack 7 len 10')).toBe('refused');
  });

  test.each(['> SA', '> FA', '> R', '> RA', '> -', '> F', '> SF', '> SR', '> FPU', '> SFRPAU'])(
    '%s does not begin one',
    (line) => {
      expect(new Connection().send(`${line} seq 1000 ack 1`)).toBe('refused');
    },
  );

  test('a refused open leaves the row as it was', () => {
    const { tracking } = established();
    expect(tracking.open(ROW, packetOf('> SA seq 9 ack 9'))).toBe(false);
    expect(TCP_STATE_NAMES[tracking.state[ROW]!]).toBe('ESTABLISHED');
    expect(tracking.track(ROW, 0, packetOf('> A seq 1001 ack 5001 len 10'))).toBe(TcpVerdict.ACCEPT);
  });

  test('rows do not touch one another', () => {
    const { tracking } = established();
    tracking.open(ROW + 1, packetOf('> S seq 77'));
    tracking.open(ROW - 1, packetOf('> S seq 88'));
    expect(tracking.track(ROW, 1, packetOf('< A seq 5001 ack 1001 len 10'))).toBe(TcpVerdict.ACCEPT);
    expect(TCP_STATE_NAMES[tracking.state[ROW + 1]!]).toBe('SYN_SENT');
  });
});

describe('the window', () => {
  test('a GSO frame is one long segment', () => {
    const connection = new Connection();
    connection.after(
      '> S seq 1000 wscale 7',
      '< SA seq 5000 ack 1001 win 65535 wscale 7',
      '> A seq 1001 ack 5001',
    );
    expect(connection.send('< A seq 5001 ack 1001 win 1024')).toBe('pass ESTABLISHED');
    expect(connection.send('> PA seq 1001 ack 5001 len 60000')).toBe('pass ESTABLISHED');
    expect(connection.send('> PA seq 61001 ack 5001 len 60000')).toBe('pass ESTABLISHED');
    expect(connection.send('< A seq 5001 ack 121001 win 1024')).toBe('pass ESTABLISHED');
  });

  test('what is acknowledged by SACK only has been sent (RFC 2018)', () => {
    const connection = new Connection();
    connection.after('> S seq 1000 sackOK', '< SA seq 5000 ack 1001 sackOK', '> A seq 1001 ack 5001');
    connection.send('> A seq 1001 ack 5001 len 300');
    expect(connection.send('< A seq 5001 ack 1001 sack 1201-1301')).toBe('pass ESTABLISHED');
    expect(connection.send('< A seq 5001 ack 1001 sack 1201-1302')).toBe('invalid ESTABLISHED');
  });

  test('sequence numbers go round', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        (c, s) => {
          const at = (base: number, offset: number): number => (base + offset) % 2 ** 32;
          const connection = new Connection();
          connection.after(
            `> S seq ${c}`,
            `< SA seq ${s} ack ${at(c, 1)}`,
            `> A seq ${at(c, 1)} ack ${at(s, 1)}`,
            `> A seq ${at(c, 1)} ack ${at(s, 1)} len 8000`,
          );
          expect(connection.send(`< A seq ${at(s, 1)} ack ${at(c, 8001)} len 100`)).toBe('pass ESTABLISHED');
          expect(connection.send(`< A seq ${at(s, 1)} ack ${at(c, 8002)}`)).toBe('invalid ESTABLISHED');
          expect(connection.send(`< R seq ${at(s, 2 ** 31)}`)).toBe('invalid ESTABLISHED');
          expect(connection.send(`> R seq ${at(c, 8001)}`)).toBe('pass CLOSE');
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('a RST', () => {
  test('closes at exactly the next sequence only (RFC 5961 §3)', () => {
    const connection = established();
    expect(connection.send('> R seq 0')).toBe('invalid ESTABLISHED');
    expect(connection.send('> R seq 1000')).toBe('invalid ESTABLISHED');
    // The server has acknowledged 1001 only.
    expect(connection.send('> R seq 1010')).toBe('pass ESTABLISHED');
    expect(connection.send('> R seq 1001')).toBe('pass CLOSE');
    expect(connection.timeout).toBe(DEFAULT_TIMEOUTS.tcpReset);
  });

  test('right behind the data before it', () => {
    const connection = established();
    expect(connection.after('< A seq 5001 ack 1001', '> A seq 1001 ack 5001 len 19', '> R seq 1020')).toBe(
      'pass CLOSE',
    );
  });

  test('that refuses a connection leaves nothing in the way of the next one', () => {
    const connection = new Connection();
    expect(connection.after('> S seq 1000', '< RA seq 0 ack 1001')).toBe('pass CLOSE');
    expect(connection.send('> S seq 2000')).toBe('reopen CLOSE');
    expect(connection.send('< S seq 6000')).toBe('reopen CLOSE');
    expect(connection.tracking.isRefused(ROW)).toBe(true);
    expect(established().tracking.isRefused(ROW)).toBe(false);
  });

  test('that closes a connection leaves its SYN to the side that sent it', () => {
    const connection = established();
    expect(connection.send('< RA seq 5001 ack 1001')).toBe('pass CLOSE');
    expect(connection.send('< S seq 90000')).toBe('invalid CLOSE');
    expect(connection.send('> S seq 90000')).toBe('ignore CLOSE');
    expect(connection.send('< SA seq 70000 ack 90001')).toBe('pass SYN_RECV');
  });
});

test('a forged SYN,ACK does not keep the right one out', () => {
  const connection = new Connection();
  connection.after('> S seq 1000', '< SA seq 900000000 ack 9001');
  expect(connection.send('< SA seq 5000 ack 1001')).toBe('pass SYN_RECV');
  expect(connection.send('> A seq 1001 ack 5001')).toBe('pass ESTABLISHED');
});

test('a peer that does not answer has a timeout of its own', () => {
  const timeouts = { ...DEFAULT_TIMEOUTS, tcpUnanswered: 300_000 };
  const connection = established();
  const timeout = (): number => connection.tracking.timeout(ROW, timeouts);
  const { tcpEstablished, tcpUnanswered } = timeouts;
  connection.send('> A seq 1001 ack 5001 len 10');
  expect(timeout()).toBe(tcpUnanswered);
  connection.send('< A seq 5001 ack 1011');
  expect(timeout()).toBe(tcpEstablished);
  connection.send('< A seq 5001 ack 1011 win 0');
  expect(timeout()).toBe(tcpUnanswered);
  connection.send('< A seq 5001 ack 1011 win 100');
  expect(timeout()).toBe(tcpEstablished);
  // The first, and three times again.
  for (let i = 0; i < 3; i++) connection.send('> A seq 1011 ack 5001');
  expect(timeout()).toBe(tcpEstablished);
  connection.send('> A seq 1011 ack 5001');
  expect(timeout()).toBe(tcpUnanswered);
  expect(connection.timeout).toBe(tcpEstablished);
  expect(connection.tracking.timeout(ROW, { ...timeouts, tcpEstablished: 1000 })).toBe(1000);
});

test('a SYN repeated into silence keeps nothing alive', () => {
  expect(new Connection().after('> S seq 1000', '> S seq 1000')).toBe('ignore SYN_SENT');
});

test('an ICMP error quotes a segment that is under way (RFC 5927 §4.1)', () => {
  const { tracking } = new Connection();
  const connection = established();
  connection.after('> A seq 1001 ack 5001 len 500', '< A seq 5001 ack 1201');
  const inWindow = (direction: 0 | 1, sequence: number) =>
    connection.tracking.isInWindow(ROW, direction, sequence | 0);
  expect([1199, 1200, 1201, 1500, 1501, 1502].map((sequence) => inWindow(0, sequence))).toEqual([
    false,
    true,
    true,
    true,
    true,
    false,
  ]);
  expect([4999, 5000, 5001, 5002].map((sequence) => inWindow(1, sequence))).toEqual([
    false,
    true,
    true,
    false,
  ]);
  // Nothing seen of that side.
  tracking.open(ROW, packetOf('> S seq 1000'));
  expect(tracking.isInWindow(ROW, 0, 1000)).toBe(true);
  expect(tracking.isInWindow(ROW, 0, 1001 - ACK_WINDOW - 1)).toBe(false);
  expect(tracking.isInWindow(ROW, 1, 5000)).toBe(false);
});

test('no segment, however odd, breaks a row', () => {
  const field = fc.oneof(fc.nat(20_000), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  const letters = fc.subarray([...'FSRPAU']).map((flags) => flags.join('') || '-');
  const line = fc
    .tuple(fc.constantFrom('>', '<'), letters, field, field, fc.nat(65535), fc.nat(1400), fc.nat(255))
    .map(
      ([arrow, flags, seq, ack, win, len, scale]) =>
        `${arrow} ${flags} seq ${seq} ack ${ack} win ${win} len ${len} wscale ${scale} sackOK`,
    );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      const connection = established();
      for (const each of lines) {
        const before = connection.state;
        const answer = connection.send(each);
        if (!answer.startsWith('pass')) expect(answer.endsWith(before)).toBe(true);
      }
    }),
  );
});
