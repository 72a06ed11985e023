import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Deck } from '../control/deck.ts';
import { DeckError } from '../control/error.ts';
import { Sandbox } from '../control/sandbox.ts';
import { type Outcome, type Place, ping, transfer } from './demo-traffic.ts';
import { findLeftovers, takeInventory } from './leftovers.ts';
import { containerTable, countersText, dropTable, fdbLines } from './lists.ts';
import { networkTable } from './network.ts';
import { EXIT_DONE, EXIT_FAILED, report, style } from './output.ts';
import { replay } from './replay.ts';

/** The two-minute tour. It stands on what a program gets from `tapdeck`: a deck and sandboxes. */
export async function demo(): Promise<number> {
  const before = takeInventory();
  const tour = new Tour();
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => reject(new DeckError('unavailable', `interrupted by ${signal}`)));
    }
  });
  interrupted.catch(() => {});
  let code: number = EXIT_DONE;
  try {
    write(`${style('bold', 'tapdeck: containers on a switch in TypeScript, in two minutes')}\n`);
    const obstacle = await Promise.race([tour.begin(), interrupted]);
    if (obstacle) {
      write(
        `\n${style('yellow', 'Not possible here')}: ${obstacle.message}.\nThe replay needs no privileges:\n`,
      );
    } else {
      await Promise.race([tour.walk(), interrupted]);
    }
    code = tour.replay();
  } catch (error) {
    report(error);
    code = EXIT_FAILED;
  } finally {
    await tour.close();
  }
  return Math.max(code, await lookBack(before, tour));
}

class Tour {
  readonly sandboxIds: string[] = [];
  readonly #places: Place[] = [];
  #deck: Deck | undefined;
  #step = 0;

  /** Makes the deck and two sandboxes on it. Answers what stands in the way, where it is not permitted. */
  async begin(): Promise<DeckError | undefined> {
    try {
      const deck = await Deck.open();
      this.#deck = deck;
      this.#heading(
        'A deck: a switch in this process, with one network',
        'tapdeck daemon',
        'tapdeck network ls',
      );
      this.#show(networkTable(deck.networks()));

      await this.#place(deck, 'bob');
      await this.#place(deck, 'alice');
      this.#heading(
        'Two sandboxes, each with a network namespace and a TAP of its own',
        'tapdeck run --name bob -- bash',
        'tapdeck run --name alice -- bash',
        'tapdeck ps',
      );
      this.#show(containerTable(this.#deck.containers(), Date.now()));
      return undefined;
    } catch (error) {
      if (error instanceof DeckError) return error;
      throw error;
    }
  }

  /** Traffic between the sandboxes, and what the deck knows of it. */
  async walk(): Promise<void> {
    const deck = this.#deck!;
    const [bob, alice] = this.#places as [Place, Place];

    this.#heading('Ping both ways over IPv4');
    this.#done(alice, await ping(alice, bob.endpoint.ipv4!));
    this.#done(bob, await ping(bob, alice.endpoint.ipv4!));
    if (alice.endpoint.ipv6 !== null && bob.endpoint.ipv6 !== null) {
      this.#heading('Ping both ways over IPv6');
      this.#done(alice, await ping(alice, bob.endpoint.ipv6));
      this.#done(bob, await ping(bob, alice.endpoint.ipv6));
    }

    this.#heading('A bulk transfer: every frame of it passes through this process');
    this.#done(alice, await transfer(alice, bob));

    this.#heading('Which address is behind which port', 'tapdeck fdb');
    this.#show(fdbLines(await deck.fdb()));

    this.#heading('Where every frame went: the account must balance', 'tapdeck counters');
    this.#show(countersText(await deck.counters()));
    const drops = (await deck.drops()).filter(({ count }) => count > 0);
    if (drops.length > 0) {
      this.#command('tapdeck drops');
      this.#show(dropTable(drops));
    }
  }

  /** A capture of a real kernel's bridge and router through the same switch; answers the exit code. */
  replay(): number {
    const scenario = 'fixtures/scenarios/kernel-traceroute';
    this.#heading(
      'A traceroute that a kernel has answered, replayed in virtual time: the deck must answer alike',
      `tapdeck replay --verbose ${scenario}`,
    );
    const folder = ['../../', '../../../']
      .map((root) => fileURLToPath(new URL(root + scenario, import.meta.url)))
      .find((path) => existsSync(path));
    if (folder !== undefined) return replay([folder], { format: 'table', verbose: true });
    this.#show('the fixtures are not installed\n');
    return EXIT_FAILED;
  }

  /** Ends everything, in whichever state. */
  async close(): Promise<void> {
    if (this.#places.length > 0) {
      this.#heading('Everything is removed again', 'exit (in alice and in bob)');
    }
    await Promise.all(this.#places.map(({ sandbox }) => sandbox.close()));
    await this.#deck?.close();
  }

  async #place(deck: Deck, name: string): Promise<Place> {
    const sandbox = await Sandbox.start({
      command: ['sleep', '600'],
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    this.sandboxIds.push(sandbox.id);
    try {
      const endpoint = await deck.attach({ pid: sandbox.pid, name });
      sandbox.go();
      const place = { sandbox, endpoint };
      this.#places.push(place);
      return place;
    } catch (error) {
      await sandbox.close();
      throw error;
    }
  }

  #heading(title: string, ...commands: string[]): void {
    write(`\n${style('bold', `${++this.#step}. ${title}`)}\n`);
    for (const command of commands) this.#command(command);
  }

  #command(command: string, prompt = '$'): void {
    write(`${style('cyan', `   ${prompt} ${command}`)}\n`);
  }

  #done({ endpoint }: Place, { command, output }: Outcome): void {
    this.#command(command, `${endpoint.name}$`);
    this.#show(output);
  }

  #show(text: string): void {
    write(text.replace(/^(?=.)/gm, '   '));
  }
}

/** Says what is left, which is nothing; answers the exit code. */
async function lookBack(before: ReturnType<typeof takeInventory>, { sandboxIds }: Tour): Promise<number> {
  let leftovers = findLeftovers(before, sandboxIds);
  // TAPs are closed behind our back, and the kernel takes down namespaces when it has the time.
  for (let waited = 0; leftovers.length > 0 && waited < 15_000; waited += 50) {
    await sleep(50);
    leftovers = findLeftovers(before, sandboxIds);
  }
  if (leftovers.length > 0) {
    write(`${style('red', '   left behind')}: ${leftovers.join(', ')}\n`);
    return EXIT_FAILED;
  }
  write(`   ${style('green', 'Nothing is left')}: no process, no namespace, no interface, no mount.\n`);
  return EXIT_DONE;
}

function write(text: string): void {
  process.stdout.write(text);
}
