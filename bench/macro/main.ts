/**
 * Speed beside the kernel's own bridge: `npm run bench`, or `node dist/bench/macro/main.js`.
 *
 * Three ways to connect two containers are built in namespaces of the bench's own and measured in turns, so
 * that whatever the machine does meanwhile meets all of them: a kernel bridge with veth pairs (docker0's way),
 * a C program that only reads and writes between two TAPs (the limit of any user-space switch), and tapdeck.
 * What many of them cost is measured by 500 containers on 50 networks of one daemon.
 * The way out and back in is measured beside the bridge with nftables' masquerade and DNAT.
 * The way through sockets of the host is measured beside slirp4netns and pasta, all three as an ordinary user.
 * Networks of driver tapdeck are measured beside docker0, between containers of a Docker Engine.
 * Needs root, iproute2, nftables, iperf3 and gcc, for sockets slirp4netns, passt and wrk, for Docker docker.io and busybox. Exit code 1 when a target is missed, 2 for a wrong argument.
 */
import { compile } from './c-program.ts';
import { stopAll } from './command.ts';
import type { Connected, Contender } from './contender.ts';
import { type Entry, type Row, summarize } from './entry.ts';
import { type Options, parseOptions, USAGE } from './options.ts';
import { plan } from './plan.ts';
import { machine, table } from './report.ts';
import { Scope } from './scope.ts';
import { missingTools } from './tools.ts';

async function measure(options: Options, scope: Scope, interrupted: AbortSignal): Promise<Row[]> {
  const { contenders, entries: entriesOf } = plan(options, await compile(scope));
  const paths = new Map<Contender, Connected>();
  for (const contender of contenders) {
    interrupted.throwIfAborted();
    scope.defer(() => contender.down());
    paths.set(contender, await contender.up());
  }
  const entries = entriesOf(paths);
  for (let round = 0; round < options.pairs; round++) {
    // There and back again: what grows with time then favours nobody.
    for (const entry of round % 2 === 0 ? entries : [...entries].reverse()) {
      interrupted.throwIfAborted();
      progress(`round ${round + 1} of ${options.pairs}: ${describe(entry)}`);
      entry.samples.push(await entry.sample());
    }
  }
  progress('');
  return entries.map(summarize).filter((row) => row !== null);
}

function describe({ measurement, contender, mtu }: Entry): string {
  return `${measurement}, ${contender}, MTU ${mtu}`;
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n${USAGE}`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write('bench: it makes network namespaces, which takes root; run it with sudo\n');
    return 1;
  }
  const missing = missingTools(options.only);
  if (missing !== undefined) {
    process.stderr.write(`bench: ${missing}\n`);
    return 1;
  }
  const about = machine();
  const scope = new Scope();
  const interrupt = new AbortController();
  const interruption = new Promise<never>((_, reject) => {
    for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
      process.once(signal, () => {
        process.exitCode = code;
        interrupt.abort(new Error(`ended by ${signal}`));
        reject(interrupt.signal.reason);
      });
    }
  });
  const measuring = measure(options, scope, interrupt.signal);
  try {
    const rows = await Promise.race([measuring, interruption]);
    const command = ['npm run bench', ...process.argv.slice(2)].join(' ');
    if (options.format === 'json') {
      process.stdout.write(`${JSON.stringify({ machine: about, pairs: options.pairs, rows }, null, 2)}\n`);
    } else process.stdout.write(table(rows, about, options.pairs, command));
    return rows.some((row) => row.met === false) ? 1 : 0;
  } catch (error) {
    progress('');
    process.stderr.write(`bench: ${(error as Error).message}\n`);
    return (process.exitCode as number | undefined) ?? 1;
  } finally {
    await stopAll();
    // After an interruption it may be half-way through bringing somebody up; let it fail first.
    await measuring.catch(() => undefined);
    await scope.close();
  }
}

process.exitCode = await main();
