import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync } from 'node:fs';
import { mailbox, receiveMessage } from '../device/socket.ts';
import type { DescriptorOffer } from './capture-schema.ts';
import { conflict, invalid } from './error.ts';

/** Milliseconds in which a descriptor must have come and be asked for. */
const PATIENCE = 10_000;
/** Descriptors that may be expected at a time. */
const MOST = 16;

interface Expected {
  readonly mailbox: number;
  readonly timer: NodeJS.Timeout;
}

/**
 * Files that clients have opened and leave to the daemon (SCM_RIGHTS, unix(7)), which opens nothing by a name that it is given:
 * what a client may not write to it cannot make the daemon write to. Each comes to a socket of its own, together with a secret
 * that only the client knows, because anybody can send something there.
 */
export class Descriptors {
  readonly #expected = new Map<string, Expected>();

  /** Where a client is to send one, and with which text. Throws a `DeckError` when too many are expected. */
  offer(): DescriptorOffer {
    if (this.#expected.size >= MOST) throw conflict(`${MOST} files are expected already; ask again`);
    const token = randomBytes(16).toString('hex');
    const socket = `tapdeck-${randomBytes(16).toString('hex')}`;
    const fd = mailbox(socket);
    const timer = setTimeout(() => this.#forget(token), PATIENCE);
    timer.unref();
    this.#expected.set(token, { mailbox: fd, timer });
    return { socket, token };
  }

  /** The one that has come with this text, which is the caller's to close. Throws a `DeckError` when there is none, or it is no file. */
  take(token: string): number {
    const expected = this.#expected.get(token);
    let found = -1;
    while (expected && found < 0) {
      const message = receiveMessage(expected.mailbox, { wait: false });
      if (message === null) break;
      if (message.text === token) found = message.descriptor;
      else if (message.descriptor >= 0) closeSync(message.descriptor);
    }
    this.#forget(token);
    if (found < 0) throw invalid('no file has come with this token; offer it again');
    if (fstatSync(found).isFile()) return found;
    closeSync(found);
    // Of a pipe nobody may read, and a thread of ours would wait for him.
    throw invalid('what has come with this token is no plain file; take the stream');
  }

  #forget(token: string): void {
    const expected = this.#expected.get(token);
    if (!expected) return;
    this.#expected.delete(token);
    clearTimeout(expected.timer);
    closeSync(expected.mailbox);
  }
}
