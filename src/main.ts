#!/usr/bin/env node
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`tapdeck: Node ${process.versions.node} is too old; install Node 20.19 or newer\n`);
  process.exitCode = 1;
} else {
  // Not imported above: what an old Node cannot read, it must not meet before the message.
  const { main } = await import('./cli/program.ts');
  // `tapdeck ps | head -1`: who reads no further wants no more.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  process.exitCode = await main(process.argv.slice(2));
}
