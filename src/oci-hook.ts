#!/usr/bin/env node
import { reachDaemon } from './integrations/daemon.ts';
import { answerAndEnd } from './integrations/executable.ts';
import { answerHook } from './integrations/oci/hook.ts';

await answerAndEnd((input) =>
  answerHook({ args: process.argv.slice(2), input, reach: reachDaemon(process.env) }),
);
