import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { CaptureEnded } from '../../src/control/capture-schema.ts';
import { awaitOutput, finish, start } from './command.ts';
import type { Connected, Contender } from './contender.ts';
import { Deck } from './deck.ts';
import type { Sample } from './entry.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';
import { ADDRESSES } from './tapdeck.ts';
import { udpFlow } from './udp-rate.ts';

/** Frames of 1,514 bytes that make 1 Gbit/s with what a line adds to them: preamble, check sequence and gap, 24 bytes. */
const GIGABIT = 81_274;
/** UDP payload of a packet of 1,500 bytes. */
const PAYLOAD = 1472;
/** More than is forwarded. */
const FLOOD = 400_000;

/** Two containers whose packets are captured. Files are in memory (/dev/shm): what is measured is the capture, not a disk. */
export class TapdeckCaptures implements Contender {
  readonly name = 'tapdeck';
  readonly mtu = 1500;
  readonly #scope = new Scope();
  readonly #blast: string;
  #deck: Deck | undefined;
  #path: Connected | undefined;

  /** @param blast the compiled udp-blast.c */
  constructor(blast: string) {
    this.#blast = blast;
  }

  async up(): Promise<Connected> {
    const nsA = await Namespace.create('ca', this.#scope);
    const nsB = await Namespace.create('cb', this.#scope);
    const deck = await Deck.start(this.#scope);
    await deck.attach(nsA, 'a', ADDRESSES[0], this.mtu);
    await deck.attach(nsB, 'b', ADDRESSES[1], this.mtu);
    this.#deck = deck;
    this.#path = { nsA, nsB, addressB: ADDRESSES[1] };
    return this.#path;
  }

  down(): Promise<void> {
    return this.#scope.close();
  }

  /** Packets that a capture of everything to a file misses at 1 Gbit/s. */
  async missed(milliseconds: number): Promise<Sample> {
    const file = join('/dev/shm', `tapdeck-bench-${process.pid}.pcapng`);
    const argv = this.#deck!.program('capture', '-w', file, 'udp port 5203');
    const capture = start(argv);
    try {
      await awaitOutput(capture, 'ctrl-C ends');
      const said = once(capture.stderr!, 'data');
      const { offered, delivered } = await udpFlow(this.#path!, this.#blast, GIGABIT, milliseconds, PAYLOAD);
      const ended = finish(capture, argv);
      capture.kill('SIGINT');
      const [text] = await said;
      await ended;
      const [, written, missed] = /(\d+) packets captured, (\d+) missed/.exec(String(text)) ?? [];
      const rates = `${Math.round(offered)} packets/s sent, ${Math.round(delivered)} forwarded`;
      return { value: Number(missed), detail: `${rates}, ${written} blocks written` };
    } finally {
      await rm(file, { force: true });
    }
  }

  /** Packets per second that are forwarded, and how many a capture misses of them whose reader reads nothing. */
  async forwarded(milliseconds: number, isOverrun: boolean): Promise<Sample> {
    const { client } = this.#deck!;
    // Nobody takes what comes after its head.
    const stream = isOverrun ? await client.bytes('/v1/capture?buffer=8') : null;
    try {
      const { delivered } = await udpFlow(this.#path!, this.#blast, FLOOD, milliseconds, PAYLOAD);
      if (!stream) return { value: delivered };
      const { missed } = await client.delete<CaptureEnded>(
        `/v1/captures/${stream.header('tapdeck-capture')}`,
      );
      return { value: delivered, detail: `${missed} missed by the capture` };
    } finally {
      stream?.destroy();
    }
  }
}
