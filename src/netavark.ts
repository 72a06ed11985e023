#!/usr/bin/env node
import { packageVersion } from './control/version.ts';
import { reachDaemon } from './integrations/daemon.ts';
import { answerAndEnd } from './integrations/executable.ts';
import { answerNetavark } from './integrations/netavark/plugin.ts';

await answerAndEnd((input) =>
  answerNetavark({
    args: process.argv.slice(2),
    input,
    reach: reachDaemon(process.env),
    version: packageVersion(),
  }),
);
