#!/usr/bin/env node
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`tapdeck: Node ${process.versions.node} is too old; install Node 20.19 or newer\n`);
  process.exitCode = 1;
} else {
  // `tapdeck ps | head -1`: who reads no further wants no more.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  // Of what cannot be said there nobody can be told: a full disk, or a terminal that has gone.
  process.stderr.on('error', () => {});
  process.exitCode = await run(process.argv.slice(2));
}

/** What is imported here is not imported above: what an old Node cannot read, it must not meet before the message. */
async function run(args: readonly string[]): Promise<number> {
  // Both of these somebody waits for at a prompt: they do without the commands.
  if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) {
    const { packageVersion } = await import('./control/version.ts');
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  if (args[0] === '__complete') {
    const { printNames } = await import('./cli/completion/names.ts');
    await printNames(args.slice(1));
    return 0;
  }
  const { main } = await import('./cli/program.ts');
  return main(args);
}
