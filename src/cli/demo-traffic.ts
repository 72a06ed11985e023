import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { Endpoint } from '../control/endpoint.ts';
import type { Sandbox } from '../control/sandbox.ts';

/** Traffic for the tour: the usual tools where they are installed, else a few lines of Node that do the like. */

/** A sandbox of the tour and where it is on the deck. */
export interface Place {
  sandbox: Sandbox;
  endpoint: Endpoint;
}

/** What was done, as a user would type it, and what it said. */
export interface Outcome {
  command: string;
  output: string;
}

const SECONDS = 3;
const PORT = 5201;
/** A tour must end also where traffic does not flow. */
const LIMITED = { timeout: 20_000 } as const;

/** Whether a program is in PATH. */
export function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Asks the other place for an answer. Throws when there is none. */
export async function ping(from: Place, address: string): Promise<Outcome> {
  if (!isInstalled('ping')) return connect(from, address);
  // With a deadline it waits for three answers, without one only 0.2 s for the last.
  const command = ['ping', '-c', '3', '-i', '0.2', '-w', '10', address];
  return { command: command.join(' '), output: await finish(from.sandbox.exec(command, LIMITED), command) };
}

/** In place of a missing ping: a TCP connection to a port at which nobody listens, and the time to the refusal. */
async function connect(from: Place, address: string): Promise<Outcome> {
  const script = `
    const begin = performance.now();
    const socket = require('node:net').connect({ host: '${address}', port: 9, timeout: 5000 });
    socket.on('timeout', () => socket.destroy(new Error('no answer')));
    socket.on('error', ({ code, message }) => {
      if (code !== 'ECONNREFUSED') throw new Error(message);
      console.log('${address} refuses TCP port 9, as it should, in ' + (performance.now() - begin).toFixed(1) + ' ms');
    });`;
  const output = await finish(from.sandbox.exec([process.execPath, '-e', script], LIMITED), [
    'the connection',
  ]);
  return { command: `node (connect to ${address}; install iputils-ping to see pings)`, output };
}

/** Moves as much as goes in three seconds. */
export async function transfer(from: Place, to: Place): Promise<Outcome & { gigabits: number }> {
  return isInstalled('iperf3') ? transferByIperf(from, to) : transferByNode(from, to);
}

async function transferByIperf(from: Place, to: Place): Promise<Outcome & { gigabits: number }> {
  const address = to.endpoint.ipv4!;
  const server = to.sandbox.exec(
    ['iperf3', '--server', '--one-off', '--forceflush', '--port', String(PORT)],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  try {
    await listening(server);
    const command = [
      'iperf3',
      '--client',
      address,
      '--time',
      String(SECONDS),
      '--port',
      String(PORT),
      '--json',
    ];
    const { end } = JSON.parse(await finish(from.sandbox.exec(command, LIMITED), command)) as IperfResult;
    const { bytes, seconds, bits_per_second } = end.sum_received;
    const gigabits = bits_per_second / 1e9;
    return { command: command.slice(0, -3).join(' '), output: speed(bytes, seconds, gigabits), gigabits };
  } finally {
    server.kill('SIGKILL');
  }
}

interface IperfResult {
  end: { sum_received: { bytes: number; seconds: number; bits_per_second: number } };
}

async function transferByNode(from: Place, to: Place): Promise<Outcome & { gigabits: number }> {
  const address = to.endpoint.ipv4!;
  const receiver = `
    const server = require('node:net').createServer((socket) => {
      let bytes = 0;
      const begin = performance.now();
      socket.on('data', (chunk) => { bytes += chunk.length; });
      socket.on('end', () => {
        console.log(JSON.stringify({ bytes, seconds: (performance.now() - begin) / 1000 }));
        server.close();
      });
    });
    server.listen(${PORT}, '${address}', () => console.log('ready'));`;
  const sender = `
    const socket = require('node:net').connect(${PORT}, '${address}');
    const block = Buffer.alloc(1 << 20);
    const end = performance.now() + ${SECONDS * 1000};
    const send = () => { if (performance.now() < end) socket.write(block, send); else socket.end(); };
    socket.on('connect', () => { for (let i = 0; i < 4; i++) send(); });`;
  const server = to.sandbox.exec([process.execPath, '-e', receiver]);
  try {
    await listening(server);
    const received = finish(server, ['the receiver']);
    // A sender that fails is what is said then.
    received.catch(() => {});
    await finish(from.sandbox.exec([process.execPath, '-e', sender], LIMITED), ['the sender']);
    const { bytes, seconds } = JSON.parse(await received) as { bytes: number; seconds: number };
    const gigabits = (bytes * 8) / seconds / 1e9;
    const command = `node (a sender to ${address}:${PORT}; install iperf3 to see that)`;
    return { command, output: speed(bytes, seconds, gigabits), gigabits };
  } finally {
    server.kill('SIGKILL');
  }
}

/** Waits until the receiving program says something: it listens then. */
function listening(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    server.stdout!.once('data', () => resolve());
    server.once('error', reject);
    server.once('exit', () => reject(new Error('the receiver did not start')));
  });
}

function speed(bytes: number, seconds: number, gigabits: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB in ${seconds.toFixed(1)} s: ${gigabits.toFixed(1)} Gbit/s\n`;
}

/** What a command printed, once it has ended well. */
function finish(child: ChildProcess, command: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    let complaint = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else
        reject(
          new Error(`${command.join(' ')} ended with ${signal ?? `code ${code}`}: ${complaint || output}`),
        );
    });
  });
}
