import { DROP_REASONS, type DropReason } from '../../switch/drop-reason.ts';
import type { Carrier } from '../../wire/carrier.ts';
import type { LedgerSnapshot } from './commands.ts';

/**
 * The account of all frames: what came in (from ports, made by the deck, copied) equals what went out, was
 * consumed, is held, or was dropped for a named reason. Doubles: exact to 2^53.
 */
export class Ledger {
  ports = 0;
  originated = 0;
  copies = 0;
  sent = 0;
  consumed = 0;
  held = 0;
  readonly drops = new Float64Array(DROP_REASONS);

  drop(reason: DropReason): void {
    this.drops[reason]!++;
  }

  carry(carrier: Carrier): void {
    this.ports = carrier.number(this.ports);
    this.originated = carrier.number(this.originated);
    this.copies = carrier.number(this.copies);
    this.sent = carrier.number(this.sent);
    this.consumed = carrier.number(this.consumed);
    this.held = carrier.number(this.held);
    carrier.column(this.drops);
  }

  /** 0 when the account balances: what came in less what became of it. */
  imbalance(): number {
    let out = this.sent + this.consumed + this.held;
    for (const count of this.drops) out += count;
    return this.ports + this.originated + this.copies - out;
  }

  snapshot(): LedgerSnapshot {
    const { ports, originated, copies, sent, consumed, held } = this;
    return { ports, originated, copies, sent, consumed, held, drops: Array.from(this.drops) };
  }
}
