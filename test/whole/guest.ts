import { spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Outcome, run } from '../device/sandbox.ts';
import { type Account, Running, until } from './account.ts';

/** A network namespace of an ordinary user's, with whatever connects it. */
export class Guest {
  readonly #account: Account;
  readonly #sleeper: Running;

  /** Makes one, with a user namespace of its own. */
  static async make(account: Account): Promise<Guest> {
    const own = readlinkSync('/proc/self/ns/user');
    const guest = new Guest(account, account.spawn(['unshare', '-rn', 'sleep', '1000']));
    await until(() => {
      const at = (kind: string) => readlinkSync(`/proc/${guest.pid}/ns/${kind}`);
      return at('user') !== own && commandOf(guest.pid) === 'sleep';
    }, 'there is a namespace');
    return guest;
  }

  private constructor(account: Account, sleeper: Running) {
    this.#account = account;
    this.#sleeper = sleeper;
  }

  get pid(): number {
    return this.#sleeper.pid;
  }

  /** Starts `tapdeck-slirp4netns`, which has our end of its stdin as exit descriptor, and stdout as ready descriptor. */
  start(env: Record<string, string>, ...args: string[]): Running {
    return startSlirp(this.#account, env, '-e', '0', '-r', '1', ...args);
  }

  /** As `start`, and waits until the interface is there. */
  async connect(env: Record<string, string>, ...args: string[]): Promise<Running> {
    const running = this.start(env, ...args, String(this.pid), 'tap0');
    await running.said(/^1$/);
    return running;
  }

  /** Runs a command in it, as root of this machine. */
  run(...command: string[]): Promise<Outcome> {
    return run('nsenter', '-t', String(this.pid), '-n', ...command);
  }

  /** As `run`, of a command that must succeed; answers what it printed. */
  async ok(...command: string[]): Promise<string> {
    const { code, output } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${output}`);
    return output.trim();
  }

  /** Serves a page at a port of all its addresses, until it is killed. */
  serve(port: number): Promise<Running> {
    return serve(['nsenter', '-t', String(this.pid), '-n'], '::', port);
  }

  async end(): Promise<void> {
    this.#sleeper.kill('SIGKILL');
    await this.#sleeper.ended;
  }
}

/** Serves a folder over HTTP behind a command that leads somewhere. */
export async function serve(where: readonly string[], address: string, port: number): Promise<Running> {
  const server = ['python3', '-u', '-m', 'http.server', '--bind', address, String(port)];
  const words = [...where, ...server];
  const running = new Running(
    spawn(words[0]!, words.slice(1), { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  await running.said('Serving HTTP');
  return running;
}

/** Starts `tapdeck-slirp4netns` with variables in its environment. */
export function startSlirp(account: Account, env: Record<string, string>, ...args: string[]): Running {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const program = join(account.program, 'dist/src/slirp4netns.js');
  return account.spawn(['env', ...variables, process.execPath, program, ...args]);
}

/** Asks at slirp4netns's API socket, as its callers do: one request, the end of our side, one answer. */
export function askApi(path: string, request: object | string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(JSON.parse(answer)));
    socket.end(typeof request === 'string' ? request : JSON.stringify(request));
  });
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
}
