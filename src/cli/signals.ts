import { isInForeground } from '../control/process.ts';

/** Milliseconds between a signal that was passed on and KILL. */
const SIGNAL_GRACE = 10_000;

/**
 * Signals to us are meant for the command. Those that a terminal sends for ctrl-C and ctrl-\ have reached it
 * already: they go to the whole process group. What a command makes of them is its own affair, a shell goes
 * on; all others are followed by KILL if the command is still there after a while.
 */
export class Signals {
  /** The first that came. */
  first: NodeJS.Signals | undefined;
  #command: { kill(signal: NodeJS.Signals): void } | undefined;
  #kill: NodeJS.Timeout | undefined;
  readonly #receive = (name: NodeJS.Signals) => {
    this.first ??= name;
    const command = this.#command;
    if (!command) return;
    if ((name === 'SIGINT' || name === 'SIGQUIT') && isInForeground()) return;
    command.kill(name);
    this.#kill ??= setTimeout(() => command.kill('SIGKILL'), SIGNAL_GRACE);
  };

  constructor() {
    for (const name of PASSED_ON) process.on(name, this.#receive);
  }

  passTo(command: { kill(signal: NodeJS.Signals): void }): void {
    this.#command = command;
  }

  stop(): void {
    clearTimeout(this.#kill);
    for (const name of PASSED_ON) process.off(name, this.#receive);
  }
}

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
